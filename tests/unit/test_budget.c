// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/budget.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <cmocka.h>

static void the_hard_line_holds(void **state)
{
	struct mon_budget *budget;
	void *memory;

	(void)state;
	assert_int_equal(mon_budget_new(1000, &budget), 0);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_RING, 600), 0);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_QUEUE, 401), -ENOMEM);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_QUEUE, UINT64_MAX), -ENOMEM);
	assert_int_equal(mon_budget_used(budget), 600);
	memory = mon_budget_calloc(budget, MON_BUDGET_QUEUE, 400);
	assert_non_null(memory);
	assert_null(mon_budget_calloc(budget, MON_BUDGET_QUEUE, 1));
	assert_int_equal(mon_budget_part_used(budget, MON_BUDGET_QUEUE), 400);
	mon_budget_free_bytes(budget, MON_BUDGET_QUEUE, memory, 400);
	mon_budget_release(budget, MON_BUDGET_RING, 600);
	assert_int_equal(mon_budget_used(budget), 0);
	assert_int_equal(mon_budget_part_peak(budget, MON_BUDGET_QUEUE), 400);
	mon_budget_free(budget);
}

static void the_nth_reservation_fails_once(void **state)
{
	struct mon_budget *budget;

	(void)state;
	assert_int_equal(mon_budget_new(1000, &budget), 0);
	mon_budget_fail_at(budget, 3);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_MAPS, 1), 0);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_MAPS, 1), 0);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_MAPS, 1), -ENOMEM);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_MAPS, 1), 0);
	assert_int_equal(mon_budget_used(budget), 3);
	mon_budget_free(budget);
}

static void *reserve_and_release(void *argument)
{
	struct mon_budget *budget = argument;

	for (unsigned i = 0; i < 100000; i++)
		if (mon_budget_reserve(budget, MON_BUDGET_MAPS, 60) == 0)
			mon_budget_release(budget, MON_BUDGET_MAPS, 60);
	return NULL;
}

static void two_threads_never_pass_it_together(void **state)
{
	struct mon_budget *budget;
	pthread_t threads[2];

	(void)state;
	assert_int_equal(mon_budget_new(100, &budget), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reserve_and_release, budget), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mon_budget_used(budget), 0);
	assert_int_equal(mon_budget_part_peak(budget, MON_BUDGET_MAPS), 60);
	mon_budget_free(budget);
}

static void the_default_plan(void **state)
{
	struct mon_budget_want want = {.limit_bytes = MON_BUDGET_DEFAULT_BYTES,
				       .functions = 10,
				       .cpus = 2,
				       .frames = true};
	struct mon_budget_plan plan;
	uint64_t sum = 0;

	(void)state;
	assert_int_equal(mon_budget_plan(&want, &plan), 0);
	assert_int_equal(plan.ring_bytes, MON_RING_BYTES_DEFAULT);
	assert_int_equal(plan.threads, MON_THREADS_MAX);
	for (unsigned i = 0; i < MON_BUDGET_PARTS; i++)
		sum += plan.bytes[i];
	assert_int_equal(sum, plan.total_bytes);
	assert_true(plan.total_bytes <= want.limit_bytes);
}

/* Below 9 CPUs one; above, one for 8, as large as the total allows, and never above the budget. */
static void rings_share_what_there_is(void **state)
{
	struct mon_budget_want want = {.limit_bytes = MON_BUDGET_DEFAULT_BYTES,
				       .functions = 10,
				       .cpus = 8,
				       .frames = true};
	static const struct {
		uint32_t cpus, asked, rings;
		uint64_t bytes, each;
	} cases[] = {
		{1, 0, 1, 0, 16 << 20},	       {8, 0, 1, 0, 16 << 20},
		{9, 0, 2, 0, 8 << 20},	       {17, 0, 3, 0, 4 << 20},
		{128, 0, 16, 0, 1 << 20},      {1000, 0, 16, 0, 1 << 20},
		{2, 2, 2, 0, 8 << 20},	       {64, 1, 1, 0, 16 << 20},
		{2, 2, 2, 32 << 20, 16 << 20}, {16, 16, 16, 4096, 4096},
		{3, 3, 3, 1 << 20, 256 << 10},
	};
	struct mon_budget_plan plan;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		want.cpus_online = cases[i].cpus;
		want.rings = cases[i].asked;
		want.ring_bytes = cases[i].bytes;
		assert_int_equal(mon_budget_plan(&want, &plan), 0);
		assert_int_equal(plan.rings, cases[i].rings);
		assert_int_equal(plan.ring_bytes, cases[i].each);
		assert_int_equal(plan.bytes[MON_BUDGET_RING], plan.rings * plan.ring_bytes);
		assert_true(plan.total_bytes <= want.limit_bytes);
	}
}

/* One table for all threads: many short texts, few long ones, and none that nobody asked for. */
static void strings_and_buffers_have_their_share(void **state)
{
	struct mon_budget_want want = {.limit_bytes = MON_BUDGET_DEFAULT_BYTES,
				       .functions = 10,
				       .cpus = 2,
				       .frames = true};
	struct mon_budget_plan without, plan;

	(void)state;
	assert_int_equal(mon_budget_plan(&want, &without), 0);
	assert_int_equal(without.text_calls, 0);
	for (want.text_bytes = 24; want.text_bytes <= 1928; want.text_bytes += 8) {
		uint64_t bytes;

		assert_int_equal(mon_budget_plan(&want, &plan), 0);
		bytes = plan.bytes[MON_BUDGET_MAPS] - without.bytes[MON_BUDGET_MAPS];
		assert_in_range(plan.text_calls, 500, MON_TEXT_CALLS_MAX);
		assert_true(bytes > plan.text_calls * want.text_bytes);
		assert_true(bytes <= MON_TEXT_CALLS_BYTES);
	}
	want.frames = false; /* then no call is ever open */
	assert_int_equal(mon_budget_plan(&want, &plan), 0);
	assert_int_equal(plan.text_calls, 0);
}

/* Whatever is wanted: what the plan calls the least does, and one byte less does not. */
static void the_least_is_the_least(void **state)
{
	uint64_t random = (uint64_t)time(NULL) | 1;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)random);
	for (unsigned i = 0; i < 10000; i++) {
		struct mon_budget_want want = {.limit_bytes = 1};
		struct mon_budget_plan plan, second;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		want.functions = (uint32_t)(random >> 50);
		want.cpus = want.cpus_online = 1 + (uint32_t)(random >> 40 & 127);
		want.rings = random >> 8 & 1 ? 1 + (uint32_t)(random >> 4 & 15) : 0;
		want.frames = random >> 39 & 1;
		want.arguments = random >> 38 & 1;
		want.threads = random >> 37 & 1 ? (uint32_t)(random >> 20 & 1023) + 1 : 0;
		want.ring_bytes = random >> 36 & 1 ? 4096ull << (random >> 30 & 15) : 0;
		want.symbols_bytes = random >> 10 & 0xfffff;
		want.text_bytes = random >> 9 & 1 ? random >> 44 & 0x7ff : 0;
		assert_int_equal(mon_budget_plan(&want, &plan), -ENOMEM);
		want.limit_bytes = plan.least_bytes;
		assert_int_equal(mon_budget_plan(&want, &second), 0);
		assert_int_equal(second.least_bytes, plan.least_bytes);
		want.limit_bytes--;
		assert_int_equal(mon_budget_plan(&want, &second), -ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hard_line_holds),
		cmocka_unit_test(the_nth_reservation_fails_once),
		cmocka_unit_test(two_threads_never_pass_it_together),
		cmocka_unit_test(the_default_plan),
		cmocka_unit_test(rings_share_what_there_is),
		cmocka_unit_test(strings_and_buffers_have_their_share),
		cmocka_unit_test(the_least_is_the_least),
	};

	return cmocka_run_group_tests_name("base/budget", tests, NULL, NULL);
}
