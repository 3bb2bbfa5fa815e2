// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two states of each function: what the kernel has now and what the database has. Rows are the
 * difference; they are copies, in memory that nothing touches until the writer is done with them,
 * and commit moves the second state by what the rows say. All that exact counts need is allocated
 * by new(), so they never fail. Durations are sparse: a function has buckets only once one of its
 * calls returned, 32 bits wide as the kernel's, with the upper halves beside them once one has
 * wrapped. A row's histogram is the BLOB that the database keeps: some 100 bytes in place of 1,872.
 *
 * Each sparse allocation may be refused, and is tried again by the next update or take: the
 * kernel's array is cumulative, so what could not be kept now is seen then.
 */
#include "control/ledger.h"

#include "base/budget.h"
#include "base/histogram.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define COUNTED_REASONS 9 /* see `counted_reasons` */
#define CHUNK_BYTES (MON_TOTALS_SPARE_BYTES / 2)

/* Lower halves of the widened buckets, as the kernel had them. */
struct buckets {
	uint32_t now[MON_HISTOGRAM_BUCKETS];
	uint32_t written[MON_HISTOGRAM_BUCKETS]; /* in intervals that are in the database */
};

/* Upper halves; a function has them once a bucket has wrapped. */
struct wraps {
	uint32_t now[MON_HISTOGRAM_BUCKETS];
	uint32_t written[MON_HISTOGRAM_BUCKETS];
};

/* What intervals are differences of. */
struct interval_base {
	uint64_t calls, returns, failed, total_ns, self_ns;
};

struct account {
	struct mon_counters now;
	uint64_t spooled, spool_damaged, killed; /* as mon_ledger_set() was told */
	struct interval_base interval;		 /* as of the last written one */
	uint64_t written_calls, written_returns;
	uint64_t written_counts[COUNTED_REASONS];
	uint64_t seen_counts[COUNTED_REASONS]; /* as of the last take */
	mon_ns from_ns[COUNTED_REASONS];       /* first tick that saw it grow; 0: never */
	mon_ns to_ns[COUNTED_REASONS];	       /* last one */
	mon_ns armed_ns, armed_staged_ns, armed_written_ns;
	mon_ns wanted_ns; /* 0: as long as it was armed */
	uint64_t wanted_own_ns, armed_own_ns;
	uint64_t recent_max_ns;	  /* since the last take */
	uint64_t interval_max_ns; /* of the interval that is not committed yet */
	struct buckets *buckets;
	struct wraps *wraps;
	uint32_t interval_row; /* of the last due take: index + 1, or 0 */
	uint32_t marks;	       /* enum mon_mark */
	bool returned;	       /* there are durations, whether or not there was memory for them */
	bool total_owed;       /* its row was written without the histogram */
	bool untold;	       /* resumed, and no counters came since: its rows stay as they are */
};

/* Reasons that are told to the ledger, by the programs or by the run; the store credits the rest.
 */
static const struct {
	enum mon_reason reason;
	size_t offset; /* of its count in an account */
} counted_reasons[COUNTED_REASONS] = {
	{MON_REASON_SAMPLED_OUT, offsetof(struct account, now.sampled_out)},
	{MON_REASON_RATE_CAP, offsetof(struct account, now.rate_cap)},
	{MON_REASON_SIZE_CAP, offsetof(struct account, now.size_cap)},
	{MON_REASON_RING_FULL, offsetof(struct account, now.ring_full)},
	{MON_REASON_GATE_CLOSED, offsetof(struct account, now.gate_closed)},
	{MON_REASON_FRAME_REFUSED, offsetof(struct account, now.frame_refused)},
	{MON_REASON_SPOOLED, offsetof(struct account, spooled)},
	{MON_REASON_SPOOL_DAMAGED, offsetof(struct account, spool_damaged)},
	{MON_REASON_KILLED, offsetof(struct account, killed)},
};

/* BLOBs of one take: chunks that never move, kept for the next. */
struct chunk {
	struct chunk *next;
	size_t used;
	uint8_t bytes[CHUNK_BYTES - sizeof(struct chunk *) - sizeof(size_t)];
};

struct blobs {
	struct chunk *first, *current;
};

struct mon_ledger {
	struct mon_budget *budget;
	uint32_t count;
	bool out, out_intervals; /* the rows are with the writer */
	mon_ns started_ns;
	mon_ns interval_start_ns;	   /* end of the last written interval */
	mon_ns last_start_ns, last_end_ns; /* the interval of the last due take */
	struct account *accounts;
	struct mon_total *totals;
	struct mon_interval *intervals;
	struct mon_ledger_entry *entries;
	size_t total_count, interval_count, entry_count; /* of the last take */
	struct blobs total_blobs, interval_blobs;
	/* The rows of a take are the first ones; what comes meanwhile is added behind them. */
	struct mon_coverage *coverage; /* [MON_COVERAGE_ROWS_MAX], or NULL */
	size_t coverage_count, coverage_taken;
};

_Static_assert(sizeof(struct account) + sizeof(struct mon_total) + sizeof(struct mon_interval) +
			       COUNTED_REASONS * sizeof(struct mon_ledger_entry) <=
		       MON_TOTALS_FUNCTION_BYTES,
	       "the plan knows what a function takes");
_Static_assert(sizeof(struct mon_coverage) <= MON_COVERAGE_ROW_BYTES, "the plan knows this, too");
_Static_assert(sizeof(struct buckets) <= MON_TOTALS_BUCKETS_BYTES,
	       "and what one that returned takes");

uint64_t mon_ledger_bytes(uint32_t function_count)
{
	return function_count * (uint64_t)MON_TOTALS_FUNCTION_BYTES;
}

int mon_ledger_new(uint32_t function_count, mon_ns started_ns, struct mon_budget *budget,
		   struct mon_ledger **ledger_out)
{
	struct mon_ledger *ledger = calloc(1, sizeof(*ledger));

	if (!ledger)
		return -ENOMEM;
	ledger->accounts =
		mon_budget_calloc(budget, MON_BUDGET_TOTALS, mon_ledger_bytes(function_count));
	if (!ledger->accounts) {
		free(ledger);
		return -ENOMEM;
	}
	ledger->budget = budget;
	ledger->count = function_count;
	ledger->started_ns = started_ns;
	ledger->interval_start_ns = started_ns;
	ledger->last_start_ns = started_ns;
	ledger->last_end_ns = started_ns;
	ledger->totals = (void *)(ledger->accounts + function_count);
	ledger->intervals = (void *)(ledger->totals + function_count);
	ledger->entries = (void *)(ledger->intervals + function_count);
	*ledger_out = ledger;
	return 0;
}

static void blobs_free(struct mon_ledger *ledger, struct blobs *blobs)
{
	struct chunk *chunk = blobs->first, *next;

	for (; chunk; chunk = next) {
		next = chunk->next;
		mon_budget_free_bytes(ledger->budget, MON_BUDGET_TOTALS, chunk, sizeof(*chunk));
	}
}

void mon_ledger_free(struct mon_ledger *ledger)
{
	if (!ledger)
		return;
	for (uint32_t i = 0; i < ledger->count; i++) {
		struct account *account = &ledger->accounts[i];

		mon_budget_free_bytes(ledger->budget, MON_BUDGET_TOTALS, account->buckets,
				      sizeof(*account->buckets));
		mon_budget_free_bytes(ledger->budget, MON_BUDGET_TOTALS, account->wraps,
				      sizeof(*account->wraps));
	}
	mon_budget_free_bytes(ledger->budget, MON_BUDGET_TOTALS, ledger->coverage,
			      MON_COVERAGE_ROWS_MAX * sizeof(*ledger->coverage));
	blobs_free(ledger, &ledger->total_blobs);
	blobs_free(ledger, &ledger->interval_blobs);
	mon_budget_free_bytes(ledger->budget, MON_BUDGET_TOTALS, ledger->accounts,
			      mon_ledger_bytes(ledger->count));
	free(ledger);
}

static int resume_histogram(struct mon_ledger *ledger, struct account *account,
			    const struct mon_function_sum *sum)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0}, upper = 0;

	if (!sum->histogram_bytes)
		return 0;
	if (mon_histogram_decode(sum->histogram, sum->histogram_bytes, counts))
		return -EINVAL;
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		upper |= counts[i] >> 32;
	account->returned = true;
	account->buckets =
		mon_budget_calloc(ledger->budget, MON_BUDGET_TOTALS, sizeof(*account->buckets));
	if (upper)
		account->wraps = mon_budget_calloc(ledger->budget, MON_BUDGET_TOTALS,
						   sizeof(*account->wraps));
	if (!account->buckets || (upper && !account->wraps))
		return -ENOMEM;
	/* A bucket of the kernel's that is below its lower half has wrapped since: update sees it.
	 */
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		account->buckets->now[i] = account->buckets->written[i] = (uint32_t)counts[i];
		if (upper)
			account->wraps->now[i] = account->wraps->written[i] =
				(uint32_t)(counts[i] >> 32);
	}
	return 0;
}

int mon_ledger_resume(struct mon_ledger *ledger, uint32_t function,
		      const struct mon_function_sum *sum, mon_ns last_interval_end_ns)
{
	struct account *account = &ledger->accounts[function];

	account->interval = (struct interval_base){
		.calls = sum->calls,
		.returns = sum->returns,
		.failed = sum->failed,
		.total_ns = sum->total_ns,
		.self_ns = sum->self_ns,
	};
	account->armed_written_ns = sum->armed_ns;
	account->untold = true;
	for (size_t i = 0; i < COUNTED_REASONS; i++)
		account->seen_counts[i] = account->written_counts[i] =
			sum->by_reason[counted_reasons[i].reason];
	ledger->interval_start_ns = last_interval_end_ns;
	ledger->last_start_ns = last_interval_end_ns;
	ledger->last_end_ns = last_interval_end_ns;
	return resume_histogram(ledger, account, sum);
}

void mon_ledger_tell_all(struct mon_ledger *ledger)
{
	for (uint32_t i = 0; i < ledger->count; i++) {
		struct account *account = &ledger->accounts[i];

		account->total_owed = true;
		memset(account->written_counts, 0, sizeof(account->written_counts));
	}
}

static uint64_t reason_count(const struct account *account, size_t index)
{
	uint64_t count;

	memcpy(&count, (const char *)account + counted_reasons[index].offset, sizeof(count));
	return count;
}

static size_t reason_index(enum mon_reason reason)
{
	size_t i = 0;

	while (counted_reasons[i].reason != reason)
		i++;
	return i;
}

static bool is_empty(const uint32_t *histogram)
{
	uint32_t any = 0;

	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		any |= histogram[i];
	return !any;
}

static void widen(struct mon_ledger *ledger, struct account *account, const uint32_t *histogram)
{
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		if (histogram[i] < account->buckets->now[i]) {
			if (!account->wraps)
				account->wraps = mon_budget_calloc(
					ledger->budget, MON_BUDGET_TOTALS, sizeof(*account->wraps));
			/* No memory: the old value stays, so the wrap is seen again. */
			if (!account->wraps)
				continue;
			account->wraps->now[i]++;
		}
		account->buckets->now[i] = histogram[i];
	}
}

void mon_ledger_update(struct mon_ledger *ledger, uint32_t function,
		       const struct mon_counters *counters, const uint32_t *histogram,
		       mon_ns armed_ns)
{
	struct account *account = &ledger->accounts[function];

	account->now = *counters;
	account->untold = false;
	account->armed_ns = armed_ns;
	if (counters->recent_max_ns > account->recent_max_ns)
		account->recent_max_ns = counters->recent_max_ns;
	if (histogram)
		account->marks |= histogram[MON_HISTOGRAM_MARKS];
	if (!histogram || (!account->returned && is_empty(histogram)))
		return;
	account->returned = true;
	if (!account->buckets)
		account->buckets = mon_budget_calloc(ledger->budget, MON_BUDGET_TOTALS,
						     sizeof(*account->buckets));
	if (account->buckets)
		widen(ledger, account, histogram);
}

void mon_ledger_set_share(struct mon_ledger *ledger, uint32_t function, mon_ns wanted_ns,
			  uint64_t wanted_own_ns, uint64_t armed_own_ns)
{
	struct account *account = &ledger->accounts[function];

	account->wanted_ns = wanted_ns;
	account->wanted_own_ns = wanted_own_ns;
	account->armed_own_ns = armed_own_ns;
}

int mon_ledger_make_room(struct mon_ledger *ledger)
{
	if (!ledger->coverage)
		ledger->coverage =
			mon_budget_calloc(ledger->budget, MON_BUDGET_TOTALS,
					  MON_COVERAGE_ROWS_MAX * sizeof(*ledger->coverage));
	return ledger->coverage ? 0 : -ENOMEM;
}

int mon_ledger_cover(struct mon_ledger *ledger, uint32_t function, mon_ns from_ns, mon_ns to_ns,
		     const char *why)
{
	if (!mon_ledger_has_room(ledger, 1))
		return -ENOSPC;
	ledger->coverage[ledger->coverage_count++] = (struct mon_coverage){
		.function = function,
		.from_ns = from_ns,
		.to_ns = to_ns,
		.why = why,
	};
	return 0;
}

bool mon_ledger_has_room(const struct mon_ledger *ledger, size_t rows)
{
	return ledger->coverage && ledger->coverage_count + rows <= MON_COVERAGE_ROWS_MAX;
}

void mon_ledger_set(struct mon_ledger *ledger, uint32_t function, enum mon_reason reason,
		    uint64_t count)
{
	struct account *account = &ledger->accounts[function];

	if (reason == MON_REASON_SPOOLED)
		account->spooled = count;
	else if (reason == MON_REASON_SPOOL_DAMAGED)
		account->spool_damaged = count;
	else if (reason == MON_REASON_KILLED)
		account->killed = count;
}

uint64_t mon_ledger_told(const struct mon_ledger *ledger, uint32_t function, enum mon_reason reason)
{
	return reason_count(&ledger->accounts[function], reason_index(reason));
}

static uint64_t bucket_now(const struct account *account, unsigned i)
{
	return (account->wraps ? (uint64_t)account->wraps->now[i] << 32 : 0) |
	       account->buckets->now[i];
}

static uint64_t bucket_written(const struct account *account, unsigned i)
{
	return (account->wraps ? (uint64_t)account->wraps->written[i] << 32 : 0) |
	       account->buckets->written[i];
}

static void blobs_clear(struct blobs *blobs)
{
	for (struct chunk *chunk = blobs->first; chunk; chunk = chunk->next)
		chunk->used = 0;
	blobs->current = blobs->first;
}

/* A copy of @blob that stays until the next clear, or NULL. */
static const uint8_t *blobs_add(struct mon_ledger *ledger, struct blobs *blobs, const uint8_t *blob,
				size_t length)
{
	struct chunk *chunk = blobs->current;
	uint8_t *copy;

	if (chunk && chunk->used + length > sizeof(chunk->bytes))
		chunk = chunk->next;
	if (!chunk) {
		chunk = mon_budget_calloc(ledger->budget, MON_BUDGET_TOTALS, sizeof(*chunk));
		if (!chunk)
			return NULL;
		if (blobs->current)
			blobs->current->next = chunk;
		else
			blobs->first = chunk;
	}
	blobs->current = chunk;
	copy = chunk->bytes + chunk->used;
	memcpy(copy, blob, length);
	chunk->used += length;
	return copy;
}

static const uint8_t empty_blob[1];

/* The histogram of a row: how many bytes, and where. NULL: there is one, but no memory for it. */
static const uint8_t *stage_histogram(struct mon_ledger *ledger, struct blobs *blobs,
				      const struct account *account, const uint64_t *counts,
				      size_t *bytes_out)
{
	uint8_t blob[MON_HISTOGRAM_BLOB_MAX];
	size_t length;

	*bytes_out = 0;
	if (!account->returned)
		return empty_blob;
	if (!account->buckets)
		return NULL;
	length = mon_histogram_encode(counts, blob);
	if (!length)
		return empty_blob;
	*bytes_out = length;
	return blobs_add(ledger, blobs, blob, length);
}

static bool interval_due(const struct mon_ledger *ledger, mon_ns now)
{
	bool late = ledger->interval_start_ns - ledger->started_ns >= MON_INTERVAL_LONG_AFTER_NS;
	mon_ns length = late ? MON_INTERVAL_LONG_NS : MON_INTERVAL_NS;

	/* A timer that comes a little early must not double the interval. */
	return now - ledger->interval_start_ns >= length - length / 20;
}

static void stage_interval(struct mon_ledger *ledger, uint32_t function, mon_ns now)
{
	struct account *account = &ledger->accounts[function];
	const struct mon_counters *to = &account->now;
	const struct interval_base *from = &account->interval;
	uint64_t counts[MON_HISTOGRAM_BUCKETS], grown = 0;
	mon_ns length_ns = now - ledger->interval_start_ns, armed_ns = 0;
	struct mon_interval row;

	account->armed_staged_ns = account->armed_ns;
	account->interval_row = 0;
	for (unsigned i = 0; account->buckets && i < MON_HISTOGRAM_BUCKETS; i++) {
		counts[i] = bucket_now(account, i) - bucket_written(account, i);
		grown |= counts[i];
	}
	/* A return can reach the histogram after its counters were read. */
	if (to->calls == from->calls && to->returns == from->returns && !grown)
		return;
	/* After a resume the rows may have told less than it was: intervals without a call. */
	if (account->armed_ns > account->armed_written_ns)
		armed_ns = account->armed_ns - account->armed_written_ns;
	row = (struct mon_interval){
		.function = function,
		.start_ns = ledger->interval_start_ns,
		.length_ns = length_ns,
		.armed_ns = armed_ns < length_ns ? armed_ns : length_ns,
		.calls = to->calls - from->calls,
		.returns = to->returns - from->returns,
		.failed = to->failed - from->failed,
		.total_ns = to->total_ns - from->total_ns,
		.self_ns = to->self_ns - from->self_ns,
		.max_ns = account->interval_max_ns,
		.marks = account->marks,
	};
	row.histogram = stage_histogram(ledger, &ledger->interval_blobs, account, counts,
					&row.histogram_bytes);
	ledger->intervals[ledger->interval_count++] = row;
	account->interval_row = (uint32_t)ledger->interval_count;
}

static void stage_total(struct mon_ledger *ledger, uint32_t function)
{
	struct mon_total *row = &ledger->totals[ledger->total_count++];
	uint64_t counts[MON_HISTOGRAM_BUCKETS];

	mon_ledger_total(ledger, function, row);
	(void)mon_ledger_histogram(ledger, function, counts);
	row->histogram = stage_histogram(ledger, &ledger->total_blobs, &ledger->accounts[function],
					 counts, &row->histogram_bytes);
}

static void stage_entries(struct mon_ledger *ledger, uint32_t function, mon_ns now, bool final)
{
	struct account *account = &ledger->accounts[function];

	for (size_t i = 0; i < COUNTED_REASONS; i++) {
		uint64_t count = reason_count(account, i);

		if (count > account->seen_counts[i]) {
			if (!account->from_ns[i])
				account->from_ns[i] = now;
			account->to_ns[i] = now;
			account->seen_counts[i] = count;
		}
		/* One that is back at 0 (spooled, and drained since) must not stay as it was. */
		if (count == account->written_counts[i] && (!final || !count))
			continue;
		ledger->entries[ledger->entry_count++] = (struct mon_ledger_entry){
			.function = function,
			.reason = counted_reasons[i].reason,
			.count = count,
			.from_ns = account->from_ns[i],
			.to_ns = account->to_ns[i],
		};
	}
}

int mon_ledger_take(struct mon_ledger *ledger, mon_ns now, bool final, struct mon_tick *tick_out)
{
	bool due = interval_due(ledger, now) || final;

	if (ledger->out)
		return -EBUSY;
	ledger->total_count = 0;
	ledger->entry_count = 0;
	blobs_clear(&ledger->total_blobs);
	if (due) {
		ledger->interval_count = 0;
		blobs_clear(&ledger->interval_blobs);
		ledger->last_start_ns = ledger->interval_start_ns;
		ledger->last_end_ns = now;
	}
	for (uint32_t i = 0; i < ledger->count; i++) {
		struct account *account = &ledger->accounts[i];

		if (account->recent_max_ns > account->interval_max_ns)
			account->interval_max_ns = account->recent_max_ns;
		account->recent_max_ns = 0;
		account->interval_row = 0;
		account->armed_staged_ns = account->armed_written_ns;
		if (account->untold)
			continue;
		stage_entries(ledger, i, now, final);
		if (final || account->total_owed || account->now.calls != account->written_calls ||
		    account->now.returns != account->written_returns)
			stage_total(ledger, i);
		if (due)
			stage_interval(ledger, i, now);
	}
	ledger->out = true;
	ledger->out_intervals = due;
	*tick_out = (struct mon_tick){
		.at_ns = now,
		.totals = ledger->totals,
		.total_count = ledger->total_count,
		.intervals = ledger->intervals,
		.interval_count = due ? ledger->interval_count : 0,
		.entries = ledger->entries,
		.entry_count = ledger->entry_count,
		.coverage = ledger->coverage,
		.coverage_count = ledger->coverage_count,
	};
	ledger->coverage_taken = ledger->coverage_count;
	return 0;
}

static void commit_interval(struct account *account, const struct mon_interval *row)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};

	account->interval.calls += row->calls;
	account->interval.returns += row->returns;
	account->interval.failed += row->failed;
	account->interval.total_ns += row->total_ns;
	account->interval.self_ns += row->self_ns;
	account->interval_max_ns = 0;
	if (!account->buckets || !row->histogram ||
	    mon_histogram_decode(row->histogram, row->histogram_bytes, counts))
		return; /* what it has not told, the next one tells */
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		uint64_t written = bucket_written(account, i) + counts[i];

		account->buckets->written[i] = (uint32_t)written;
		if (account->wraps)
			account->wraps->written[i] = (uint32_t)(written >> 32);
	}
}

void mon_ledger_commit(struct mon_ledger *ledger)
{
	if (!ledger->out)
		return;
	for (size_t i = 0; i < ledger->total_count; i++) {
		const struct mon_total *row = &ledger->totals[i];
		struct account *account = &ledger->accounts[row->function];

		account->written_calls = row->calls;
		account->written_returns = row->returns;
		account->total_owed = !row->histogram;
	}
	for (size_t i = 0; i < ledger->entry_count; i++) {
		const struct mon_ledger_entry *row = &ledger->entries[i];

		ledger->accounts[row->function].written_counts[reason_index(row->reason)] =
			row->count;
	}
	if (ledger->out_intervals) {
		for (size_t i = 0; i < ledger->interval_count; i++)
			commit_interval(&ledger->accounts[ledger->intervals[i].function],
					&ledger->intervals[i]);
		for (uint32_t i = 0; i < ledger->count; i++)
			ledger->accounts[i].armed_written_ns = ledger->accounts[i].armed_staged_ns;
		ledger->interval_start_ns = ledger->last_end_ns;
	}
	if (ledger->coverage_taken) {
		ledger->coverage_count -= ledger->coverage_taken;
		memmove(ledger->coverage, ledger->coverage + ledger->coverage_taken,
			ledger->coverage_count * sizeof(*ledger->coverage));
		ledger->coverage_taken = 0;
	}
	ledger->out = false;
}

void mon_ledger_give_back(struct mon_ledger *ledger)
{
	ledger->out = false;
}

void mon_ledger_total(const struct mon_ledger *ledger, uint32_t function,
		      struct mon_total *total_out)
{
	const struct account *account = &ledger->accounts[function];

	*total_out = (struct mon_total){
		.function = function,
		.wanted_ns = account->wanted_ns > account->armed_ns ? account->wanted_ns
								    : account->armed_ns,
		.wanted_own_ns = account->wanted_own_ns,
		.armed_own_ns = account->armed_own_ns,
		.armed_ns = account->armed_ns,
		.calls = account->now.calls,
		.returns = account->now.returns,
		.failed = account->now.failed,
		.total_ns = account->now.total_ns,
		.self_ns = account->now.self_ns,
		.min_ns = account->now.min_ns,
		.max_ns = account->now.max_ns,
		.marks = account->marks,
	};
}

int mon_ledger_histogram(const struct mon_ledger *ledger, uint32_t function, uint64_t *counts_out)
{
	const struct account *account = &ledger->accounts[function];

	if (account->returned && !account->buckets)
		return -ENOMEM;
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		counts_out[i] = account->buckets ? bucket_now(account, i) : 0;
	return 0;
}

void mon_ledger_last_interval(const struct mon_ledger *ledger, uint32_t function,
			      struct mon_interval *interval_out)
{
	uint32_t row = ledger->accounts[function].interval_row;

	if (row)
		*interval_out = ledger->intervals[row - 1];
	else
		*interval_out = (struct mon_interval){
			.function = function,
			.start_ns = ledger->last_start_ns,
			.length_ns = ledger->last_end_ns - ledger->last_start_ns,
			.histogram = empty_blob,
		};
}

const struct mon_counters *mon_ledger_counters(const struct mon_ledger *ledger, uint32_t function)
{
	return &ledger->accounts[function].now;
}

static bool is_counted(enum mon_reason reason)
{
	for (size_t i = 0; i < COUNTED_REASONS; i++)
		if (counted_reasons[i].reason == reason)
			return true;
	return false;
}

void mon_ledger_check(const struct mon_ledger *ledger,
		      uint64_t (*credited)(const void *context, uint32_t function,
					   enum mon_reason reason),
		      const void *context, struct mon_ledger_sum *sum_out)
{
	struct mon_ledger_sum sum = {0};

	for (uint32_t f = 0; f < ledger->count; f++) {
		const struct account *account = &ledger->accounts[f];
		const struct mon_counters *now = &account->now;
		uint64_t accounted = 0;

		for (size_t i = 0; i < COUNTED_REASONS; i++) {
			sum.by_reason[counted_reasons[i].reason] += reason_count(account, i);
			accounted += reason_count(account, i);
		}
		for (unsigned reason = 1; reason < MON_REASON_COUNT; reason++) {
			uint64_t count;

			if (is_counted(reason))
				continue;
			count = credited(context, f, reason);
			sum.by_reason[reason] += count;
			accounted += count;
		}
		sum.calls += now->calls;
		sum.accounted += accounted;
		if (accounted != now->calls && sum.unbalanced++ == 0)
			sum.first_unbalanced = f;
	}
	for (unsigned reason = 1; reason < MON_REASON_COUNT; reason++)
		if (mon_reason_is_loss(reason))
			sum.lost += sum.by_reason[reason];
	*sum_out = sum;
}

uint64_t mon_ledger_missing(const struct mon_ledger *ledger, uint32_t function,
			    uint64_t (*credited)(const void *context, uint32_t function,
						 enum mon_reason reason),
			    const void *context)
{
	const struct account *account = &ledger->accounts[function];
	uint64_t accounted = 0;

	for (size_t i = 0; i < COUNTED_REASONS; i++)
		accounted += reason_count(account, i);
	for (unsigned reason = 1; reason < MON_REASON_COUNT; reason++)
		if (!is_counted(reason))
			accounted += credited(context, function, reason);
	return account->now.calls > accounted ? account->now.calls - accounted : 0;
}

const char *mon_reason_name(enum mon_reason reason)
{
	static const char *const names[MON_REASON_COUNT] = {
		[MON_REASON_STORED] = "stored",
		[MON_REASON_SET_ASIDE] = "set_aside",
		[MON_REASON_SAMPLED_OUT] = "sampled_out",
		[MON_REASON_RATE_CAP] = "rate_cap",
		[MON_REASON_SIZE_CAP] = "size_cap",
		[MON_REASON_IN_FLIGHT] = "in_flight",
		[MON_REASON_UNWOUND] = "unwound",
		[MON_REASON_UNRETURNED] = "unreturned",
		[MON_REASON_RING_FULL] = "ring_full",
		[MON_REASON_GATE_CLOSED] = "gate_closed",
		[MON_REASON_FRAME_REFUSED] = "frame_refused",
		[MON_REASON_INVALID] = "invalid",
		[MON_REASON_SPOOL_DAMAGED] = "spool_damaged",
		[MON_REASON_KILLED] = "killed",
		[MON_REASON_SPOOLED] = "spooled",
	};

	return (unsigned)reason < MON_REASON_COUNT ? names[reason] : NULL;
}

bool mon_reason_is_loss(enum mon_reason reason)
{
	switch (reason) {
	case MON_REASON_RING_FULL:
	case MON_REASON_GATE_CLOSED:
	case MON_REASON_FRAME_REFUSED:
	case MON_REASON_INVALID:
	case MON_REASON_SPOOL_DAMAGED:
	case MON_REASON_KILLED:
		return true;
	default:
		return false;
	}
}
