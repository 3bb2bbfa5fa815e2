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

/* First calls of a run and of each second that are kept whatever the rate says, for each CPU. */
#define MON_ALLOWANCE_RUN 100
#define MON_ALLOWANCE_SECOND 10

enum mon_policy_flag {
	MON_POLICY_ALLOWANCE = 1 << 0, /* the allowance above applies (`--sample auto`) */
};

/* One for each function, index = attach cookie. */
struct mon_policy {
	/*
	 * N in the upper half (0: keep none), floor(2^32 / N) - 1 in the lower: a call is kept
	 * when a random u32 is <= the lower half, so N = 1 is exact. One word, so that a program
	 * never sees the rate of one decision with the weight of another.
	 */
	__u64 sample;
	__u32 flags; /* enum mon_policy_flag */
	__u32 reserved;
};

/* Index 0 of its own array. */
struct mon_gate {
	/* 0: open. Else the enum mon_reason under which chosen calls are counted, not emitted. */
	__u32 closed_reason;
	__u32 reserved;
};

_Static_assert(sizeof(struct mon_policy) == 16, "layout");
_Static_assert(sizeof(struct mon_gate) == 8, "layout");

#endif
