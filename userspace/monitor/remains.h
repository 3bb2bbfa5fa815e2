/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run still has to say when its database does not take its end: the last counters of each
 * function and how the run ended, appended to the spool behind its records, so that `monbpf spool
 * drain` can close the books. Their positions go on where the ring's end; their kinds are not the
 * programs'.
 */
#ifndef MON_REMAINS_H
#define MON_REMAINS_H

#include "base/types.h"
#include "control/ledger.h"
#include "pipeline/breaker.h"
#include "pipeline/record.h"
#include "pipeline/spool.h"

#include <stdbool.h>

enum mon_remains_kind {
	MON_REMAINS_TOTAL = 200,   /* struct mon_remains_total, one for each function */
	MON_REMAINS_END = 201,	   /* struct mon_remains_end, the last record of all */
	MON_REMAINS_BREAKER = 202, /* struct mon_remains_breaker, one for each transition */
};
#define MON_REMAINS_VERSION 3	       /* an earlier build's 1 and 2 are read, too */
#define MON_REMAINS_HISTOGRAM_MAX 1600 /* beyond it the buckets are left out */

struct mon_remains_total {
	uint8_t kind, version;
	uint16_t histogram_bytes;
	uint32_t function;
	uint64_t armed_ns;
	uint64_t wanted_ns, wanted_own_ns, armed_own_ns; /* own: 0, armed all the time */
	uint64_t killed; /* records that neither database nor spool had room for */
	uint32_t marks;	 /* enum mon_mark */
	uint32_t reserved;
	struct mon_counters counters;
	uint8_t histogram[MON_REMAINS_HISTOGRAM_MAX]; /* BLOB; so many bytes as are told */
};

struct mon_remains_end {
	uint8_t kind, version;
	uint16_t reserved;
	int32_t target_status;
	uint64_t ended_ns;
	char reason[48];
};

struct mon_remains_breaker {
	uint8_t kind, version, from, to;
	int32_t error;
	uint64_t at_ns;
	char cause[48];
};

/* Is it one of the three, of a version that can be read, and sound? */
bool mon_remains_is(const struct mon_record *record, uint32_t function_count);
/* Is it one of the three by its kind, whoever wrote it? */
bool mon_remains_is_kind(const struct mon_record *record);

/* Appends them, from @position on. 0 or what the spool says. */
int mon_remains_push(struct mon_spool *spool, uint64_t position, const struct mon_ledger *ledger,
		     uint32_t function_count, const struct mon_breaker_transition *transitions,
		     size_t transition_count, const struct mon_run_end *end);

/* Tells the ledger what a MON_REMAINS_TOTAL holds. */
void mon_remains_apply(const struct mon_record *record, struct mon_ledger *ledger);

#endif
