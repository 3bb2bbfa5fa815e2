// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/ledger.h"

#include "base/budget.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define START (1000 * MON_NS_PER_S)

static uint32_t histogram[MON_HISTOGRAM_SLOTS];

static void update(struct mon_ledger *ledger, uint64_t calls, mon_ns armed_ns)
{
	struct mon_counters counters = {
		.calls = calls, .returns = calls, .total_ns = calls * 10, .emitted = calls};

	mon_ledger_update(ledger, 0, &counters, histogram, armed_ns);
}

static void an_interval_a_second(void **state)
{
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	update(ledger, 5, MON_NS_PER_S / 2);
	mon_ledger_take(ledger, START + MON_NS_PER_S / 2, false, &tick);
	assert_int_equal(tick.interval_count, 0); /* not due; totals go out all the same */
	assert_int_equal(tick.total_count, 1);
	assert_int_equal(tick.totals[0].calls, 5);
	mon_ledger_commit(ledger);

	update(ledger, 12, MON_NS_PER_S);
	mon_ledger_take(ledger, START + MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(tick.intervals[0].calls, 12);
	assert_int_equal(tick.intervals[0].start_ns, START);
	assert_int_equal(tick.intervals[0].length_ns, MON_NS_PER_S);
	mon_ledger_commit(ledger);

	update(ledger, 12, 2 * MON_NS_PER_S); /* nothing called: no row */
	mon_ledger_take(ledger, START + 2 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 0);
	assert_int_equal(tick.total_count, 0);
	mon_ledger_commit(ledger);

	update(ledger, 13, 2 * MON_NS_PER_S + 1);
	mon_ledger_take(ledger, START + 2 * MON_NS_PER_S + 1, true, &tick);
	assert_int_equal(tick.interval_count, 1); /* final: due or not */
	assert_int_equal(tick.intervals[0].calls, 1);
	mon_ledger_free(ledger);
}

/* The breaker was open: nothing was committed, so the next interval is longer, never a hole. */
static void what_was_not_committed_comes_again(void **state)
{
	struct mon_counters counters = {.calls = 7, .recent_max_ns = 900, .ring_full = 3};
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	histogram[9] = 4;
	mon_ledger_update(ledger, 0, &counters, histogram, MON_NS_PER_S);
	mon_ledger_take(ledger, START + MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.intervals[0].max_ns, 900);

	counters = (struct mon_counters){.calls = 9, .recent_max_ns = 20, .ring_full = 3};
	histogram[9] = 6;
	mon_ledger_update(ledger, 0, &counters, histogram, 2 * MON_NS_PER_S);
	mon_ledger_take(ledger, START + 2 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(tick.intervals[0].calls, 9);
	assert_int_equal(tick.intervals[0].length_ns, 2 * MON_NS_PER_S);
	assert_int_equal(tick.intervals[0].armed_ns, 2 * MON_NS_PER_S);
	assert_int_equal(tick.intervals[0].max_ns, 900);
	assert_int_equal(tick.intervals[0].histogram[9], 6);
	assert_int_equal(tick.entry_count, 1);
	assert_int_equal(tick.entries[0].reason, MON_REASON_RING_FULL);
	assert_int_equal(tick.entries[0].from_ns, START + MON_NS_PER_S);
	assert_int_equal(tick.entries[0].to_ns, START + MON_NS_PER_S);
	mon_ledger_commit(ledger);

	counters.calls = 10;
	counters.recent_max_ns = 20;
	mon_ledger_update(ledger, 0, &counters, histogram, 3 * MON_NS_PER_S);
	mon_ledger_take(ledger, START + 3 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.intervals[0].calls, 1);
	assert_int_equal(tick.intervals[0].max_ns, 20);
	assert_int_equal(tick.intervals[0].histogram[9], 0);
	assert_int_equal(tick.entry_count, 0);
	mon_ledger_free(ledger);
}

/* A return between the two reads: its bucket is written although no counter moved yet. */
static void a_bucket_ahead_of_its_counters_is_not_lost(void **state)
{
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	histogram[5] = 1;
	update(ledger, 0, 1);
	mon_ledger_take(ledger, START + MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(tick.intervals[0].histogram[5], 1);
	mon_ledger_free(ledger);
}

static void a_wrapped_bucket_is_widened(void **state)
{
	struct mon_ledger *ledger;
	struct mon_total total;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	histogram[3] = 0xfffffff0u;
	update(ledger, 1, 1);
	histogram[3] = 0x10;
	update(ledger, 2, 2);
	mon_ledger_total(ledger, 0, &total);
	assert_true(total.histogram[3] == 0x100000010ull);
	mon_ledger_free(ledger);
}

static void later_intervals_are_longer(void **state)
{
	struct mon_ledger *ledger;
	struct mon_tick tick;
	mon_ns hour = START + MON_INTERVAL_LONG_AFTER_NS;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	mon_ledger_take(ledger, hour, false, &tick);
	mon_ledger_commit(ledger);
	update(ledger, 1, 1);
	mon_ledger_take(ledger, hour + 9 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 0);
	mon_ledger_commit(ledger);
	mon_ledger_take(ledger, hour + 10 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	mon_ledger_free(ledger);
}

static uint64_t credit(const void *context, uint32_t function, enum mon_reason reason)
{
	(void)function;
	return ((const uint64_t *)context)[reason];
}

static void the_sum_closes_or_says_where_not(void **state)
{
	struct mon_counters counters = {.calls = 100, .sampled_out = 60, .ring_full = 5};
	uint64_t credits[MON_REASON_COUNT] = {
		[MON_REASON_STORED] = 30, [MON_REASON_UNWOUND] = 4, [MON_REASON_IN_FLIGHT] = 1};
	struct mon_ledger *ledger;
	struct mon_ledger_sum sum;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	mon_ledger_update(ledger, 0, &counters, histogram, 1);
	mon_ledger_check(ledger, credit, credits, &sum);
	assert_int_equal(sum.unbalanced, 0);
	assert_int_equal(sum.accounted, 100);
	assert_int_equal(sum.lost, 5);
	credits[MON_REASON_STORED]--;
	mon_ledger_check(ledger, credit, credits, &sum);
	assert_int_equal(sum.unbalanced, 1);
	assert_int_equal(sum.first_unbalanced, 0);
	mon_ledger_free(ledger);
}

/* Commits at random: the committed intervals always add up to the last committed state. */
static void intervals_add_up(void **state)
{
	uint64_t random = (uint64_t)time(NULL) | 1, calls = 0, seen = 0, in_buckets = 0;
	struct mon_ledger *ledger;
	struct mon_tick tick;
	mon_ns end = START;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)random);
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	for (unsigned step = 1; step <= 5000; step++) {
		mon_ns now = START + step * MON_NS_PER_S / 3;
		bool final = step == 5000;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		calls += random >> 60;
		histogram[random >> 58 & 7] += (uint32_t)(random >> 60);
		update(ledger, calls, now - START);
		if (random >> 33 & 1 || final)
			mon_ledger_take(ledger, now, final, &tick);
		else
			continue;
		if (random >> 34 & 1 && !final)
			continue; /* the store failed */
		for (size_t i = 0; i < tick.interval_count; i++) {
			assert_true(tick.intervals[i].start_ns >= end);
			end = tick.intervals[i].start_ns + tick.intervals[i].length_ns;
			seen += tick.intervals[i].calls;
			for (unsigned k = 0; k < MON_HISTOGRAM_BUCKETS; k++)
				in_buckets += tick.intervals[i].histogram[k];
		}
		mon_ledger_commit(ledger);
	}
	assert_int_equal(seen, calls);
	assert_int_equal(in_buckets, calls);
	mon_ledger_free(ledger);
}

static void memory_is_the_budgets(void **state)
{
	struct mon_ledger *ledger = NULL;
	struct mon_budget *budget;

	(void)state;
	assert_int_equal(mon_budget_new(mon_ledger_bytes(10), &budget), 0);
	assert_int_equal(mon_ledger_new(11, START, budget, &ledger), -ENOMEM);
	assert_null(ledger);
	assert_int_equal(mon_ledger_new(10, START, budget, &ledger), 0);
	assert_int_equal(mon_budget_used(budget), mon_ledger_bytes(10));
	mon_ledger_free(ledger);
	assert_int_equal(mon_budget_used(budget), 0);
	mon_budget_free(budget);
}

/* What the plan sets aside for a function's totals is enough. */
static void the_plan_knows_its_size(void **state)
{
	const struct mon_budget_want want = {
		.limit_bytes = MON_BUDGET_DEFAULT_BYTES, .functions = 1, .cpus = 1};
	struct mon_budget_plan plan;

	(void)state;
	assert_int_equal(mon_budget_plan(&want, &plan), 0);
	assert_true(plan.bytes[MON_BUDGET_TOTALS] >= mon_ledger_bytes(1));
}

/* Numbers, names and classes are those of the database. */
static void reasons_are_the_schemas(void **state)
{
	FILE *file = fopen("userspace/pipeline/schema.sql", "r");
	char schema[65536], expected[64];
	size_t length;

	(void)state;
	assert_non_null(file);
	length = fread(schema, 1, sizeof(schema) - 1, file);
	schema[length] = '\0';
	(void)fclose(file);
	for (unsigned reason = 1; reason < MON_REASON_COUNT; reason++) {
		const char *row;

		assert_non_null(mon_reason_name(reason));
		(void)snprintf(expected, sizeof(expected), "(%u,'%s','", reason,
			       mon_reason_name(reason));
		row = strstr(schema, expected);
		if (!row)
			fail_msg("schema.sql has no %s", expected);
		assert_int_equal(strncmp(row + strlen(expected), "lost'", 5) == 0,
				 mon_reason_is_loss(reason));
	}
	assert_null(mon_reason_name(MON_REASON_COUNT));
	assert_null(mon_reason_name(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_interval_a_second),
		cmocka_unit_test(what_was_not_committed_comes_again),
		cmocka_unit_test(a_bucket_ahead_of_its_counters_is_not_lost),
		cmocka_unit_test(a_wrapped_bucket_is_widened),
		cmocka_unit_test(later_intervals_are_longer),
		cmocka_unit_test(the_sum_closes_or_says_where_not),
		cmocka_unit_test(intervals_add_up),
		cmocka_unit_test(memory_is_the_budgets),
		cmocka_unit_test(the_plan_knows_its_size),
		cmocka_unit_test(reasons_are_the_schemas),
	};

	return cmocka_run_group_tests_name("control/ledger", tests, NULL, NULL);
}
