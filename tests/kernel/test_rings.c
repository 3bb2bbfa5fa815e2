// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two rings and two threads that stay on their CPUs: each call is in the ring of its CPU, a
 * ring that is full loses calls of its own CPU and no others, and a run of the whole program with
 * several rings stores every call once.
 */
#include "base/cleanup.h"
#include "control/sampler.h"
#include "tests/harness/database.h"
#include "tests/harness/functions.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define MODE(state) (*(const enum mon_mode *)*(state))
#define RINGS 2

static struct watch watch;

static int tear_down(void **state)
{
	watch_free(&watch);
	return process_teardown(state);
}

/* The first and the last CPU are of different rings on any machine. */
static void need_two_cpus(char *last_cpu, size_t size)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	(void)snprintf(last_cpu, size, "%d", (int)cpus - 1);
	if (cpus >= RINGS)
		return;
	print_message("one CPU has one ring\n");
	skip();
}

/* Of a target with two threads, on the first and the last CPU. */
static struct target *begin(enum mon_mode mode, uint64_t ring_bytes, const char *first,
			    const char *last_cpu, const char *second)
{
	static const char *const symbols[] = {"watched_pinned", NULL};
	struct mon_capture_options options = watch_options(mode);
	struct target *target = target_start("pinned", "0", first, last_cpu, second, NULL);
	char path[PATH_MAX];

	options.ring_count = RINGS;
	options.ring_bytes = ring_bytes;
	options.arg_count = 2;
	functions_add(&watch.set, target_path("pinned", path, sizeof(path)), symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	return target;
}

/* Calls in one ring, which have to be those of one CPU, in order. */
static uint64_t read_ring(uint32_t number, uint64_t cpu, uint64_t *tasks)
{
	struct mon_ring *ring = mon_rings_at(watch.rings, number);
	struct mon_record record;
	uint64_t calls = 0;

	while (mon_ring_try_pop(ring, &record) == 0) {
		const struct mon_call_event *call = record.data;

		assert_int_equal(record.invalid, 0);
		assert_int_equal(record.ring, number);
		if (call->kind == MON_EVENT_TASK) {
			(*tasks)++;
		} else {
			assert_int_equal(call->args[0], cpu);
			assert_int_equal(call->args[1], calls);
			calls++;
		}
		mon_ring_acknowledge(ring, record.end);
	}
	return calls;
}

static void each_cpu_has_its_ring(void **state)
{
	struct target *target;
	uint64_t tasks = 0;
	char last[16];

	need_two_cpus(last, sizeof(last));
	target = begin(MODE(state), WATCH_RING_BYTES, "5000", last, "700");
	target_go(target);
	assert_int_equal(target_done(target), 5700);
	assert_int_equal(mon_capture_detach(watch.capture), 0);
	assert_int_equal(read_ring(0, 0, &tasks), 5000);
	assert_int_equal(read_ring(1, strtoul(last, NULL, 10), &tasks), 700);
	assert_int_equal(tasks, 2);
	assert_int_equal(target_finish(target), 0);
}

static void a_full_ring_loses_there_only(void **state)
{
	struct mon_counters counters;
	struct target *target;
	uint64_t tasks = 0, kept;
	char last[16];

	need_two_cpus(last, sizeof(last));
	target = begin(MODE(state), 4096, "1000", last, "10");
	target_go(target);
	assert_int_equal(target_done(target), 1010);
	assert_int_equal(mon_capture_detach(watch.capture), 0);
	kept = read_ring(0, 0, &tasks);
	assert_true(kept > 20 && kept < 100); /* 4096 bytes of them: the first ones */
	assert_int_equal(read_ring(1, strtoul(last, NULL, 10), &tasks), 10);
	counters = watch_counters(&watch, 0);
	assert_int_equal(counters.calls, 1010);
	assert_int_equal(counters.emitted, kept + 10);
	assert_int_equal(counters.ring_full, 1000 - kept);
	assert_int_equal(target_finish(target), 0);
}

/* The reader's place in both rings is the database's: two marks, and each call once. */
static void every_call_is_a_row_once(void **state)
{
	char *directory, *database, number[16], last[16];
	struct monitor *monitor;
	struct target *target;

	(void)state;
	need_two_cpus(last, sizeof(last));
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	target = target_start("pinned", "0", "60000", last, "60000", NULL);
	(void)snprintf(number, sizeof(number), "%d", (int)target_pid(target));
	monitor = monitor_start((const char *const[]){
		"attach", "-p", number, "-o", database, "--rings", "2", "--sample", "1", "--args",
		"2", "--max-overhead", "0", "watched_pinned", NULL});
	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	target_go(target);
	assert_int_equal(target_done(target), 120000);
	assert_int_equal(monitor_stop(monitor), 0);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 120000);
	assert_int_equal(
		db_int(database, "SELECT count(*) FROM (SELECT DISTINCT arg1, arg2 FROM call)"),
		120000);
	assert_int_equal(db_int(database, "SELECT max(arg2) FROM call"), 59999);
	assert_int_equal(db_int(database, "SELECT count(*) FROM (SELECT arg2 - lag(arg2, 1, -1) "
					  "OVER (PARTITION BY arg1 ORDER BY id) AS step FROM call) "
					  "WHERE step <> 1"),
			 0);
	assert_int_equal(db_int(database, "SELECT count(*) FROM mark WHERE position > 0"), 2);
	/* A call may have been read before the record that names its thread. */
	assert_int_equal(db_int(database, "SELECT count(*) FROM task WHERE comm = 'pinned'"), 2);
	assert_int_equal(db_int(database, "SELECT count(*) FROM task"), 2);
	assert_int_equal(db_int(database, "SELECT count(*) FROM run WHERE options GLOB "
					  "'*ring_size=16777216 rings=2 *'"),
			 1);
	monitor_free(monitor);
	assert_int_equal(target_finish(target), 0);
	scratch_remove(directory);
	free(database);
}

#define IN_EACH_MODE(name)                                          \
	{#name "_session", name, NULL, tear_down, &modes[0]},       \
		{#name "_multi", name, NULL, tear_down, &modes[1]}, \
	{                                                           \
#name "_perf", name, NULL, tear_down, &modes[2]     \
	}

int main(void)
{
	static enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	const struct CMUnitTest tests[] = {
		IN_EACH_MODE(each_cpu_has_its_ring),
		IN_EACH_MODE(a_full_ring_loses_there_only),
		cmocka_unit_test_teardown(every_call_is_a_row_once, process_teardown),
	};

	return cmocka_run_group_tests_name("kernel/rings", tests, NULL, NULL);
}
