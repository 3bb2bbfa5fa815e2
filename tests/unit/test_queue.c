// SPDX-License-Identifier: GPL-2.0-or-later
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "base/clock.h"
#include "pipeline/queue.h"
#include "pipeline/record.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define LONG_NS (60 * MON_NS_PER_S)

/* A budget of the test's own: it counts bytes and fails when told. */
struct mon_budget {
	uint64_t used[MON_BUDGET_PARTS];
	bool failing;
};

void *mon_budget_calloc(struct mon_budget *budget, enum mon_budget_part part, uint64_t bytes)
{
	if (budget && budget->failing)
		return NULL;
	if (budget)
		budget->used[part] += bytes;
	return calloc(1, bytes);
}

void mon_budget_free_bytes(struct mon_budget *budget, enum mon_budget_part part, void *memory,
			   uint64_t bytes)
{
	if (budget && memory)
		budget->used[part] -= bytes;
	free(memory);
}

static void assert_all_given_back(const struct mon_budget *budget)
{
	assert_int_equal(budget->used[MON_BUDGET_QUEUE], 0);
	assert_int_equal(budget->used[MON_BUDGET_OVERFLOW], 0);
}

static struct mon_queue *new_queue(size_t slots, size_t overflow_slots, struct mon_budget *budget)
{
	struct mon_queue_options options = {
		.slots = slots,
		.overflow_slots = overflow_slots,
		.budget = budget,
	};
	struct mon_queue *queue;

	assert_int_equal(mon_queue_new(&options, &queue), 0);
	return queue;
}

/* The numbers from, from + 1, … */
static size_t drop_before(struct mon_queue *queue, uint64_t position)
{
	const uint64_t ends[MON_RINGS_MAX] = {position};

	return mon_queue_drop_before(queue, ends);
}

static size_t push_range(struct mon_queue *queue, uint64_t from, size_t count)
{
	uint64_t *positions = calloc(count, sizeof(*positions));
	size_t taken;

	assert_non_null(positions);
	for (size_t i = 0; i < count; i++)
		positions[i] = from + i;
	taken = mon_queue_push(queue, positions, count);
	free(positions);
	return taken;
}

static size_t pop_range(struct mon_queue *queue, uint64_t from, size_t max)
{
	uint64_t *positions = calloc(max, sizeof(*positions));
	size_t taken;

	assert_non_null(positions);
	taken = mon_queue_pop(queue, positions, max, 0);
	for (size_t i = 0; i < taken; i++)
		assert_int_equal(positions[i], from + i);
	free(positions);
	return taken;
}

static void test_defaults_and_order(void **state)
{
	struct mon_queue *queue = new_queue(0, 0, NULL);
	struct mon_queue_stats stats;

	(void)state;
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.slots, MON_QUEUE_SLOTS_DEFAULT + MON_QUEUE_OVERFLOW_DEFAULT);
	assert_int_equal(push_range(queue, 0, 70000), 60000);
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.used, 60000);
	assert_int_equal(stats.overflow_used, 50000);
	assert_int_equal(stats.refused, 10000);
	assert_int_equal(pop_range(queue, 0, 1), 1);
	assert_int_equal(push_range(queue, 60000, 2), 1); /* every slot is in use again */
	assert_int_equal(pop_range(queue, 1, 70000), 60000);
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.used, 0);
	assert_int_equal(stats.used_peak, 60000);
	assert_int_equal(stats.pushed, 60001);
	assert_int_equal(stats.popped, 60001);
	mon_queue_free(queue);
}

static void test_overflow_is_given_back(void **state)
{
	struct mon_budget budget = {0};
	struct mon_queue *queue = new_queue(100, 500, &budget);
	uint64_t base_bytes = 100 * sizeof(uint64_t);

	(void)state;
	assert_int_equal(budget.used[MON_BUDGET_QUEUE], base_bytes);
	assert_int_equal(push_range(queue, 0, 100), 100);
	assert_int_equal(budget.used[MON_BUDGET_OVERFLOW], 0);
	assert_int_equal(push_range(queue, 100, 1), 1);
	assert_int_equal(budget.used[MON_BUDGET_OVERFLOW], 500 * sizeof(uint64_t));
	assert_int_equal(pop_range(queue, 0, 1), 1); /* the last of the overflow moves up */
	assert_int_equal(budget.used[MON_BUDGET_OVERFLOW], 0);
	assert_int_equal(push_range(queue, 101, 50), 50);
	mon_queue_free(queue); /* with both parts in use */
	assert_all_given_back(&budget);
}

/* The overflow cannot be allocated: what does not fit is refused and counted, and it heals. */
static void test_overflow_refused(void **state)
{
	struct mon_budget budget = {0};
	struct mon_queue *queue = new_queue(10, 10, &budget);
	struct mon_queue_stats stats;

	(void)state;
	budget.failing = true;
	assert_int_equal(push_range(queue, 0, 15), 10);
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.overflow_refused, 1);
	assert_int_equal(stats.refused, 5);
	assert_int_equal(stats.used, 10);
	assert_int_equal(stats.slots, 10);
	assert_false(mon_queue_wait_room(queue, 0)); /* waiting must not spin on the refusal */
	budget.failing = false;
	assert_int_equal(pop_range(queue, 0, 3), 3);
	assert_true(mon_queue_wait_room(queue, LONG_NS));
	assert_int_equal(push_range(queue, 10, 15), 13);
	assert_int_equal(pop_range(queue, 3, 100), 20);
	mon_queue_free(queue);
	budget.failing = true;
	assert_int_equal(mon_queue_new(&(struct mon_queue_options){.budget = &budget}, &queue),
			 -ENOMEM);
	assert_all_given_back(&budget);
}

static void test_kick_and_close(void **state)
{
	struct mon_queue *queue = new_queue(4, 4, NULL);
	uint64_t positions[8];
	mon_ns before;

	(void)state;
	mon_queue_kick(queue);
	assert_int_equal(mon_queue_pop(queue, positions, 8, LONG_NS), 0); /* at once */
	before = mon_clock_now(&mon_clock_system); /* the kick is used up: this one waits */
	assert_int_equal(mon_queue_pop(queue, positions, 8, 5 * MON_NS_PER_MS), 0);
	assert_true(mon_clock_now(&mon_clock_system) - before >= 5 * MON_NS_PER_MS);
	assert_int_equal(push_range(queue, 1, 5), 5);
	assert_int_equal(mon_queue_pop(queue, positions, 2, UINT64_MAX), 2);
	assert_false(mon_queue_closed(queue));
	mon_queue_close(queue);
	assert_true(mon_queue_closed(queue));
	assert_int_equal(push_range(queue, 6, 1), 0);
	assert_false(mon_queue_wait_room(queue, LONG_NS));
	assert_int_equal(mon_queue_pop(queue, positions, 8, LONG_NS), 3);
	assert_int_equal(positions[0], 3);
	assert_int_equal(mon_queue_pop(queue, positions, 8, LONG_NS), 0);
	mon_queue_free(queue);
	mon_queue_free(NULL);
}

static void test_timeout_is_waited_for(void **state)
{
	struct mon_queue *queue = new_queue(1, 1, NULL);
	mon_ns before = mon_clock_now(&mon_clock_system);
	uint64_t position;

	(void)state;
	assert_int_equal(mon_queue_pop(queue, &position, 1, 5 * MON_NS_PER_MS), 0);
	assert_int_equal(push_range(queue, 0, 2), 2);
	assert_false(mon_queue_wait_room(queue, 5 * MON_NS_PER_MS));
	assert_true(mon_clock_now(&mon_clock_system) - before >= 10 * MON_NS_PER_MS);
	mon_queue_free(queue);
}

/* What waits for room under pressure waits until some is made, and does not spin. */
static void test_spared_memory(void **state)
{
	struct mon_queue *queue = new_queue(2, 4, NULL);
	struct mon_queue_stats stats;

	(void)state;
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.slots, 6);
	mon_queue_spare_memory(queue, true);
	assert_int_equal(push_range(queue, 0, 3), 2);
	mon_queue_stats(queue, &stats); /* full, for whoever looks at the level */
	assert_int_equal(stats.slots, 2);
	assert_int_equal(stats.used, 2);
	assert_false(mon_queue_wait_room(queue, 5 * MON_NS_PER_MS));
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.slots, 2); /* it is full, and whoever looks at the level sees it */
	assert_true(mon_queue_wait(queue, 0));
	assert_int_equal(drop_before(queue, 1), 1);
	assert_true(mon_queue_wait_room(queue, LONG_NS));
	mon_queue_spare_memory(queue, false);
	mon_queue_stats(queue, &stats);
	assert_int_equal(stats.slots, 6);
	assert_int_equal(push_range(queue, 2, 9), 5);
	assert_int_equal(pop_range(queue, 1, 9), 6);
	assert_false(mon_queue_wait(queue, 5 * MON_NS_PER_MS));
	mon_queue_free(queue);
}

/* Each ring has its own positions: what is before one's end is not before another's. */
static void test_drops_of_several_rings(void **state)
{
	const uint64_t places[] = {MON_PLACE(1, 8), MON_PLACE(0, 80), MON_PLACE(15, 0),
				   MON_PLACE(1, 16), MON_PLACE(0, 88)};
	uint64_t ends[MON_RINGS_MAX] = {80};
	struct mon_queue *queue = new_queue(10, 10, NULL);
	uint64_t popped[5];

	(void)state;
	assert_int_equal(mon_queue_push(queue, places, 5), 5);
	assert_int_equal(mon_queue_drop_before(queue, ends), 0);
	ends[1] = 17;
	ends[15] = 1;
	assert_int_equal(mon_queue_drop_before(queue, ends), 1); /* 80 of ring 0 is in the way */
	ends[0] = 81;
	assert_int_equal(mon_queue_drop_before(queue, ends), 3);
	assert_int_equal(mon_queue_pop(queue, popped, 5, 0), 1);
	assert_int_equal(MON_PLACE_RING(popped[0]), 0);
	assert_int_equal(MON_PLACE_POSITION(popped[0]), 88);
	mon_queue_free(queue);
}

/* Model: the queue holds the numbers [oldest, next), at most slots + overflow of them. */
static void test_random_operations(void **state)
{
	unsigned seed = (unsigned)mon_clock_now(&mon_clock_system);

	(void)state;
	print_message("seed %u\n", seed);
	for (int round = 0; round < 50; round++) {
		size_t slots = 1 + (size_t)rand_r(&seed) % 20;
		size_t overflow = 1 + (size_t)rand_r(&seed) % 60;
		struct mon_budget budget = {0};
		struct mon_queue *queue = new_queue(slots, overflow, &budget);
		uint64_t oldest = 0, next = 0;

		for (int i = 0; i < 500; i++) {
			size_t count = 1 + (size_t)rand_r(&seed) % (slots + overflow + 5);
			size_t used = next - oldest;
			size_t over = used > slots ? used - slots : 0;
			bool failing = rand_r(&seed) % 8 == 0;
			struct mon_queue_stats stats;

			if (rand_r(&seed) % 8 == 0) {
				size_t expected = count < used ? count : used;

				assert_int_equal(drop_before(queue, oldest + count), expected);
				oldest += expected;
			} else if (rand_r(&seed) % 2) {
				size_t most = slots + overflow;
				size_t room, expected;

				budget.failing = failing && rand_r(&seed) % 2;
				mon_queue_spare_memory(queue, failing && !budget.failing);
				if (failing && !over)
					most = slots;
				room = most - used;
				expected = count < room ? count : room;
				assert_int_equal(push_range(queue, next, count), expected);
				budget.failing = false;
				mon_queue_spare_memory(queue, false);
				next += expected;
			} else {
				size_t expected = count < used ? count : used;

				assert_int_equal(pop_range(queue, oldest, count), expected);
				oldest += expected;
			}
			used = next - oldest;
			over = used > slots ? used - slots : 0;
			mon_queue_stats(queue, &stats);
			assert_int_equal(stats.used, used);
			assert_int_equal(stats.overflow_used, over);
			assert_int_equal(budget.used[MON_BUDGET_OVERFLOW],
					 over ? overflow * sizeof(uint64_t) : 0);
			assert_int_equal(stats.pushed, next);
			assert_int_equal(stats.popped + stats.dropped, oldest);
		}
		mon_queue_free(queue);
		assert_all_given_back(&budget);
	}
}

#define HANDOVER 100000

static void *push_all(void *context)
{
	struct mon_queue *queue = context;
	unsigned seed = 1;

	for (uint64_t next = 0; next < HANDOVER;) {
		size_t count = 1 + (size_t)rand_r(&seed) % 64;

		if (count > HANDOVER - next)
			count = HANDOVER - next;
		next += push_range(queue, next, count);
		if (next < HANDOVER && !mon_queue_wait_room(queue, LONG_NS))
			break; /* the other side finds less than all */
		if (next % 7 == 0)
			mon_queue_kick(queue);
	}
	mon_queue_close(queue);
	return NULL;
}

static void test_two_threads(void **state)
{
	struct mon_queue *queue = new_queue(50, 100, NULL);
	uint64_t positions[77], expected = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, push_all, queue), 0);
	for (;;) {
		bool closed = mon_queue_closed(queue); /* before the pop: nothing comes after */
		size_t count = mon_queue_pop(queue, positions, 77, LONG_NS);

		for (size_t i = 0; i < count; i++)
			assert_int_equal(positions[i], expected++);
		if (!count && closed)
			break;
	}
	pthread_join(thread, NULL);
	assert_int_equal(expected, HANDOVER);
	mon_queue_free(queue);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_and_order),
		cmocka_unit_test(test_overflow_is_given_back),
		cmocka_unit_test(test_overflow_refused),
		cmocka_unit_test(test_kick_and_close),
		cmocka_unit_test(test_timeout_is_waited_for),
		cmocka_unit_test(test_spared_memory),
		cmocka_unit_test(test_drops_of_several_rings),
		cmocka_unit_test(test_random_operations),
		cmocka_unit_test(test_two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
