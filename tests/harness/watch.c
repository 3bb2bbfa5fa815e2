// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct mon_capture_options watch_options(enum mon_mode mode)
{
	return (struct mon_capture_options){
		.mode = mode,
		.ring_bytes = WATCH_RING_BYTES,
		.ring_count = 1,
		.threads_max = 4096,
		.returns = true,
	};
}

void watch_map_rings(struct watch *watch)
{
	const struct mon_capture_options *options = &watch->options;
	struct mon_ring_options ring = {
		.size_bytes = options->ring_bytes,
		.function_count = options->function_count,
		.arg_count = options->arg_count,
		.text_count = options->text_count,
		.capture_bytes = options->capture_bytes,
		.stack_frames = options->stack_frames,
	};

	assert_int_equal(mon_rings_new(&watch->rings), 0);
	for (uint32_t i = 0; i < (options->ring_count ? options->ring_count : 1); i++) {
		ring.map_fd = mon_capture_ring_fd(watch->capture, i);
		assert_int_equal(mon_rings_add(watch->rings, &ring), 0);
	}
	watch->ring = mon_rings_at(watch->rings, 0);
}

void watch_open(struct watch *watch, const struct mon_capture_options *options)
{
	struct mon_error error = {0};

	watch->options = *options;
	watch->options.function_count = (uint32_t)watch->set.function_count;
	watch->records = calloc(watch->set.function_count, sizeof(*watch->records));
	assert_non_null(watch->records);
	if (mon_capture_new(&watch->options, &watch->capture, &error))
		fail_msg("mon_capture_new: %s", error.text);
	watch_map_rings(watch);
}

void watch_attach(struct watch *watch, pid_t pid)
{
	struct mon_error error = {0};

	if (mon_capture_attach(watch->capture, &watch->set, pid, &error))
		fail_msg("mon_capture_attach: %s", error.text);
}

static void take(struct watch *watch, const struct mon_record *record)
{
	const struct mon_call_event *call = record->data;
	struct watch_records *records;

	assert_int_equal(record->invalid, 0);
	if (call->kind == MON_EVENT_TASK) {
		watch->tasks++;
		return;
	}
	records = &watch->records[call->function];
	records->all++;
	records->weight += call->weight;
	records->pid = call->pid;
	memset(&records->last, 0, sizeof(records->last));
	memcpy(&records->last, call,
	       record->size_bytes < sizeof(*call) ? record->size_bytes : sizeof(*call));
	if (watch->on_record)
		watch->on_record(record);
	records->finished += !(call->flags & MON_CALL_UNFINISHED);
	records->entry_only += !!(call->flags & MON_CALL_ENTRY_ONLY);
	records->unreturned += !!(call->flags & MON_CALL_UNRETURNED);
	records->unwound += !!(call->flags & MON_CALL_UNWOUND);
	records->thread_exit += !!(call->flags & MON_CALL_THREAD_EXIT);
	records->exec += !!(call->flags & MON_CALL_EXEC);
	records->in_flight += !!(call->flags & MON_CALL_IN_FLIGHT);
}

void watch_read(struct watch *watch)
{
	struct mon_record record;

	for (uint32_t i = 0; i < mon_rings_count(watch->rings); i++) {
		struct mon_ring *ring = mon_rings_at(watch->rings, i);

		while (mon_ring_try_pop(ring, &record) == 0) {
			take(watch, &record);
			mon_ring_acknowledge(ring, record.end);
		}
	}
}

void watch_close_probes(struct watch *watch)
{
	assert_int_equal(mon_capture_detach(watch->capture), 0);
	assert_int_equal(mon_capture_flush_open(watch->capture), 0);
	watch_read(watch);
}

struct mon_counters watch_counters(struct watch *watch, size_t function)
{
	struct mon_counters counters;

	mon_capture_read_counters(watch->capture, (uint32_t)function, &counters, NULL);
	return counters;
}

struct mon_run_counters watch_run_counters(const struct watch *watch)
{
	struct mon_run_counters counters;

	mon_capture_read_run_counters(watch->capture, &counters);
	return counters;
}

void watch_check(struct watch *watch)
{
	const struct mon_run_counters run = watch_run_counters(watch);

	assert_int_equal(mon_capture_missed(watch->capture), 0);
	for (size_t i = 0; i < watch->set.function_count; i++) {
		const struct mon_counters counters = watch_counters(watch, i);
		const struct watch_records *records = &watch->records[i];
		uint64_t accounted = counters.emitted + counters.sampled_out + counters.rate_cap +
				     counters.size_cap + counters.ring_full + counters.gate_closed +
				     counters.frame_refused;

		if (counters.calls != accounted || counters.emitted != records->all)
			fail_msg("%s: %llu calls, %llu accounted for, %llu emitted, %llu read; "
				 "refused %llu, threads refused %llu",
				 watch->set.functions[i].symbol, counters.calls,
				 (unsigned long long)accounted, counters.emitted,
				 (unsigned long long)records->all, counters.frame_refused,
				 run.threads_refused);
		assert_true(records->finished <= counters.returns);
	}
}

void watch_free(struct watch *watch)
{
	mon_rings_free(watch->rings);
	mon_capture_free(watch->capture);
	mon_function_set_clear(&watch->set);
	free(watch->records);
	*watch = (struct watch){0};
}
