// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * --max-overhead on a target that works as fast as it can: its own count is what the scaled one is
 * held against, whatever share of the time its function was armed. How much slower it became is
 * printed beside what the program says, and held against nothing: other work on the machine counts
 * in, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/database.h"
#include "tests/harness/inject.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define LONG_MS 120000

struct load {
	const char *mode, *function, *rounds, *steps, *kind, *limit;
};

static const struct load loads[] = {
	{"session", "watched_busy", "250000", "40000", "0", "3%"},
	{"multi", "watched_busy", "250000", "40000", "0", "3%"},
	{"perf", "watched_busy", "250000", "40000", "0", "3%"},
	{"session", "watched_stepped", "30000", "300000", "1", "5%"},
};

static struct target *start(const struct load *load)
{
	return target_start("busy", load->rounds, load->steps, load->kind, NULL);
}

static void took(struct target *target, double *wall_s, double *cpu_s)
{
	unsigned long long wall_ns, cpu_ns;

	assert_int_equal(sscanf(target_wait_line(target, "took", LONG_MS), "took %llu %llu",
				&wall_ns, &cpu_ns),
			 2);
	*wall_s = (double)wall_ns / 1e9;
	*cpu_s = (double)cpu_ns / 1e9;
}

static int64_t of(const struct load *load, const char *column)
{
	char sql[256];

	(void)snprintf(sql, sizeof(sql), "SELECT %s FROM functions WHERE function='%s'", column,
		       load->function);
	return db_int(database, sql);
}

static void a_scaled_count_is_true(void **state)
{
	const struct load *load = *state;
	double wall_s[2], cpu_s[2], off;
	struct target *target = start(load);
	struct monitor *monitor, *report;
	int64_t calls;

	target_go(target);
	took(target, &wall_s[0], &cpu_s[0]);
	assert_int_equal(target_done(target), atol(load->rounds));
	(void)target_finish(target);

	target = start(load);
	monitor = monitor_attach(target, database, "--mode", load->mode, "--max-overhead",
				 load->limit, "watched_*", NULL);
	target_go(target);
	took(target, &wall_s[1], &cpu_s[1]);
	calls = target_done(target);
	monitor_end(monitor, 0);
	assert_ledger_closed(database);

	off = (double)of(load, "calls_estimated") / (double)calls - 1;
	print_message("limit %s: CPU time +%.1f %%, as it says +%.1f %%, wall time +%.1f %%; "
		      "armed %.0f %% of the time in %lld windows, count %+.2f %% off\n",
		      load->limit, 100 * (cpu_s[1] / cpu_s[0] - 1),
		      (double)db_int(database, "SELECT 1000*probe_cost_ns/own_cpu_ns FROM run") /
			      10,
		      100 * (wall_s[1] / wall_s[0] - 1),
		      100.0 * (double)of(load, "armed_ns") / (double)of(load, "wanted_ns"),
		      (long long)db_int(database, "SELECT count(*) FROM coverage"), 100 * off);
	assert_true(of(load, "calls") < calls);
	/*
	 * How near it is depends on how well the cost of a hit was measured and how evenly this
	 * machine runs: bench_governor prints that. A wrong scale is off by the share, 4 times and
	 * more.
	 */
	assert_true(off > -0.5 && off < 1);
	assert_int_equal(db_int(database, "SELECT sum(to_ns-from_ns) FROM coverage"),
			 of(load, "armed_ns"));
	assert_true(of(load, "armed_ns") < of(load, "wanted_ns"));
	/* No two rows of a function overlap, and none is outside of the run. */
	assert_int_equal(db_int(database, "SELECT count(*) FROM coverage a JOIN coverage b USING"
					  "(function_id) WHERE a.from_ns<b.from_ns AND "
					  "a.to_ns>b.from_ns"),
			 0);
	assert_int_equal(db_int(database, "SELECT count(*) FROM coverage, run WHERE from_ns<0 OR "
					  "to_ns<=from_ns OR to_ns>ended_ns"),
			 0);
	/* What is rare stays as it is. */
	assert_int_equal(db_int(database, "SELECT count(DISTINCT function_id) FROM coverage"), 1);
	assert_true(monitor_count_lines(monitor, "armed for a share of the time") >= 1);

	report = monitor_start((const char *const[]){"report", "-i", database, NULL});
	assert_int_equal(monitor_wait(report, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(report), "~ marks estimates"));
	assert_non_null(strstr(monitor_stdout(report), "target   +"));
	assert_int_equal(target_finish(target), 0);
}

/* Nothing is armed for a share of the time when nobody asked for a limit. */
static void without_a_limit_every_call_counts(void **state)
{
	struct target *target = target_start("busy", "200000", "10", "0", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--max-overhead", "0", "watched_*", NULL);

	(void)state;
	target_go(target);
	(void)target_done(target);
	monitor_end(monitor, 0);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT max(calls) FROM functions"), 200000);
	assert_int_equal(db_int(database, "SELECT count(*) FROM coverage"), 0);
	assert_int_equal(db_int(database, "SELECT overhead_limit IS NULL FROM run"), 1);
	assert_int_equal(target_finish(target), 0);
}

/* Few calls: watched whole, and what they cost is told. */
static void below_the_limit_every_call_counts(void **state)
{
	struct target *target = target_start("steady", "2000", NULL);
	struct monitor *monitor = monitor_attach(target, database, "watched_*", NULL);
	long calls;

	(void)state;
	(void)monitor_wait_line(monitor, "limits: 10 % of the target's CPU", PROCESS_TIMEOUT_MS);
	target_go(target);
	db_wait_int(database, "SELECT coalesce(sum(calls),0) FROM functions", 3000);
	process_say(target_process(target), "");
	calls = target_done(target);
	monitor_end(monitor, 0);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT max(calls) FROM functions"), calls);
	assert_int_equal(db_int(database, "SELECT max(calls_estimated) FROM functions"), calls);
	assert_int_equal(db_int(database, "SELECT count(*) FROM coverage"), 0);
	assert_int_equal(db_int(database, "SELECT probe_cost_ns>0 AND own_cpu_ns>0 FROM run"), 1);
	assert_int_equal(target_finish(target), 0);
}

/* What it would cost, function by function; nothing is written and nothing stays. */
static void a_census_counts_for_a_second(void **state)
{
	struct target *target = target_start("busy", "0", "2000", NULL);
	char pid[16];
	struct monitor *census;
	unsigned long long calls = 0, thousands = 0;
	const char *row;

	(void)state;
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	target_go(target);
	census = monitor_start((const char *const[]){"attach", "--census", "-p", pid, "-o",
						     database, "watched_*", NULL});
	assert_int_equal(monitor_wait(census, PROCESS_TIMEOUT_MS), 0);
	row = strstr(monitor_stdout(census), "\nwatched_busy");
	assert_non_null(row);
	assert_true(sscanf(row, " watched_busy %llu,%llu", &thousands, &calls) >= 1);
	assert_true(thousands > 0);
	assert_non_null(strstr(row, "emulated"));
	assert_null(strstr(monitor_stdout(census), "watched_stepped"));
	assert_non_null(strstr(row, "1 of 2 functions called"));
	assert_int_equal(access(database, F_OK), -1);
	process_say(target_process(target), "");
	assert_true((uint64_t)target_done(target) >= 1000 * thousands);
	assert_int_equal(target_finish(target), 0);
}

static void a_census_of_a_command_is_refused(void **state)
{
	struct monitor *census =
		monitor_start((const char *const[]){"attach", "--census", "--", "true", NULL});

	(void)state;
	assert_int_equal(monitor_wait(census, PROCESS_TIMEOUT_MS), 2);
	assert_non_null(strstr(monitor_stderr(census), "--census counts in a process that runs"));
}

static void a_limit_that_is_none_is_refused(void **state)
{
	static const char *const wrong[] = {"-1", "x", "5%%", "0.01%", "1001", "nan", ""};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(wrong); i++) {
		struct monitor *monitor = monitor_start((const char *const[]){
			"attach", "-p", "1", "--max-overhead", wrong[i], NULL});

		assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 2);
		assert_non_null(strstr(monitor_stderr(monitor), "--max-overhead wants"));
	}
}

/*
 * A child's calls cost the child, whose CPU time is not the target's: charged to the target they
 * would be several times the CPU time that it takes for itself.
 */
static void a_childs_calls_are_no_cost_of_the_target(void **state)
{
	enum { ROUNDS = 2000 }; /* of 200 calls */
	struct target *target = target_start("fork", "1", "200", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", "session", "--sample", "1",
			       "--max-overhead", "100%", "watched_forked", NULL);
	const size_t alone = process_count_links(monitor_pid(monitor));

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), 1);
	process_wait_links(monitor_pid(monitor), alone + 1, LONG_MS);
	for (unsigned i = 0; i < ROUNDS; i++) {
		target_go(target);
		assert_int_equal(target_done(target), 1);
	}
	assert_int_equal(monitor_stop(monitor), 0);
	assert_non_null(strstr(monitor_stderr(monitor),
			       "400000 calls of processes that are not watched (foreign); their "
			       "traps cost those about "));
	monitor_free(monitor);
	print_message("cost %lld ns, own %lld ns\n",
		      (long long)db_int(database, "SELECT probe_cost_ns FROM run"),
		      (long long)db_int(database, "SELECT own_cpu_ns FROM run"));
	assert_true(db_int(database, "SELECT probe_cost_ns FROM run") > 0);
	assert_int_equal(db_int(database, "SELECT probe_cost_ns < own_cpu_ns FROM run"), 1);
	assert_int_equal(target_finish(target), 0);
}

/* The end says why the target paid more than it was to. */
static void a_cost_above_the_limit_is_explained(void **state)
{
	char *pins = scratch_path(directory, "pins");
	const struct {
		const char *target, *first, *limit, *options[4], *why;
	} runs[] = {
		{"busy", "0", "3%", {"-d", "2s"}, "before the limit acted, is paid back over 10 s"},
		{"steady", "2000", "0.1%", {"-d", "2s"}, "it is let be below 1 % of a CPU"},
		/* The last one: what it watched is pinned. */
		{"busy", "0", "3%", {"-d", "2s", "--persist", "--pins"}, "the limit could not be "},
	};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(runs); i++) {
		struct target *target = target_start(runs[i].target, runs[i].first, "2000", NULL);
		struct monitor *monitor;
		const char *end;

		target_go(target);
		monitor = monitor_attach(target, database, "--max-overhead", runs[i].limit,
					 "watched_*", runs[i].options[0], runs[i].options[1],
					 runs[i].options[2], runs[i].options[3],
					 runs[i].options[3] ? pins : NULL, NULL);
		assert_int_equal(monitor_wait(monitor, LONG_MS), 0);
		end = strstr(monitor_stderr(monitor), "the target paid +");
		if (!end || !strstr(end, runs[i].why))
			fail_msg("no \"%s\": %s", runs[i].why, monitor_stderr(monitor));
		process_say(target_process(target), "");
		(void)target_done(target);
		assert_int_equal(target_finish(target), 0);
	}
	while (!umount2(pins, MNT_DETACH)) {
	}
	free(pins);
}

/* A target that works, rests, and works as before: nothing that was said is said again. */
static void a_step_taken_again_is_told_once(void **state)
{
	struct target *target = target_start("busy", "0", "2000", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--max-overhead", "3%", "watched_busy", NULL);

	(void)state;
	target_go(target);
	(void)monitor_wait_line(monitor, "limit of 3 %: 1 function is armed for a share", LONG_MS);
	assert_int_equal(kill(target_pid(target), SIGSTOP), 0);
	(void)monitor_wait_line(monitor, "the target pays less than 3 % again", LONG_MS);
	assert_int_equal(kill(target_pid(target), SIGCONT), 0);
	(void)monitor_wait_line(monitor, "limit of 3 %: steps are taken and taken back as before",
				LONG_MS);
	process_say(target_process(target), "");
	(void)target_done(target);
	monitor_end(monitor, 0);
	assert_int_equal(monitor_count_lines(monitor, "armed for a share"), 1);
	assert_int_equal(monitor_count_lines(monitor, "as before"), 2);
	assert_int_equal(target_finish(target), 0);
}

/* True: the monitor did not hear of its end, and went on. */
static bool ends_unheard(void)
{
	struct target *target = target_start("busy", "0", "2000", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--max-overhead", "30%",
						 "--verbose", "-d", "5s", "watched_busy", NULL);
	struct process *inject;
	bool unheard;

	target_go(target);
	(void)monitor_wait_line(monitor, "limit of 30 %: 1 function is armed for a share", LONG_MS);
	inject = inject_start(monitor_pid(monitor), "?poll,ppoll,restart_syscall", "error=EINTR",
			      NULL);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(target_finish(target), 128 + SIGKILL);
	assert_int_equal(monitor_wait(monitor, LONG_MS), 0);
	process_free(inject);
	unheard = strstr(monitor_stderr(monitor), "ended: duration") != NULL;
	assert_int_equal(monitor_count_lines(monitor, "is not armed for now"), 0);
	assert_int_equal(monitor_count_lines(monitor, "No such file"), 0);
	monitor_free(monitor);
	return unheard;
}

/*
 * Between its end and the moment that the monitor hears of it a window may be due. poll(2) is made
 * to tell nothing, so that this moment lasts; the one that is under way may still tell.
 */
static void a_target_that_ended_is_no_failure_of_a_window(void **state)
{
	enum { TRIES = 5 };
	int tries = 0;

	(void)state;
	/* Looking for leaks needs a thread, and no strace. */
	assert_int_equal(setenv("ASAN_OPTIONS", "detect_leaks=0", 1), 0);
	while (!ends_unheard())
		assert_true(++tries < TRIES);
	assert_int_equal(unsetenv("ASAN_OPTIONS"), 0);
}

int main(int argc, char **argv)
{
	enum { LOADS = MON_ARRAY_COUNT(loads), OTHERS = 9 };
	static struct CMUnitTest tests[LOADS + OTHERS] = {
		{.name = "without_a_limit_every_call_counts",
		 .test_func = without_a_limit_every_call_counts},
		{.name = "below_the_limit_every_call_counts",
		 .test_func = below_the_limit_every_call_counts},
		{.name = "a_census_counts_for_a_second", .test_func = a_census_counts_for_a_second},
		{.name = "a_census_of_a_command_is_refused",
		 .test_func = a_census_of_a_command_is_refused},
		{.name = "a_limit_that_is_none_is_refused",
		 .test_func = a_limit_that_is_none_is_refused},
		{.name = "a_childs_calls_are_no_cost_of_the_target",
		 .test_func = a_childs_calls_are_no_cost_of_the_target},
		{.name = "a_cost_above_the_limit_is_explained",
		 .test_func = a_cost_above_the_limit_is_explained},
		{.name = "a_step_taken_again_is_told_once",
		 .test_func = a_step_taken_again_is_told_once},
		{.name = "a_target_that_ended_is_no_failure_of_a_window",
		 .test_func = a_target_that_ended_is_no_failure_of_a_window},
	};
	static char names[LOADS][96];

	for (size_t i = 0; i < LOADS; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "a_scaled_count_is_true_%s_%s",
			       loads[i].function, loads[i].mode);
		tests[OTHERS + i] =
			(struct CMUnitTest){.name = names[i],
					    .test_func = a_scaled_count_is_true,
					    .initial_state = (void *)(uintptr_t)&loads[i]};
	}
	for (size_t i = 0; i < MON_ARRAY_COUNT(tests); i++) {
		tests[i].setup_func = place_setup;
		tests[i].teardown_func = place_teardown;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("kernel/governor", tests, MON_ARRAY_COUNT(tests), NULL,
				       NULL);
}
