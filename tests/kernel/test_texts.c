// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What arguments point to, read at entry from real processes, in each mode, with returns and
 * without: contents and true lengths exact, however the call ends, and nothing read of a call that
 * was not chosen. Every record is looked at to its last byte.
 */
#include "base/cleanup.h"
#include "capture/state.h"
#include "control/sampler.h"
#include "tests/harness/functions.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"
#include "tests/targets/texts.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MODE(state) (*(const enum mon_mode *)*(state))
#define KEPT_MAX 4096
#define ROOM MON_TEXT_ROOM_BYTES(TEXTS_CAPTURE)

/* A record of one text, as it came. */
struct kept {
	struct mon_call_event call;
	struct mon_text text;
	char bytes[ROOM];
};

static struct watch watch;
static struct kept kept[KEPT_MAX];
static size_t kept_count, plain_count;

static int tear_down(void **state)
{
	watch_free(&watch);
	return process_teardown(state);
}

static void keep(const struct mon_record *record)
{
	struct kept *here = &kept[kept_count];

	if (*(const uint8_t *)record->data == MON_EVENT_CALL) {
		plain_count++;
		return;
	}
	assert_int_equal(record->size_bytes,
			 sizeof(struct mon_call_event) + MON_TEXT_STRIDE_BYTES(TEXTS_CAPTURE));
	assert_true(kept_count < KEPT_MAX);
	memcpy(here, record->data, record->size_bytes);
	kept_count++;
	assert_int_equal(here->call.arg_count, watch.options.arg_count);
	/* Nothing of the kernel's, of an earlier record or of a byte too many. */
	for (uint32_t i = here->call.arg_count; i < MON_EVENT_ARGS_MAX; i++)
		assert_int_equal(here->call.args[i], 0);
	for (size_t i = here->text.stored_bytes; i < ROOM; i++)
		assert_int_equal(here->bytes[i], 0);
}

/* Watches one function of the target, whose first argument is captured; @length 0: a string. */
static void open_watch(const struct mon_capture_options *base, const char *symbol, uint8_t length)
{
	const char *const symbols[] = {symbol, NULL};
	struct mon_capture_options options = *base;
	char path[PATH_MAX];

	options.text_count = 1;
	options.texts[0] = (struct mon_text_choice){1, length};
	options.capture_bytes = TEXTS_CAPTURE;
	options.text_calls = options.text_calls ?: 100;
	functions_add(&watch.set, target_path("texts", path, sizeof(path)), symbols);
	watch_open(&watch, &options);
	watch.on_record = keep;
	kept_count = plain_count = 0;
}

/* Does the programs' memory hold texts of some call? */
static bool holds_texts(void)
{
	char key[64];
	int fd = watch.capture->object.fds[MON_MAP_TEXTS];

	return fd >= 0 && bpf_map_get_next_key(fd, NULL, key) == 0;
}

/* However the calls ended, nothing of them is left. */
static void close_watch(struct target *target)
{
	assert_false(holds_texts());
	watch_free(&watch);
	assert_int_equal(target_finish(target), 0);
}

static void assert_bytes(const struct kept *record, char (*byte)(int number, size_t k), int number)
{
	for (size_t k = 0; k < record->text.stored_bytes; k++)
		if (record->bytes[k] != byte(number, k))
			fail_msg("text %d: byte %zu is %d", number, k, record->bytes[k]);
}

static char string_byte(int number, size_t k)
{
	return number == TEXTS_ESCAPES ? TEXTS_ESCAPES_BYTES[k] : TEXTS_STRING_BYTE(number, k);
}

static char buffer_byte(int number, size_t k)
{
	return TEXTS_BUFFER_BYTE(number, k);
}

struct expected {
	uint16_t stored_bytes;
	uint8_t flags;
	uint64_t true_bytes;
};

#define UNKNOWN MON_TEXT_TRUE_UNKNOWN
#define FAILED MON_TEXT_READ_FAILED

/* All calls of one round, in their order, by the number that each passes. */
static void assert_round(const struct expected *expected, char (*byte)(int number, size_t k),
			 uint32_t number_argument)
{
	assert_int_equal(kept_count, TEXTS_CALLS);
	assert_int_equal(plain_count, 0);
	assert_int_equal(watch_run_counters(&watch).texts_refused, 0);
	for (int i = 0; i < TEXTS_CALLS; i++) {
		const struct kept *record = &kept[i];

		assert_int_equal(record->call.args[number_argument - 1], i);
		if (watch.options.returns)
			assert_int_equal(record->call.ret, i);
		assert_int_equal(record->text.slot, 1);
		if (record->text.flags != expected[i].flags ||
		    record->text.stored_bytes != expected[i].stored_bytes ||
		    record->text.true_bytes != expected[i].true_bytes)
			fail_msg("text %d: flags %u, %u bytes of %llu", i, record->text.flags,
				 record->text.stored_bytes, record->text.true_bytes);
		assert_bytes(record, byte, i);
	}
}

/*
 * Each case of texts.h, some rounds of them in a ring so small that each record lies over others at
 * shifted places.
 */
static void rounds(void **state, const char *what, const char *symbol, uint8_t length_argument,
		   const struct expected *expected, char (*byte)(int number, size_t k))
{
	struct mon_capture_options options = watch_options(MODE(state));

	for (int returns = 0; returns < 2; returns++) {
		struct target *target = target_start("texts", what, "3", NULL);

		options.returns = returns;
		options.arg_count = length_argument ? 3 : 2;
		options.ring_bytes = 4096;
		open_watch(&options, symbol, length_argument);
		watch_attach(&watch, target_pid(target));
		target_go(target);
		for (int round = 1; round < 3; round++) {
			(void)target_wait_line(target, "round", PROCESS_TIMEOUT_MS);
			watch_read(&watch);
			assert_round(expected, byte, options.arg_count);
			kept_count = 0;
			process_say(target_process(target), "next");
		}
		assert_int_equal(target_done(target), 3 * TEXTS_CALLS);
		watch_close_probes(&watch);
		watch_check(&watch);
		assert_round(expected, byte, options.arg_count);
		close_watch(target);
	}
}

static void strings(void **state)
{
	static const struct expected expected[TEXTS_CALLS] = {
		[TEXTS_NULL] = {0, FAILED | UNKNOWN, 0},
		[TEXTS_EMPTY] = {0, 0, 0},
		[TEXTS_UNMAPPED] = {0, FAILED | UNKNOWN, 0},
		[TEXTS_SHORTER] = {TEXTS_CAPTURE - 1, 0, TEXTS_CAPTURE - 1},
		[TEXTS_EXACT] = {TEXTS_CAPTURE, 0, TEXTS_CAPTURE},
		[TEXTS_LONGER] = {TEXTS_CAPTURE, UNKNOWN, 0},
		[TEXTS_LARGE] = {TEXTS_CAPTURE, UNKNOWN, 0},
		[TEXTS_PAGE_END] = {10, 0, 10},
		[TEXTS_CUT_OFF] = {0, FAILED | UNKNOWN, 0},
		[TEXTS_CHANGED] = {20, 0, 20},
		[TEXTS_ESCAPES] = {sizeof(TEXTS_ESCAPES_BYTES) - 1, 0,
				   sizeof(TEXTS_ESCAPES_BYTES) - 1},
	};

	rounds(state, "strings", "watched_string", 0, expected, string_byte);
}

static void buffers(void **state)
{
	static const struct expected expected[TEXTS_CALLS] = {
		[TEXTS_NULL] = {0, FAILED, 10},
		[TEXTS_EMPTY] = {0, 0, 0},
		[TEXTS_UNMAPPED] = {0, FAILED, 10},
		[TEXTS_SHORTER] = {TEXTS_CAPTURE - 1, 0, TEXTS_CAPTURE - 1},
		[TEXTS_EXACT] = {TEXTS_CAPTURE, 0, TEXTS_CAPTURE},
		[TEXTS_LONGER] = {TEXTS_CAPTURE, 0, TEXTS_CAPTURE + 1},
		[TEXTS_LARGE] = {TEXTS_CAPTURE, 0, TEXTS_LARGE_BYTES},
		[TEXTS_PAGE_END] = {10, 0, 10},
		[TEXTS_CUT_OFF] = {0, FAILED, 11},
		[TEXTS_CHANGED] = {20, 0, 20},
		[TEXTS_ESCAPES] = {TEXTS_CAPTURE, 0, UINT64_MAX},
	};

	rounds(state, "buffers", "watched_buffer", 2, expected, buffer_byte);
}

/* The deepest are beyond what a frame can follow; each has the text of its own entry. */
static void recursion(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("texts", "recursion", "100", NULL);
	bool seen[101] = {false};

	options.arg_count = 2;
	open_watch(&options, "watched_recursion", 0);
	watch_attach(&watch, target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 100);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[0].finished, 64);
	assert_int_equal(watch.records[0].unreturned, 36);
	assert_int_equal(kept_count, 100);
	for (size_t i = 0; i < kept_count; i++) {
		uint64_t depth = kept[i].call.args[1];
		char text[32];

		(void)snprintf(text, sizeof(text), "depth %d", (int)depth);
		assert_string_equal(kept[i].bytes, text);
		assert_int_equal(kept[i].text.true_bytes, strlen(text));
		assert_true(depth >= 1 && depth <= 100 && !seen[depth]);
		seen[depth] = true;
	}
	close_watch(target);
}

/* Calls that never return tell what they were given. */
static void longjmps(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("texts", "longjmp", "23", NULL);

	options.arg_count = 2;
	open_watch(&options, "watched_jumps", 0);
	watch_attach(&watch, target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 23);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[0].unwound + watch.records[0].in_flight, 23);
	assert_int_equal(kept_count, 23);
	for (size_t i = 0; i < kept_count; i++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "jump %d", (int)kept[i].call.args[1]);
		assert_string_equal(kept[i].bytes, text);
	}
	close_watch(target);
}

static void unfinished(void **state)
{
	const struct mon_capture_options options = watch_options(MODE(state));

	for (int killed = 0; killed < 2; killed++) {
		struct target *target = target_start("texts", "blocks", NULL);

		open_watch(&options, "watched_blocks", 0);
		watch_attach(&watch, target_pid(target));
		target_go(target);
		(void)target_wait_line(target, "blocked", PROCESS_TIMEOUT_MS);
		while (watch_counters(&watch, 0).calls == 0)
			(void)sched_yield();
		if (killed) {
			process_signal(target_process(target), SIGKILL);
			assert_int_equal(process_wait(target_process(target), PROCESS_TIMEOUT_MS),
					 128 + SIGKILL);
		}
		watch_close_probes(&watch);
		watch_check(&watch);
		assert_int_equal(kept_count, 1);
		assert_int_equal(kept[0].call.flags,
				 killed ? MON_CALL_THREAD_EXIT : MON_CALL_IN_FLIGHT);
		assert_string_equal(kept[0].bytes, "blocks");
		assert_false(holds_texts());
		watch_free(&watch);
		if (!killed)
			assert_int_equal(target_finish(target), 0);
	}
}

/* 1 in 4 has its own text; the others have none. */
static void sampled_out(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("texts", "recursion", "60", NULL);

	options.arg_count = 2;
	open_watch(&options, "watched_recursion", 0);
	mon_capture_write_policy(watch.capture, 0,
				 (struct mon_policy){.sample = mon_sample_word(4)});
	watch_attach(&watch, target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 60);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch_counters(&watch, 0).calls, 60);
	assert_int_equal(kept_count + watch_counters(&watch, 0).sampled_out, 60);
	assert_in_range(kept_count, 1, 59);
	for (size_t i = 0; i < kept_count; i++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "depth %d", (int)kept[i].call.args[1]);
		assert_string_equal(kept[i].bytes, text);
	}
	close_watch(target);
}

/* While a call is open: one that was chosen has its texts in memory, one that was not has none. */
static void not_chosen_not_read(void **state)
{
	const struct mon_capture_options options = watch_options(MODE(state));

	for (int chosen = 0; chosen < 2; chosen++) {
		struct target *target = target_start("texts", "blocks", NULL);

		open_watch(&options, "watched_blocks", 0);
		mon_capture_write_policy(
			watch.capture, 0,
			(struct mon_policy){.sample = chosen ? MON_SAMPLE_ALL : MON_SAMPLE_NONE});
		watch_attach(&watch, target_pid(target));
		target_go(target);
		(void)target_wait_line(target, "blocked", PROCESS_TIMEOUT_MS);
		while (watch_counters(&watch, 0).calls == 0 || (chosen && !holds_texts()))
			(void)sched_yield();
		assert_int_equal(holds_texts(), chosen);
		process_say(target_process(target), "go on");
		assert_int_equal(target_done(target), 1);
		watch_close_probes(&watch);
		watch_check(&watch);
		assert_int_equal(kept_count, chosen);
		close_watch(target);
	}
}

/* More open calls than there is room for: the others are kept without, and counted. */
static void no_room(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	struct target *target = target_start("texts", "recursion", "60", NULL);

	options.arg_count = 2;
	options.text_calls = 10;
	open_watch(&options, "watched_recursion", 0);
	watch_attach(&watch, target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 60);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(kept_count, 10);
	assert_int_equal(plain_count, 50);
	assert_int_equal(watch_run_counters(&watch).texts_refused, 50);
	for (size_t i = 0; i < kept_count; i++) /* innermost first; those that came first */
		assert_int_equal(kept[i].call.args[1], 51 + i);
	assert_string_equal(kept[9].bytes, "depth 60");
	close_watch(target);
}

/* The most of each: as many texts as there may be, as long as they may be. */
static void largest(void **state)
{
	static const struct mon_text_choice all[MON_TEXTS_MAX] = {{1, 0}, {2, 0}, {3, 1}};
	struct mon_capture_options options = watch_options(MODE(state));
	struct mon_error error = {0};
	struct mon_capture *capture = NULL;

	options.function_count = 1;
	options.text_calls = 100;
	for (int returns = 0; returns < 2; returns++)
		for (uint32_t count = 1; count <= MON_TEXTS_MAX; count++) {
			options.returns = returns;
			options.text_count = count;
			options.capture_bytes = MON_CAPTURE_BYTES_MAX(count);
			memcpy(options.texts, all, sizeof(all));
			if (mon_capture_new(&options, &capture, &error))
				fail_msg("%u texts: %s", count, error.text);
			mon_capture_free(capture);
			options.capture_bytes++;
			assert_int_equal(mon_capture_new(&options, &capture, &error), -EINVAL);
		}
}

int main(int argc, char **argv)
{
	static enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
	} in_each_mode[] = {
		{"strings", strings},	    {"buffers", buffers},
		{"recursion", recursion},   {"not_chosen_not_read", not_chosen_not_read},
		{"no_room", no_room},	    {"longjmps", longjmps},
		{"unfinished", unfinished}, {"sampled_out", sampled_out},
		{"largest", largest},
	};
	static struct CMUnitTest tests[MON_ARRAY_COUNT(in_each_mode) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][64];
	size_t count = 0;

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
	return cmocka_run_group_tests_name("kernel/texts", tests, NULL, NULL);
}
