// SPDX-License-Identifier: GPL-2.0-or-later
/* A record with a stack is looked at to its last byte and no further; texts are in test_ring.c. */
#include "pipeline/record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FUNCTIONS 4u
#define ARGS 2u
#define TEXTS 2u
#define CAPTURE 10u
#define STRIDE MON_TEXT_STRIDE_BYTES(CAPTURE)
#define FRAMES 5u

struct call_stack {
	struct mon_call_event call;
	struct mon_stack head;
	uint64_t frames[FRAMES];
	char texts[TEXTS * STRIDE];
};

static struct call_stack good_stack(void)
{
	struct call_stack record = {
		.call = {.kind = MON_EVENT_CALL_STACK,
			 .version = MON_EVENT_VERSION,
			 .caller = MON_FUNCTION_NONE,
			 .weight = 1,
			 .duration_ns = 10,
			 .arg_count = ARGS},
		.head = {.frame_count = 3, .room_frames = FRAMES},
		.frames = {0x1000, 0x2000, 0x3000},
	};

	for (unsigned i = 0; i < TEXTS; i++) {
		struct mon_text *text = (struct mon_text *)(record.texts + i * STRIDE);

		text->slot = (uint8_t)(i + 1);
		text->room_bytes = MON_TEXT_ROOM_BYTES(CAPTURE);
		text->stored_bytes = CAPTURE;
		text->true_bytes = CAPTURE;
	}
	return record;
}

static int verdict_of_stack(bool any, uint32_t frames, const struct call_stack *record,
			    uint32_t size)
{
	const struct mon_record_shape shape = {
		.function_count = FUNCTIONS,
		.arg_count = any ? 0 : ARGS,
		.text_count = any ? 0 : TEXTS,
		.capture_bytes = any ? 0 : CAPTURE,
		.stack_frames = any ? 0 : frames,
		.any_capture = any,
	};
	/* Exactly so much: a byte further is a crash under ASan. */
	void *copy = malloc(size);
	int result;

	assert_non_null(copy);
	memcpy(copy, record, size);
	result = mon_record_check(&shape, copy, size);
	free(copy);
	return result;
}

static void test_stacks(void **state)
{
	static const struct stack_case {
		const char *what;
		struct mon_stack head;
		int invalid;
	} cases[] = {
		{"all of it", {FRAMES, FRAMES, 0}, 0},
		{"nothing could be read", {0, FRAMES, 0}, 0},
		{"one more than there is room", {FRAMES + 1, FRAMES, 0}, EPROTO},
		{"far more", {65535, FRAMES, 0}, EPROTO},
		{"no room", {0, 0, 0}, EPROTO},
		{"more room than any", {1, MON_STACK_FRAMES_MAX + 1, 0}, EPROTO},
		{"reserved", {1, FRAMES, 1}, EPROTO},
	};
	const uint32_t bare = offsetof(struct call_stack, texts);
	struct call_stack record = good_stack();
	struct mon_record_parts parts;

	(void)state;
	for (int any = 0; any < 2; any++) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			record = good_stack();
			record.head = cases[i].head;
			if (verdict_of_stack(any, FRAMES, &record, sizeof(record)) !=
			    cases[i].invalid)
				fail_msg("%s, any %d", cases[i].what, any);
		}
		record = good_stack();
		for (uint32_t size = 2; size < sizeof(record); size++) {
			int invalid = verdict_of_stack(any, FRAMES, &record, size);

			/* With the texts of its run, or, when there was no room for them, none. */
			if (size == bare || (any && size == bare + STRIDE))
				assert_int_equal(invalid, 0);
			else
				assert_int_not_equal(invalid, 0);
		}
		record.call.function = FUNCTIONS;
		assert_int_equal(verdict_of_stack(any, FRAMES, &record, sizeof(record)), EPROTO);
		assert_int_equal(verdict_of_stack(any, FRAMES, &record, bare), EPROTO);
		record = good_stack();
		((struct mon_text *)record.texts)->slot = 7;
		assert_int_equal(verdict_of_stack(any, FRAMES, &record, sizeof(record)), EPROTO);
	}
	record = good_stack();
	/* A run of other stacks, or of none. */
	assert_int_equal(verdict_of_stack(false, FRAMES + 1, &record, sizeof(record)), EPROTO);
	assert_int_equal(verdict_of_stack(false, 0, &record, sizeof(record)), EPROTO);
	parts = mon_record_parts(&record, sizeof(record));
	assert_ptr_equal(parts.stack, &record.head);
	assert_ptr_equal(parts.texts, record.texts);
	assert_int_equal(parts.text_bytes, sizeof(record.texts));
	parts = mon_record_parts(&record, bare);
	assert_int_equal(parts.text_bytes, 0);
	record.head.room_frames = 60000; /* not checked: nothing is believed */
	parts = mon_record_parts(&record, sizeof(record));
	assert_null(parts.stack);
	assert_int_equal(parts.text_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
