/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What userspace tells the BPF programs while they run: how much of each function to keep, and
 * whether the door to the ring is open. Both live in mapped arrays: a change is a store, not a
 * system call. Only capture/ writes them; control/ decides what to write.
 */
#ifndef MON_POLICY_H
#define MON_POLICY_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define MON_SAMPLE_NONE 0ull		     /* keep no call of this function */
#define MON_SAMPLE_ALL 0x00000001ffffffffull /* keep every call, weight 1 */
#define MON_SAMPLE_N_MAX 1000000u	     /* largest N of "1 in N" */

/* At least 1 in so many calls is followed to its return where returns are skipped. */
#define MON_FOLLOW_N 16

/* First calls of a run and of each second that are kept whatever the rate says, for each CPU. */
#define MON_ALLOWANCE_RUN 100
#define MON_ALLOWANCE_SECOND 10

enum mon_policy_flag {
	MON_POLICY_ALLOWANCE = 1 << 0, /* the allowance above applies (`--sample auto`) */
	/*
	 * Session mode: returns of calls that are not followed cost no trap. Followed is each call
	 * that is kept and, where fewer than 1 in MON_FOLLOW_N are kept by the draw (but not where
	 * none is), 1 in MON_FOLLOW_N; times are then estimates from these. A return that is
	 * followed more rarely meets cold code and tells too much. May change at any time in a
	 * capture that was made with `may_skip_returns`; else, and for functions whose slow or
	 * failed calls are kept, it means nothing.
	 */
	MON_POLICY_NO_RETURN = 1 << 1,
	MON_POLICY_KEEP_FAILED = 1 << 2, /* every call that `failed_if` says, weight 1 */
};

/* One for each function, index = attach cookie. */
struct mon_policy {
	/*
	 * N in the upper half (0: keep none), floor(2^32 / N) - 1 in the lower: a call is kept
	 * when a random u32 is <= the lower half, so N = 1 is exact. One word, so that a program
	 * never sees the rate of one decision with the weight of another.
	 */
	__u64 sample;
	__u64 slow_ns;	     /* calls of so long are all kept, weight 1; 0: not for that */
	__u32 flags;	     /* enum mon_policy_flag */
	__u32 records_per_s; /* at most so many records in a second, all CPUs; 0: no cap */
	__u32 failed_if;     /* enum mon_failed_if */
	__u32 reserved;
};

/* Index 0 of its own array. */
struct mon_gate {
	/* 0: open. Else the enum mon_reason under which chosen calls are counted, not emitted. */
	__u32 closed_reason;
	__u32 reserved;
};

_Static_assert(sizeof(struct mon_policy) == 32, "layout");
_Static_assert(sizeof(struct mon_gate) == 8, "layout");

#endif
