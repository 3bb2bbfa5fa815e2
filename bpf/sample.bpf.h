/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which calls become records. Decided at entry, after counting, before anything that costs. */
#ifndef MON_SAMPLE_BPF_H
#define MON_SAMPLE_BPF_H

#include "maps.bpf.h"

#define MON_SECOND_NS 1000000000ull

/*
 * The first calls of the run and of each second, per function and CPU. What it keeps stands for
 * itself alone (weight 1), so a race over `since_ns` shifts which calls are kept, never a sum.
 */
static __always_inline bool mon_allowed(__u32 function, __u32 slot)
{
	struct mon_allowance *allowance = bpf_map_lookup_elem(&allowances, &slot);
	__u64 now;

	if (!allowance)
		return false;
	if (allowance->kept_run < MON_ALLOWANCE_RUN &&
	    __sync_fetch_and_add(&allowance->kept_run, 1) < MON_ALLOWANCE_RUN)
		return true;
	/* Good to a tenth of a second, and for nothing: a clock would be read by most calls. */
	now = *(volatile __u64 *)&live.heartbeat_ns;
	if (now - allowance->since_ns >= MON_SECOND_NS) {
		allowance->since_ns = now;
		allowance->kept_second = 0;
	}
	/* Functions of the monitor's own, behind the others, are never kept. */
	return allowance->kept_second < MON_ALLOWANCE_SECOND && function < setup.function_count &&
	       __sync_fetch_and_add(&allowance->kept_second, 1) < MON_ALLOWANCE_SECOND;
}

/* The weight of this call: 0 says it is counted only. *draw_out is left alone if none was made. */
static __always_inline __u32 mon_choose(__u32 function, __u32 slot, __u32 *draw_out)
{
	struct mon_policy *policy = bpf_map_lookup_elem(&policies, &function);
	__u64 word;

	if (!policy)
		return 0;
	word = *(volatile __u64 *)&policy->sample;
	if (word == MON_SAMPLE_ALL)
		return 1;
	if (setup.allowance && (policy->flags & MON_POLICY_ALLOWANCE) &&
	    mon_allowed(function, slot))
		return 1;
	if (!(word >> 32))
		return 0;
	*draw_out = bpf_get_prandom_u32();
	return *draw_out <= (__u32)word ? word >> 32 : 0;
}

#endif
