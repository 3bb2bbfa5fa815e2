// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A capture from its making to its end on real processes, in each mode: what works here is found,
 * calls are counted and kept, another process of the same binary adds nothing, and what is open
 * can be read and is accounted for at the end.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "control/sampler.h"
#include "tests/harness/functions.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MODE(state) (*(const enum mon_mode *)*(state))

static struct watch watch;

static int tear_down(void **state)
{
	watch_free(&watch);
	return process_teardown(state);
}

static void functions_of(const char *target, const char *const symbols[])
{
	char path[PATH_MAX];

	functions_add(&watch.set, target_path(target, path, sizeof(path)), symbols);
}

static void features_and_choice(void **state)
{
	struct mon_features features;
	struct mon_error error = {0};
	enum mon_mode mode;

	(void)state;
	if (mon_features_detect(&features, &error))
		fail_msg("%s", error.text);
	assert_int_equal(features.session, 0);
	assert_int_equal(features.multi, 0);
	assert_int_equal(features.perf, 0);
	assert_int_equal(features.ring, 0);
	assert_int_equal(features.btf, 0);
	assert_int_equal(features.multi_pid_filter, 0);
	assert_int_equal(mon_features_choose(&features, MON_MODE_AUTO, &mode, &error), 0);
	assert_int_equal(mode, MON_MODE_SESSION);
	features.session = -EINVAL;
	features.session_why = "why";
	assert_int_equal(mon_features_choose(&features, MON_MODE_AUTO, &mode, &error), 0);
	assert_int_equal(mode, MON_MODE_MULTI);
	assert_int_equal(mon_features_choose(&features, MON_MODE_SESSION, &mode, &error), -ENOTSUP);
	assert_int_equal(error.exit_code, MON_EXIT_KERNEL);
	assert_non_null(strstr(error.text, "session mode does not work here: why"));
}

/* 23 calls are 23 records and 23 counted; the twin of the same binary adds nothing. */
static void calls_and_twin(void **state)
{
	static const char *const symbols[] = {"watched_call", "watched_inner", NULL};
	const struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("calls", NULL), *twin = target_start("calls", NULL);
	struct mon_run_counters run;

	functions_of("calls", symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	target_go(twin);
	assert_int_equal(target_done(twin), 23);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	watch_close_probes(&watch);
	watch_check(&watch);
	run = watch_run_counters(&watch);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(watch_counters(&watch, i).calls, 23);
		assert_int_equal(watch_counters(&watch, i).returns, 23);
		assert_int_equal(watch.records[i].finished, 23);
		assert_int_equal(watch.records[i].pid, target_pid(target));
	}
	assert_int_equal(watch.records[0].last.caller, MON_FUNCTION_NONE);
	assert_int_equal(watch.records[0].last.ret, (22 + 1) * 2);
	assert_int_equal(watch.records[1].last.caller, 0);
	assert_int_equal(watch.records[1].last.depth, 1);
	/* Time in a watched callee is the callee's own, to the nanosecond. */
	assert_int_equal(watch_counters(&watch, 0).self_ns + watch_counters(&watch, 1).total_ns,
			 watch_counters(&watch, 0).total_ns);
	assert_int_equal(watch_counters(&watch, 1).self_ns, watch_counters(&watch, 1).total_ns);
	assert_int_equal(watch.tasks, 1);
	assert_int_equal(run.foreign_hits, 0);
	assert_int_equal(run.orphan_returns, 0);
	assert_int_equal(run.threads, 1);
	assert_int_equal(target_finish(target), 0);
	assert_int_equal(target_finish(twin), 0);
}

/* `returns = false`: no return trap, no frame, and each call is a record of its entry. */
static void entries_only(void **state)
{
	static const char *const symbols[] = {"watched_call", "watched_inner", NULL};
	struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("calls", NULL);

	options.returns = false;
	functions_of("calls", symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 23);
	watch_close_probes(&watch);
	watch_check(&watch);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(watch_counters(&watch, i).calls, 23);
		assert_int_equal(watch_counters(&watch, i).returns, 0);
		assert_int_equal(watch.records[i].entry_only, 23);
	}
	assert_int_equal(watch.tasks, 1);
	assert_int_equal(target_finish(target), 0);
}

/* So many arguments as asked for, and no register more. */
static void arguments(void **state)
{
	static const char *const symbols[] = {"watched_arguments", "watched_fails", "watched_wide",
					      NULL};
	struct mon_capture_options options = watch_options(MODE(state));

	for (int returns = 0; returns < 2; returns++)
		for (uint32_t count = 1; count <= 6; count += 5) {
			struct target *target = target_start("arguments", NULL);
			const struct mon_call_event *last;
			const uint64_t expected[] = {22, (uint32_t)-22, 22ull << 40, 0,
						     0,	 (uint64_t)~22l};

			options.returns = returns;
			options.arg_count = count;
			functions_of("arguments", symbols);
			watch_open(&watch, &options);
			watch_attach(&watch, target_pid(target));
			target_go(target);
			assert_int_equal(target_done(target), 23);
			watch_close_probes(&watch);
			watch_check(&watch);
			last = &watch.records[0].last;
			assert_int_equal(watch.records[0].all, 23);
			assert_int_equal(last->arg_count, count);
			for (uint32_t i = 0; i < 6; i++) {
				uint64_t argument = last->args[i];

				if (i >= count)
					assert_int_equal(argument, 0);
				else if (i == 1)
					assert_int_equal((uint32_t)argument, expected[i]);
				else if (expected[i])
					assert_int_equal(argument, expected[i]);
				else
					assert_int_not_equal(argument, 0);
			}
			if (returns)
				assert_int_equal(watch.records[2].last.ret, 22ull << 33);
			watch_free(&watch);
			assert_int_equal(target_finish(target), 0);
		}
}

/* Sampling: every call is counted, its record or its absence too; the allowance keeps the first. */
static void sampling(void **state)
{
	static const char *const symbols[] = {"watched_call", "watched_inner", NULL};
	struct mon_capture_options options = watch_options(MODE(state));

	for (int choice = 0; choice < 4; choice++) {
		struct target *target = target_start("calls", "1000", NULL);
		const struct mon_policy none = {.sample = MON_SAMPLE_NONE};
		const struct mon_policy some = {.sample = MON_SAMPLE_NONE,
						.flags = MON_POLICY_ALLOWANCE};
		struct mon_counters counters;

		options.returns = choice & 1;
		options.allowance = choice & 2;
		functions_of("calls", symbols);
		watch_open(&watch, &options);
		mon_capture_write_policy(watch.capture, 0, options.allowance ? some : none);
		watch_attach(&watch, target_pid(target));
		target_go(target);
		assert_int_equal(target_done(target), 1000);
		watch_close_probes(&watch);
		watch_check(&watch);
		counters = watch_counters(&watch, 0);
		assert_int_equal(counters.calls, 1000);
		assert_int_equal(watch.records[1].all, 1000);
		if (options.allowance) {
			assert_true(counters.emitted >= MON_ALLOWANCE_RUN);
			assert_int_equal(counters.sampled_out, 1000 - counters.emitted);
		} else {
			assert_int_equal(counters.sampled_out, 1000);
		}
		watch_free(&watch);
		assert_int_equal(target_finish(target), 0);
	}
}

static void leaves(struct target *target, const char *line)
{
	process_say(target_process(target), line);
	(void)target_wait_line(target, "ok", PROCESS_TIMEOUT_MS);
}

/* The first of the run, then so many of each second, by the clock that the reader keeps. */
static void allowance(void **state)
{
	static const char *const symbols[] = {"watched_leaf", NULL};
	struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("rooms", NULL);
	mon_ns now = mon_clock_now(&mon_clock_system);
	uint64_t kept = MON_ALLOWANCE_RUN + MON_ALLOWANCE_SECOND;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one); /* each CPU has its own */
	assert_int_equal(sched_setaffinity(target_pid(target), sizeof(one), &one), 0);
	options.allowance = true;
	functions_of("rooms", symbols);
	watch_open(&watch, &options);
	mon_capture_write_policy(watch.capture, 0,
				 (struct mon_policy){.sample = MON_SAMPLE_NONE,
						     .flags = MON_POLICY_ALLOWANCE});
	watch_attach(&watch, target_pid(target));
	mon_capture_heartbeat(watch.capture, now);
	leaves(target, "leaf 500");
	assert_int_equal(watch_counters(&watch, 0).emitted, kept);
	mon_capture_heartbeat(watch.capture, now + MON_NS_PER_S - 1);
	leaves(target, "leaf 500");
	assert_int_equal(watch_counters(&watch, 0).emitted, kept);
	mon_capture_heartbeat(watch.capture, now + MON_NS_PER_S);
	leaves(target, "leaf 500");
	assert_int_equal(watch_counters(&watch, 0).emitted, kept + MON_ALLOWANCE_SECOND);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(target_finish(target), 0);
}

/* 1 in 4: each record stands for four calls, and so many are kept (within six sigma). */
static void weights(void **state)
{
	static const char *const symbols[] = {"watched_call", NULL};
	const struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("calls", "1000", NULL);

	functions_of("calls", symbols);
	watch_open(&watch, &options);
	mon_capture_write_policy(watch.capture, 0,
				 (struct mon_policy){.sample = mon_sample_word(4)});
	watch_attach(&watch, target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 1000);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch_counters(&watch, 0).calls, 1000);
	assert_in_range(watch.records[0].all, 250 - 82, 250 + 82);
	assert_int_equal(watch.records[0].weight, 4 * watch.records[0].all);
	assert_int_equal(target_finish(target), 0);
}

/*
 * A small ring, where each record lies over others at shifted places: a byte that the program did
 * not write would be one of theirs, and the ring's reader refuses reserved fields that are not 0.
 */
static void every_byte_is_written(void **state)
{
	static const char *const symbols[] = {"watched_timed", NULL};
	struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("timed", NULL);

	options.ring_bytes = 4096;
	functions_of("timed", symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	for (unsigned round = 1; round <= 100; round++) {
		process_say(target_process(target), "40"); /* 3,200 bytes */
		(void)target_wait_line(target, "took", PROCESS_TIMEOUT_MS);
		watch_read(&watch);
		assert_int_equal(watch.records[0].all, 40 * round);
	}
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch_counters(&watch, 0).emitted, 4000);
	assert_int_equal(target_finish(target), 0);
}

/* Chosen calls are counted under the reason for which the gate is closed. */
static void gate(void **state)
{
	static const char *const symbols[] = {"watched_call", NULL};
	static const enum mon_reason reasons[] = {MON_REASON_GATE_CLOSED, MON_REASON_SIZE_CAP,
						  MON_REASON_RATE_CAP};
	const struct mon_capture_options options = watch_options(MODE(state));

	for (size_t i = 0; i < MON_ARRAY_COUNT(reasons); i++) {
		struct target *target = target_start("calls", NULL);
		struct mon_counters counters;

		functions_of("calls", symbols);
		watch_open(&watch, &options);
		mon_capture_set_gate(watch.capture, reasons[i]);
		watch_attach(&watch, target_pid(target));
		target_go(target);
		assert_int_equal(target_done(target), 23);
		watch_close_probes(&watch);
		watch_check(&watch);
		counters = watch_counters(&watch, 0);
		assert_int_equal(counters.gate_closed, i == 0 ? 23 : 0);
		assert_int_equal(counters.size_cap, i == 1 ? 23 : 0);
		assert_int_equal(counters.rate_cap, i == 2 ? 23 : 0);
		assert_int_equal(counters.returns, 23);
		watch_free(&watch);
		assert_int_equal(target_finish(target), 0);
	}
}

/* A call that is open is seen while it is, and is a record IN_FLIGHT at the end. */
static void open_call(void **state)
{
	static const char *const symbols[] = {"watched_call", "watched_blocks", NULL};
	const struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("killed", NULL);
	struct mon_open_calls open[2];
	struct mon_open_list list;
	mon_ns now_ns, oldest_ns;

	functions_of("killed", symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	assert_int_equal(mon_capture_read_open(watch.capture, open, &list), 0);
	assert_int_equal(open[0].count + open[1].count, 0);
	target_go(target);
	(void)target_wait_line(target, "blocked", PROCESS_TIMEOUT_MS);
	now_ns = mon_clock_now(&mon_clock_system);
	assert_int_equal(mon_capture_read_open(watch.capture, open, &list), 0);
	assert_int_equal(open[0].count, 0);
	assert_int_equal(open[1].count, 1);
	assert_int_equal(open[0].oldest_ns, 0);
	assert_int_equal(open[1].tid, target_pid(target));
	assert_int_equal(open[1].pid, target_pid(target));
	oldest_ns = open[1].oldest_ns;
	assert_int_equal(list.count, 1);
	assert_int_equal(list.calls[0].function, 1);
	assert_int_equal(list.calls[0].start_ns, oldest_ns);
	assert_int_equal(list.calls[0].caller, MON_FUNCTION_NONE);
	assert_int_equal(list.calls[0].depth, 0);
	assert_true(oldest_ns && oldest_ns < now_ns);
	assert_int_equal(mon_capture_flush_open(watch.capture), -EBUSY);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch_counters(&watch, 1).calls, 1);
	assert_int_equal(watch_counters(&watch, 1).returns, 0);
	assert_int_equal(watch_counters(&watch, 1).unfinished, 1);
	assert_int_equal(watch.records[1].in_flight, 1);
	assert_int_equal(watch.records[1].last.start_ns, oldest_ns);
	/* It is told once. */
	assert_int_equal(mon_capture_read_open(watch.capture, open, &list), 0);
	assert_int_equal(open[1].count, 0);
	assert_int_equal(target_finish(target), 0);
}

int main(int argc, char **argv)
{
	static enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
	} in_each_mode[] = {
		{"calls_and_twin", calls_and_twin},
		{"entries_only", entries_only},
		{"arguments", arguments},
		{"sampling", sampling},
		{"allowance", allowance},
		{"weights", weights},
		{"every_byte_is_written", every_byte_is_written},
		{"gate", gate},
		{"open_call", open_call},
	};
	static struct CMUnitTest tests[1 + MON_ARRAY_COUNT(in_each_mode) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][64];
	size_t count = 0;

	tests[count++] = (struct CMUnitTest)cmocka_unit_test(features_and_choice);
	for (size_t i = 0; i < MON_ARRAY_COUNT(in_each_mode); i++)
		for (size_t mode = 0; mode < MON_ARRAY_COUNT(modes); mode++) {
			(void)snprintf(names[count], sizeof(names[count]), "%s_%s",
				       in_each_mode[i].name, mon_mode_name(modes[mode]));
			tests[count] = (struct CMUnitTest){
				.name = names[count],
				.test_func = in_each_mode[i].body,
				.teardown_func = tear_down,
				.initial_state = &modes[mode],
			};
			count++;
		}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("kernel/capture", tests, NULL, NULL);
}
