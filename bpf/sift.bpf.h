/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the sifting programs do and the plain ones do not: calls whose return is not followed, calls
 * whose return decides whether they are kept, and caps on records. All of it is behind a constant
 * (`sift` of mon_enter and mon_leave) or on a path that few calls take.
 */
#ifndef MON_SIFT_BPF_H
#define MON_SIFT_BPF_H

#include "emit.bpf.h"
#include "stats.bpf.h"

#define MON_SIFT_SKIP (1 << 16) /* beside the frame flags: no frame, and no return */

static __always_inline struct mon_frame *mon_frame_at(struct mon_thread *thread, __u32 index)
{
	MON_OPAQUE(index);
	return &thread->frames[index & (MON_FRAMES_MAX - 1)];
}

static __always_inline void mon_mark(__u32 function, __u32 mark)
{
	struct mon_histogram *histogram = bpf_map_lookup_elem(&histograms, &function);
	__u32 *marks;

	if (!histogram)
		return;
	marks = &histogram->buckets[MON_HISTOGRAM_MARKS];
	if (!(*(volatile __u32 *)marks & mark)) /* written once, read by every call */
		__sync_fetch_and_or(marks, mark);
}

/*
 * At entry: the flags of its frame, or MON_SIFT_SKIP. @draw: of mon_choose(), or ~0. Where returns
 * are skipped it follows 1 call in N or in MON_FOLLOW_N, whichever are more, and such a call stands
 * for as many; one that weighs 1 was kept without a draw, or all are, and stands for itself. (Where
 * N is small, what the draw would follow it has kept, but not where traps are measured: N is 1 and
 * none is kept.) Global functions, here and below, because the verifier walks those once and not
 * once for each way that leads to them; what they say is any number to it, so the ways meet again
 * behind them.
 */
__noinline __u32 mon_sift(__u32 function, __u32 weight, __u32 draw)
{
	struct mon_policy *policy = bpf_map_lookup_elem(&policies, &function);

	if (!policy || !setup.returns)
		return 0;
	if (setup.judge && (policy->slow_ns || (policy->flags & MON_POLICY_KEEP_FAILED)))
		return MON_FRAME_AWAITED;
	if (!setup.skip_returns || !(policy->flags & MON_POLICY_NO_RETURN))
		return 0;
	if (!weight && draw <= ~0u / MON_FOLLOW_N && policy->sample >> 32 > MON_FOLLOW_N)
		weight = MON_FOLLOW_N;
	if (weight)
		return ((weight < MON_FOLLOW_N ? weight : MON_FOLLOW_N) - 1)
		       << MON_FRAME_TIMES_SHIFT;
	mon_mark(function, MON_MARK_ESTIMATED);
	return MON_SIFT_SKIP;
}

/* When the frame below this one began; 0: there is none, and nobody knows what is around. */
static __always_inline __u64 mon_outer_ns(struct mon_thread *thread, __u32 index)
{
	return index ? mon_frame_at(thread, index - 1)->start_ns : 0;
}

/* A call of which nobody knows may be between this one and the frame below it. */
static __always_inline void mon_doubt_caller(struct mon_thread *thread, __u32 index,
					     struct mon_call *call)
{
	if (mon_outer_ns(thread, index) >= *(volatile __u64 *)&live.skipped_until_ns)
		return;
	call->flags |= MON_CALL_CALLER_UNKNOWN;
	call->caller = MON_FUNCTION_NONE;
}

/* At return: enum mon_call_doubt. */
__noinline __u32 mon_doubts(__u32 function, __u64 start_ns, __u64 outer_ns)
{
	__u64 until_ns = *(volatile __u64 *)&live.skipped_until_ns;
	__u32 doubts = 0;

	if (outer_ns < until_ns)
		doubts = MON_CALL_CALLER_UNKNOWN;
	if (start_ns < until_ns) {
		doubts |= MON_CALL_SELF_UNKNOWN;
		mon_mark(function, MON_MARK_SELF_UNKNOWN);
	}
	return doubts;
}

static __always_inline void mon_doubt(struct mon_thread *thread, __u32 index, struct mon_call *call)
{
	__u32 doubts = mon_doubts(call->function, call->start_ns, mon_outer_ns(thread, index));

	call->flags = doubts;
	/* Without a branch: two ways each would be four behind here. */
	call->caller |= -(doubts / MON_CALL_CALLER_UNKNOWN & 1);
	call->child_ns &= (doubts / MON_CALL_SELF_UNKNOWN & 1) - 1ull;
}

/* @fate: the flags of its frame. */
static __always_inline __u32 mon_times(__u32 fate)
{
	return (fate >> MON_FRAME_TIMES_SHIFT) + 1;
}

static __always_inline void mon_count_sifted(struct mon_counters *count,
					     const struct mon_call *call, __u32 fate)
{
	__u64 known = (call->flags / MON_CALL_SELF_UNKNOWN & 1) - 1ull; /* all bits, or none */

	mon_count_return(count, call->function, call->duration_ns,
			 (call->duration_ns - call->child_ns) & known, mon_times(fate));
}

static __always_inline bool mon_has_failed(__u32 failed_if, __u64 ret)
{
	switch (failed_if) {
	case MON_FAILED_NEGATIVE:
		return (__s32)ret < 0;
	case MON_FAILED_ZERO:
		return (__u32)ret == 0;
	case MON_FAILED_NOT_ZERO:
		return (__u32)ret != 0;
	case MON_FAILED_NEGATIVE64:
		return (__s64)ret < 0;
	default:
		return false;
	}
}

/*
 * What becomes of a call that returned: the weight it is kept with, 0 if it is not. Slow and failed
 * calls are a group of their own, kept whole: each weighs 1, whether or not it had been chosen with
 * another weight, for which the calls that are neither stand. So no call stands for one that is
 * kept. @fate: the flags of its frame.
 */
__noinline __u32 mon_judge(__u32 function, __u32 fate, __u32 weight, __u64 duration_ns, __u64 ret)
{
	struct mon_policy *policy = bpf_map_lookup_elem(&policies, &function);
	struct mon_counters *count = mon_counters_of(function);
	bool failed;

	if (!policy || !count)
		return weight;
	failed = mon_has_failed(policy->failed_if, ret);
	if (failed)
		__sync_fetch_and_add(&count->failed, mon_times(fate));
	if (!(fate & MON_FRAME_AWAITED))
		return weight;
	if ((policy->slow_ns && duration_ns >= policy->slow_ns) ||
	    (failed && (policy->flags & MON_POLICY_KEEP_FAILED)))
		weight = 1;
	else if (!weight)
		__sync_fetch_and_add(&count->sampled_out, 1);
	return weight;
}

/* A late CPU may still count in the second before: it is a second's end, not a wall. */
static __always_inline bool mon_window_is_full(__u32 index, __u32 second, __u32 most)
{
	struct mon_window *window = bpf_map_lookup_elem(&windows, &index);
	__u64 seen;

	if (!window)
		return false;
	seen = *(volatile __u64 *)&window->word;
	if ((__s32)(second - (__u32)(seen >> 32)) > 0)
		__sync_val_compare_and_swap(&window->word, seen, (__u64)second << 32);
	return (__u32)__sync_fetch_and_add(&window->word, 1) >= most;
}

/* A chosen call comes to the door to the ring: true says it was counted as rate_cap instead. */
static __noinline bool mon_is_capped(struct mon_counters *count, __u32 function)
{
	struct mon_policy *policy = bpf_map_lookup_elem(&policies, &function);
	__u32 second, most = policy ? policy->records_per_s : 0;

	/* What the gate refuses takes nobody's place. */
	if (*(volatile __u32 *)&live.gate.closed_reason)
		return false;
	second = bpf_ktime_get_ns() / 1000000000ull;
	if ((most && mon_window_is_full(function, second, most)) ||
	    (setup.records_per_s &&
	     mon_window_is_full(setup.function_count, second, setup.records_per_s))) {
		__sync_fetch_and_add(&count->rate_cap, 1);
		return true;
	}
	return false;
}

#endif
