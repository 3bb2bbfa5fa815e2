// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stacks as users get them: kept, named, folded; of a command that is over at once,
 * and of calls that waited in the spool until nothing was left to ask.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/database.h"
#include "tests/harness/inject.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"
#include "tests/targets/stacks.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

static char *directory, *database, *spool, *pins;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	spool = scratch_path(directory, "monbpf.db.spool");
	pins = scratch_path(directory, "pins");
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	(void)umount2(pins, MNT_DETACH);
	scratch_remove(directory);
	free(database);
	free(spool);
	free(pins);
	return result;
}

/* What `report` prints; with its newlines. The caller frees it. */
static char *report(const char *option)
{
	struct monitor *monitor = monitor_start(
		(const char *const[]){"report", "-i", database, option, "--all", NULL});
	char *text;

	if (monitor_wait(monitor, PROCESS_TIMEOUT_MS))
		fail_msg("report: %s", monitor_stderr(monitor));
	text = strdup(monitor_stdout(monitor));
	monitor_free(monitor);
	return text;
}

/* A line that ends as @end says; whatever called main comes first. Returns its number, 0: none. */
static uint64_t value_of(const char *folded, const char *end)
{
	const char *at = folded;

	while ((at = strstr(at, end))) {
		if (at > folded && at[-1] == ';' && at[strlen(end)] == ' ')
			return strtoull(at + strlen(end) + 1, NULL, 10);
		at++;
	}
	return 0;
}

/* targets/stacks.c has these ways, each once; @calls says how often it went through. */
static void assert_ways(const char *folded, uint64_t calls)
{
	static const char *const ways[] = {
		"main;run;watched_leaf",
		"main;run;left;watched_leaf",
		"main;run;right;middle;watched_leaf",
		"main;run;watched_outer;middle;watched_leaf",
		"main;run;watched_outer",
		"main;run;watched_deep",
		"main;run;watched_deep;watched_deep",
		"main;run;deep;deep;deep;deep;deep;deep;deep;deep;deep;deep;deep;watched_leaf",
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (value_of(folded, ways[i]) != calls)
			fail_msg("%s: %llu", ways[i],
				 (unsigned long long)value_of(folded, ways[i]));
}

static struct monitor *watch(struct target *target)
{
	return monitor_attach(target, database, "--sample", "1", "--stack", "--breaker-timeout",
			      "1h", "watched_*", NULL);
}

/* Until the target has made its calls. */
static void watch_all(const char *program)
{
	struct target *target = target_start(program, NULL);
	struct monitor *monitor = watch(target);

	target_go(target);
	assert_int_equal(target_done(target), STACKS_PATHS);
	monitor_end(monitor, 0);
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

static void a_process_in_each_form(void **state)
{
	char *text;

	(void)state;
	watch_all("stacks");
	text = report("--folded");
	assert_ways(text, 1);
	free(text);
	text = report("--stacks");
	assert_non_null(strstr(text, "    left\n    run\n    main\n"));
	assert_non_null(strstr(text, "    deep  (64 times)\n"));
	assert_null(strstr(text, "frame pointers"));
	free(text);
	text = report("--folded=time");
	/* Its own time: what it waits for watched functions is theirs. */
	assert_int_equal(value_of(text, "main;run;watched_outer"),
			 db_int(database, "SELECT self_ns FROM calls WHERE "
					  "function='watched_outer'"));
	free(text);
}

/* Who called is known, and no more: that is told, and why. */
static void a_process_without_frame_pointers(void **state)
{
	char *text;

	(void)state;
	watch_all("stacks_bare");
	text = report("--stacks");
	assert_non_null(strstr(text, "\nstacks end at the first caller: stacks_bare was built "
				     "without frame pointers (-fno-omit-frame-pointer keeps them)"
				     "\n"));
	free(text);
}

/* Over before the first second; entries only, so what is known is known at entry. */
static void a_command_that_is_over_at_once(void **state)
{
	char path[PATH_MAX];
	const char *const argv[] = {"attach",
				    "-o",
				    database,
				    "--stack",
				    "--sample",
				    "1",
				    "--stats",
				    "counts",
				    "watched_*",
				    "--",
				    target_path("stacks", path, sizeof(path)),
				    NULL};
	struct monitor *monitor = monitor_start(argv);
	char *text;

	(void)state;
	process_say(monitor_process(monitor), "go");
	process_close_stdin(monitor_process(monitor));
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	text = report("--folded");
	assert_ways(text, 2);
	/* What called main is known, too. */
	assert_true(db_int(database, "SELECT count(*) FROM module WHERE path LIKE '%libc.so%'") >
		    0);
	free(text);
}

/* Its file was replaced: no names, rather than wrong ones. */
static void another_file_has_no_names(void **state)
{
	char path[PATH_MAX], other[PATH_MAX];
	char *copy = tool_copy(target_path("stacks", path, sizeof(path)), directory, "program");
	struct target *target = target_start_file(copy, NULL);
	struct monitor *monitor = watch(target);
	char *text;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), STACKS_PATHS);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(target), 0);
	text = report("--folded");
	assert_ways(text, 1);
	free(text);
	TOOL_RUN("cp", "--remove-destination", target_path("calls", other, sizeof(other)), copy);
	text = report("--folded");
	assert_int_equal(value_of(text, "main;run;watched_leaf"), 0);
	assert_non_null(strstr(text, "program+0x"));
	free(text);
	free(copy);
}

/* The database takes nothing, the target and the monitor are gone, then the spool is drained. */
static void L01_stacks_wait_in_the_spool(void **state)
{
	struct target *target = target_start("stacks", NULL);
	struct monitor *monitor = watch(target), *drain;
	struct process *strace =
		inject_start(monitor_pid(monitor), "pwrite64", "error=EIO", database);
	char *text;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), STACKS_PATHS);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	process_signal(monitor_process(monitor), SIGTERM);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 1);
	inject_end(strace);
	assert_int_equal(target_finish(target), 0);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 0);
	drain = monitor_start((const char *const[]){"spool", "drain", spool, NULL});
	if (monitor_wait(drain, PROCESS_TIMEOUT_MS))
		fail_msg("%s", monitor_stderr(drain));
	monitor_free(drain);
	assert_ledger_closed(database);
	text = report("--folded");
	assert_ways(text, 1);
	free(text);
}

static struct monitor *persist(const char *pid)
{
	struct monitor *monitor = monitor_start(
		(const char *const[]){"attach", "--persist", "--pins", pins, "-o", database,
				      "--sample", "1", "--stack", "-p", pid, "watched_*", NULL});

	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	return monitor;
}

/* The calls are made while nobody reads; who goes on with the run finds no process any more. */
static void P05_stacks_wait_in_the_ring(void **state)
{
	struct target *target = target_start("stacks", NULL);
	struct monitor *monitor;
	char pid[16], *text;

	(void)state;
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	monitor = persist(pid);
	process_signal(monitor_process(monitor), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	target_go(target);
	assert_int_equal(target_done(target), STACKS_PATHS);
	assert_int_equal(target_finish(target), 0);
	monitor = persist(pid);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_ledger_closed(database);
	text = report("--folded");
	assert_ways(text, 1);
	free(text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_process_in_each_form),	      TEST(a_process_without_frame_pointers),
		TEST(a_command_that_is_over_at_once), TEST(another_file_has_no_names),
		TEST(L01_stacks_wait_in_the_spool),   TEST(P05_stacks_wait_in_the_ring),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("fault/stacks", tests, NULL, NULL);
}
