// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs that end, or are ended, while their database is out: what they had accepted waits in the
 * spool, and `monbpf spool drain` brings each call into the run it belongs to, once, and closes the
 * books when the run could tell its last counts.
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

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLS 100000
#define CALLS_TEXT "100000"

static char *directory, *database, *spool;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	spool = scratch_path(directory, "monbpf.db.spool");
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	scratch_remove(directory);
	free(database);
	free(spool);
	return result;
}

/* Only what is written to the database and its WAL fails: the spool's disk is well. */
static struct process *break_database(struct monitor *monitor, const char *fault)
{
	return inject_start(monitor_pid(monitor), "pwrite64", fault, database);
}

static struct monitor *watch(struct target *target)
{
	return monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			      "1", "--breaker-timeout", "1h", "watched_*", NULL);
}

/* What the drain printed; the caller frees it. */
static void drain(int expected, const char *part)
{
	struct monitor *monitor =
		monitor_start((const char *const[]){"spool", "drain", spool, NULL});
	int status = monitor_wait(monitor, PROCESS_TIMEOUT_MS);

	if (status != expected || !strstr(monitor_stdout(monitor), part))
		fail_msg("exit %d: %s%s", status, monitor_stdout(monitor), monitor_stderr(monitor));
	monitor_free(monitor);
}

static void assert_each_once(int64_t rows)
{
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), rows);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT arg1) FROM call"), rows);
	assert_int_equal(db_int(database,
				"SELECT count(*) FROM (SELECT arg1-lag(arg1) OVER (ORDER BY id) AS "
				"step FROM call) WHERE step<=0"),
			 0);
}

/* Opens the breaker with a database that takes nothing, with every call accepted. */
static struct process *outage(struct target *target, struct monitor *monitor)
{
	struct process *strace = break_database(monitor, "error=EIO");

	target_go(target);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	assert_int_equal(target_done(target), CALLS);
	return strace;
}

static void L01_ended_while_open_and_drained(void **state)
{
	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct monitor *monitor = watch(target);
	struct process *strace = outage(target, monitor);

	(void)state;
	process_signal(monitor_process(monitor), SIGTERM);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 1);
	assert_int_equal(monitor_count_lines(monitor, "records wait in"), 1);
	inject_end(strace);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 0);
	drain(0, "100000 calls written, 0 damaged, complete");
	assert_ledger_closed(database);
	assert_each_once(CALLS);
	assert_int_equal(db_int(database, "SELECT calls FROM functions"), CALLS);
	assert_int_equal(db_int(database, "SELECT stored FROM functions"), CALLS);
	assert_int_equal(db_int(database, "SELECT count(*) FROM breaker_event WHERE from_state="
					  "'closed' AND to_state='open' AND error_code<0"),
			 1);
	assert_int_equal(db_int(database, "SELECT sum(calls)=100000 AND sum(returns)=100000 FROM "
					  "function_interval"),
			 1);
	assert_int_not_equal(access(spool, F_OK), 0);
	drain(5, "");
	assert_int_equal(target_finish(target), 0);
}

/* One SIGTERM, while the writer is stuck in a disk that does not answer: it ends all the same. */
static void L01_ended_while_the_disk_hangs(void **state)
{
	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct monitor *monitor = watch(target);
	struct process *strace = break_database(monitor, "delay_enter=60000000");

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	process_signal(monitor_process(monitor), SIGTERM);
	/* Its last words; the thread that strace holds is gone when strace is. */
	(void)monitor_wait_line(monitor, "monbpf attach: ", PROCESS_TIMEOUT_MS);
	inject_end(strace);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 1);
	assert_int_equal(monitor_count_lines(monitor, "records wait in"), 1);
	assert_int_equal(monitor_count_lines(monitor, "did not answer"), 1);
	drain(0, "damaged, complete");
	assert_ledger_closed(database);
	assert_each_once(CALLS);
	assert_int_equal(target_finish(target), 0);
}

/* Killed: its last counts are gone with it, its records are not; the next run is told of them. */
static void M06_killed_while_open_and_drained(void **state)
{
	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct monitor *monitor = watch(target), *next;
	struct process *strace = outage(target, monitor);

	(void)state;
	/* All of it is in the spool: the breaker has been open since the first batch. */
	for (int left_ms = PROCESS_TIMEOUT_MS;; left_ms -= 100) {
		struct monitor *status = monitor_start(
			(const char *const[]){"status", "-i", database, "--json", NULL});

		assert_int_equal(monitor_wait(status, PROCESS_TIMEOUT_MS), 0);
		if (strstr(monitor_stdout(status), "\"ring_used_bytes\": 0,"))
			break;
		assert_true(left_ms > 0);
		monitor_free(status);
	}
	process_signal(monitor_process(monitor), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	inject_end(strace);
	next = monitor_attach(target, database, "-d", "100ms", "watched_*", NULL);
	assert_int_equal(monitor_wait(next, PROCESS_TIMEOUT_MS), 0);
	assert_int_equal(monitor_count_lines(next, "an earlier run left calls in"), 1);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 0);
	assert_int_equal(db_int(database, "SELECT complete FROM run WHERE id=2"), 1);
	drain(0, "run 1  100000 calls written, 0 damaged, incomplete: its monitor was killed");
	assert_each_once(CALLS);
	assert_int_equal(db_int(database, "SELECT count(*) FROM calls WHERE run_id<>1"), 0);
	assert_int_equal(db_int(database, "SELECT complete FROM run WHERE id=1"), 0);
	assert_int_equal(target_finish(target), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(L01_ended_while_open_and_drained),
		TEST(L01_ended_while_the_disk_hangs),
		TEST(M06_killed_while_open_and_drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
