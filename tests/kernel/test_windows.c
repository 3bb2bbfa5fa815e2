// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Functions that leave the link they share and are armed for a while at a time: each call is
 * counted once or, while its function is not armed, not at all; the others miss nothing; and what a
 * closed window left open says nothing of later calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/capture.h"
#include "tests/harness/functions.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODE(state) (*(const enum mon_mode *)*(state))
#define TRIES_MAX 1000000
#define GRACE_NS (250 * MON_NS_PER_MS) /* a link outlives its window */

enum { OUTER, MIDDLE, LEAF };
static const char *const symbols[] = {"watched_outer", "watched_middle", "watched_leaf", NULL};

static struct watch watch;
static struct target *target;
static struct mon_call_event last_leaf;

static void remember(const struct mon_record *record)
{
	const struct mon_call_event *call = record->data;

	if (call->function == LEAF)
		last_leaf = *call;
}

/* Loaded, and nobody is attached. */
static void load(const struct mon_capture_options *options)
{
	char path[512];

	target = target_start("rooms", NULL);
	functions_add(&watch.set, target_path("rooms", path, sizeof(path)), symbols);
	watch_open(&watch, options);
}

static void begin(enum mon_mode mode)
{
	struct mon_capture_options options = watch_options(mode);

	watch.on_record = remember;
	options.movable = true;
	load(&options);
	watch_attach(&watch, target_pid(target));
}

static int teardown(void **state)
{
	watch_free(&watch);
	return process_teardown(state);
}

/* The number that the target answers with. */
static long say(const char *line)
{
	long number = 0;

	process_say(target_process(target), line);
	(void)sscanf(target_wait_line(target, "ok", PROCESS_TIMEOUT_MS), "ok %ld", &number);
	return number;
}

static uint64_t calls_of(size_t function)
{
	return watch_counters(&watch, function).calls;
}

static void release(uint32_t function)
{
	mon_ns at_ns = 0;

	assert_int_equal(mon_capture_release(watch.capture, &watch.set, &function, 1, &at_ns), 0);
	assert_true(at_ns > 0);
}

static void open_window(uint32_t function)
{
	mon_ns from_ns = 0;

	assert_int_equal(mon_capture_window_open(watch.capture, &watch.set, function, &from_ns), 0);
	assert_true(from_ns > 0);
}

static void close_window(uint32_t function)
{
	mon_ns to_ns = 0;

	mon_capture_window_close(watch.capture, function, &to_ns);
	assert_true(to_ns > 0);
}

static void calls_count_while_armed(void **state)
{
	uint64_t ignored;
	mon_ns unused;

	begin(MODE(state));
	assert_int_equal(say("leaf 5"), 5);
	assert_int_equal(calls_of(LEAF), 5);
	assert_int_equal(mon_capture_window_open(watch.capture, &watch.set, LEAF, &unused),
			 -EALREADY);
	release(LEAF);
	say("leaf 7");
	assert_int_equal(calls_of(LEAF), 5);
	for (unsigned i = 1; i <= 3; i++) {
		open_window(LEAF);
		say("leaf 11");
		assert_int_equal(calls_of(LEAF), 5 + i * 11);
		assert_int_equal(mon_capture_window_open(watch.capture, &watch.set, LEAF, &unused),
				 -EALREADY);
		close_window(LEAF);
		say("leaf 13");
		assert_int_equal(calls_of(LEAF), 5 + i * 11);
	}
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[LEAF].finished, 38);
	/* Nothing is attached any more, or it would be counted here or there. */
	ignored = mon_capture_ignored(watch.capture, LEAF);
	say("leaf 17");
	assert_int_equal(calls_of(LEAF), 38);
	assert_int_equal(mon_capture_ignored(watch.capture, LEAF), ignored);
}

/* While the target is busy: links overlap, and no call of the others is missed or counted twice. */
static void the_others_miss_nothing(void **state)
{
	long rounds;

	begin(MODE(state));
	for (uint32_t i = 0; i < 3; i++)
		mon_capture_write_policy(watch.capture, i,
					 (struct mon_policy){.sample = MON_SAMPLE_NONE});
	process_say(target_process(target), "run");
	while (calls_of(OUTER) < 1000) {
	}
	release(LEAF);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t before = calls_of(LEAF), outer = calls_of(OUTER);

		open_window(LEAF);
		while (calls_of(LEAF) < before + 1000) {
		}
		close_window(LEAF);
		while (calls_of(OUTER) < outer + 10000) {
		}
	}
	release(MIDDLE);
	process_say(target_process(target), "");
	assert_int_equal(
		sscanf(target_wait_line(target, "ok", PROCESS_TIMEOUT_MS), "ok %ld", &rounds), 1);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(calls_of(OUTER), rounds);
	assert_true(calls_of(LEAF) >= 4000);
	assert_true(calls_of(LEAF) < (uint64_t)rounds);
	for (size_t i = 0; i < 3; i++) {
		struct mon_counters counters = watch_counters(&watch, i);

		assert_int_equal(counters.calls, counters.returns + counters.unfinished);
		/* One thread, and so many links that were closed: a call each at most. */
		assert_true(counters.unfinished <= 6);
	}
}

/*
 * Its window closes in the middle of a call: the call is kept as unreturned, and whoever is called
 * then is called by the function around it, which gets the time.
 */
static void what_was_open_is_cut_off(void **state)
{
	struct mon_counters counters;
	unsigned tries = 0;

	begin(MODE(state));
	release(MIDDLE);
	open_window(MIDDLE);
	process_say(target_process(target), "enter");
	(void)target_wait_line(target, "in", PROCESS_TIMEOUT_MS);
	say("leaf 1");
	watch_read(&watch);
	assert_int_equal(last_leaf.caller, MIDDLE);
	assert_int_equal(last_leaf.depth, 2);
	close_window(MIDDLE);
	do {
		say("leaf 1");
		watch_read(&watch);
	} while (last_leaf.caller == MIDDLE && ++tries < TRIES_MAX);
	assert_int_equal(last_leaf.caller, OUTER);
	assert_int_equal(last_leaf.depth, 1);
	process_say(target_process(target), "leave");
	(void)target_wait_line(target, "out", PROCESS_TIMEOUT_MS);
	say("leaf 1");
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(last_leaf.caller, MON_FUNCTION_NONE);
	assert_int_equal(last_leaf.depth, 0);
	counters = watch_counters(&watch, MIDDLE);
	assert_int_equal(counters.calls, 1);
	assert_int_equal(counters.returns, 0);
	assert_int_equal(watch.records[MIDDLE].unreturned, 1);
	assert_int_equal(watch.records[MIDDLE].unwound, 0);
	assert_int_equal(watch.records[OUTER].finished, 1);
	/* All leaves but the last were called inside it, whoever was around them. */
	assert_int_equal(watch.records[OUTER].last.child_ns,
			 watch_counters(&watch, LEAF).total_ns - last_leaf.duration_ns);
}

/*
 * A window closes in the middle of a call, which returns soon after: its duration is known, those
 * that begin meanwhile are ignored. A try that took longer than the link stays says nothing.
 */
static void a_call_may_outlast_its_window(void **state)
{
	unsigned good = 0, tries = 0;

	begin(MODE(state));
	release(MIDDLE);
	while (good < 5 && ++tries < 100) {
		uint64_t returns = watch_counters(&watch, MIDDLE).returns, calls = calls_of(MIDDLE);
		const struct mon_call_event *last = &watch.records[MIDDLE].last;
		mon_ns to_ns;

		open_window(MIDDLE);
		process_say(target_process(target), "enter");
		(void)target_wait_line(target, "in", PROCESS_TIMEOUT_MS);
		mon_capture_window_close(watch.capture, MIDDLE, &to_ns);
		say("leaf 1000"); /* a closer that does not wait has its time */
		process_say(target_process(target), "enter");
		(void)target_wait_line(target, "in", PROCESS_TIMEOUT_MS);
		for (unsigned i = 0; i < 2; i++) {
			process_say(target_process(target), "leave");
			(void)target_wait_line(target, "out", PROCESS_TIMEOUT_MS);
		}
		assert_int_equal(calls_of(MIDDLE), calls + 1);
		if (mon_clock_now(&mon_clock_system) - to_ns > GRACE_NS)
			continue;
		good++;
		assert_int_equal(watch_counters(&watch, MIDDLE).returns, returns + 1);
		watch_read(&watch);
		assert_true(last->start_ns < to_ns);
		assert_true(last->start_ns + last->duration_ns > to_ns);
	}
	assert_int_equal(good, 5);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[MIDDLE].unwound, 0);
}

/*
 * The link it shared goes in the middle of a call: the same, and of those that stay on the shared
 * link (made anew) a call is no less known. In session mode that is so for as long as the old one
 * is there; in the others the new one sees the return, too.
 */
static void a_call_may_outlast_a_shared_link(void **state)
{
	mon_ns took_ns;

	for (unsigned tries = 1;; tries++) {
		begin(MODE(state));
		process_say(target_process(target), "enter");
		(void)target_wait_line(target, "in", PROCESS_TIMEOUT_MS);
		took_ns = mon_clock_now(&mon_clock_system);
		release(MIDDLE);
		say("leaf 1000");
		process_say(target_process(target), "leave");
		(void)target_wait_line(target, "out", PROCESS_TIMEOUT_MS);
		took_ns = mon_clock_now(&mon_clock_system) - took_ns;
		if (took_ns < GRACE_NS)
			break;
		assert_true(tries < 20);
		(void)teardown(state);
	}
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch_counters(&watch, MIDDLE).returns, 1);
	assert_int_equal(watch.records[MIDDLE].unwound + watch.records[MIDDLE].unreturned, 0);
	assert_int_equal(watch_counters(&watch, OUTER).returns, 1);
	assert_int_equal(watch.records[OUTER].last.child_ns,
			 watch.records[MIDDLE].last.duration_ns);
}

/* What was cut off is not shown as open, and not as the caller of what is. */
static void what_was_cut_off_is_not_open(void **state)
{
	struct mon_open_calls open[3];
	struct mon_open_list list;
	mon_ns deadline;

	begin(MODE(state));
	release(MIDDLE);
	open_window(MIDDLE);
	for (unsigned i = 0; i < 2; i++) {
		process_say(target_process(target), "enter");
		(void)target_wait_line(target, "in", PROCESS_TIMEOUT_MS);
	}
	assert_int_equal(mon_capture_read_open(watch.capture, open, &list), 0);
	assert_int_equal(open[MIDDLE].count, 2);
	assert_int_equal(list.count, 4);
	assert_int_equal(list.calls[2].caller, MIDDLE);
	close_window(MIDDLE);
	deadline = mon_clock_now(&mon_clock_system) + PROCESS_TIMEOUT_MS * MON_NS_PER_MS;
	do {
		assert_int_equal(mon_capture_read_open(watch.capture, open, &list), 0);
	} while (open[MIDDLE].count && mon_clock_now(&mon_clock_system) < deadline);
	assert_int_equal(open[MIDDLE].count, 0);
	assert_int_equal(open[OUTER].count, 2);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.calls[0].caller, MON_FUNCTION_NONE);
	assert_int_equal(list.calls[1].caller, OUTER);
	assert_int_equal(list.calls[1].depth, 1);
	for (unsigned i = 0; i < 2; i++) {
		process_say(target_process(target), "leave");
		(void)target_wait_line(target, "out", PROCESS_TIMEOUT_MS);
	}
	watch_close_probes(&watch);
	watch_check(&watch);
}

static void without_movable_it_is_refused(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	uint32_t leaf = LEAF;
	mon_ns at_ns;

	load(&options);
	watch_attach(&watch, target_pid(target));
	assert_int_equal(mon_capture_release(watch.capture, &watch.set, &leaf, 1, &at_ns),
			 -ENOTSUP);
	say("leaf 5");
	assert_int_equal(calls_of(LEAF), 5);
}

/* Measured on a child, and nothing of it is left for the run. */
static void a_hit_costs_something(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	struct mon_trap_cost cost = {0};

	options.own_functions = MON_TRAP_FUNCTIONS;
	options.allowance = true;
	options.may_skip_returns = MODE(state) == MON_MODE_SESSION;
	load(&options);
	assert_int_equal(mon_capture_measure_traps(watch.capture, &cost), 0);
	print_message("a hit: %u ns, with return %u; single-stepped %u, %u\n", cost.entry_ns[0],
		      cost.full_ns[0], cost.entry_ns[1], cost.full_ns[1]);
	assert_true(cost.entry_ns[0] > 0 && cost.entry_ns[1] > 0 && cost.full_ns[0] > 0 &&
		    cost.full_ns[1] > 0);
	assert_int_equal(watch_run_counters(&watch).foreign_hits, 0);
	watch_attach(&watch, target_pid(target));
	/* Too late: it would be counted with the target's. */
	assert_int_equal(mon_capture_measure_traps(watch.capture, &cost), -EINVAL);
	say("leaf 5");
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[LEAF].finished, 5);
	assert_int_equal(watch.tasks, 1); /* the child is not one of them */
}

static pid_t only_child_but(pid_t other)
{
	char path[64];
	long child = 0, found = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "re");
	assert_non_null(file);
	while (fscanf(file, "%ld", &child) == 1)
		if (child != other) {
			assert_int_equal(found, 0);
			found = child;
		}
	(void)fclose(file);
	return (pid_t)found;
}

static uint32_t time_hit(bool stepped, bool with_return)
{
	struct mon_trap_reading reading = {0};
	int result;

	assert_int_equal(mon_capture_ask_trap(watch.capture, stepped, with_return), 0);
	assert_int_equal(mon_capture_ask_trap(watch.capture, stepped, with_return), -EBUSY);
	while ((result = mon_capture_read_trap(watch.capture, &reading)) == -EAGAIN)
		(void)sched_yield();
	assert_int_equal(result, 0);
	assert_int_equal(reading.stepped, stepped);
	assert_int_equal(reading.with_return, with_return);
	return reading.ns;
}

/* Beside the target, of which it changes nothing; and the child may be killed. */
static void hits_are_timed_again(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	bool skips = MODE(state) == MON_MODE_SESSION;
	struct mon_trap_reading reading;
	struct mon_trap_cost cost;
	uint32_t ns;
	pid_t child;
	int result;

	options.own_functions = MON_TRAP_FUNCTIONS;
	options.allowance = true;
	options.may_skip_returns = skips;
	options.movable = true;
	load(&options);
	assert_int_equal(mon_capture_read_trap(watch.capture, &reading), -ENODEV);
	assert_int_equal(mon_capture_measure_traps(watch.capture, &cost), 0);
	watch_attach(&watch, target_pid(target));
	assert_int_equal(mon_capture_read_trap(watch.capture, &reading), -EAGAIN);
	say("leaf 5");
	ns = time_hit(false, true);
	/* As dear as at the start, by an order: it would be 10 times as much, or nothing. */
	assert_in_range(ns, cost.full_ns[0] / 4, 4 * cost.full_ns[0]);
	assert_in_range(time_hit(true, true), cost.full_ns[1] / 4, 4 * cost.full_ns[1]);
	if (skips)
		assert_in_range(time_hit(false, false), cost.entry_ns[0] / 4, 4 * cost.entry_ns[0]);
	else
		assert_int_equal(mon_capture_ask_trap(watch.capture, false, false), -EINVAL);
	say("leaf 5");
	child = only_child_but(target_pid(target));
	assert_true(child > 0);
	assert_int_equal(mon_capture_ask_trap(watch.capture, false, true), 0);
	assert_int_equal(kill(child, SIGKILL), 0);
	while ((result = mon_capture_read_trap(watch.capture, &reading)) == -EAGAIN || !result)
		(void)mon_capture_ask_trap(watch.capture, false, true);
	assert_int_equal(mon_capture_read_trap(watch.capture, &reading), -ENODEV);
	assert_int_equal(only_child_but(target_pid(target)), 0);
	say("leaf 5");
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[LEAF].finished, 15);
	assert_int_equal(watch.tasks, 1);
	assert_int_equal(watch_run_counters(&watch).foreign_hits, 0);
}

static void the_child_ends_with_the_capture(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	struct mon_trap_cost cost;

	options.own_functions = MON_TRAP_FUNCTIONS;
	options.movable = true;
	load(&options);
	assert_int_equal(mon_capture_measure_traps(watch.capture, &cost), 0);
	watch_attach(&watch, target_pid(target));
	assert_true(only_child_but(target_pid(target)) > 0);
	watch_close_probes(&watch);
	assert_int_equal(only_child_but(target_pid(target)), 0);
}

int main(int argc, char **argv)
{
	static const enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
	} rows[] = {
		{"calls_count_while_armed", calls_count_while_armed},
		{"the_others_miss_nothing", the_others_miss_nothing},
		{"what_was_open_is_cut_off", what_was_open_is_cut_off},
		{"a_call_may_outlast_its_window", a_call_may_outlast_its_window},
		{"a_call_may_outlast_a_shared_link", a_call_may_outlast_a_shared_link},
		{"what_was_cut_off_is_not_open", what_was_cut_off_is_not_open},
		{"without_movable_it_is_refused", without_movable_it_is_refused},
		{"a_hit_costs_something", a_hit_costs_something},
		{"hits_are_timed_again", hits_are_timed_again},
		{"the_child_ends_with_the_capture", the_child_ends_with_the_capture},
	};
	static struct CMUnitTest tests[MON_ARRAY_COUNT(rows) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][64];
	size_t count = 0;

	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++)
		for (size_t mode = 0; mode < MON_ARRAY_COUNT(modes); mode++) {
			(void)snprintf(names[count], sizeof(names[count]), "%s_%s", rows[i].name,
				       mon_mode_name(modes[mode]));
			tests[count] = (struct CMUnitTest){.name = names[count],
							   .test_func = rows[i].body,
							   .teardown_func = teardown,
							   .initial_state = (void *)&modes[mode]};
			count++;
		}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("kernel/windows", tests, count, NULL, NULL);
}
