/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The harness itself: targets keep their protocol and counts, waits end, processes die with the
 * teardown, and the database helpers say what the database holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/database.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

static void every_target_keeps_its_count(void **state)
{
	static const struct {
		const char *name;
		long calls;
	} table[] = {
		{"altstack", 23},      {"arguments", 23},     {"calls", 23},
		{"calls_nopie", 23},   {"calls_static", 23},  {"dlcalls", 23},
		{"exception", 23},     {"longjmp", 23},	      {"many", 1000},
		{"many_10000", 10000}, {"mutual", 24},	      {"pthread_exit_mid", 23},
		{"recursion", 101},    {"sequence", 1000000}, {"static_calls", 23},
		{"tail", 23},	       {"threads", 64 * 23},  {"ucontext", 23},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct target *target = target_start(table[i].name, NULL);

		target_go(target);
		assert_int_equal(target_done(target), table[i].calls);
		assert_int_equal(target_finish(target), 0);
	}
}

static void dying_targets_die_as_told(void **state)
{
	(void)state;
	struct target *target = target_start("exit_mid_call", "5", "_exit", NULL);

	target_go(target);
	assert_int_equal(target_done(target), 5);
	target_go(target);
	assert_int_equal(target_finish(target), 3);

	target = target_start("killed", NULL);
	target_go(target);
	target_wait_line(target, "blocked", PROCESS_TIMEOUT_MS);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(target_finish(target), 128 + SIGKILL);

	target = target_start("exec", "7", "mid", NULL);
	target_go(target);
	assert_int_equal(target_done(target), 7);
	target_go(target);
	target_wait_line(target, "ready", PROCESS_TIMEOUT_MS);
	target_go(target);
	assert_int_equal(target_done(target), 7);
	assert_int_equal(target_finish(target), 0);
}

static void fork_and_flood_follow_their_lines(void **state)
{
	(void)state;
	struct target *target = target_start("fork", "9", NULL);

	target_go(target);
	target_wait_line(target, "child ", PROCESS_TIMEOUT_MS);
	assert_int_equal(target_done(target), 9);
	target_go(target);
	assert_int_equal(target_done(target), 9);
	assert_int_equal(target_finish(target), 0);

	target = target_start("flood", NULL);
	target_go(target);
	target_go(target);
	assert_true(target_done(target) >= 0);
	assert_int_equal(target_finish(target), 0);
}

static void a_wait_ends_without_the_line(void **state)
{
	(void)state;
	struct target *target = target_start("calls", NULL);

	assert_null(process_try_line(target_process(target), PROCESS_STDOUT, "done", 20));
	assert_true(process_is_running(target_process(target)));
	assert_true(memory_peak_bytes(target_pid(target)) > 4096);
	if (geteuid() == 0)
		assert_int_equal(memory_bpf_bytes(target_pid(target)), 0);
}

static void teardown_ends_what_runs(void **state)
{
	struct target *target = target_start("killed", NULL);
	pid_t pid = target_pid(target);

	assert_int_equal(process_teardown(state), 0);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void monitor_says_its_usage(void **state)
{
	(void)state;
	struct monitor *monitor = monitor_start((const char *const[]){"no-such-command", NULL});

	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 2);
	assert_true(strlen(monitor_stderr(monitor)) > 0);
	assert_string_equal(monitor_stdout(monitor), "");
	monitor_free(monitor);
}

static void database_is_read(void **state)
{
	char *dir = scratch_new();
	char *path = scratch_path(dir, "a.db");
	sqlite3 *db = NULL;

	(void)state;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "CREATE TABLE run(id INTEGER PRIMARY KEY, complete);"
				      "INSERT INTO run VALUES(1,0),(2,1);"
				      "CREATE TABLE unbalanced(function, calls, accounted);",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(db_int(path, "SELECT count(*) FROM run"), 2);
	char *text = db_text(path, "SELECT 'word'");

	assert_string_equal(text, "word");
	free(text);
	assert_ledger_closed(path);
	free(path);
	char *copy = strdup(dir);

	scratch_remove(dir);
	assert_int_equal(access(copy, F_OK), -1);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_target_keeps_its_count, process_teardown),
		cmocka_unit_test_teardown(dying_targets_die_as_told, process_teardown),
		cmocka_unit_test_teardown(fork_and_flood_follow_their_lines, process_teardown),
		cmocka_unit_test_teardown(a_wait_ends_without_the_line, process_teardown),
		cmocka_unit_test_teardown(teardown_ends_what_runs, process_teardown),
		cmocka_unit_test_teardown(monitor_says_its_usage, process_teardown),
		cmocka_unit_test(database_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
