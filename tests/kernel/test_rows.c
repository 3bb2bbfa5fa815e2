// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows K of the fault matrix through the whole program: targets that recurse, jump out of their
 * calls, become another program, fork, end or are killed in the middle of one; in each mode. Then
 * what the kernel or this user may lack: the next mode is taken, or one sentence says what it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "bpf/event.h"
#include "tests/harness/database.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE(state) (*(const char *const *)*(state))
#define CALLS 23
#define BPF_CALLS_MAX 60

static struct monitor *watch(const struct target *target, const char *mode)
{
	return monitor_attach(target, database, "--mode", mode, "--sample", "1", "--max-overhead",
			      "0", "--args", "1", "watched_*", NULL);
}

static int64_t of(const char *column, const char *function)
{
	char sql[256];

	(void)snprintf(sql, sizeof(sql), "SELECT %s FROM functions WHERE function='%s'", column,
		       function);
	return db_int(database, sql);
}

static int64_t count_calls(const char *condition)
{
	char sql[256];

	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM calls WHERE %s", condition);
	return db_int(database, sql);
}

/* Calls without a duration: all of them for this reason. */
static void assert_unfinished(unsigned int flag, int64_t calls)
{
	char sql[64];

	(void)snprintf(sql, sizeof(sql), "duration_ns IS NULL AND flags&%u", flag);
	assert_int_equal(count_calls("duration_ns IS NULL"), calls);
	assert_int_equal(count_calls(sql), calls);
}

static int64_t in_ledger(const char *reason)
{
	char sql[256];

	(void)snprintf(sql, sizeof(sql),
		       "SELECT coalesce(sum(count),0) FROM ledger JOIN reason ON "
		       "reason.id=reason_id WHERE name='%s'",
		       reason);
	return db_int(database, sql);
}

/* The database is readable while it is written. */
static void wait_for_rows(const char *condition, int64_t rows)
{
	int left_ms = PROCESS_TIMEOUT_MS;

	while (count_calls(condition) < rows) {
		assert_true((left_ms -= 10) > 0);
		(void)poll(NULL, 0, 10);
	}
}

/* Nothing lost, no time that cannot be, and self is at most what the call took. */
static void assert_sound(void)
{
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT coalesce(sum(count),0) FROM losses"), 0);
	assert_int_equal(count_calls("duration_ns<0 OR self_ns<0 OR self_ns>duration_ns"), 0);
}

/* Far fewer are kept than were called, and the weights of those stand for all. */
static void K02_flood(void **state)
{
	struct target *target = target_start("flood", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", MODE(state), "--sample", "auto",
			       "--max-overhead", "0", "watched_*", NULL);
	int64_t kept, weights, deviation;
	long calls;

	target_go(target);
	/* 1 in 10 at first, 1 in 100 once a second has shown how hot it is. */
	wait_for_rows("weight=100", 2000);
	process_say(target_process(target), "stop");
	calls = target_done(target);
	monitor_end(monitor, 0);
	assert_sound();
	assert_int_equal(of("calls", "watched_flood"), calls);
	assert_int_equal(of("returns", "watched_flood"), calls);
	kept = of("stored", "watched_flood");
	weights = db_int(database, "SELECT sum(weight) FROM call");
	print_message("%s: %ld calls, %lld kept, weights %+.3f %%\n", MODE(state), calls,
		      (long long)kept, 100.0 * (double)(weights - calls) / (double)calls);
	assert_true(kept < calls / 8);
	assert_true(db_int(database, "SELECT max(weight) FROM call") == 100);
	/* Variance of a sum of weights: N (N - 1) for each group of N calls; 6 sigma. */
	deviation = (int64_t)(6 * sqrt((double)db_int(database, "SELECT sum(weight*(weight-1)) "
								"FROM call")));
	assert_true(labs(weights - calls) <= deviation);
	assert_int_equal(target_finish(target), 0);
}

/* The least budget has frames for some hundred threads: calls of the others are refused one. */
static void K03_frames_refused(void **state)
{
	const int64_t threads = 2000;
	struct target *target = target_start("threads", "1", "2000", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", MODE(state), "--sample", "1",
			       "--memory-budget", "24M", "--strict", "watched_*", NULL);
	int64_t refused;

	target_go(target);
	assert_int_equal(target_done(target), threads);
	monitor_end(monitor, 7);
	assert_ledger_closed(database);
	refused = db_int(database,
			 "SELECT coalesce(sum(count),0) FROM losses WHERE reason='frame_refused'");
	assert_true(refused > 0 && refused < threads);
	assert_int_equal(of("calls", "watched_threaded"), threads);
	assert_int_equal(of("returns", "watched_threaded"), threads - refused);
	assert_int_equal(count_calls("duration_ns>=0"), threads - refused);
	assert_int_equal(count_calls("1"), threads - refused);
	assert_int_equal(target_finish(target), 0);
}

/* The kernel keeps 64 return probes; what it does not return from has no duration. */
static void K04_recursion(void **state)
{
	struct target *target = target_start("recursion", "100", NULL);
	struct monitor *monitor = watch(target, MODE(state));

	target_go(target);
	assert_int_equal(target_done(target), 100);
	monitor_end(monitor, 0);
	assert_sound();
	assert_int_equal(of("calls", "watched_recursion"), 100);
	assert_int_equal(of("returns", "watched_recursion"), 64);
	assert_int_equal(count_calls("1"), 100);
	assert_unfinished(MON_CALL_UNRETURNED, 36);
	assert_int_equal(count_calls("duration_ns NOT NULL"), 64);
	assert_int_equal(target_finish(target), 0);
}

static void K05_longjmp(void **state)
{
	struct target *target = target_start("longjmp", NULL);
	struct monitor *monitor = watch(target, MODE(state));

	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	monitor_end(monitor, 0);
	assert_sound();
	assert_int_equal(of("calls", "watched_leaf"), CALLS);
	assert_int_equal(of("returns", "watched_leaf"), 0);
	assert_int_equal(of("calls", "watched_middle"), CALLS);
	assert_int_equal(of("returns", "watched_middle"), 0);
	assert_int_equal(of("returns", "watched_outer"), CALLS);
	assert_int_equal(of("returns", "watched_after"), CALLS);
	assert_unfinished(MON_CALL_UNWOUND, 2 * CALLS);
	assert_int_equal(count_calls("1"), 4 * CALLS);
	/* What follows a jump is not thought to be called by what was left. */
	assert_int_equal(count_calls("function='watched_after' AND (caller NOT NULL OR depth>0)"),
			 0);
	assert_int_equal(target_finish(target), 0);
}

static void K05_pthread_exit(void **state)
{
	struct target *target = target_start("pthread_exit_mid", NULL);
	struct monitor *monitor = watch(target, MODE(state));

	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	monitor_end(monitor, 0);
	assert_sound();
	assert_int_equal(of("calls", "watched_leaf"), CALLS);
	assert_int_equal(of("calls", "watched_exits"), CALLS);
	assert_int_equal(of("returns", "watched_leaf"), 0);
	assert_int_equal(of("returns", "watched_exits"), 0);
	assert_int_equal(of("returns", "watched_after"), CALLS);
	assert_unfinished(MON_CALL_THREAD_EXIT, 2 * CALLS);
	assert_int_equal(count_calls("function='watched_after' AND duration_ns NOT NULL"), CALLS);
	assert_int_equal(target_finish(target), 0);
}

/* The process is the same, and so is its file: it is followed. */
static void exec_is_followed(const char *mode, const char *how, int64_t execs)
{
	struct target *target = target_start("exec", "23", how, NULL);
	struct monitor *monitor = watch(target, mode);

	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	target_go(target);
	(void)target_wait_line(target, "ready", PROCESS_TIMEOUT_MS);
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	monitor_end(monitor, 0);
	assert_sound();
	assert_int_equal(of("calls", "watched_call"), 2 * CALLS);
	assert_int_equal(of("returns", "watched_call"), 2 * CALLS);
	assert_int_equal(of("calls", "watched_execs"), execs);
	assert_int_equal(of("returns", "watched_execs"), 0);
	assert_int_equal(count_calls("1"), 2 * CALLS + execs);
	assert_unfinished(MON_CALL_EXEC, execs);
	assert_int_equal(count_calls("function='watched_call' AND caller NOT NULL"), 0);
	assert_int_equal(target_finish(target), 0);
}

static void K06_exec(void **state)
{
	exec_is_followed(MODE(state), "plain", 0);
}

static void K06_exec_in_mid_call(void **state)
{
	exec_is_followed(MODE(state), "mid", 1);
}

static void K08_fork(void **state)
{
	struct target *target = target_start("fork", NULL);
	struct monitor *monitor = watch(target, MODE(state));

	for (int round = 1; round <= 2; round++) {
		target_go(target);
		assert_int_equal(target_done(target), CALLS);
	}
	monitor_end(monitor, 0);
	assert_sound();
	assert_int_equal(of("calls", "watched_forked"), 2 * CALLS);
	assert_int_equal(count_calls("1"), 2 * CALLS);
	assert_int_equal(db_int(database, "SELECT count(*) FROM task"), 1);
	assert_int_equal(db_int(database, "SELECT max(pid) FROM task"), target_pid(target));
	assert_int_equal(target_finish(target), 0);
}

static void exits(const char *mode, const char *how)
{
	struct target *target = target_start("exit_mid_call", "23", how, NULL);
	struct monitor *monitor = watch(target, mode);

	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	monitor_assert_within_budget(monitor);
	target_go(target);
	assert_int_equal(process_wait(target_process(target), PROCESS_TIMEOUT_MS), 3);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_int_equal(monitor_count_lines(monitor, "ended: target exited"), 1);
	assert_sound();
	assert_int_equal(of("returns", "watched_call"), CALLS);
	assert_int_equal(of("calls", "watched_exits"), 1);
	assert_int_equal(of("returns", "watched_exits"), 0);
	assert_unfinished(MON_CALL_THREAD_EXIT, 1);
	assert_int_equal(count_calls("1"), CALLS + 1);
}

static void exit_in_mid_call(void **state)
{
	exits(MODE(state), "exit");
}

static void _exit_in_mid_call(void **state)
{
	exits(MODE(state), "_exit");
}

static void K07_killed_in_mid_call(void **state)
{
	struct target *target = target_start("killed", NULL);
	struct monitor *monitor = watch(target, MODE(state));

	target_go(target);
	(void)target_wait_line(target, "blocked", PROCESS_TIMEOUT_MS);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_int_equal(monitor_count_lines(monitor, "ended: target exited"), 1);
	assert_sound();
	assert_int_equal(of("returns", "watched_call"), CALLS);
	assert_int_equal(of("calls", "watched_blocks"), 1);
	assert_unfinished(MON_CALL_THREAD_EXIT, 1);
	assert_int_equal(count_calls("1"), CALLS + 1);
}

/* How many calls it made nobody can say; what was counted is all accounted for. */
static void K07_killed_mid_flood(void **state)
{
	struct target *target = target_start("flood", NULL);
	struct monitor *monitor = watch(target, MODE(state));
	int64_t calls, rows, unfinished;

	target_go(target);
	wait_for_rows("1", 50000);
	monitor_assert_within_budget(monitor);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_ledger_closed(database);
	calls = of("calls", "watched_flood");
	rows = count_calls("1");
	/* The one that it was killed in is a row, too, and not one that was finished. */
	unfinished = in_ledger("unwound") + in_ledger("unreturned") + in_ledger("in_flight");
	assert_true(unfinished <= 1);
	assert_int_equal(of("stored", "watched_flood"), rows - unfinished);
	assert_int_equal(count_calls("duration_ns IS NULL"), unfinished);
	assert_true(calls > 1000);
	assert_true(calls - of("returns", "watched_flood") <= 1);
	assert_int_equal(calls, rows + in_ledger("ring_full"));
	/* Arguments count up: as many numbers as rows, the last as far as was counted. */
	assert_int_equal(db_int(database, "SELECT count(DISTINCT arg1) FROM call"), rows);
	assert_true(db_int(database, "SELECT max(arg1) FROM call") < calls);
}

/*
 * What runs is watched, not what lies at its path now: another program was renamed over it, then
 * the path was removed. The database names the build that ran.
 */
static void K14_replaced_or_deleted(void **state)
{
	char build_id[64], sql[256], real[PATH_MAX];
	char *path = tool_copy(target_path("calls", real, sizeof(real)), directory, "program");
	char *other = tool_copy(target_path("recursion", real, sizeof(real)), directory, "other");
	char *notes;

	for (int deleted = 0; deleted < 2; deleted++) {
		struct process *process = process_start((const char *const[]){path, "23", NULL});
		struct target *target = (struct target *)process;
		struct monitor *monitor;

		(void)process_wait_line(process, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
		if (deleted)
			assert_int_equal(unlink(path), 0);
		else
			assert_int_equal(rename(other, path), 0);
		monitor = watch(target, MODE(state));
		target_go(target);
		assert_int_equal(target_done(target), CALLS);
		monitor_end(monitor, 0);
		assert_sound();
		assert_int_equal(count_calls("run_id=(SELECT max(id) FROM run) AND "
					     "function='watched_call' AND duration_ns>0"),
				 CALLS);
		assert_int_equal(target_finish(target), 0);
		free(path);
		path = tool_copy(target_path("calls", real, sizeof(real)), directory, "program");
	}
	notes = TOOL("readelf", "-n", target_path("calls", real, sizeof(real)));
	assert_int_equal(sscanf(strstr(notes, "Build ID: "), "Build ID: %40s", build_id), 1);
	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM module WHERE build_id='%s'",
		       build_id);
	assert_int_equal(db_int(database, sql), 1);
	assert_int_equal(db_int(database, "SELECT count(*) FROM module"), 1);
	free(notes);
	free(other);
	free(path);
}

/* In a chroot "/" is no mount, and cannot be made private; elsewhere it must be. */
#define OWN_MOUNTS "mountpoint -q / && mount --make-rprivate /;"

/* At the target's path lies another file, for all but the target. */
static void K15_other_mount_namespace(void **state)
{
	char real[PATH_MAX], bind[2 * PATH_MAX];
	char *path = scratch_path(directory, "program");
	struct process *copy, *process;
	struct monitor *monitor;
	struct target *target;

	copy = process_start((const char *const[]){"cp", "/bin/true", path, NULL});
	assert_int_equal(process_wait(copy, PROCESS_TIMEOUT_MS), 0);
	(void)snprintf(bind, sizeof(bind), OWN_MOUNTS " mount --bind '%s' '%s' && exec '%s' 23",
		       target_path("calls", real, sizeof(real)), path, path);
	process = process_start((const char *const[]){"unshare", "-m", "--propagation", "unchanged",
						      "sh", "-c", bind, NULL});
	(void)process_wait_line(process, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
	target = (struct target *)process;
	monitor = watch(target, MODE(state));
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	monitor_end(monitor, 0);
	assert_sound();
	assert_int_equal(of("returns", "watched_call"), CALLS);
	assert_int_equal(of("returns", "watched_inner"), CALLS);
	assert_int_equal(count_calls("1"), 2 * CALLS);
	assert_int_equal(target_finish(target), 0);
	free(path);
}

/* The program under a command that takes something away from it, on a target that then lives on. */
struct attempt {
	struct target *target;
	char pid[16], program[PATH_MAX];
};

static void prepare(struct attempt *attempt)
{
	attempt->target = target_start("calls", "23", NULL);
	(void)snprintf(attempt->pid, sizeof(attempt->pid), "%d", (int)target_pid(attempt->target));
	(void)snprintf(attempt->program, sizeof(attempt->program), "%s/monbpf",
		       process_build_dir());
}

static void target_lives(const struct attempt *attempt)
{
	target_go(attempt->target);
	assert_int_equal(target_done(attempt->target), CALLS);
	assert_int_equal(target_finish(attempt->target), 0);
}

#define PROGRAM_BRIEFLY(attempt)                                                         \
	(attempt).program, "attach", "-p", (attempt).pid, "-o", database, "-d", "200ms", \
		"--sample", "1", "watched_*"

static void refused(struct process *process, int expected, const char *part)
{
	int status = process_wait(process, PROCESS_TIMEOUT_MS);
	const char *text = process_text(process, PROCESS_STDERR);

	if (status != expected || !strstr(text, part) || strstr(text, "watching"))
		fail_msg("exit %d, expected %d and \"%s\": %s", status, expected, part, text);
	assert_int_equal(access(database, F_OK), -1);
	process_free(process);
}

static struct process *without(const struct attempt *attempt, const char *drop, const char *mode)
{
	return process_start((const char *const[]){"capsh", drop, "--", "-c", "exec \"$0\" \"$@\"",
						   PROGRAM_BRIEFLY(*attempt), "--mode", mode,
						   NULL});
}

static void K16_no_sys_admin(void **state)
{
	struct attempt attempt;
	struct process *process;

	(void)state;
	prepare(&attempt);
	refused(without(&attempt, "--drop=cap_sys_admin", "perf"), 4, "CAP_SYS_ADMIN");
	process = without(&attempt, "--drop=cap_sys_admin", "auto");
	(void)process_wait_line(process, PROCESS_STDERR, "watching 2 functions",
				PROCESS_TIMEOUT_MS);
	target_go(attempt.target);
	assert_int_equal(target_done(attempt.target), CALLS);
	assert_int_equal(process_wait(process, PROCESS_TIMEOUT_MS), 0);
	assert_sound();
	assert_int_equal(of("returns", "watched_call"), CALLS);
	assert_int_equal(target_finish(attempt.target), 0);
}

static void K17_missing_capability(void **state)
{
	struct attempt attempt;

	(void)state;
	prepare(&attempt);
	refused(without(&attempt, "--drop=cap_sys_admin,cap_bpf", "auto"), 4, "CAP_BPF");
	refused(without(&attempt, "--drop=cap_sys_admin,cap_perfmon", "auto"), 4, "CAP_PERFMON");
	refused(without(&attempt, "--drop=cap_sys_admin,cap_bpf,cap_perfmon", "auto"), 4,
		"CAP_BPF and CAP_PERFMON");
	refused(without(&attempt, "--drop=all", "auto"), 4, "CAP_SYS_PTRACE");
	target_lives(&attempt);
}

static struct process *traced(const struct attempt *attempt, const char *fault, const char *mode)
{
	char inject[64];

	(void)snprintf(inject, sizeof(inject), "inject=%s", fault);
	return process_start((const char *const[]){
		"strace", "-f", "-o", "/dev/null", "-e", "trace=bpf,perf_event_open", "-e", inject,
		PROGRAM_BRIEFLY(*attempt), "--mode", mode, NULL});
}

static void K18_kernel_lacks_something(void **state)
{
	struct attempt attempt;

	(void)state;
	prepare(&attempt);
	refused(traced(&attempt, "bpf:error=EINVAL", "auto"), 6, "ring buffer");
	refused(traced(&attempt, "bpf:error=ENOSYS", "auto"), 6, "ring buffer");
	refused(traced(&attempt, "perf_event_open:error=ENOENT", "perf"), 6, "perf uprobe");
	refused(process_start((const char *const[]){
			"unshare", "-m", "--propagation", "unchanged", "sh", "-c",
			OWN_MOUNTS "mount --make-rprivate /sys && mount -t tmpfs none "
				   "/sys/kernel/btf && exec \"$0\" \"$@\"",
			PROGRAM_BRIEFLY(attempt), NULL}),
		6, "the kernel was built without BTF");
	target_lives(&attempt);
}

/* Each bpf(2) in turn is one that the kernel does not know. */
static void K18_any_bpf_call_fails(void **state)
{
	size_t worked = 0, next_mode = 0;
	struct attempt attempt;
	char fault[64];

	(void)state;
	prepare(&attempt);
	for (int call = 1; call <= BPF_CALLS_MAX; call += 2) {
		(void)snprintf(fault, sizeof(fault), "bpf:error=EINVAL:when=%d", call);

		struct process *process = traced(&attempt, fault, "auto");
		int status = process_wait(process, PROCESS_TIMEOUT_MS);
		const char *text = process_text(process, PROCESS_STDERR);
		const char *sentence = strstr(text, "monbpf attach: ");

		if (status == 0) {
			worked++;
			next_mode += strstr(text, "multi mode") != NULL;
			assert_ledger_closed(database);
			assert_int_equal(unlink(database), 0);
		} else if ((status != 1 && status != 6) || !sentence ||
			   strchr(sentence, '\n') != sentence + strlen(sentence) - 1) {
			fail_msg("call %d: exit %d: %s", call, status, text);
		}
		assert_int_equal(access(database, F_OK), -1);
		process_free(process);
	}
	print_message("%zu of %d worked, %zu of them in the next mode\n", worked, BPF_CALLS_MAX / 2,
		      next_mode);
	assert_true(worked > 0);
	assert_true(next_mode > 0);
	target_lives(&attempt);
}

int main(int argc, char **argv)
{
	static const char *const modes[] = {"session", "multi", "perf"};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
		size_t modes; /* the first so many; 0: none of its own */
	} rows[] = {
		{"K02_flood", K02_flood, 3},
		{"K03_frames_refused", K03_frames_refused, 3},
		{"K04_recursion", K04_recursion, 3},
		{"K05_longjmp", K05_longjmp, 3},
		{"K05_pthread_exit", K05_pthread_exit, 3},
		{"K06_exec", K06_exec, 3},
		{"K06_exec_in_mid_call", K06_exec_in_mid_call, 3},
		{"K07_killed_in_mid_call", K07_killed_in_mid_call, 3},
		{"K07_killed_mid_flood", K07_killed_mid_flood, 3},
		{"K08_fork", K08_fork, 3},
		{"exit_in_mid_call", exit_in_mid_call, 3},
		{"_exit_in_mid_call", _exit_in_mid_call, 3},
		{"K14_replaced_or_deleted", K14_replaced_or_deleted, 3},
		{"K15_other_mount_namespace", K15_other_mount_namespace, 3},
		{"K16_no_sys_admin", K16_no_sys_admin, 0},
		{"K17_missing_capability", K17_missing_capability, 0},
		{"K18_kernel_lacks_something", K18_kernel_lacks_something, 0},
		{"K18_any_bpf_call_fails", K18_any_bpf_call_fails, 0},
	};
	static struct CMUnitTest tests[MON_ARRAY_COUNT(rows) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][64];
	size_t count = 0;

	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++)
		for (size_t mode = 0; mode < (rows[i].modes ? rows[i].modes : 1); mode++) {
			(void)snprintf(names[count], sizeof(names[count]), "%s%s%s", rows[i].name,
				       rows[i].modes ? "_" : "", rows[i].modes ? modes[mode] : "");
			tests[count] = (struct CMUnitTest){
				.name = names[count],
				.test_func = rows[i].body,
				.setup_func = place_setup,
				.teardown_func = place_teardown,
				.initial_state = (void *)(uintptr_t)&modes[mode],
			};
			count++;
		}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("kernel/rows", tests, count, NULL, NULL);
}
