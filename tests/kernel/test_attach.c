// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * monbpf as its users run it: real probes on the programs of tests/targets, each call in the
 * database, the books balanced, the target alive. Refusals: one sentence, the right exit code,
 * nothing left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/target.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct monitor *watch(struct target *target, const char *mode, const char *glob)
{
	char pid[16];
	const char *const argv[] = {"attach", "-p", pid,	"-o", database,
				    "--mode", mode, "--sample", "1",  "--max-overhead",
				    "0",      glob, NULL};
	struct monitor *monitor;

	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	monitor = monitor_start(argv);
	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	return monitor;
}

static void end(struct monitor *monitor)
{
	int status = monitor_stop(monitor);

	if (status)
		fail_msg("exit %d: %s", status, monitor_stderr(monitor));
	monitor_free(monitor);
	assert_ledger_closed(database);
}

static void every_call_is_a_row(const char *mode)
{
	struct target *watched = target_start("calls", "23", NULL);
	struct target *twin = target_start("calls", "23", NULL);
	struct monitor *monitor = watch(watched, mode, "watched_*");

	target_go(watched);
	target_go(twin);
	assert_int_equal(target_done(watched), 23);
	assert_int_equal(target_done(twin), 23);
	end(monitor);
	assert_int_equal(db_int(database, "SELECT max(calls) FROM functions"), 23);
	assert_int_equal(db_int(database, "SELECT count(*) FROM calls WHERE function=(SELECT "
					  "function FROM functions ORDER BY calls DESC)"),
			 23);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT pid) FROM calls"), 1);
	assert_int_equal(db_int(database, "SELECT max(pid) FROM calls"), target_pid(watched));
	assert_int_equal(target_finish(watched), 0);
	assert_int_equal(target_finish(twin), 0);
}

static void every_call_is_a_row_in_session_mode(void **state)
{
	(void)state;
	every_call_is_a_row("session");
}

static void every_call_is_a_row_in_multi_mode(void **state)
{
	(void)state;
	every_call_is_a_row("multi");
}

static void every_call_is_a_row_in_perf_mode(void **state)
{
	(void)state;
	every_call_is_a_row("perf");
}

static void K07_target_killed(void **state)
{
	struct target *target = target_start("calls", "23", NULL);
	struct monitor *monitor = watch(target, "auto", "watched_*");

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), 23);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stderr(monitor), "ended: target exited"));
	monitor_free(monitor);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT max(calls) FROM functions"), 23);
	assert_int_equal(db_int(database, "SELECT end_reason='target exited' FROM run"), 1);
}

/* The kernel removes what the monitor attached; the report says that the monitor was killed. */
static void a_killed_monitor_leaves_nothing_attached(void **state)
{
	struct target *target = target_start("timed", NULL), *twin = target_start("timed", NULL);
	struct monitor *monitor = watch(target, "auto", "watched_*"), *report;
	unsigned long long took_ns, twin_ns;

	(void)state;
	process_say(target_process(target), "1000");
	(void)target_wait_line(target, "took", PROCESS_TIMEOUT_MS);
	db_wait_int(database, "SELECT coalesce(sum(calls), 0) FROM functions", 1000);
	process_signal(monitor_process(monitor), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	monitor_free(monitor);
	/* A probe costs hundreds of times what the call itself does. */
	for (unsigned long long tries = 0;; tries++) {
		process_say(target_process(target), "100000");
		process_say(target_process(twin), "100000");
		assert_int_equal(sscanf(target_wait_line(target, "took", PROCESS_TIMEOUT_MS),
					"took %llu", &took_ns),
				 1);
		assert_int_equal(sscanf(target_wait_line(twin, "took", PROCESS_TIMEOUT_MS),
					"took %llu", &twin_ns),
				 1);
		if (took_ns < 20 * twin_ns)
			break;
		assert_true(tries < 100); /* the kernel takes them away in the background */
	}
	report = monitor_start((const char *const[]){"report", "-i", database, NULL});
	assert_int_equal(monitor_wait(report, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(report), "incomplete: its monitor was killed\n"));
	assert_non_null(strstr(monitor_stdout(report), "1,000 calls counted"));
	monitor_free(report);
	/* And the next run goes into the same file. */
	monitor = watch(target, "auto", "watched_*");
	process_say(target_process(target), "23");
	(void)target_wait_line(target, "took", PROCESS_TIMEOUT_MS);
	end(monitor);
	report = monitor_start((const char *const[]){"report", "-i", database, "--run", "1", NULL});
	assert_int_equal(monitor_wait(report, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(report), "incomplete: its end was never written"));
	monitor_free(report);
	assert_int_equal(target_finish(target), 0);
	assert_int_equal(target_finish(twin), 0);
}

/* What would be killed by a return probe is recognised, watched by entries only, and lives. */
static void lives(const char *name, const char *sign)
{
	static const char *const modes[] = {"session", "multi", "perf"};

	for (size_t i = 0; i < MON_ARRAY_COUNT(modes); i++) {
		struct target *target = target_start(name, NULL);
		struct monitor *monitor = watch(target, modes[i], "watched_*");

		assert_non_null(strstr(monitor_stderr(monitor), sign));
		target_go(target);
		assert_true(target_done(target) > 0);
		end(monitor);
		assert_true(db_int(database, "SELECT sum(calls) FROM functions") > 0);
		assert_int_equal(
			db_int(database, "SELECT count(*) FROM calls WHERE duration_ns NOT NULL"),
			0);
		assert_int_equal(target_finish(target), 0);
		assert_int_equal(unlink(database), 0);
	}
}

static void K21_ucontext_target_lives(void **state)
{
	(void)state;
	lives("ucontext", "switches stacks");
}

static void K22_high_sigaltstack_target_lives(void **state)
{
	(void)state;
	lives("altstack", "sigaltstack");
}

static void K05_exception_target_lives(void **state)
{
	(void)state;
	lives("exception", "exceptions");
}

static void runs_append_and_belong_to_whoever_asked(void **state)
{
	struct stat status;

	(void)state;
	assert_int_equal(setenv("SUDO_UID", "65534", 1), 0);
	assert_int_equal(setenv("SUDO_GID", "65534", 1), 0);
	for (int run = 1; run <= 2; run++) {
		struct target *target = target_start("calls", "23", NULL);
		struct monitor *monitor = watch(target, "auto", "watched_*");

		target_go(target);
		assert_int_equal(target_done(target), 23);
		end(monitor);
		assert_int_equal(target_finish(target), 0);
	}
	(void)unsetenv("SUDO_UID");
	(void)unsetenv("SUDO_GID");
	assert_int_equal(db_int(database, "SELECT count(*) FROM run WHERE complete"), 2);
	assert_int_equal(db_int(database, "SELECT count(*) FROM functions WHERE calls=23"), 4);
	assert_int_equal(stat(database, &status), 0);
	assert_int_equal(status.st_uid, 65534);
	assert_int_equal(status.st_mode & 07777, 0600);
}

static void refused(int expected, const char *part, const char *const argv[])
{
	struct monitor *monitor = monitor_start(argv);
	int status = monitor_wait(monitor, PROCESS_TIMEOUT_MS);

	if (status != expected || !strstr(monitor_stderr(monitor), part))
		fail_msg("exit %d, expected %d and \"%s\": %s", status, expected, part,
			 monitor_stderr(monitor));
	monitor_free(monitor);
	assert_int_equal(access(database, F_OK), -1);
}

#define REFUSED(code, part, ...) \
	refused(code, part, (const char *const[]){"attach", "-o", database, __VA_ARGS__, NULL})

static void bad_input_gets_one_sentence_and_leaves_nothing(void **state)
{
	struct target *target = target_start("calls", "23", NULL);
	char pid[16];

	(void)state;
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	REFUSED(2, "name a process", "parse_*");
	REFUSED(2, "there is no option", "--nonsense");
	REFUSED(2, "--sample wants", "-p", pid, "--sample", "1/0");
	REFUSED(2, "--duration wants", "-p", pid, "-d", "5");
	REFUSED(2, "--memory-budget wants", "-p", pid, "--memory-budget", "1M");
	REFUSED(2, "--ring-size wants", "-p", pid, "--ring-size", "5000");
	REFUSED(2, "exclude each other", "-p", pid, "-b", "/bin/ls");
	REFUSED(2, "do not fit", "-p", pid, "--memory-budget", "24M", "--ring-size", "32M",
		"watched_*");
	REFUSED(5, "4194304", "-p", "4194304"); /* the largest pid there is, and one more */
	REFUSED(5, "no_such_program", "-p", "no_such_program");
	REFUSED(5, "kernel thread", "-p", "2");
	REFUSED(3, "watched_", "-p", pid, "watched_firts");
	REFUSED(5, "cannot start", "--", "/nonexistent/program");
	REFUSED(3, "does not map that library", "libnone:f", "--", "sleep", "100");
	REFUSED(5, "not an ELF file", "-b", "/etc/passwd");
	REFUSED(5, "is a directory", "-p", pid, "watched_*", "-o", "/");
	REFUSED(2, "in this mode", "-p", pid, "--failed", "ret<0", "--stats", "counts", "--mode",
		"multi", "watched_*");
	REFUSED(2, "with -c", "-p", pid, "--failed", "ret<0", "--stats", "counts", "-c",
		"watched_*");
	/* None of it hurt the target. */
	target_go(target);
	assert_int_equal(target_done(target), 23);
	assert_int_equal(target_finish(target), 0);
}

/* Where a return probe could end the target, nobody can know how a call ended. */
static void hazard_refuses_what_wants_returns(void **state)
{
	struct target *target = target_start("ucontext", NULL);
	char pid[16];

	(void)state;
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	REFUSED(2, "switches stacks", "-p", pid, "--keep-slow", "5ms", "watched_*");
	REFUSED(2, "--force-returns", "-p", pid, "--failed", "watched_*=ret<0", "watched_*");
	target_go(target);
	(void)target_done(target);
	assert_int_equal(target_finish(target), 0);
}

static void P08_two_monitors_one_output(void **state)
{
	struct target *target = target_start("calls", "23", NULL);
	struct monitor *first = watch(target, "auto", "watched_*"), *second;
	char pid[16];

	(void)state;
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	second = monitor_start(
		(const char *const[]){"attach", "-p", pid, "-o", database, "watched_*", NULL});
	assert_int_equal(monitor_wait(second, PROCESS_TIMEOUT_MS), 5);
	assert_non_null(strstr(monitor_stderr(second), "another monbpf"));
	monitor_free(second);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	end(first);
	assert_int_equal(db_int(database, "SELECT max(calls) FROM functions"), 23);
	assert_int_equal(target_finish(target), 0);
}

/* The child has a link while it lives, and no longer; in perf mode it never has. */
static void forked_child(const char *mode)
{
	const bool perf = strcmp(mode, "perf") == 0;
	struct target *target = target_start("fork", NULL);
	struct monitor *monitor = watch(target, mode, "watched_*");
	const pid_t pid = process_pid(monitor_process(monitor));
	const size_t alone = process_count_links(pid);
	const char *line;
	pid_t child;

	assert_true(alone > 0);
	target_go(target);
	line = target_wait_line(target, "child ", PROCESS_TIMEOUT_MS);
	child = (pid_t)strtol(line + strlen("child "), NULL, 10);
	assert_true(target_done(target) > 0);
	(void)monitor_wait_line(monitor, "monbpf: warning: the target forked", PROCESS_TIMEOUT_MS);
	process_wait_links(pid, alone + !perf, PROCESS_TIMEOUT_MS);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	assert_int_equal(kill(child, SIGKILL), 0);
	process_wait_links(pid, alone, PROCESS_TIMEOUT_MS);
	(void)monitor_stop(monitor);
	assert_non_null(strstr(monitor_stderr(monitor),
			       perf ? "are not counted and cost them nothing"
				    : "23 calls of processes that are not watched"));
	assert_int_equal(strstr(monitor_stderr(monitor), "(foreign)") == NULL, perf);
	monitor_free(monitor);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT pid) FROM calls"), 1);
	assert_int_equal(target_finish(target), 0);
}

static void K23_forked_child_is_foreign_and_said(void **state)
{
	(void)state;
	forked_child("auto");
}

static void K23_many_children_are_said_once(void **state)
{
	struct target *target = target_start("fork", "23", "23", "20", NULL);
	struct monitor *monitor = watch(target, "auto", "watched_*");

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), 23);
	(void)monitor_wait_line(monitor, "monbpf: warning: more than 16 children at once",
				PROCESS_TIMEOUT_MS);
	end(monitor);
	assert_int_equal(target_finish(target), 0);
}

static void K23_forked_child_in_perf_mode(void **state)
{
	(void)state;
	forked_child("perf");
}

/* Held before its first instruction: the call that a program makes at once is there. */
static void a_command_is_watched_from_its_first_call(void **state)
{
	char path[4096];
	struct monitor *monitor;

	(void)state;
	monitor = monitor_start(
		(const char *const[]){"attach", "-o", database, "--sample", "1", "watched_*", "--",
				      target_path("calls", path, sizeof(path)), "23", NULL});
	(void)process_wait_line(monitor_process(monitor), PROCESS_STDOUT, "ready",
				PROCESS_TIMEOUT_MS);
	process_say(monitor_process(monitor), "go\n");
	(void)process_wait_line(monitor_process(monitor), PROCESS_STDOUT, "done 23",
				PROCESS_TIMEOUT_MS);
	process_close_stdin(monitor_process(monitor));
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	monitor_free(monitor);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT max(calls) FROM functions"), 23);
	assert_int_equal(db_int(database, "SELECT target_status FROM run"), 0);
}

/* Alone in a pid namespace, where processes and threads have numbers of its own, all of them small.
 */
static void in_a_pid_namespace(const char *mode)
{
	static const char *const apart[] = {"unshare",	    "--pid",	    "--fork", "--mount",
					    "--mount-proc", "--kill-child", NULL};
	char path[4096];
	struct monitor *monitor = monitor_start_under(
		apart,
		(const char *const[]){"attach", "-o", database, "--mode", mode, "--sample", "1",
				      "watched_threaded", "--",
				      target_path("threads", path, sizeof(path)), "23", "4", NULL});

	(void)process_wait_line(monitor_process(monitor), PROCESS_STDOUT, "ready",
				PROCESS_TIMEOUT_MS);
	process_say(monitor_process(monitor), "go\n");
	(void)process_wait_line(monitor_process(monitor), PROCESS_STDOUT, "done 92",
				PROCESS_TIMEOUT_MS);
	process_close_stdin(monitor_process(monitor));
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	monitor_free(monitor);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM calls WHERE depth=0"), 92);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT pid) FROM calls"), 1);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT tid) FROM calls WHERE tid<>pid"),
			 4);
	assert_in_range(db_int(database, "SELECT max(tid) FROM calls"), 2, 100);
	assert_int_equal(db_int(database, "SELECT count(*) FROM calls WHERE duration_ns IS NULL"),
			 0);
}

static void a_pid_namespace_in_session_mode(void **state)
{
	(void)state;
	in_a_pid_namespace("session");
}

static void a_pid_namespace_in_multi_mode(void **state)
{
	(void)state;
	in_a_pid_namespace("multi");
}

static void a_pid_namespace_in_perf_mode(void **state)
{
	(void)state;
	in_a_pid_namespace("perf");
}

static void a_commands_exit_status_passes_through(void **state)
{
	struct monitor *monitor = monitor_start(
		(const char *const[]){"attach", "-o", database, "--sample", "1", "libc:malloc",
				      "--", "sh", "-c", "exit 3", NULL});

	(void)state;
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 3);
	assert_null(strstr(monitor_stderr(monitor), "no return probes"));
	monitor_free(monitor);
	assert_ledger_closed(database);
	/* The loader maps libc before any of it runs: what it allocates first is counted. */
	assert_true(db_int(database, "SELECT calls FROM functions") > 0);
	assert_int_equal(db_int(database, "SELECT target_status FROM run"), 3 << 8);
}

/* The run is over before the command: its end is said to be waited for, and it is not harmed. */
static void a_command_outlives_the_run(void **state)
{
	char path[4096];
	struct monitor *monitor;

	(void)state;
	monitor = monitor_start(
		(const char *const[]){"attach", "-o", database, "-d", "100ms", "watched_*", "--",
				      target_path("calls", path, sizeof(path)), "23", NULL});
	(void)monitor_wait_line(monitor, "the command (pid ", PROCESS_TIMEOUT_MS);
	assert_non_null(strstr(monitor_stderr(monitor), "ended: duration"));
	assert_ledger_closed(database);
	process_say(monitor_process(monitor), "go\n");
	(void)process_wait_line(monitor_process(monitor), PROCESS_STDOUT, "done 23",
				PROCESS_TIMEOUT_MS);
	process_close_stdin(monitor_process(monitor));
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_int_equal(db_int(database, "SELECT sum(calls) FROM functions"), 0);
	monitor_free(monitor);
}

static void list_and_doctor_need_no_target(void **state)
{
	char path[4096];
	struct monitor *list, *doctor;

	(void)state;
	list = monitor_start((const char *const[]){
		"list", "-b", target_path("calls", path, sizeof(path)), "watched_*", NULL});
	assert_int_equal(monitor_wait(list, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(list), "watched_"));
	monitor_free(list);
	/* More than attach would take, and for programs. */
	list = monitor_start((const char *const[]){
		"list", "--csv", "-b", target_path("many_10000", path, sizeof(path)), NULL});
	assert_int_equal(monitor_wait(list, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(list), "\nmany_9999,"));
	monitor_free(list);
	doctor = monitor_start((const char *const[]){"doctor", "--json", NULL});
	assert_int_equal(monitor_wait(doctor, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(doctor), "{\"mode\": \"session\","));
	monitor_free(doctor);
	doctor = monitor_start((const char *const[]){"doctor", NULL});
	assert_int_equal(monitor_wait(doctor, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(doctor), "attach would use"));
	monitor_free(doctor);
}

/* A mode works, but what attach needs first, the cost of a hit, is not to be had. */
static void doctor_says_why_a_hit_is_not_measured(void **state)
{
	static const char *const outputs[] = {NULL, "--json"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct monitor *doctor =
			monitor_start_under((const char *const[]){"prlimit", "--nofile=16", NULL},
					    (const char *const[]){"doctor", outputs[i], NULL});

		assert_int_not_equal(monitor_wait(doctor, PROCESS_TIMEOUT_MS), 0);
		assert_non_null(strstr(monitor_stdout(doctor),
				       outputs[i] ? "\"trap_cost_ns\": null"
						  : "attach would use session mode"));
		assert_int_equal(monitor_count_lines(doctor, ""), 1);
		assert_non_null(strstr(monitor_stderr(doctor), "Too many open files"));
		monitor_free(doctor);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_call_is_a_row_in_session_mode),
		TEST(every_call_is_a_row_in_multi_mode),
		TEST(every_call_is_a_row_in_perf_mode),
		TEST(K07_target_killed),
		TEST(a_killed_monitor_leaves_nothing_attached),
		TEST(K21_ucontext_target_lives),
		TEST(K22_high_sigaltstack_target_lives),
		TEST(K05_exception_target_lives),
		TEST(runs_append_and_belong_to_whoever_asked),
		TEST(bad_input_gets_one_sentence_and_leaves_nothing),
		TEST(hazard_refuses_what_wants_returns),
		TEST(P08_two_monitors_one_output),
		TEST(K23_forked_child_is_foreign_and_said),
		TEST(K23_forked_child_in_perf_mode),
		TEST(K23_many_children_are_said_once),
		TEST(a_command_is_watched_from_its_first_call),
		TEST(a_pid_namespace_in_session_mode),
		TEST(a_pid_namespace_in_multi_mode),
		TEST(a_pid_namespace_in_perf_mode),
		TEST(a_commands_exit_status_passes_through),
		TEST(a_command_outlives_the_run),
		TEST(list_and_doctor_need_no_target),
		TEST(doctor_says_why_a_hit_is_not_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
