// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Three states of each function: what the kernel has now, what the last take staged, and what the
 * database has. Rows are the difference of the first and the last; commit moves the staged state
 * to the last. Everything is allocated by new().
 */
#include "control/ledger.h"

#include "base/budget.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Reasons that the programs count; the others are credited by the store. */
static const struct {
	enum mon_reason reason;
	size_t offset;
} kernel_reasons[] = {
	{MON_REASON_SAMPLED_OUT, offsetof(struct mon_counters, sampled_out)},
	{MON_REASON_RATE_CAP, offsetof(struct mon_counters, rate_cap)},
	{MON_REASON_SIZE_CAP, offsetof(struct mon_counters, size_cap)},
	{MON_REASON_RING_FULL, offsetof(struct mon_counters, ring_full)},
	{MON_REASON_GATE_CLOSED, offsetof(struct mon_counters, gate_closed)},
	{MON_REASON_FRAME_REFUSED, offsetof(struct mon_counters, frame_refused)},
};
#define KERNEL_REASONS (sizeof(kernel_reasons) / sizeof(kernel_reasons[0]))

struct account {
	struct mon_counters now, staged, written;
	struct mon_counters interval_staged, interval_written;
	mon_ns armed_ns, armed_staged_ns, armed_written_ns;
	uint64_t recent_max_ns;			   /* since the last take */
	uint64_t interval_max_ns;		   /* of the interval that is not committed yet */
	mon_ns from_ns[KERNEL_REASONS];		   /* first tick that saw it grow; 0: never */
	mon_ns to_ns[KERNEL_REASONS];		   /* last one */
	uint64_t histogram[MON_HISTOGRAM_BUCKETS]; /* now, widened */
	uint64_t histogram_written[MON_HISTOGRAM_BUCKETS];  /* as of the last written interval */
	uint64_t histogram_interval[MON_HISTOGRAM_BUCKETS]; /* what a row points to */
	uint32_t histogram_kernel[MON_HISTOGRAM_BUCKETS];   /* last seen, to notice a wrap */
	struct mon_interval last_interval;
};

struct mon_ledger {
	struct mon_budget *budget;
	uint64_t bytes;
	uint32_t count;
	bool staged, staged_intervals;
	mon_ns started_ns;
	mon_ns interval_start_ns; /* end of the last written interval */
	mon_ns staged_end_ns;
	struct account *accounts;
	struct mon_total *totals;
	struct mon_interval *intervals;
	struct mon_ledger_entry *entries;
};

uint64_t mon_ledger_bytes(uint32_t function_count)
{
	return function_count * (uint64_t)(sizeof(struct account) + sizeof(struct mon_total) +
					   sizeof(struct mon_interval) +
					   KERNEL_REASONS * sizeof(struct mon_ledger_entry));
}

int mon_ledger_new(uint32_t function_count, mon_ns started_ns, struct mon_budget *budget,
		   struct mon_ledger **ledger_out)
{
	uint64_t bytes = mon_ledger_bytes(function_count);
	struct mon_ledger *ledger = calloc(1, sizeof(*ledger));

	if (!ledger)
		return -ENOMEM;
	ledger->accounts = mon_budget_calloc(budget, MON_BUDGET_TOTALS, bytes);
	if (!ledger->accounts) {
		free(ledger);
		return -ENOMEM;
	}
	ledger->budget = budget;
	ledger->bytes = bytes;
	ledger->count = function_count;
	ledger->started_ns = started_ns;
	ledger->interval_start_ns = started_ns;
	ledger->totals = (void *)(ledger->accounts + function_count);
	ledger->intervals = (void *)(ledger->totals + function_count);
	ledger->entries = (void *)(ledger->intervals + function_count);
	*ledger_out = ledger;
	return 0;
}

void mon_ledger_free(struct mon_ledger *ledger)
{
	if (!ledger)
		return;
	mon_budget_free_bytes(ledger->budget, MON_BUDGET_TOTALS, ledger->accounts, ledger->bytes);
	free(ledger);
}

static uint64_t reason_count(const struct mon_counters *counters, size_t index)
{
	uint64_t count;

	memcpy(&count, (const char *)counters + kernel_reasons[index].offset, sizeof(count));
	return count;
}

void mon_ledger_update(struct mon_ledger *ledger, uint32_t function,
		       const struct mon_counters *counters, const uint32_t *histogram,
		       mon_ns armed_ns)
{
	struct account *account = &ledger->accounts[function];

	account->now = *counters;
	account->armed_ns = armed_ns;
	if (counters->recent_max_ns > account->recent_max_ns)
		account->recent_max_ns = counters->recent_max_ns;
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		/* Unsigned difference: right across one wrap. */
		account->histogram[i] += (uint32_t)(histogram[i] - account->histogram_kernel[i]);
		account->histogram_kernel[i] = histogram[i];
	}
}

static bool interval_due(const struct mon_ledger *ledger, mon_ns now)
{
	bool late = ledger->interval_start_ns - ledger->started_ns >= MON_INTERVAL_LONG_AFTER_NS;

	return now - ledger->interval_start_ns >= (late ? MON_INTERVAL_LONG_NS : MON_INTERVAL_NS);
}

/* True when there is something to write: a return can reach the histogram after its counters. */
static bool stage_interval(struct mon_ledger *ledger, uint32_t function, mon_ns now,
			   struct mon_interval *row)
{
	struct account *account = &ledger->accounts[function];
	const struct mon_counters *to = &account->now, *from = &account->interval_written;
	uint64_t grown = 0;

	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		account->histogram_interval[i] =
			account->histogram[i] - account->histogram_written[i];
		grown |= account->histogram_interval[i];
	}
	*row = (struct mon_interval){
		.function = function,
		.start_ns = ledger->interval_start_ns,
		.length_ns = now - ledger->interval_start_ns,
		.armed_ns = account->armed_ns - account->armed_written_ns,
		.calls = to->calls - from->calls,
		.returns = to->returns - from->returns,
		.failed = to->failed - from->failed,
		.total_ns = to->total_ns - from->total_ns,
		.self_ns = to->self_ns - from->self_ns,
		.max_ns = account->interval_max_ns,
		.histogram = account->histogram_interval,
	};
	account->last_interval = *row;
	account->interval_staged = *to;
	account->armed_staged_ns = account->armed_ns;
	return row->calls || row->returns || grown;
}

static void stage_entries(struct mon_ledger *ledger, uint32_t function, mon_ns now,
			  size_t *entry_count)
{
	struct account *account = &ledger->accounts[function];

	for (size_t i = 0; i < KERNEL_REASONS; i++) {
		uint64_t count = reason_count(&account->now, i);

		if (count > reason_count(&account->staged, i)) {
			if (!account->from_ns[i])
				account->from_ns[i] = now;
			account->to_ns[i] = now;
		}
		if (count == reason_count(&account->written, i))
			continue;
		ledger->entries[(*entry_count)++] = (struct mon_ledger_entry){
			.function = function,
			.reason = kernel_reasons[i].reason,
			.count = count,
			.from_ns = account->from_ns[i],
			.to_ns = account->to_ns[i],
		};
	}
}

void mon_ledger_take(struct mon_ledger *ledger, mon_ns now, bool final, struct mon_tick *tick_out)
{
	size_t totals = 0, intervals = 0, entries = 0;
	bool due = interval_due(ledger, now) || final;

	for (uint32_t i = 0; i < ledger->count; i++) {
		struct account *account = &ledger->accounts[i];

		if (account->recent_max_ns > account->interval_max_ns)
			account->interval_max_ns = account->recent_max_ns;
		account->recent_max_ns = 0;
		stage_entries(ledger, i, now, &entries);
		if (final || account->now.calls != account->written.calls ||
		    account->now.returns != account->written.returns)
			mon_ledger_total(ledger, i, &ledger->totals[totals++]);
		account->staged = account->now;
		if (due) {
			struct mon_interval row;

			if (stage_interval(ledger, i, now, &row))
				ledger->intervals[intervals++] = row;
		}
	}
	ledger->staged = true;
	ledger->staged_intervals = due;
	ledger->staged_end_ns = now;
	*tick_out = (struct mon_tick){
		.at_ns = now,
		.totals = ledger->totals,
		.total_count = totals,
		.intervals = ledger->intervals,
		.interval_count = intervals,
		.entries = ledger->entries,
		.entry_count = entries,
	};
}

void mon_ledger_commit(struct mon_ledger *ledger)
{
	if (!ledger->staged)
		return;
	for (uint32_t i = 0; i < ledger->count; i++) {
		struct account *account = &ledger->accounts[i];

		account->written = account->staged;
		if (!ledger->staged_intervals)
			continue;
		account->interval_written = account->interval_staged;
		account->armed_written_ns = account->armed_staged_ns;
		account->interval_max_ns = 0;
		for (unsigned k = 0; k < MON_HISTOGRAM_BUCKETS; k++)
			account->histogram_written[k] += account->histogram_interval[k];
	}
	if (ledger->staged_intervals)
		ledger->interval_start_ns = ledger->staged_end_ns;
	ledger->staged = false;
	ledger->staged_intervals = false;
}

void mon_ledger_total(const struct mon_ledger *ledger, uint32_t function,
		      struct mon_total *total_out)
{
	const struct account *account = &ledger->accounts[function];

	*total_out = (struct mon_total){
		.function = function,
		.wanted_ns = account->armed_ns,
		.armed_ns = account->armed_ns,
		.calls = account->now.calls,
		.returns = account->now.returns,
		.failed = account->now.failed,
		.total_ns = account->now.total_ns,
		.self_ns = account->now.self_ns,
		.min_ns = account->now.min_ns,
		.max_ns = account->now.max_ns,
		.histogram = account->histogram,
	};
}

void mon_ledger_last_interval(const struct mon_ledger *ledger, uint32_t function,
			      struct mon_interval *interval_out)
{
	*interval_out = ledger->accounts[function].last_interval;
	interval_out->histogram = ledger->accounts[function].histogram_interval;
}

const struct mon_counters *mon_ledger_counters(const struct mon_ledger *ledger, uint32_t function)
{
	return &ledger->accounts[function].now;
}

static bool kernel_counts(enum mon_reason reason)
{
	for (size_t i = 0; i < KERNEL_REASONS; i++)
		if (kernel_reasons[i].reason == reason)
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
		const struct mon_counters *now = &ledger->accounts[f].now;
		uint64_t accounted = 0;

		for (size_t i = 0; i < KERNEL_REASONS; i++) {
			sum.by_reason[kernel_reasons[i].reason] += reason_count(now, i);
			accounted += reason_count(now, i);
		}
		for (unsigned reason = 1; reason < MON_REASON_COUNT; reason++) {
			uint64_t count;

			if (kernel_counts(reason))
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
