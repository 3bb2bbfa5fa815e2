// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * M01 of the fault matrix for the stages of a run, made in the order of a start on one budget: each
 * reservation fails in its turn, until all of them are there. Whoever is refused says -ENOMEM,
 * leaves its out parameter and the disk alone, and has given back what it had. Under the sanitizers
 * a leak is a failure, too. The whole program without memory is fault/test_memory_pressure.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "control/ledger.h"
#include "monitor/workers.h"
#include "tests/harness/scratch.h"
#include "tests/harness/store.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_BYTES 4096u
#define FUNCTIONS 3
#define UUID "01234567-89ab-cdef-0123-456789abcdef"

struct stages {
	struct mon_budget *budget;
	struct mon_store *store;
	struct mon_spool *spool;
	struct mon_rings *rings;
	struct mon_ledger *ledger;
	struct mon_queue *queue;
	struct mon_workers *workers;
	char *consumer, *producer; /* the ring's pages */
	char *spool_path;
};

/* Nothing is in it, and it is not a BPF map: the reader finds nothing. */
static void make_ring(struct stages *stages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct mon_ring_options options = {
		.map_fd = -1, .size_bytes = RING_BYTES, .function_count = FUNCTIONS};

	stages->consumer =
		mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	stages->producer = mmap(NULL, page + 2 * RING_BYTES, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(stages->consumer != MAP_FAILED && stages->producer != MAP_FAILED);
	options.consumer_page = stages->consumer;
	options.producer_pages = stages->producer;
	assert_int_equal(mon_rings_new(&stages->rings), 0);
	assert_int_equal(mon_rings_add(stages->rings, &options), 0);
}

/* In the order of monitor/monitor.c. 0, or the first refusal. */
static int make_stages(struct stages *stages)
{
	struct mon_store_options store = store_options();
	const struct mon_spool_options spool = {
		.path = stages->spool_path,
		.run_uuid = UUID,
		.owner_uid = geteuid(),
		.owner_gid = getegid(),
		.max_bytes = MON_SPOOL_MAX_BYTES_MIN,
		.segment_bytes = MON_SPOOL_SEGMENT_BYTES_MIN,
		.reserve_bytes = MON_SPOOL_SEGMENT_BYTES_MIN,
		.budget = stages->budget,
	};
	const struct mon_queue_options queue = {.budget = stages->budget};
	const struct mon_breaker_options breaker = {.clock = &mon_clock_system};
	struct mon_workers_options workers = {.breaker = &breaker, .budget = stages->budget};
	struct mon_error error = {0};
	int result;

	store.budget = stages->budget;
	result = mon_store_new(&store, &stages->store, &error);
	if (!result)
		result = mon_spool_new(&spool, &stages->spool, &error);
	if (!result)
		result = mon_ledger_new(FUNCTIONS, 1, stages->budget, &stages->ledger);
	if (!result)
		result = store_try_begin(stages->store, &error);
	if (!result) {
		make_ring(stages);
		result = mon_queue_new(&queue, &stages->queue);
	}
	workers.store = stages->store;
	workers.spool = stages->spool;
	workers.rings = stages->rings;
	workers.queue = stages->queue;
	if (!result)
		result = mon_workers_new(&workers, &stages->workers);
	return result;
}

static void free_stages(struct stages *stages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	mon_workers_free(stages->workers);
	mon_queue_free(stages->queue);
	mon_rings_free(stages->rings);
	mon_ledger_free(stages->ledger);
	mon_spool_free(stages->spool);
	mon_store_free(stages->store);
	if (stages->consumer)
		(void)munmap(stages->consumer, page);
	if (stages->producer)
		(void)munmap(stages->producer, page + 2 * RING_BYTES);
}

static void M01_each_stage_is_refused(void **state)
{
	uint64_t nth = 1;
	int result;

	(void)state;
	do {
		struct stages stages = {.spool_path = scratch_path(store_directory, "spool")};
		size_t made;

		assert_int_equal(mon_budget_new(MON_BUDGET_DEFAULT_BYTES, &stages.budget), 0);
		mon_budget_fail_at(stages.budget, nth);
		result = make_stages(&stages);
		made = !!stages.store + !!stages.spool + !!stages.ledger + !!stages.queue +
		       !!stages.workers;
		if (result) {
			assert_int_equal(result, -ENOMEM);
			assert_true(made < 5);
		} else {
			assert_int_equal(made, 5);
		}
		free_stages(&stages);
		assert_int_equal(mon_budget_used(stages.budget), 0);
		mon_budget_free(stages.budget);
		free(stages.spool_path);
		nth++;
	} while (result);
	print_message("%llu reservations\n", (unsigned long long)nth - 2);
	assert_true(nth - 2 >= 5);
}

/* The overflow is refused each time it is wanted: what had no room is counted. */
static void M01_overflow_is_refused(void **state)
{
	static uint64_t positions[MON_QUEUE_SLOTS_DEFAULT + 500];
	struct mon_queue_options options = {0};
	struct mon_queue_stats stats;
	struct mon_queue *queue = NULL;
	size_t taken;

	(void)state;
	for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++)
		positions[i] = i * 8;
	assert_int_equal(mon_budget_new(MON_BUDGET_DEFAULT_BYTES, &options.budget), 0);
	assert_int_equal(mon_queue_new(&options, &queue), 0);
	mon_budget_fail_at(options.budget, 1);
	taken = mon_queue_push(queue, positions, sizeof(positions) / sizeof(positions[0]));
	assert_int_equal(taken, MON_QUEUE_SLOTS_DEFAULT);
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.overflow_refused, 1);
	assert_int_equal(stats.refused, 500);
	assert_int_equal(stats.used, stats.slots); /* full: that is what starts spooling */
	taken = mon_queue_push(queue, positions + taken, 500);
	assert_int_equal(taken, 500); /* it was short for a moment */
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.overflow_refused, 1);
	assert_int_equal(stats.slots, MON_QUEUE_SLOTS_DEFAULT + MON_QUEUE_OVERFLOW_DEFAULT);
	mon_queue_free(queue);
	assert_int_equal(mon_budget_used(options.budget), 0);
	mon_budget_free(options.budget);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(M01_each_stage_is_refused),
		TEST(M01_overflow_is_refused),
	};

	return cmocka_run_group_tests_name("unit/allocations", tests, NULL, NULL);
}
