// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/ledger.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/histogram.h"

#include <errno.h>
#include <pthread.h>
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

static void take(struct mon_ledger *ledger, mon_ns now, bool final, struct mon_tick *tick)
{
	assert_int_equal(mon_ledger_take(ledger, now, final, tick), 0);
}

/* Adds what a row's histogram holds. */
static void add_blob(const uint8_t *blob, size_t bytes, uint64_t *counts)
{
	assert_non_null(blob);
	assert_int_equal(mon_histogram_decode(blob, bytes, counts), 0);
}

static uint64_t bucket_of(const struct mon_interval *row, unsigned bucket)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};

	add_blob(row->histogram, row->histogram_bytes, counts);
	return counts[bucket];
}

static void an_interval_a_second(void **state)
{
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	update(ledger, 5, MON_NS_PER_S / 2);
	take(ledger, START + MON_NS_PER_S / 2, false, &tick);
	assert_int_equal(tick.interval_count, 0); /* not due; totals go out all the same */
	assert_int_equal(tick.total_count, 1);
	assert_int_equal(tick.totals[0].calls, 5);
	mon_ledger_commit(ledger);

	update(ledger, 12, MON_NS_PER_S);
	take(ledger, START + MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(tick.intervals[0].calls, 12);
	assert_int_equal(tick.intervals[0].start_ns, START);
	assert_int_equal(tick.intervals[0].length_ns, MON_NS_PER_S);
	mon_ledger_commit(ledger);

	update(ledger, 12, 2 * MON_NS_PER_S); /* nothing called: no row */
	take(ledger, START + 2 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 0);
	assert_int_equal(tick.total_count, 0);
	mon_ledger_commit(ledger);

	update(ledger, 13, 2 * MON_NS_PER_S + 1);
	take(ledger, START + 2 * MON_NS_PER_S + 1, true, &tick);
	assert_int_equal(tick.interval_count, 1); /* final: due or not */
	assert_int_equal(tick.intervals[0].calls, 1);
	mon_ledger_free(ledger);
}

/* What was ever true of a function's times stays so, in each row that follows. */
static void marks_stay(void **state)
{
	struct mon_ledger *ledger;
	struct mon_tick tick;
	struct mon_total total;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	update(ledger, 5, 0);
	mon_ledger_total(ledger, 0, &total);
	assert_int_equal(total.marks, 0);
	/* A function of which nothing returned yet has no buckets, and may have marks. */
	histogram[MON_HISTOGRAM_MARKS] = MON_MARK_ESTIMATED;
	update(ledger, 6, 1);
	histogram[MON_HISTOGRAM_MARKS] = MON_MARK_SELF_UNKNOWN;
	update(ledger, 7, 2);
	histogram[MON_HISTOGRAM_MARKS] = 0;
	take(ledger, START + MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.totals[0].marks, MON_MARK_ESTIMATED | MON_MARK_SELF_UNKNOWN);
	assert_int_equal(tick.intervals[0].marks, MON_MARK_ESTIMATED | MON_MARK_SELF_UNKNOWN);
	mon_ledger_free(ledger);
}

/* The database is another file: totals and ledger rows once more, and no interval twice. */
static void a_new_file_is_told_all_again(void **state)
{
	struct mon_counters counters = {.calls = 7, .returns = 4, .ring_full = 3};
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(2, START, NULL, &ledger), 0);
	mon_ledger_update(ledger, 0, &counters, histogram, 1);
	mon_ledger_update(ledger, 1, &(struct mon_counters){0}, histogram, 1);
	take(ledger, START + MON_NS_PER_S, false, &tick);
	mon_ledger_commit(ledger);
	take(ledger, START + 2 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.total_count + tick.interval_count + tick.entry_count, 0);
	mon_ledger_commit(ledger);

	mon_ledger_tell_all(ledger);
	take(ledger, START + 3 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.total_count, 2);
	assert_int_equal(tick.interval_count, 0);
	assert_int_equal(tick.entry_count, 1);
	assert_int_equal(tick.entries[0].count, 3);
	mon_ledger_commit(ledger);
	take(ledger, START + 4 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.total_count + tick.entry_count, 0);
	mon_ledger_commit(ledger);

	take(ledger, START + 5 * MON_NS_PER_S, true, &tick); /* final: that, told or not */
	assert_int_equal(tick.total_count, 2);
	assert_int_equal(tick.entry_count, 1);
	mon_ledger_free(ledger);
}

/* The breaker was open: nothing was committed, so the next interval is longer, never a hole. */
static void what_was_not_committed_comes_again(void **state)
{
	struct mon_counters counters = {.calls = 7, .recent_max_ns = 900, .ring_full = 3};
	struct mon_interval last;
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	histogram[9] = 4;
	mon_ledger_update(ledger, 0, &counters, histogram, MON_NS_PER_S);
	take(ledger, START + MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.intervals[0].max_ns, 900);
	mon_ledger_give_back(ledger);

	counters = (struct mon_counters){.calls = 9, .recent_max_ns = 20, .ring_full = 3};
	histogram[9] = 6;
	mon_ledger_update(ledger, 0, &counters, histogram, 2 * MON_NS_PER_S);
	take(ledger, START + 2 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(tick.intervals[0].calls, 9);
	assert_int_equal(tick.intervals[0].length_ns, 2 * MON_NS_PER_S);
	assert_int_equal(tick.intervals[0].armed_ns, 2 * MON_NS_PER_S);
	mon_ledger_last_interval(ledger, 0, &last);
	assert_int_equal(last.calls, 9);
	assert_int_equal(last.length_ns, 2 * MON_NS_PER_S);
	assert_int_equal(tick.intervals[0].max_ns, 900);
	assert_int_equal(bucket_of(&tick.intervals[0], 9), 6);
	assert_int_equal(tick.entry_count, 1);
	assert_int_equal(tick.entries[0].reason, MON_REASON_RING_FULL);
	assert_int_equal(tick.entries[0].from_ns, START + MON_NS_PER_S);
	assert_int_equal(tick.entries[0].to_ns, START + MON_NS_PER_S);
	mon_ledger_commit(ledger);

	counters.calls = 10;
	counters.recent_max_ns = 20;
	mon_ledger_update(ledger, 0, &counters, histogram, 3 * MON_NS_PER_S);
	take(ledger, START + 3 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.intervals[0].calls, 1);
	assert_int_equal(tick.intervals[0].max_ns, 20);
	assert_int_equal(bucket_of(&tick.intervals[0], 9), 0);
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
	take(ledger, START + MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(bucket_of(&tick.intervals[0], 5), 1);
	mon_ledger_free(ledger);
}

static void a_wrapped_bucket_is_widened(void **state)
{
	struct mon_ledger *ledger;
	uint64_t counts[MON_HISTOGRAM_BUCKETS];

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	histogram[3] = 0xfffffff0u;
	update(ledger, 1, 1);
	histogram[3] = 0x10;
	update(ledger, 2, 2);
	assert_int_equal(mon_ledger_histogram(ledger, 0, counts), 0);
	assert_true(counts[3] == 0x100000010ull);
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
	take(ledger, hour, false, &tick);
	mon_ledger_commit(ledger);
	update(ledger, 1, 1);
	take(ledger, hour + 9 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.interval_count, 0);
	mon_ledger_commit(ledger);
	take(ledger, hour + 10 * MON_NS_PER_S, false, &tick);
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

/* A second of the hour is not lost to a timer that comes a little early. */
static void an_early_timer_does_not_double_the_interval(void **state)
{
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	update(ledger, 1, 1);
	take(ledger, START + MON_NS_PER_S * 99 / 100, false, &tick);
	assert_int_equal(tick.interval_count, 1);
	mon_ledger_free(ledger);
}

struct reader {
	struct mon_tick tick;
	uint64_t calls, in_totals, in_intervals;
};

static void *read_rows(void *argument)
{
	struct reader *reader = argument;
	uint64_t totals[MON_HISTOGRAM_BUCKETS] = {0}, intervals[MON_HISTOGRAM_BUCKETS] = {0};

	reader->calls = reader->tick.totals[0].calls;
	add_blob(reader->tick.totals[0].histogram, reader->tick.totals[0].histogram_bytes, totals);
	add_blob(reader->tick.intervals[0].histogram, reader->tick.intervals[0].histogram_bytes,
		 intervals);
	reader->in_totals = totals[5];
	reader->in_intervals = intervals[5];
	return NULL;
}

/* The monitor updates while the writer reads: the rows are of the take's moment all the same. */
static void rows_stand_still_while_they_are_out(void **state)
{
	struct reader reader = {0};
	struct mon_ledger *ledger;
	struct mon_tick second;
	pthread_t thread;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_ledger_new(1, START, NULL, &ledger), 0);
	histogram[5] = 7;
	update(ledger, 7, 1);
	take(ledger, START + MON_NS_PER_S, false, &reader.tick);
	assert_int_equal(pthread_create(&thread, NULL, read_rows, &reader), 0);
	histogram[5] = 9;
	update(ledger, 9, 2);
	assert_int_equal(mon_ledger_take(ledger, START + 2 * MON_NS_PER_S, true, &second), -EBUSY);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(reader.calls, 7);
	assert_int_equal(reader.in_totals, 7);
	assert_int_equal(reader.in_intervals, 7);
	(void)read_rows(&reader);
	assert_int_equal(reader.calls, 7);
	assert_int_equal(reader.in_totals, 7);
	assert_int_equal(reader.in_intervals, 7);

	/* What came while it was out is in the next one. */
	mon_ledger_commit(ledger);
	take(ledger, START + 3 * MON_NS_PER_S, false, &second);
	assert_int_equal(second.intervals[0].calls, 2);
	assert_int_equal(bucket_of(&second.intervals[0], 5), 2);
	assert_int_equal(second.intervals[0].start_ns, START + MON_NS_PER_S);
	mon_ledger_free(ledger);
}

#define MODEL_FUNCTIONS 5
#define MODEL_STEPS 60

/* What the kernel would hold, without wraps, and what a perfect store was given. */
struct model {
	uint64_t random;
	struct mon_counters counters[MODEL_FUNCTIONS], in_intervals[MODEL_FUNCTIONS];
	uint64_t buckets[MODEL_FUNCTIONS][MON_HISTOGRAM_BUCKETS];
	uint64_t bucket_sums[MODEL_FUNCTIONS][MON_HISTOGRAM_BUCKETS];
	uint64_t armed[MODEL_FUNCTIONS];
	struct mon_total totals[MODEL_FUNCTIONS];
	uint64_t total_buckets[MODEL_FUNCTIONS][MON_HISTOGRAM_BUCKETS];
	uint64_t ring_full[MODEL_FUNCTIONS];
	mon_ns end;
	unsigned left_out; /* rows without their histogram */
};

static uint64_t draw(struct model *model, uint64_t bound)
{
	model->random = model->random * 6364136223846793005ull + 1442695040888963407ull;
	return (model->random >> 33) % bound;
}

static void model_update(const struct model *model, struct mon_ledger *ledger, uint32_t f,
			 mon_ns armed_ns)
{
	uint32_t kernel[MON_HISTOGRAM_SLOTS] = {0};

	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		kernel[i] = (uint32_t)model->buckets[f][i];
	mon_ledger_update(ledger, f, &model->counters[f], kernel, armed_ns);
}

static void model_calls(struct model *model, struct mon_ledger *ledger, mon_ns armed_ns)
{
	for (uint32_t f = 0; f < MODEL_FUNCTIONS; f++) {
		struct mon_counters *counters = &model->counters[f];

		/* The last function is never called, the one before it only late. */
		for (uint64_t i = f == 4 || (f == 3 && armed_ns < 10 * MON_NS_PER_S)
					  ? 0
					  : draw(model, 4);
		     i > 0; i--) {
			/* Small enough to be seen as a wrap by the tenth read after it, too. */
			uint64_t calls = draw(model, 8) ? draw(model, 9) : 1ull << 26;

			counters->calls += calls + 1;
			counters->returns += calls;
			counters->failed += calls / 3;
			counters->total_ns += 17 * calls;
			counters->self_ns += 11 * calls;
			counters->ring_full += 1;
			model->buckets[f][draw(model, 3) * 100] += calls;
		}
		model_update(model, ledger, f, armed_ns);
	}
}

static void model_store(struct model *model, const struct mon_tick *tick)
{
	mon_ns end = model->end;

	for (size_t i = 0; i < tick->total_count; i++) {
		const struct mon_total *row = &tick->totals[i];
		uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};

		model->totals[row->function] = *row;
		if (!row->histogram) {
			model->left_out++;
			continue;
		}
		add_blob(row->histogram, row->histogram_bytes, counts);
		memcpy(model->total_buckets[row->function], counts, sizeof(counts));
	}
	for (size_t i = 0; i < tick->interval_count; i++) {
		const struct mon_interval *row = &tick->intervals[i];
		struct mon_counters *sum = &model->in_intervals[row->function];

		assert_int_equal(row->start_ns, model->end); /* no hole, no overlap */
		end = row->start_ns + row->length_ns;
		assert_int_equal(end, tick->at_ns);
		sum->calls += row->calls;
		sum->returns += row->returns;
		sum->failed += row->failed;
		sum->total_ns += row->total_ns;
		sum->self_ns += row->self_ns;
		model->armed[row->function] += row->armed_ns;
		if (row->histogram)
			add_blob(row->histogram, row->histogram_bytes,
				 model->bucket_sums[row->function]);
		else
			model->left_out++;
	}
	for (size_t i = 0; i < tick->entry_count; i++) {
		assert_int_equal(tick->entries[i].reason, MON_REASON_RING_FULL);
		model->ring_full[tick->entries[i].function] = tick->entries[i].count;
	}
	model->end = end;
}

/* True when the allocation that was to be refused has not come yet. */
static bool still_to_come(struct mon_budget *budget, uint64_t nth)
{
	bool came = false;

	for (uint64_t i = 0; i < nth && !came; i++) {
		came = mon_budget_reserve(budget, MON_BUDGET_TOTALS, 0) != 0;
		if (!came)
			mon_budget_release(budget, MON_BUDGET_TOTALS, 0);
	}
	return came;
}

/*
 * One run of a store that fails half of the time; the @nth allocation is refused, and, once a
 * histogram was left out, one more in each of @refused steps. True when it came to that.
 */
static bool model_run(uint64_t seed, uint64_t nth, unsigned refused, unsigned *left_out)
{
	struct model model = {.random = seed, .end = START};
	struct mon_ledger *ledger;
	struct mon_budget *budget;
	struct mon_tick tick;
	bool fired = false;

	assert_int_equal(mon_budget_new(MON_BUDGET_DEFAULT_BYTES, &budget), 0);
	assert_int_equal(mon_ledger_new(MODEL_FUNCTIONS, START, budget, &ledger), 0);
	for (uint32_t f = 0; f < 3; f++) {
		for (unsigned i = 0; i < 3; i++)
			model.buckets[f][i * 100] = 0xfffffff0; /* soon to wrap */
		model.counters[f].calls = model.counters[f].returns = 3ull * 0xfffffff0;
		model_update(&model, ledger, f, 0);
	}
	mon_budget_fail_at(budget, nth);
	for (unsigned step = 1; step <= MODEL_STEPS; step++) {
		/* Each is due, so that a function without a row shows where an interval ends. */
		mon_ns now = START + step * MON_NS_PER_S;
		bool final = step == MODEL_STEPS;

		if (final) {
			fired = nth > 0 && !still_to_come(budget, nth);
			mon_budget_fail_at(budget, 0);
		}
		model_calls(&model, ledger, now - START);
		take(ledger, now, final, &tick);
		if (draw(&model, 2) || final) {
			model_calls(&model, ledger, now - START);
			model_store(&model, &tick);
			mon_ledger_commit(ledger);
			model.end = now; /* also where no function had a row */
		} else {
			mon_ledger_give_back(ledger);
		}
		if (model.left_out && refused > 0 && !final) {
			refused--;
			mon_budget_fail_at(budget, 1);
		}
	}
	/* What was called after the last take was taken. */
	take(ledger, START + (MODEL_STEPS + 1) * MON_NS_PER_S, true, &tick);
	model_store(&model, &tick);
	mon_ledger_commit(ledger);
	for (uint32_t f = 0; f < MODEL_FUNCTIONS; f++) {
		const struct mon_counters *is = &model.in_intervals[f], *be = &model.counters[f];

		assert_true(is->calls == be->calls && is->returns == be->returns);
		assert_true(is->failed == be->failed && is->total_ns == be->total_ns);
		assert_true(is->self_ns == be->self_ns);
		assert_true(model.totals[f].calls == be->calls);
		assert_true(model.totals[f].total_ns == be->total_ns);
		assert_true(model.ring_full[f] == be->ring_full);
		assert_memory_equal(model.total_buckets[f], model.buckets[f],
				    sizeof(model.buckets[f]));
		assert_memory_equal(model.bucket_sums[f], model.buckets[f],
				    sizeof(model.buckets[f]));
	}
	assert_true(model.buckets[0][0] > UINT32_MAX);
	*left_out += model.left_out;
	mon_ledger_free(ledger);
	assert_int_equal(mon_budget_used(budget), 0);
	mon_budget_free(budget);
	return fired;
}

/* Calls and failing commits at random: what is in the database adds up to what was called. */
static void intervals_add_up(void **state)
{
	uint64_t seed = (uint64_t)time(NULL) * getpid() | 1;
	unsigned left_out = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < 100; i++)
		assert_false(model_run(seed + 2 * i, 0, 0, &left_out));
	assert_int_equal(left_out, 0);
}

/* The same with each allocation refused in its turn, once and for some time. */
static void M01_allocation_fails(void **state)
{
	uint64_t seed = (uint64_t)time(NULL) * getpid() | 1;
	unsigned left_out = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < 10; i++, seed += 2) {
		uint64_t nth = 1;

		while (model_run(seed, nth, 0, &left_out)) {
			(void)model_run(seed, nth, 10, &left_out);
			nth++;
		}
		assert_true(nth >
			    6); /* two chunks, three functions' wraps, the late one's buckets */
	}
	assert_true(left_out > 0);
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

/* No room for a single bucket: every count is there, no histogram, and it is said by NULL. */
static void counts_are_exact_without_memory(void **state)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS];
	struct mon_ledger *ledger;
	struct mon_budget *budget;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_budget_new(mon_ledger_bytes(2) + (1 << 20), &budget), 0);
	assert_int_equal(mon_budget_reserve(budget, MON_BUDGET_QUEUE, 1 << 20), 0);
	assert_int_equal(mon_ledger_new(2, START, budget, &ledger), 0);
	histogram[5] = 7;
	update(ledger, 7, MON_NS_PER_S);
	assert_int_equal(mon_ledger_histogram(ledger, 0, counts), -ENOMEM);
	take(ledger, START + MON_NS_PER_S, true, &tick);
	assert_int_equal(tick.total_count, 2);
	assert_int_equal(tick.totals[0].calls, 7);
	assert_null(tick.totals[0].histogram);
	assert_non_null(tick.totals[1].histogram); /* never called: known to be empty */
	assert_int_equal(tick.totals[1].histogram_bytes, 0);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(tick.intervals[0].calls, 7);
	assert_null(tick.intervals[0].histogram);
	mon_ledger_commit(ledger);

	/* There is memory again: what was left out is told, though nothing more was called. */
	mon_budget_release(budget, MON_BUDGET_QUEUE, 1 << 20);
	update(ledger, 7, 2 * MON_NS_PER_S);
	take(ledger, START + 2 * MON_NS_PER_S, false, &tick);
	assert_int_equal(tick.total_count, 1);
	assert_non_null(tick.totals[0].histogram);
	assert_int_equal(tick.interval_count, 1);
	assert_int_equal(tick.intervals[0].calls, 0);
	assert_int_equal(bucket_of(&tick.intervals[0], 5), 7);
	mon_ledger_free(ledger);
	mon_budget_free(budget);
}

/* 10,000 functions, and a run's worth of ticks in which 100 of them are called. */
static void K12_ten_thousand_functions(void **state)
{
	const struct mon_budget_want want = {.limit_bytes = MON_BUDGET_DEFAULT_BYTES,
					     .functions = 10000,
					     .cpus = 2,
					     .frames = true};
	struct mon_counters called = {.calls = 1000, .returns = 1000}, never = {0};
	uint32_t none[MON_HISTOGRAM_SLOTS] = {0};
	struct mon_budget_plan plan;
	struct mon_ledger *ledger;
	struct mon_budget *budget;
	struct mon_tick tick;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	assert_int_equal(mon_budget_plan(&want, &plan), 0);
	assert_int_equal(mon_budget_new(plan.bytes[MON_BUDGET_TOTALS], &budget), 0);
	assert_int_equal(mon_ledger_new(want.functions, START, budget, &ledger), 0);
	for (unsigned second = 1; second <= 5; second++) {
		for (unsigned i = 40; i < 120; i++)
			histogram[i] += second * i;
		called.calls++;
		for (uint32_t f = 0; f < want.functions; f++)
			mon_ledger_update(ledger, f, f % 100 ? &never : &called,
					  f % 100 ? none : histogram, second * MON_NS_PER_S);
		take(ledger, START + second * MON_NS_PER_S, second == 5, &tick);
		assert_int_equal(tick.interval_count, 100);
		for (size_t i = 0; i < tick.interval_count; i++)
			assert_non_null(tick.intervals[i].histogram);
		mon_ledger_commit(ledger);
	}
	assert_true(mon_budget_used(budget) <= 10000 * MON_TOTALS_FUNCTION_BYTES +
						       100 * MON_TOTALS_RETURNED_BYTES +
						       MON_TOTALS_SPARE_BYTES);
	assert_true(mon_budget_used(budget) <= 11u << 20);

	/* Then all of them at once: some histograms are left out, the plan's figure holds. */
	for (uint32_t f = 0; f < want.functions; f++)
		mon_ledger_update(ledger, f, &called, histogram, 6 * MON_NS_PER_S);
	take(ledger, START + 6 * MON_NS_PER_S, true, &tick);
	assert_int_equal(tick.total_count, want.functions);
	for (size_t i = 0; i < tick.total_count; i++)
		assert_int_equal(tick.totals[i].calls, called.calls);
	assert_true(mon_budget_part_peak(budget, MON_BUDGET_TOTALS) <=
		    plan.bytes[MON_BUDGET_TOTALS]);
	mon_ledger_free(ledger);
	assert_int_equal(mon_budget_used(budget), 0);
	mon_budget_free(budget);
}

/* As many as the plan keeps room for all find it; the plan is no larger than what they take. */
static void the_plan_knows_its_size(void **state)
{
	const struct mon_budget_want want = {.limit_bytes = MON_BUDGET_DEFAULT_BYTES,
					     .functions = MON_TOTALS_RETURNED_PLANNED,
					     .cpus = 1};
	struct mon_budget_plan plan;
	struct mon_ledger *ledger;
	struct mon_budget *budget;
	struct mon_tick tick;
	uint64_t used;

	(void)state;
	memset(histogram, 0, sizeof(histogram));
	for (unsigned i = 40; i < 120; i++)
		histogram[i] = i * i;
	assert_int_equal(mon_budget_plan(&want, &plan), 0);
	assert_int_equal(mon_budget_new(plan.bytes[MON_BUDGET_TOTALS], &budget), 0);
	assert_int_equal(mon_ledger_new(want.functions, START, budget, &ledger), 0);
	for (uint32_t f = 0; f < want.functions; f++) {
		const struct mon_counters counters = {.calls = 1, .returns = 1};

		mon_ledger_update(ledger, f, &counters, histogram, 1);
	}
	take(ledger, START + MON_NS_PER_S, false, &tick);
	for (uint32_t f = 0; f < want.functions; f++) {
		assert_non_null(tick.totals[f].histogram);
		assert_non_null(tick.intervals[f].histogram);
	}
	used = mon_budget_used(budget);
	assert_true(used > plan.bytes[MON_BUDGET_TOTALS] * 3 / 4);
	mon_ledger_free(ledger);
	mon_budget_free(budget);
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

/* Rows of coverage stay until they are committed, and those of a take do not move meanwhile. */
static void coverage_waits_for_the_database(void **state)
{
	struct mon_ledger *ledger;
	struct mon_tick tick;

	(void)state;
	assert_int_equal(mon_ledger_new(1, 0, NULL, &ledger), 0);
	assert_int_equal(mon_ledger_cover(ledger, 0, 1, 2, "no room"), -ENOSPC);
	assert_int_equal(mon_ledger_make_room(ledger), 0);
	assert_int_equal(mon_ledger_cover(ledger, 0, 1, 2, "a"), 0);
	assert_int_equal(mon_ledger_take(ledger, 10, false, &tick), 0);
	assert_int_equal(tick.coverage_count, 1);
	assert_int_equal(mon_ledger_cover(ledger, 0, 3, 5, "b"), 0);
	assert_int_equal(tick.coverage[0].to_ns, 2);
	mon_ledger_give_back(ledger);
	assert_int_equal(mon_ledger_take(ledger, 20, false, &tick), 0);
	assert_int_equal(tick.coverage_count, 2);
	assert_int_equal(mon_ledger_cover(ledger, 0, 6, 7, "c"), 0);
	mon_ledger_commit(ledger);
	assert_int_equal(mon_ledger_take(ledger, 30, false, &tick), 0);
	assert_int_equal(tick.coverage_count, 1);
	assert_int_equal(tick.coverage[0].from_ns, 6);
	mon_ledger_commit(ledger);
	for (int i = 0; i < MON_COVERAGE_ROWS_MAX; i++)
		assert_int_equal(mon_ledger_cover(ledger, 0, (mon_ns)i, (mon_ns)i + 1, "d"), 0);
	assert_false(mon_ledger_has_room(ledger, 1));
	assert_int_equal(mon_ledger_cover(ledger, 0, 1, 2, "e"), -ENOSPC);
	mon_ledger_free(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(coverage_waits_for_the_database),
		cmocka_unit_test(an_interval_a_second),
		cmocka_unit_test(marks_stay),
		cmocka_unit_test(a_new_file_is_told_all_again),
		cmocka_unit_test(what_was_not_committed_comes_again),
		cmocka_unit_test(a_bucket_ahead_of_its_counters_is_not_lost),
		cmocka_unit_test(a_wrapped_bucket_is_widened),
		cmocka_unit_test(later_intervals_are_longer),
		cmocka_unit_test(the_sum_closes_or_says_where_not),
		cmocka_unit_test(an_early_timer_does_not_double_the_interval),
		cmocka_unit_test(rows_stand_still_while_they_are_out),
		cmocka_unit_test(intervals_add_up),
		cmocka_unit_test(M01_allocation_fails),
		cmocka_unit_test(memory_is_the_budgets),
		cmocka_unit_test(counts_are_exact_without_memory),
		cmocka_unit_test(K12_ten_thousand_functions),
		cmocka_unit_test(the_plan_knows_its_size),
		cmocka_unit_test(reasons_are_the_schemas),
	};

	return cmocka_run_group_tests_name("control/ledger", tests, NULL, NULL);
}
