/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the BPF programs tell userspace by counting: exact, cumulative, never reset (but for
 * `recent_max_ns`). Laid out for mapped arrays, read without a system call.
 */
#ifndef MON_COUNTERS_H
#define MON_COUNTERS_H

#ifndef __bpf__
#include <linux/types.h>
#endif

/* Where a call ends up. The numbers are those of the database's `reason` table. */
enum mon_reason {
	MON_REASON_STORED = 1,
	MON_REASON_SET_ASIDE = 2,
	MON_REASON_SAMPLED_OUT = 3,
	MON_REASON_RATE_CAP = 4,
	MON_REASON_SIZE_CAP = 5,
	MON_REASON_IN_FLIGHT = 6,
	MON_REASON_UNWOUND = 7,
	MON_REASON_UNRETURNED = 8,
	MON_REASON_RING_FULL = 9,
	MON_REASON_GATE_CLOSED = 10,
	MON_REASON_FRAME_REFUSED = 11,
	MON_REASON_INVALID = 12,
	MON_REASON_SPOOL_DAMAGED = 13,
	MON_REASON_KILLED = 14,
	MON_REASON_SPOOLED = 15,
	MON_REASON_COUNT /* array bound; slot 0 is unused */
};

/* Which returned values say that a call failed. The first three look at the low 32 bits. */
enum mon_failed_if {
	MON_FAILED_NEVER,
	MON_FAILED_NEGATIVE,   /* ret<0 */
	MON_FAILED_ZERO,       /* ret==0 */
	MON_FAILED_NOT_ZERO,   /* ret!=0 */
	MON_FAILED_NEGATIVE64, /* ret64<0 */
	MON_FAILED_IFS
};

/*
 * One for each function and CPU, at index function * cpu_count + cpu. Every field but min, max
 * and recent_max is a sum over the life of the run; updates are atomic because a program can be
 * preempted by another thread's on the same CPU.
 *
 * A call is counted once in `calls`; if it was chosen it is then counted once in `emitted`
 * (its record is in the ring) or in one of the refusals. So, when nothing is open,
 * calls = emitted + sampled_out + rate_cap + size_cap + ring_full + gate_closed + frame_refused.
 * Where returns are skipped (MON_POLICY_NO_RETURN) a call that was followed counts as often as the
 * draw follows one in returns, failed, total and the histogram: `weight` times, MON_FOLLOW_N at
 * most. One that is followed and not chosen is sampled_out, as any other.
 */
struct mon_counters {
	__u64 calls;
	__u64 returns; /* finished calls: what total, self, min, max and the histogram are of */
	__u64 failed;  /* returned what the function's enum mon_failed_if says */
	__u64 total_ns;
	__u64 self_ns;
	__u64 min_ns; /* 0: none yet; a call of 0 ns counts as 1 */
	__u64 max_ns;
	__u64 recent_max_ns; /* userspace takes it and leaves 0, once each interval */
	__u64 emitted;
	__u64 sampled_out;
	__u64 rate_cap;
	__u64 size_cap;
	__u64 ring_full;
	__u64 gate_closed;
	__u64 frame_refused;
	__u64 unfinished; /* frames dropped without a return, chosen or not */
};

/*
 * Durations of one function, all CPUs: log-linear, 8 buckets an octave, so a quantile is within
 * 6.25 % of the truth. Bucket 0 is below 128 ns; bucket 1 + 8 * (o - 7) + s holds
 * [2^o + s * 2^(o-3), 2^o + (s+1) * 2^(o-3)); the last used one is everything from 2^36 ns up.
 */
#define MON_HISTOGRAM_FIRST_OCTAVE 7
#define MON_HISTOGRAM_LAST_OCTAVE 35
#define MON_HISTOGRAM_OVERFLOW \
	(1 + 8 * (MON_HISTOGRAM_LAST_OCTAVE - MON_HISTOGRAM_FIRST_OCTAVE + 1))
#define MON_HISTOGRAM_BUCKETS (MON_HISTOGRAM_OVERFLOW + 1)
#define MON_HISTOGRAM_SLOTS 236 /* rounded up, so that the next function's stays aligned */
#define MON_HISTOGRAM_MARKS MON_HISTOGRAM_BUCKETS /* slot of enum mon_mark */

struct mon_histogram {
	__u32 buckets[MON_HISTOGRAM_SLOTS]; /* may wrap between two reads only if 4e9 calls do */
};

/* What was ever true of a function in this run: set by the programs, never cleared. */
enum mon_mark {
	/* Returns of some calls were not followed: all but `calls` are estimates (`failed`, too).
	 */
	MON_MARK_ESTIMATED = 1 << 0,
	/* Some call had calls inside that nobody knows of: it is in total_ns, not in self_ns. */
	MON_MARK_SELF_UNKNOWN = 1 << 1,
};

/* Processes forked by a watched one, newest overwriting oldest. */
#define MON_FORKS_REMEMBERED 16

/*
 * One for the whole run: index 0 of its own array. A return has no frame when its entry was before
 * the probes were armed or, in multi and perf mode, when the entry was refused one.
 */
struct mon_run_counters {
	__u64 foreign_hits;    /* hits of processes that are not watched; nothing else is done */
	__u64 threads;	       /* threads that hold frames now */
	__u64 threads_refused; /* entries without a frame: cap reached or kernel had no memory */
	__u64 orphan_returns;  /* returns without a frame: see below */
	__u64 tasks_unnamed;   /* task records the ring refused */
	__u64 execs;	       /* watched processes that called exec */
	__u64 forks;	       /* children made by watched processes */
	__u64 texts_refused;   /* chosen calls kept without what their arguments point to */
	__u64 stacks_refused;  /* kept calls whose caller could not be read */
	__u32 fork_pids[MON_FORKS_REMEMBERED]; /* slot = forks % MON_FORKS_REMEMBERED */
};

_Static_assert(sizeof(struct mon_counters) == 128, "two cache lines, none shared");
_Static_assert(sizeof(struct mon_histogram) == 944, "layout");
_Static_assert(MON_HISTOGRAM_MARKS < MON_HISTOGRAM_SLOTS, "layout");
_Static_assert(sizeof(struct mon_run_counters) == 136, "layout");

#endif
