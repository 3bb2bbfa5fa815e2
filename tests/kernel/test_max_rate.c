// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One thread calls as fast as it can on one CPU, the monitor has another, and every call is kept:
 * nothing may be lost, every call is a row, the books balance, and memory stays inside the budget.
 * Some seconds; thirty with MON_TEST_LONG. What rate it was is printed and never asserted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/database.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define SECONDS 5
#define SECONDS_LONG 30
#define BUDGET_BYTES (64ull << 20)

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	assert_int_equal(sched_setaffinity(pid, sizeof(set), &set), 0);
}

static void every_call_is_kept(void **state)
{
	const int seconds = getenv("MON_TEST_LONG") ? SECONDS_LONG : SECONDS;
	char *directory = scratch_new(), *database = scratch_path(directory, "monbpf.db");
	struct target *target = target_start("flood", NULL);
	struct monitor *monitor;
	uint64_t peak, total;
	char number[16];
	long calls;

	(void)state;
	pin(target_pid(target), 0);
	pin(0, 1); /* the monitor inherits it */
	(void)snprintf(number, sizeof(number), "%d", (int)target_pid(target));
	monitor = monitor_start((const char *const[]){"attach", "-p", number, "-o", database,
						      "--sample", "1", "--max-overhead", "0",
						      "--max-size", "64G", "watched_flood", NULL});
	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	target_go(target);
	/* The load lasts as long as it is meant to: nothing else is waited for here. */
	assert_null(
		process_try_line(target_process(target), PROCESS_STDOUT, "done", seconds * 1000));
	process_say(target_process(target), "stop");
	calls = target_done(target);
	peak = memory_peak_bytes(monitor_pid(monitor));
	total = memory_total_bytes(monitor_pid(monitor));
	assert_int_equal(monitor_stop(monitor), 0);
	print_message("%ld calls, %.2f M/s; VmHWM %.1f MiB, with BPF memory %.1f MiB\n", calls,
		      (double)calls / 1e6 / seconds, (double)peak / 1048576,
		      (double)total / 1048576);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT calls FROM functions"), calls);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), calls);
	assert_int_equal(db_int(database, "SELECT sum(weight) FROM call"), calls);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call WHERE duration_ns IS NULL"),
			 0);
	assert_int_equal(db_int(database, "SELECT coalesce(sum(count), 0) FROM ledger l JOIN reason"
					  " r ON r.id = l.reason_id WHERE r.class = 'lost'"),
			 0);
	assert_true(total <= BUDGET_BYTES);
	assert_true(peak <= BUDGET_BYTES);
	monitor_free(monitor);
	assert_int_equal(target_finish(target), 0);
	scratch_remove(directory);
	free(database);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_call_is_kept, process_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
