/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exact statistics. A program can be preempted by another thread's on the same CPU, so each update
 * is atomic; the loser of a race for min or max tries again, a few times at most.
 */
#ifndef MON_STATS_BPF_H
#define MON_STATS_BPF_H

#include "maps.bpf.h"

#define MON_EXCHANGE_TRIES 3

/*
 * Index of the histogram bucket; see bpf/counters.h. The leading bit is found by halves without a
 * branch: the verifier walks this once on each way that leads here, and each of two ways in five
 * halves would be 32.
 */
static __always_inline __u32 mon_bucket(__u64 ns)
{
	__u64 high = ns >> MON_HISTOGRAM_FIRST_OCTAVE, octave, half;

	if (!high)
		return 0;
	if (ns >> (MON_HISTOGRAM_LAST_OCTAVE + 1))
		return MON_HISTOGRAM_OVERFLOW;
	/* A difference below 0 has its top bit set. */
	half = (0xffff - high) >> 63 << 4;
	octave = half;
	high >>= half;
	half = (0xff - high) >> 63 << 3;
	octave += half;
	high >>= half;
	half = (0xf - high) >> 63 << 2;
	octave += half;
	high >>= half;
	half = (0x3 - high) >> 63 << 1;
	octave += half;
	high >>= half;
	octave += high >> 1;
	/* Three bits below the leading one. */
	return 1 + 8 * octave + ((ns >> (octave + MON_HISTOGRAM_FIRST_OCTAVE - 3)) & 7);
}

/* Rare: most calls change neither min nor max. */
static __noinline void mon_exchange(__u64 *value, __u64 candidate, bool lower)
{
	__u64 seen = *(volatile __u64 *)value, before;

	for (int i = 0; i < MON_EXCHANGE_TRIES; i++) {
		if (lower ? seen && candidate >= seen : candidate <= seen)
			return;
		before = __sync_val_compare_and_swap(value, seen, candidate);
		if (before == seen)
			return;
		seen = before;
	}
}

static __always_inline void mon_raise(__u64 *value, __u64 candidate)
{
	if (candidate > *(volatile __u64 *)value)
		mon_exchange(value, candidate, false);
}

/* 0 stands for "none yet". */
static __always_inline void mon_lower(__u64 *value, __u64 candidate)
{
	if (*(volatile __u64 *)value - 1 >= candidate) /* 0 wraps to the top */
		mon_exchange(value, candidate, true);
}

static __always_inline struct mon_counters *mon_counters_of(__u32 function)
{
	__u32 slot = function * setup.cpu_count + bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&counters, &slot);
}

/* @times: how many returns this one stands for. */
static __always_inline void mon_count_return(struct mon_counters *count, __u32 function,
					     __u64 duration_ns, __u64 self_ns, __u32 times)
{
	struct mon_histogram *histogram = bpf_map_lookup_elem(&histograms, &function);
	__u32 bucket;

	__sync_fetch_and_add(&count->returns, times);
	__sync_fetch_and_add(&count->total_ns, duration_ns * times);
	__sync_fetch_and_add(&count->self_ns, self_ns);
	mon_lower(&count->min_ns, duration_ns ?: 1);
	mon_raise(&count->max_ns, duration_ns);
	mon_raise(&count->recent_max_ns, duration_ns);
	if (!histogram)
		return;
	bucket = mon_bucket(duration_ns);
	if (bucket < MON_HISTOGRAM_BUCKETS)
		__sync_fetch_and_add(&histogram->buckets[bucket], times);
}

#endif
