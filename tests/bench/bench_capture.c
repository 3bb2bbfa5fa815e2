// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a watched call costs its caller, in each mode, as ratios to a pair of empty programs at the
 * same entry and return, in the same minute. The function starts with `push`, which the kernel
 * emulates. The target has one CPU, this program with the ring's reader another. Each round does
 * all variants one after the other, so that a machine that changes its speed changes all of them;
 * what is printed is the median of the rounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/bench/empty.skel.h"
#include "capture/link.h"
#include "control/sampler.h"
#include "tests/harness/functions.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"

#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 7
#define CALLS 300000
#define WARM_CALLS 20000
#define RING_BYTES (16u << 20)
#define ATTACH_TYPE_SESSION 57 /* BPF_TRACE_UPROBE_SESSION, d920179b3d4c */

enum variant {
	UNWATCHED,
	EMPTY_ENTRY,
	EMPTY_PAIR,
	COUNTS,
	EXACT,
	SAMPLED,
	FULL,
	FULL_ARGS,
	VARIANTS,
};

static const char *const variant_names[VARIANTS] = {
	[UNWATCHED] = "not watched",
	[EMPTY_ENTRY] = "empty program, entry only",
	[EMPTY_PAIR] = "empty programs, entry + return",
	[COUNTS] = "--stats counts, no records",
	[EXACT] = "exact statistics, no records (-c)",
	[SAMPLED] = "exact statistics, 1 in 100 kept",
	[FULL] = "exact statistics, every call kept",
	[FULL_ARGS] = "the same, six arguments each",
};

static const char *const symbols[] = {"watched_timed", NULL};
static struct watch watch;
static struct empty_bpf *empty;
static struct target *target;
static atomic_bool reading;
static uint64_t lost;

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(pid, sizeof(set), &set);
}

static double time_calls(unsigned calls)
{
	unsigned long long took_ns, made;
	char line[32];

	(void)snprintf(line, sizeof(line), "%u", calls);
	process_say(target_process(target), line);
	if (sscanf(target_wait_line(target, "took", PROCESS_TIMEOUT_MS), "took %llu %llu", &took_ns,
		   &made) != 2)
		fail_msg("the target does not tell its time");
	return (double)took_ns / (double)made;
}

static double time_round(void)
{
	(void)time_calls(WARM_CALLS);
	return time_calls(CALLS);
}

static void *read_ring(void *unused)
{
	struct mon_record record;

	while (atomic_load(&reading)) {
		uint64_t end = 0;

		(void)mon_rings_wait(watch.rings, -1, 100);
		while (mon_ring_try_pop(watch.ring, &record) == 0) {
			end = record.end;
			if (end % 65536 < 128) {
				mon_ring_acknowledge(watch.ring, end);
				end = 0;
			}
		}
		if (end)
			mon_ring_acknowledge(watch.ring, end);
	}
	return unused;
}

static double time_empty(enum mon_mode mode, bool returns)
{
	const struct mon_function *function = &watch.set.functions[0];
	const char *path = watch.set.modules[0].open_path;
	uint64_t offset = function->probe_offset, cookie = 0;
	pid_t pid = target_pid(target);
	MON_CLOSE int entry = -1;
	MON_CLOSE int at_return = -1;
	int program;

	if (mode == MON_MODE_SESSION && returns) {
		program = bpf_program__fd(empty->progs.empty_session);
		entry = mon_link_multi(program, MON_LINK_SESSION, path, &offset, &cookie, 1, pid);
	} else if (mode != MON_MODE_PERF) {
		program = bpf_program__fd(empty->progs.empty_multi);
		entry = mon_link_multi(program, MON_LINK_MULTI_ENTRY, path, &offset, &cookie, 1,
				       pid);
		if (returns)
			at_return = mon_link_multi(program, MON_LINK_MULTI_RETURN, path, &offset,
						   &cookie, 1, pid);
	} else {
		program = bpf_program__fd(empty->progs.empty_perf);
		entry = mon_link_perf(program, false, path, offset, cookie, pid);
		if (returns)
			at_return = mon_link_perf(program, true, path, offset, cookie, pid);
	}
	if (entry < 0 || (returns && mode != MON_MODE_SESSION && at_return < 0))
		fail_msg("no link in %s mode: %s", mon_mode_name(mode), strerror(-entry));
	return time_round();
}

static double time_watched(enum mon_mode mode, enum variant variant)
{
	struct mon_capture_options options = watch_options(mode);
	struct mon_counters counters;
	pthread_t reader;
	double ns;

	options.ring_bytes = RING_BYTES;
	options.returns = variant != COUNTS;
	options.arg_count = variant == FULL_ARGS ? 6 : 0;
	watch_open(&watch, &options);
	if (variant == COUNTS || variant == EXACT)
		mon_capture_write_policy(watch.capture, 0,
					 (struct mon_policy){.sample = MON_SAMPLE_NONE});
	if (variant == SAMPLED)
		mon_capture_write_policy(watch.capture, 0,
					 (struct mon_policy){.sample = mon_sample_word(100)});
	watch_attach(&watch, target_pid(target));
	atomic_store(&reading, true);
	assert_int_equal(pthread_create(&reader, NULL, read_ring, NULL), 0);
	ns = time_round();
	assert_int_equal(mon_capture_detach(watch.capture), 0);
	atomic_store(&reading, false);
	assert_int_equal(pthread_join(reader, NULL), 0);
	counters = watch_counters(&watch, 0);
	if (counters.calls != CALLS + WARM_CALLS)
		fail_msg("%llu of %u calls seen", (unsigned long long)counters.calls,
			 CALLS + WARM_CALLS);
	lost += counters.ring_full + counters.frame_refused;
	mon_rings_free(watch.rings);
	mon_capture_free(watch.capture);
	free(watch.records);
	watch.rings = NULL;
	watch.capture = NULL;
	watch.records = NULL;
	return ns;
}

static double time_variant(enum mon_mode mode, enum variant variant)
{
	switch (variant) {
	case UNWATCHED:
		return time_round();
	case EMPTY_ENTRY:
	case EMPTY_PAIR:
		return time_empty(mode, variant == EMPTY_PAIR);
	default:
		return time_watched(mode, variant);
	}
}

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(const double values[ROUNDS])
{
	double sorted[ROUNDS];

	memcpy(sorted, values, sizeof(sorted));
	qsort(sorted, ROUNDS, sizeof(*sorted), by_size);
	return sorted[ROUNDS / 2];
}

static void measure(enum mon_mode mode)
{
	static double ns[VARIANTS][ROUNDS], ratio[VARIANTS][ROUNDS];

	lost = 0;
	for (int round = 0; round < ROUNDS; round++) {
		for (enum variant variant = 0; variant < VARIANTS; variant++)
			ns[variant][round] = time_variant(mode, variant);
		for (enum variant variant = 0; variant < VARIANTS; variant++)
			ratio[variant][round] = ns[variant][round] / ns[EMPTY_PAIR][round];
	}
	(void)printf("%s mode: a call of a function that starts with push  ns/call  of the pair\n",
		     mon_mode_name(mode));
	for (enum variant variant = 0; variant < VARIANTS; variant++)
		(void)printf("  %-50s %10.0f %9.2f x%s\n", variant_names[variant],
			     median(ns[variant]), median(ratio[variant]),
			     variant == FULL ? "   (goal 1.30)" : "");
	(void)printf("  %-50s %10llu\n", "records lost", (unsigned long long)lost);
}

int main(void)
{
	char path[4096];

	empty = empty_bpf__open();
	if (!empty ||
	    bpf_program__set_expected_attach_type(empty->progs.empty_session,
						  ATTACH_TYPE_SESSION) ||
	    empty_bpf__load(empty)) {
		(void)fprintf(stderr, "bench_capture: the empty programs do not load\n");
		return 1;
	}
	target = target_start("timed", NULL);
	pin(target_pid(target), 0);
	pin(0, 1);
	functions_add(&watch.set, target_path("timed", path, sizeof(path)), symbols);
	for (enum mon_mode mode = MON_MODE_SESSION; mode < MON_MODES; mode++)
		measure(mode);
	empty_bpf__destroy(empty);
	mon_function_set_clear(&watch.set);
	return target_finish(target);
}
