/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The accounts: kernel counters in, totals, intervals and ledger rows out. Pure but for its own
 * memory; the caller says what time it is. Each call that the kernel saw ends in exactly one
 * column; the ledger says whether that is so.
 *
 * Life: new, update (each function, each tick), take (rows for the store), then commit (they are
 * there) or give_back (they are not), ..., check, free. One thread calls; the rows of a take may be
 * read by another one until it hands them back, whatever updates come meanwhile.
 */
#ifndef MON_LEDGER_H
#define MON_LEDGER_H

#include "base/types.h"
#include "bpf/counters.h"

#include <stdbool.h>
#include <stdint.h>

/* Intervals of a second for the first hour, then of ten. */
#define MON_INTERVAL_NS MON_NS_PER_S
#define MON_INTERVAL_LONG_NS (10 * MON_NS_PER_S)
#define MON_INTERVAL_LONG_AFTER_NS (3600 * MON_NS_PER_S)

struct mon_budget;
struct mon_ledger;

int mon_ledger_new(uint32_t function_count, mon_ns started_ns, struct mon_budget *budget,
		   struct mon_ledger **ledger_out);
void mon_ledger_free(struct mon_ledger *ledger);

/*
 * Bytes that new() takes from the budget. Beyond it a function that returned takes
 * MON_TOTALS_RETURNED_BYTES; when the budget refuses, counts stay exact, histograms are left out
 * of rows (NULL) and come with a later row, in full, once there is memory.
 */
uint64_t mon_ledger_bytes(uint32_t function_count);

/*
 * Goes on with a run whose earlier intervals are in the database: the next interval begins at
 * @last_interval_end_ns (the same for each function) and holds what came since. For each function,
 * before its first update. 0, or -ENOMEM: without its histogram, whose next row then is from the
 * start; -EINVAL: a damaged BLOB, the same.
 */
int mon_ledger_resume(struct mon_ledger *ledger, uint32_t function,
		      const struct mon_function_sum *sum, mon_ns last_interval_end_ns);

/* The database is a new file: the next take has every row that is not a difference. */
void mon_ledger_tell_all(struct mon_ledger *ledger);

/*
 * What the kernel has for one function now: @counters already summed over CPUs (recent_max_ns is
 * what was taken since the last update), @histogram the kernel's u32 array (MON_HISTOGRAM_SLOTS),
 * which may have wrapped; NULL: not
 * known, what was told before stays. @armed_ns is how long it was armed since the run's start.
 */
void mon_ledger_update(struct mon_ledger *ledger, uint32_t function,
		       const struct mon_counters *counters, const uint32_t *histogram,
		       mon_ns armed_ns);

/*
 * A function that is not armed all the time: after its update. @wanted_ns since it was first armed;
 * the other two are the targets' own CPU time in that time and while it was armed.
 */
void mon_ledger_set_share(struct mon_ledger *ledger, uint32_t function, mon_ns wanted_ns,
			  uint64_t wanted_own_ns, uint64_t armed_own_ns);

/* Rows for `coverage`, once make_room was called. -ENOSPC: so many wait already; nothing is added.
 */
int mon_ledger_make_room(struct mon_ledger *ledger);
int mon_ledger_cover(struct mon_ledger *ledger, uint32_t function, mon_ns from_ns, mon_ns to_ns,
		     const char *why);
bool mon_ledger_has_room(const struct mon_ledger *ledger, size_t rows);

/*
 * How many calls of a function wait in the spool, were damaged there, or were left in the ring at
 * the end: spooled, spool_damaged, killed.
 */
void mon_ledger_set(struct mon_ledger *ledger, uint32_t function, enum mon_reason reason,
		    uint64_t count);

/* What set was told last. */
uint64_t mon_ledger_told(const struct mon_ledger *ledger, uint32_t function,
			 enum mon_reason reason);

/*
 * Every row that changed since what was last committed. Interval rows only when one is due (see
 * above) or @final; a @final take has a total for each function and every ledger entry. The arrays
 * are the ledger's and do not change until commit or give_back. 0, or -EBUSY: the rows of the last
 * take are still out.
 */
int mon_ledger_take(struct mon_ledger *ledger, mon_ns now, bool final, struct mon_tick *tick_out);

/* The rows of the last take are in the database, and nobody reads them any more. */
void mon_ledger_commit(struct mon_ledger *ledger);

/*
 * They are not, and nobody reads them any more: the next take gives it all again, as one longer
 * interval, never a hole.
 */
void mon_ledger_give_back(struct mon_ledger *ledger);

/* Latest state of one function, without its histogram. */
void mon_ledger_total(const struct mon_ledger *ledger, uint32_t function,
		      struct mon_total *total_out);
/* Its widened histogram, [MON_HISTOGRAM_BUCKETS]. 0, or -ENOMEM: it could not be kept. */
int mon_ledger_histogram(const struct mon_ledger *ledger, uint32_t function, uint64_t *counts_out);
/*
 * What it did in the interval of the last take that had intervals, committed or not. While nothing
 * can be committed (the breaker is open) that one reaches back to the last commit and grows with
 * each take: divide by length_ns. The histogram is a row's (BLOB or NULL), good until the next
 * take.
 */
void mon_ledger_last_interval(const struct mon_ledger *ledger, uint32_t function,
			      struct mon_interval *interval_out);
const struct mon_counters *mon_ledger_counters(const struct mon_ledger *ledger, uint32_t function);

/* The sum that has to close. @credited: what the store committed under each reason. */
struct mon_ledger_sum {
	uint64_t calls;
	uint64_t by_reason[MON_REASON_COUNT];
	uint64_t accounted;	   /* sum of by_reason */
	uint32_t unbalanced;	   /* functions whose calls differ from what is accounted */
	uint32_t first_unbalanced; /* index, when there is one */
	uint64_t lost;		   /* of class 'lost' */
};
void mon_ledger_check(const struct mon_ledger *ledger,
		      uint64_t (*credited)(const void *context, uint32_t function,
					   enum mon_reason reason),
		      const void *context, struct mon_ledger_sum *sum_out);

/* Calls of one function that are under no reason yet. */
uint64_t mon_ledger_missing(const struct mon_ledger *ledger, uint32_t function,
			    uint64_t (*credited)(const void *context, uint32_t function,
						 enum mon_reason reason),
			    const void *context);

const char *mon_reason_name(enum mon_reason reason); /* "sampled_out"; NULL for a wrong number */
bool mon_reason_is_loss(enum mon_reason reason);

#endif
