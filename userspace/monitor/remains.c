// SPDX-License-Identifier: GPL-2.0-or-later
/* Main thread, after the run's threads ended; one record at a time, on the stack. */
#include "monitor/remains.h"

#include "base/cleanup.h"
#include "base/histogram.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

_Static_assert(sizeof(struct mon_remains_total) <= MON_RING_READABLE_BYTES, "fits a record");

/*
 * Of a MON_REMAINS_TOTAL without its buckets; 0: a version that nobody knows. Version 2 has no
 * wanted_ns and own times, version 1 no marks either. The other two never changed.
 */
static size_t head_bytes(uint8_t version)
{
	const size_t head = offsetof(struct mon_remains_total, histogram);

	switch (version) {
	case 1:
		return head - 3 * sizeof(uint64_t) - 2 * sizeof(uint32_t);
	case 2:
		return head - 3 * sizeof(uint64_t);
	case MON_REMAINS_VERSION:
		return head;
	default:
		return 0;
	}
}

bool mon_remains_is_kind(const struct mon_record *record)
{
	const uint8_t *kind = record->data;

	return kind && record->size_bytes && *kind >= MON_REMAINS_TOTAL &&
	       *kind <= MON_REMAINS_BREAKER;
}

bool mon_remains_is(const struct mon_record *record, uint32_t function_count)
{
	const struct mon_remains_total *total = record->data;
	size_t head;

	if (record->invalid || !record->data || record->size_bytes < sizeof(struct mon_remains_end))
		return false;
	head = head_bytes(total->version);
	if (!head)
		return false;
	if (total->kind == MON_REMAINS_END)
		return record->size_bytes == sizeof(struct mon_remains_end);
	if (total->kind == MON_REMAINS_BREAKER) {
		const struct mon_remains_breaker *breaker = record->data;

		return record->size_bytes == sizeof(*breaker) &&
		       breaker->from < MON_BREAKER_STATES && breaker->to < MON_BREAKER_STATES;
	}
	return total->kind == MON_REMAINS_TOTAL && record->size_bytes >= head &&
	       total->function < function_count &&
	       total->histogram_bytes <= MON_REMAINS_HISTOGRAM_MAX &&
	       record->size_bytes == head + total->histogram_bytes;
}

static int push_one(struct mon_spool *spool, uint64_t position, const void *data, size_t size_bytes)
{
	const struct mon_record record = {
		.position = position,
		.end = position + 8,
		.data = data,
		.size_bytes = (uint32_t)size_bytes,
	};
	size_t taken;

	return mon_spool_push(spool, 0, &record, 1, &taken);
}

static int push_total(struct mon_spool *spool, uint64_t position, const struct mon_ledger *ledger,
		      uint32_t function)
{
	struct mon_remains_total total = {
		.kind = MON_REMAINS_TOTAL,
		.version = MON_REMAINS_VERSION,
		.function = function,
		.killed = mon_ledger_told(ledger, function, MON_REASON_KILLED),
		.counters = *mon_ledger_counters(ledger, function),
	};
	uint64_t counts[MON_HISTOGRAM_BUCKETS];
	uint8_t blob[MON_HISTOGRAM_BLOB_MAX];
	struct mon_total row;
	size_t length = 0;

	mon_ledger_total(ledger, function, &row);
	total.armed_ns = row.armed_ns;
	total.wanted_ns = row.wanted_ns;
	total.wanted_own_ns = row.wanted_own_ns;
	total.armed_own_ns = row.armed_own_ns;
	total.marks = row.marks;
	if (!mon_ledger_histogram(ledger, function, counts))
		length = mon_histogram_encode(counts, blob);
	if (length <= MON_REMAINS_HISTOGRAM_MAX) {
		memcpy(total.histogram, blob, length);
		total.histogram_bytes = (uint16_t)length;
	}
	return push_one(spool, position, &total,
			offsetof(struct mon_remains_total, histogram) + total.histogram_bytes);
}

static int push_transition(struct mon_spool *spool, uint64_t position,
			   const struct mon_breaker_transition *transition)
{
	struct mon_remains_breaker breaker = {
		.kind = MON_REMAINS_BREAKER,
		.version = MON_REMAINS_VERSION,
		.from = (uint8_t)transition->from,
		.to = (uint8_t)transition->to,
		.error = transition->error,
		.at_ns = transition->at_ns,
	};

	(void)snprintf(breaker.cause, sizeof(breaker.cause), "%s", transition->cause);
	return push_one(spool, position, &breaker, sizeof(breaker));
}

int mon_remains_push(struct mon_spool *spool, uint64_t position, const struct mon_ledger *ledger,
		     uint32_t function_count, const struct mon_breaker_transition *transitions,
		     size_t transition_count, const struct mon_run_end *end)
{
	struct mon_remains_end last = {
		.kind = MON_REMAINS_END,
		.version = MON_REMAINS_VERSION,
		.target_status = end->target_status,
		.ended_ns = end->ended_ns,
	};
	int result = 0;

	for (uint32_t i = 0; i < function_count && !result; i++, position += 8)
		result = push_total(spool, position, ledger, i);
	for (size_t i = 0; i < transition_count && !result; i++, position += 8)
		result = push_transition(spool, position, &transitions[i]);
	(void)snprintf(last.reason, sizeof(last.reason), "%s", end->reason ? end->reason : "");
	return result ? result : push_one(spool, position, &last, sizeof(last));
}

static const uint8_t *copy_next(void *to, const uint8_t *from, size_t bytes)
{
	memcpy(to, from, bytes);
	return from + bytes;
}

/* As this version has it; what an earlier one does not tell is 0. */
static void read_total(const struct mon_record *record, struct mon_remains_total *total_out)
{
	const uint8_t *at = record->data;

	*total_out = (struct mon_remains_total){0};
	at = copy_next(total_out, at, offsetof(struct mon_remains_total, wanted_ns));
	if (total_out->version >= 3)
		at = copy_next(&total_out->wanted_ns, at, 3 * sizeof(uint64_t));
	at = copy_next(&total_out->killed, at, sizeof(total_out->killed));
	if (total_out->version >= 2)
		at = copy_next(&total_out->marks, at, 2 * sizeof(uint32_t));
	at = copy_next(&total_out->counters, at, sizeof(total_out->counters));
	memcpy(total_out->histogram, at, total_out->histogram_bytes);
}

void mon_remains_apply(const struct mon_record *record, struct mon_ledger *ledger)
{
	uint32_t histogram[MON_HISTOGRAM_SLOTS] = {0};
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};
	struct mon_remains_total total;

	read_total(record, &total);
	if (!mon_histogram_decode(total.histogram, total.histogram_bytes, counts))
		for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
			histogram[i] = (uint32_t)counts[i];
	histogram[MON_HISTOGRAM_MARKS] = total.marks;
	/* Left out, for it was too large: what the database has of it stays. */
	mon_ledger_update(ledger, total.function, &total.counters,
			  total.counters.returns && !total.histogram_bytes ? NULL : histogram,
			  total.armed_ns);
	if (total.wanted_own_ns)
		mon_ledger_set_share(ledger, total.function, total.wanted_ns, total.wanted_own_ns,
				     total.armed_own_ns);
	mon_ledger_set(ledger, total.function, MON_REASON_KILLED, total.killed);
}
