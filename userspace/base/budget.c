// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One atomic counter for the whole and two for each part. A reservation adds first and takes back
 * when the limit was passed, so two threads can never pass it together.
 */
#include "base/budget.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct mon_budget {
	uint64_t limit_bytes;
	_Atomic uint64_t used_bytes;
	_Atomic uint64_t part_bytes[MON_BUDGET_PARTS];
	_Atomic uint64_t part_peak_bytes[MON_BUDGET_PARTS];
	_Atomic uint64_t fail_in; /* 0: off; 1: the next reservation fails */
};

int mon_budget_new(uint64_t limit_bytes, struct mon_budget **budget_out)
{
	struct mon_budget *budget = calloc(1, sizeof(*budget));

	if (!budget)
		return -ENOMEM;
	budget->limit_bytes = limit_bytes;
	*budget_out = budget;
	return 0;
}

void mon_budget_free(struct mon_budget *budget)
{
	free(budget);
}

/* True when this reservation is the one that a test wants to see fail. */
static bool fails_now(struct mon_budget *budget)
{
	uint64_t left = atomic_load(&budget->fail_in);

	while (left > 0)
		if (atomic_compare_exchange_weak(&budget->fail_in, &left, left - 1))
			return left == 1;
	return false;
}

int mon_budget_reserve(struct mon_budget *budget, enum mon_budget_part part, uint64_t bytes)
{
	uint64_t before, used, peak;

	if (!budget)
		return 0;
	if (fails_now(budget) || bytes > budget->limit_bytes)
		return -ENOMEM;
	before = atomic_fetch_add(&budget->used_bytes, bytes);
	if (before + bytes > budget->limit_bytes) {
		atomic_fetch_sub(&budget->used_bytes, bytes);
		return -ENOMEM;
	}
	used = atomic_fetch_add(&budget->part_bytes[part], bytes) + bytes;
	peak = atomic_load(&budget->part_peak_bytes[part]);
	while (peak < used &&
	       !atomic_compare_exchange_weak(&budget->part_peak_bytes[part], &peak, used))
		;
	return 0;
}

void mon_budget_release(struct mon_budget *budget, enum mon_budget_part part, uint64_t bytes)
{
	if (!budget)
		return;
	atomic_fetch_sub(&budget->part_bytes[part], bytes);
	atomic_fetch_sub(&budget->used_bytes, bytes);
}

void *mon_budget_calloc(struct mon_budget *budget, enum mon_budget_part part, uint64_t bytes)
{
	void *memory;

	if (budget && mon_budget_reserve(budget, part, bytes))
		return NULL;
	memory = calloc(1, bytes ? bytes : 1);
	if (!memory && budget)
		mon_budget_release(budget, part, bytes);
	return memory;
}

void mon_budget_free_bytes(struct mon_budget *budget, enum mon_budget_part part, void *memory,
			   uint64_t bytes)
{
	if (!memory)
		return;
	free(memory);
	if (budget)
		mon_budget_release(budget, part, bytes);
}

uint64_t mon_budget_limit(const struct mon_budget *budget)
{
	return budget->limit_bytes;
}

uint64_t mon_budget_used(const struct mon_budget *budget)
{
	return atomic_load(&budget->used_bytes);
}

uint64_t mon_budget_part_used(const struct mon_budget *budget, enum mon_budget_part part)
{
	return atomic_load(&budget->part_bytes[part]);
}

uint64_t mon_budget_part_peak(const struct mon_budget *budget, enum mon_budget_part part)
{
	return atomic_load(&budget->part_peak_bytes[part]);
}

const char *mon_budget_part_name(enum mon_budget_part part)
{
	static const char *const names[MON_BUDGET_PARTS] = {
		[MON_BUDGET_PROCESS] = "process", [MON_BUDGET_RING] = "ring",
		[MON_BUDGET_MAPS] = "maps",	  [MON_BUDGET_FRAMES] = "frames",
		[MON_BUDGET_QUEUE] = "queue",	  [MON_BUDGET_OVERFLOW] = "overflow",
		[MON_BUDGET_SYMBOLS] = "symbols", [MON_BUDGET_TOTALS] = "totals",
		[MON_BUDGET_SQLITE] = "sqlite",	  [MON_BUDGET_SPOOL] = "spool",
	};

	return names[part];
}

void mon_budget_fail_at(struct mon_budget *budget, uint64_t nth)
{
	atomic_store(&budget->fail_in, nth);
}

/* What the process itself weighs: code, libraries, stacks, libbpf's object while it loads. */
#define PROCESS_BYTES (7ull << 20)
/* A kernel slab for 64 frames and its header, and a second one when arguments are kept. */
#define THREAD_BYTES 4096ull
/* Of a hash map: the entry's own header, its key, and its share of the buckets. */
#define TEXT_ENTRY_BYTES 112
#define QUEUE_BYTES (10000ull * 8 + MON_BUDGET_BATCH_BYTES)
#define OVERFLOW_BYTES (50000ull * 8)
/* Counters and allowance for each CPU, histogram, policy, the window of its cap. */
#define COUNTERS_BYTES_PER_CPU (128ull + 16)
#define FUNCTION_BYTES (944ull + 32 + 8)
#define ARMING_BYTES 16ull
#define PAGE_BYTES 4096ull
/* Of each ring beyond the first: its own pages and the kernel's list of the data's. */
#define RING_EXTRA_BYTES (5 * PAGE_BYTES)

static uint64_t sum_of(const uint64_t *bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < MON_BUDGET_PARTS; i++)
		sum += bytes[i];
	return sum;
}

static uint64_t totals_bytes(uint64_t functions, bool governed)
{
	uint64_t returned =
		functions < MON_TOTALS_RETURNED_PLANNED ? functions : MON_TOTALS_RETURNED_PLANNED;

	return functions * (MON_TOTALS_FUNCTION_BYTES + MON_BUDGET_CREDITS_BYTES +
			    (governed ? MON_GOVERNED_FUNCTION_BYTES : 0)) +
	       MON_COVERAGE_ROWS_MAX * MON_COVERAGE_ROW_BYTES * governed +
	       returned * MON_TOTALS_RETURNED_BYTES + MON_TOTALS_SPARE_BYTES +
	       MON_BUDGET_TASKS_BYTES;
}

/* A fixed table: the kernel has it all from the start. */
static uint64_t text_bytes(const struct mon_budget_want *want, uint32_t *calls_out)
{
	uint64_t call_bytes = want->text_bytes + TEXT_ENTRY_BYTES, calls;

	if (!want->frames || !want->text_bytes)
		return 0;
	calls = MON_TEXT_CALLS_BYTES / call_bytes;
	if (calls > MON_TEXT_CALLS_MAX)
		calls = MON_TEXT_CALLS_MAX;
	*calls_out = calls ? (uint32_t)calls : 1;
	return *calls_out * call_bytes;
}

static uint64_t ring_wish(const struct mon_budget_want *want)
{
	uint64_t bytes = MON_RING_BYTES_DEFAULT;

	if (want->ring_bytes)
		return want->ring_bytes;
	while (bytes > want->limit_bytes / 4 && bytes > MON_RING_BYTES_DEFAULT_MIN)
		bytes /= 2;
	return bytes;
}

/* So many producers as share one ring fast enough; see pipeline/rings.h. */
static uint32_t rings_wish(const struct mon_budget_want *want)
{
	uint32_t rings = want->rings;

	if (!rings)
		rings = (want->cpus_online + MON_RING_CPUS - 1) / MON_RING_CPUS;
	if (!rings)
		rings = 1;
	return rings < MON_RINGS_PLANNED_MAX ? rings : MON_RINGS_PLANNED_MAX;
}

/* The largest power of two that fits so many times; a ring has a page at least. */
static uint64_t share_of(uint64_t bytes, uint32_t rings)
{
	uint64_t share = MON_RING_BYTES_MIN;

	while (2 * share * rings <= bytes)
		share *= 2;
	return share;
}

static int plan_with_ring(const struct mon_budget_want *want, uint64_t ring_bytes,
			  struct mon_budget_plan *plan_out)
{
	uint32_t rings = rings_wish(want);
	struct mon_budget_plan plan = {
		.ring_bytes = share_of(ring_bytes, rings),
		.rings = rings,
	};
	uint64_t thread_bytes = THREAD_BYTES * (want->arguments ? 2 : 1);
	uint64_t *bytes = plan.bytes;
	uint64_t without_frames, least_ring, room;

	bytes[MON_BUDGET_PROCESS] = PROCESS_BYTES;
	bytes[MON_BUDGET_RING] = plan.rings * plan.ring_bytes;
	bytes[MON_BUDGET_MAPS] =
		want->functions * (want->cpus * COUNTERS_BYTES_PER_CPU + FUNCTION_BYTES) +
		want->governed * (want->functions * ARMING_BYTES + PAGE_BYTES) +
		4 * PAGE_BYTES + /* each of four arrays is rounded up to a page */
		(plan.rings - 1) * RING_EXTRA_BYTES + text_bytes(want, &plan.text_calls);
	bytes[MON_BUDGET_QUEUE] = QUEUE_BYTES + want->print_bytes;
	bytes[MON_BUDGET_OVERFLOW] = OVERFLOW_BYTES;
	bytes[MON_BUDGET_SYMBOLS] = want->symbols_bytes;
	bytes[MON_BUDGET_TOTALS] = totals_bytes(want->functions, want->governed) +
				   (want->stacks ? MON_BUDGET_STACKS_BYTES : 0);
	bytes[MON_BUDGET_SQLITE] = MON_BUDGET_SQLITE_BYTES;
	bytes[MON_BUDGET_SPOOL] = MON_BUDGET_SPOOL_BYTES;
	without_frames = sum_of(bytes);

	if (want->frames) {
		plan.threads = want->threads ? want->threads : MON_THREADS_MAX;
		room = want->limit_bytes > without_frames ? want->limit_bytes - without_frames : 0;
		if (!want->threads && plan.threads > room / thread_bytes)
			plan.threads = (uint32_t)(room / thread_bytes);
		if (!want->threads && plan.threads < MON_THREADS_MIN)
			plan.threads = MON_THREADS_MIN;
		bytes[MON_BUDGET_FRAMES] = plan.threads * thread_bytes;
	}
	plan.total_bytes = sum_of(bytes);

	least_ring = want->ring_bytes ? bytes[MON_BUDGET_RING]
				      : rings * share_of(MON_RING_BYTES_DEFAULT_MIN, rings);
	plan.least_bytes = without_frames - bytes[MON_BUDGET_RING] + least_ring;
	if (want->frames)
		plan.least_bytes +=
			(want->threads ? want->threads : MON_THREADS_MIN) * thread_bytes;
	*plan_out = plan;
	return plan.total_bytes > want->limit_bytes ? -ENOMEM : 0;
}

int mon_budget_plan(const struct mon_budget_want *want, struct mon_budget_plan *plan_out)
{
	uint64_t ring_bytes = ring_wish(want);
	int result = plan_with_ring(want, ring_bytes, plan_out);

	/* A ring that nobody asked for gives way before the run is refused. */
	while (result && !want->ring_bytes && ring_bytes > MON_RING_BYTES_DEFAULT_MIN) {
		ring_bytes /= 2;
		result = plan_with_ring(want, ring_bytes, plan_out);
	}
	return result;
}
