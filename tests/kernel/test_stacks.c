// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stacks of real processes in each mode, at the return and at the entry. What is expected comes
 * from the target: before a probe is armed, each function on the way says where it will return to;
 * and from bpftrace, which lets the kernel walk.
 */
#include "base/cleanup.h"
#include "pipeline/record.h"
#include "tests/harness/functions.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"
#include "tests/targets/stacks.h"

#include <errno.h>
#include <limits.h>
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
#define KEPT_MAX 256
#define CHAIN_MAX 256
#define LEAF 0 /* indexes of the watched functions */
#define OUTER 1
#define DEEP 2

struct kept {
	uint32_t function, room, count, text_bytes;
	uint64_t frames[MON_STACK_FRAMES_MAX];
};

struct chain {
	uint64_t frames[CHAIN_MAX];
	uint32_t count;
};

static struct watch watch;
static struct kept kept[KEPT_MAX];
static struct chain chains[STACKS_PATHS];
static size_t kept_count, without;

static int tear_down(void **state)
{
	watch_free(&watch);
	return process_teardown(state);
}

static void keep(const struct mon_record *record)
{
	const struct mon_call_event *call = record->data;
	struct mon_record_parts parts = mon_record_parts(record->data, record->size_bytes);
	struct kept *here = &kept[kept_count];

	if (!parts.stack) {
		without++;
		return;
	}
	assert_true(kept_count < KEPT_MAX);
	kept_count++;
	here->function = call->function;
	here->room = parts.stack->room_frames;
	here->count = parts.stack->frame_count;
	here->text_bytes = parts.text_bytes;
	memcpy(here->frames, parts.stack->frames, 8u * here->room);
	/* Nothing of the kernel's or of an earlier record behind the last one. */
	for (uint32_t i = here->count; i < here->room; i++)
		assert_int_equal(here->frames[i], 0);
}

static void open_watch(struct target *target, const char *name,
		       const struct mon_capture_options *options)
{
	static const char *const symbols[] = {"watched_leaf", "watched_outer", "watched_deep",
					      NULL};
	char path[PATH_MAX];

	functions_add(&watch.set, target_path(name, path, sizeof(path)), symbols);
	watch_open(&watch, options);
	watch.on_record = keep;
	watch_attach(&watch, target_pid(target));
}

/* Starts the target and reads what it says of itself. */
static struct target *start(const char *name)
{
	struct target *target = target_start(name, NULL);
	const char *line = process_text(target_process(target), PROCESS_STDOUT);

	memset(chains, 0, sizeof(chains));
	kept_count = without = 0;
	while ((line = strstr(line, "frame "))) {
		unsigned path;
		unsigned long address;

		assert_int_equal(sscanf(line, "frame %u %lx", &path, &address), 2);
		assert_true(path < STACKS_PATHS && chains[path].count < CHAIN_MAX);
		chains[path].frames[chains[path].count++] = address;
		line++;
	}
	for (int path = 0; path < STACKS_PATHS; path++)
		assert_true(chains[path].count >= 3);
	return target;
}

static struct mon_capture_options options_of(enum mon_mode mode, bool returns)
{
	struct mon_capture_options options = watch_options(mode);

	options.returns = returns;
	options.stack_frames = MON_STACK_FRAMES_DEFAULT;
	return options;
}

static void work(struct target *target)
{
	target_go(target);
	assert_int_equal(target_done(target), STACKS_PATHS);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch_run_counters(&watch).stacks_refused, 0);
	assert_int_equal(without, 0);
}

/* @skip callers nearest to watched_leaf are those of functions that have returned into theirs. */
static void assert_chain(const struct kept *stack, int path, uint32_t skip)
{
	const struct chain *chain = &chains[path];
	uint32_t told = chain->count - skip;

	if (told > stack->room)
		told = stack->room;
	/* main's own caller is the last that is told; libc's frames are built without. */
	if (stack->count < told)
		fail_msg("path %d: %u frames of %u", path, stack->count, told);
	for (uint32_t i = 0; i < told; i++)
		if (stack->frames[i] != chain->frames[i + skip])
			fail_msg("path %d: frame %u is %lx, not %lx", path, i,
				 (unsigned long)stack->frames[i],
				 (unsigned long)chain->frames[i + skip]);
	if (path == STACKS_TOO_DEEP)
		assert_int_equal(stack->count, stack->room);
}

/* The n-th record of @function. */
static const struct kept *find(uint32_t function, uint32_t n)
{
	for (size_t i = 0; i < kept_count; i++)
		if (kept[i].function == function && !n--)
			return &kept[i];
	fail_msg("record %u of function %u is missing", n, function);
	return NULL;
}

static void assert_all(bool returns)
{
	for (int path = 0; path < STACKS_GARBAGE; path++)
		assert_chain(find(LEAF, (uint32_t)path), path, 0);
	assert_chain(find(OUTER, 0), STACKS_OUTER, 2);
	/* 11 calls around each other: the innermost returns first and is entered last. */
	for (uint32_t i = 0; i < 11; i++)
		assert_chain(find(DEEP, returns ? i : 10 - i), STACKS_WATCHED_DEEP, 1 + i);
	assert_int_equal(kept_count, STACKS_PATHS + 1 + 11);
#if defined(__x86_64__)
	for (uint32_t i = 0; i < 6; i++) {
		const struct kept *stack = find(LEAF, STACKS_GARBAGE + i);

		assert_int_equal(stack->frames[0], chains[STACKS_GARBAGE + i].frames[0]);
		/* The ring is one frame that claims to be its own caller. */
		assert_int_equal(stack->count, i == 1 ? 2 : 1);
	}
#endif
}

static void at_return(void **state)
{
	struct mon_capture_options options = options_of(MODE(state), true);
	struct target *target = start("stacks");

	open_watch(target, "stacks", &options);
	work(target);
	assert_all(true);
	watch_free(&watch);
	assert_int_equal(target_finish(target), 0);
}

static void at_entry(void **state)
{
	struct mon_capture_options options = options_of(MODE(state), false);
	struct target *target = start("stacks");

	open_watch(target, "stacks", &options);
	work(target);
	assert_all(false);
	watch_free(&watch);
	assert_int_equal(target_finish(target), 0);
}

/* What it printed of the @path-th call: addresses, the probed function's own first. */
static uint32_t told_by_bpftrace(const char *text, int path, uint64_t *frames)
{
	uint32_t count = 0;
	char *end;

	for (int i = 0; i <= path; i++) {
		const char *next = strstr(text, "stack\n");

		if (!next)
			fail_msg("bpftrace says nothing of path %d: %s", path, text);
		text = next;
		text += strlen("stack\n");
	}
	while (*text == '\t' && count < CHAIN_MAX) {
		frames[count++] = strtoull(text + 1, &end, 16);
		text = strchr(end, '\n') ?: end;
		text += *text == '\n';
	}
	return count;
}

/* Its first and its last probe: when both were hit, those between are there. */
__attribute__((noinline, noclone, used)) static void armed_first(void)
{
	__asm__ volatile("");
}

__attribute__((noinline, noclone, used)) static void armed_last(void)
{
	__asm__ volatile("");
}

__attribute__((noinline, noclone, used)) static void all_called(void)
{
	__asm__ volatile("");
}

static struct process *start_bpftrace(const char *path, pid_t pid)
{
	char program[5 * PATH_MAX], self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct process *bpftrace;
	bool first = false, last = false;

	assert_true(length > 0);
	self[length] = '\0';
	(void)snprintf(program, sizeof(program),
		       "uprobe:%s:armed_first /pid == %d/ { printf(\"first\\n\"); } "
		       "uprobe:%s:all_called /pid == %d/ { printf(\"end\\n\"); } "
		       "uprobe:%s:watched_leaf /pid == %d/ "
		       "{ printf(\"stack%%s\\n\", ustack(perf, 64)); } "
		       "uprobe:%s:armed_last /pid == %d/ { printf(\"last\\n\"); }",
		       self, (int)getpid(), self, (int)getpid(), path, (int)pid, self,
		       (int)getpid());
	bpftrace = process_start((const char *const[]){"bpftrace", "-e", program, NULL});
	for (int tries = 0; !(first && last); tries++) {
		assert_true(tries < PROCESS_TIMEOUT_MS / 20);
		armed_first();
		armed_last();
		first = first || process_try_line(bpftrace, PROCESS_STDOUT, "first", 10);
		last = last || process_try_line(bpftrace, PROCESS_STDOUT, "last", 10);
	}
	return bpftrace;
}

/* Both at once: it does not see our trampolines, nor we its probes. */
static void as_bpftrace_has_it(void **state)
{
	struct mon_capture_options options = options_of(MODE(state), true);
	struct target *target = start("stacks");
	char path[PATH_MAX];
	struct process *bpftrace;

	bpftrace = start_bpftrace(target_path("stacks", path, sizeof(path)), target_pid(target));
	open_watch(target, "stacks", &options);
	work(target);
	/* Twice: what it read together with the first one of these may be printed after it. */
	for (int i = 0; i < 2; i++) {
		all_called();
		(void)process_wait_line(bpftrace, PROCESS_STDOUT, "end", PROCESS_TIMEOUT_MS);
	}
	for (int i = 0; i < STACKS_GARBAGE; i++) {
		uint64_t frames[CHAIN_MAX];
		uint32_t count =
			told_by_bpftrace(process_text(bpftrace, PROCESS_STDOUT), i, frames);
		const struct kept *stack = find(LEAF, (uint32_t)i);

		assert_true(count - 1 >= (i == STACKS_TOO_DEEP ? 63 : chains[i].count));
		for (uint32_t k = 1; k < count && k - 1 < stack->count; k++)
			if (frames[k] != stack->frames[k - 1])
				fail_msg("path %d: frame %u is %lx, bpftrace says %lx", i, k - 1,
					 (unsigned long)stack->frames[k - 1],
					 (unsigned long)frames[k]);
	}
	process_free(bpftrace);
	watch_free(&watch);
	assert_int_equal(target_finish(target), 0);
}

/* A stack and a text in one record; and no more frames than were asked for. */
static void with_texts(void **state)
{
	for (int returns = 0; returns < 2; returns++) {
		struct mon_capture_options options = options_of(MODE(state), returns);
		struct target *target = start("stacks");

		options.stack_frames = 5;
		options.text_count = 1;
		options.texts[0] = (struct mon_text_choice){1, 0};
		options.capture_bytes = 16;
		options.text_calls = 100;
		options.arg_count = 1;
		open_watch(target, "stacks", &options);
		work(target);
		for (int path = 0; path < STACKS_GARBAGE; path++) {
			const struct kept *stack = find(LEAF, (uint32_t)path);

			assert_int_equal(stack->room, 5);
			assert_int_equal(stack->text_bytes, MON_TEXT_STRIDE_BYTES(16));
			for (uint32_t i = 0; i < 5 && i < chains[path].count; i++)
				assert_int_equal(stack->frames[i], chains[path].frames[i]);
		}
		watch_free(&watch);
		assert_int_equal(target_finish(target), 0);
	}
}

/* The caller is known in any case; what follows may be missing, never more than there is room. */
static void without_frame_pointers(void **state)
{
	struct mon_capture_options options = options_of(MODE(state), true);
	struct target *target = start("stacks_bare");

	open_watch(target, "stacks_bare", &options);
	work(target);
	for (int path = 0; path < STACKS_PATHS; path++) {
		const struct kept *stack = find(LEAF, (uint32_t)path);

		assert_int_equal(stack->frames[0], chains[path].frames[0]);
		assert_true(stack->count >= 1 && stack->count <= MON_STACK_FRAMES_DEFAULT);
	}
	watch_free(&watch);
	assert_int_equal(target_finish(target), 0);
}

/* The longest stack loads, alone and with texts; what no record has room for is refused. */
static void largest(void **state)
{
	struct mon_capture_options options = options_of(MODE(state), true);
	struct mon_capture *capture = NULL;
	struct mon_error error = {0};

	options.function_count = 1;
	options.stack_frames = MON_STACK_FRAMES_MAX;
	assert_int_equal(mon_capture_new(&options, &capture, &error), 0);
	mon_capture_free(capture);
	options.text_count = 1;
	options.texts[0] = (struct mon_text_choice){1, 0};
	options.text_calls = 10;
	options.capture_bytes = 700;
	assert_int_equal(mon_capture_new(&options, &capture, &error), 0);
	mon_capture_free(capture);
	options.capture_bytes = 1000;
	assert_int_equal(mon_capture_new(&options, &capture, &error), -EINVAL);
	options.text_count = 0;
	options.stack_frames = MON_STACK_FRAMES_MAX + 1;
	assert_int_equal(mon_capture_new(&options, &capture, &error), -EINVAL);
}

int main(int argc, char **argv)
{
	static enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
	} in_each_mode[] = {
		{"at_return", at_return},
		{"at_entry", at_entry},
		{"as_bpftrace_has_it", as_bpftrace_has_it},
		{"with_texts", with_texts},
		{"without_frame_pointers", without_frame_pointers},
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
	return cmocka_run_group_tests_name("kernel/stacks", tests, NULL, NULL);
}
