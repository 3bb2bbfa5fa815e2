/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory budget: what `--memory-budget` covers, part by part. Everything sizeable that the
 * monitor holds (BPF maps and rings, frames of the target's threads, queue, symbols, SQLite's
 * heap, the spool's buffers) is reserved here before it is allocated. At the hard line a
 * reservation fails with -ENOMEM and the caller copes. Thread-safe (atomics, no lock); the hot path
 * never comes here.
 */
#ifndef MON_BUDGET_H
#define MON_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mon_budget_part {
	MON_BUDGET_PROCESS, /* code, libraries, stacks: measured once at start */
	MON_BUDGET_RING,
	MON_BUDGET_MAPS, /* counters, histograms, policy */
	MON_BUDGET_FRAMES,
	MON_BUDGET_QUEUE,
	MON_BUDGET_OVERFLOW, /* taken only when needed, given back */
	MON_BUDGET_SYMBOLS,
	MON_BUDGET_TOTALS, /* ledger and intervals in userspace */
	MON_BUDGET_SQLITE,
	MON_BUDGET_SPOOL, /* its two buffers and its table of segments */
	MON_BUDGET_PARTS
};

#define MON_BUDGET_DEFAULT_BYTES (64ull << 20)
#define MON_BUDGET_MIN_BYTES (24ull << 20) /* below this no plan fits */
#define MON_BUDGET_MAX_BYTES (64ull << 30)

/* pipeline/spool_open.c: two buffers of 256 KiB, and the table for the default size. */
#define MON_BUDGET_TASKS_BYTES (16384ull * 24) /* the store's table of threads */
#define MON_BUDGET_STACKS_BYTES \
	(16384ull * 16 + 2048ull * 64)	      /* stacks and mappings, with --stack */
#define MON_BUDGET_CREDITS_BYTES 80ull	      /* the store's, of each function */
#define MON_BUDGET_BATCH_BYTES (896ull << 10) /* what the writer has in hand, a copy */
#define MON_BUDGET_SPOOL_BYTES ((2ull * 256 + 64) << 10)
#define MON_BUDGET_SQLITE_BYTES (6ull << 20) /* its cache is 4 MiB of it */

/*
 * The ledger's share, as control/ledger.c has it. Of each function, whatever it does; of each that
 * returned: its buckets, and two BLOBs of ordinary size. The plan keeps room for so many of the
 * second kind; those beyond take what is left, or their histograms are left out.
 */
#define MON_TOTALS_FUNCTION_BYTES 1128
#define MON_GOVERNED_FUNCTION_BYTES 224 /* control/governor.c and monitor/govern.c */
#define MON_COVERAGE_ROWS_MAX 4096	/* waiting for the database; beyond, windows stay shut */
#define MON_COVERAGE_ROW_BYTES 32
#define MON_TOTALS_BUCKETS_BYTES 1872
#define MON_TOTALS_RETURNED_BYTES (MON_TOTALS_BUCKETS_BYTES + 2 * 256)
#define MON_TOTALS_RETURNED_PLANNED 2048
#define MON_TOTALS_SPARE_BYTES 32768 /* two chunks of BLOBs, part used */

struct mon_budget;

int mon_budget_new(uint64_t limit_bytes, struct mon_budget **budget_out);
void mon_budget_free(struct mon_budget *budget);

/* 0 or -ENOMEM: nothing was reserved. Without a budget (NULL) there is no bound. */
int mon_budget_reserve(struct mon_budget *budget, enum mon_budget_part part, uint64_t bytes);
void mon_budget_release(struct mon_budget *budget, enum mon_budget_part part, uint64_t bytes);

/* Reserved and zeroed memory, or NULL; freed with the same @bytes. NULL budget: plain calloc. */
void *mon_budget_calloc(struct mon_budget *budget, enum mon_budget_part part, uint64_t bytes);
void mon_budget_free_bytes(struct mon_budget *budget, enum mon_budget_part part, void *memory,
			   uint64_t bytes);

uint64_t mon_budget_limit(const struct mon_budget *budget);
uint64_t mon_budget_used(const struct mon_budget *budget);
uint64_t mon_budget_part_used(const struct mon_budget *budget, enum mon_budget_part part);
uint64_t mon_budget_part_peak(const struct mon_budget *budget, enum mon_budget_part part);
const char *mon_budget_part_name(enum mon_budget_part part);

/*
 * Tests only: the @nth reservation from now (1 = next) fails, then all succeed; 0 turns it off.
 */
void mon_budget_fail_at(struct mon_budget *budget, uint64_t nth);

/* What a run wants; sizes in bytes or counts as named. */
struct mon_budget_want {
	uint64_t limit_bytes;
	uint64_t
		ring_bytes; /* all; 0: choose min(16 MiB, a quarter of the limit), a power of two */
	uint32_t rings;	    /* 0: one for MON_RING_CPUS CPUs, as far as MON_RINGS_PLANNED_MAX */
	uint32_t cpus_online;
	uint32_t functions;
	uint32_t cpus;
	uint32_t threads; /* 0: as many as fit, at most MON_THREADS_MAX */
	bool frames;	  /* return probes, so frames are kept */
	bool arguments;
	bool stacks;
	bool governed;	     /* --max-overhead */
	uint64_t text_bytes; /* of the strings and buffers that one open call keeps */
	uint64_t symbols_bytes;
	uint64_t print_bytes; /* lines that wait to be printed; 0: none are */
};

struct mon_budget_plan {
	uint64_t bytes[MON_BUDGET_PARTS];
	uint64_t total_bytes;
	uint64_t ring_bytes; /* of each ring, a power of two; never under MON_RING_BYTES_MIN */
	uint32_t rings;
	uint32_t threads;     /* cap of threads with frames */
	uint32_t text_calls;  /* cap of open calls that keep strings and buffers */
	uint64_t least_bytes; /* the smallest limit that would do for these functions */
};

#define MON_TEXT_CALLS_MAX 4096
#define MON_TEXT_CALLS_BYTES (1ull << 20) /* all of them; long texts, fewer calls */
#define MON_THREADS_MAX 4096
#define MON_THREADS_MIN 16
#define MON_RING_BYTES_MIN 4096ull
#define MON_RING_BYTES_DEFAULT (16ull << 20)
#define MON_RING_BYTES_DEFAULT_MIN (8ull << 20)
#define MON_RING_BYTES_MAX (1ull << 30)
#define MON_RING_CPUS 8 /* that share a ring unless --rings says otherwise */
#define MON_RINGS_PLANNED_MAX 16

/* Divides the limit. 0, or -ENOMEM with least_bytes set and the parts as they would have been. */
int mon_budget_plan(const struct mon_budget_want *want, struct mon_budget_plan *plan_out);

#endif
