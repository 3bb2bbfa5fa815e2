/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of one call: mon_enter, then mon_leave if it returns. Used by every mode; what differs
 * is how a return finds its frame: by index in the session cookie (the kernel pairs), or by stack
 * pointer.
 */
#ifndef MON_CALLS_BPF_H
#define MON_CALLS_BPF_H

#include "frames.bpf.h"
#include "sample.bpf.h"

/*
 * What a session cookie holds: the frame's index + 1 in the low byte, the start time above it, so
 * that a return whose frame was dropped and overwritten does not take another's.
 */
static __always_inline __u64 mon_session_word(__u64 start_ns, __u32 index)
{
	return start_ns << 8 | (index + 1);
}

/* A chosen call that gets no frame: recorded at once, without a duration. */
static __noinline void mon_emit_unframed(struct pt_regs *ctx, struct mon_thread *thread,
					 struct mon_counters *count, __u32 function, __u32 weight)
{
	struct mon_call call = {
		.start_ns = bpf_ktime_get_ns(),
		.born_ns = thread->born_ns,
		.tgid = thread->tgid,
		.tid = thread->tid,
		.function = function,
		.caller = mon_frame_at(thread, MON_FRAMES_MAX - 1)->function,
		.weight = weight,
		.cpu = bpf_get_smp_processor_id(),
		.depth = MON_FRAMES_MAX,
		.flags = MON_CALL_UNRETURNED,
	};

	if (setup.skip_returns)
		mon_doubt_caller(thread, MON_FRAMES_MAX, &call);
	if (setup.arg_count || setup.text_count || setup.stack_frames)
		call.entry = ctx;
	if (!thread->named)
		mon_emit_task(bpf_get_current_task_btf(), thread->tgid, thread->tid,
			      thread->born_ns, &thread->named);
	mon_emit_call(count, &call, true);
}

/*
 * The same where no thread has frames, because returns are not followed at all. Its locals would be
 * on the stack of every entry: 512 bytes are all there is for the deepest chain of calls.
 */
static __noinline void mon_emit_entry(struct pt_regs *ctx, struct mon_counters *count,
				      __u32 function, __u32 weight)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mon_ids ids = mon_ids_of(task);
	struct mon_call call = {
		.start_ns = bpf_ktime_get_ns(),
		.born_ns = task->start_time,
		.tgid = ids.tgid,
		.tid = ids.tid,
		.function = function,
		.caller = MON_FUNCTION_NONE,
		.weight = weight,
		.cpu = bpf_get_smp_processor_id(),
		.flags = MON_CALL_ENTRY_ONLY,
	};
	struct mon_name *name;

	if (setup.arg_count || setup.text_count || setup.stack_frames)
		call.entry = ctx;
	name = mon_create(&thread_names, task);
	if (!name)
		__sync_fetch_and_add(&live.run.tasks_unnamed, 1);
	else if (!name->named)
		mon_emit_task(task, ids.tgid, ids.tid, call.born_ns, &name->named);
	mon_emit_call(count, &call, true);
}

static __noinline bool mon_keep_arguments(struct pt_regs *ctx, __u32 index)
{
	struct mon_arguments *arguments;

	arguments = mon_create(&thread_arguments, bpf_get_current_task_btf());
	if (!arguments)
		return false;
	MON_OPAQUE(index);
	mon_read_arguments(ctx, arguments->args[index & (MON_FRAMES_MAX - 1)]);
	return true;
}

/*
 * True: the return is wanted, and *session_out says which frame it closes. @sift is a constant, in
 * mon_leave() too: what it guards is not in the plain programs at all.
 */
static __always_inline bool mon_enter(struct pt_regs *ctx, __u64 *session_out, const bool sift)
{
	__u64 cookie = bpf_get_attach_cookie(ctx), sp = PT_REGS_SP(ctx);
	struct task_struct *task = bpf_get_current_task_btf();
	struct mon_ids ids = mon_ids_of(task);
	__u32 cpu = bpf_get_smp_processor_id();
	struct mon_counters *count;
	struct mon_thread *thread;
	struct mon_frame *frame;
	bool wanted;
	__u32 function = cookie, slot, weight, depth, fate = 0, draw = ~0u;

	if (!mon_is_watched(ids.tgid)) {
		__sync_fetch_and_add(&live.run.foreign_hits, 1);
		return false;
	}
	if (setup.movable && !mon_counts_now(cookie))
		return false;
	slot = function * setup.cpu_count + cpu;
	count = bpf_map_lookup_elem(&counters, &slot);
	if (!count)
		return false;
	__sync_fetch_and_add(&count->calls, 1);
	weight = mon_choose(function, slot, &draw);
	if (sift)
		fate = mon_sift(function, weight, draw);
	if (!weight && !(fate & MON_FRAME_AWAITED))
		__sync_fetch_and_add(&count->sampled_out, 1);
	if (!setup.returns) {
		if (weight && !(sift && setup.caps && mon_is_capped(count, function)))
			mon_emit_entry(ctx, count, function, weight);
		return false;
	}
	if (fate & MON_SIFT_SKIP)
		return false;

	thread = bpf_task_storage_get(&threads, task, NULL, 0);
	if (!thread)
		thread = mon_thread_new(ids.tgid, ids.tid);
	if (!thread) {
		if (weight)
			__sync_fetch_and_add(&count->frame_refused, 1);
		else if (fate & MON_FRAME_AWAITED)
			__sync_fetch_and_add(&count->sampled_out, 1);
		return false;
	}
	depth = thread->depth;
	if (depth) {
		frame = mon_frame_at(thread, depth - 1);
		if (frame->sp < sp || mon_is_cut_off(frame))
			depth = mon_drop_frames(thread, sp, 0);
		if (depth && mon_frame_at(thread, depth - 1)->sp == sp && !mon_is_chained(ctx))
			depth = mon_drop_frames(thread, sp + 1, 0);
	}
	if (depth >= MON_FRAMES_MAX) {
		if (weight && !(sift && setup.caps && mon_is_capped(count, function)))
			mon_emit_unframed(ctx, thread, count, function, weight);
		else if (!weight && (fate & MON_FRAME_AWAITED))
			__sync_fetch_and_add(&count->sampled_out, 1);
		return false;
	}
	frame = mon_frame_at(thread, depth);
	frame->child_ns = 0;
	frame->sp = sp;
	frame->function = function;
	frame->weight = weight;
	frame->cpu = cpu;
	frame->generation = cookie >> 32;
	frame->flags = fate;
	wanted = weight || (fate & MON_FRAME_AWAITED);
	if (setup.arg_count && wanted && mon_keep_arguments(ctx, depth))
		frame->flags = fate | MON_FRAME_ARGS;
	if (setup.text_count && wanted && mon_keep_texts(ctx, thread, depth))
		frame->flags |= MON_FRAME_TEXTS;
	thread->depth = depth + 1;
	frame->start_ns = bpf_ktime_get_ns(); /* last: what is measured should not be us */
	*session_out = mon_session_word(frame->start_ns, depth);
	return true;
}

/*
 * A return without a frame: its entry was before the probes were armed, or had no frame. Of two
 * overlapping links the second finds none, either.
 */
static __noinline void mon_count_orphan(__u64 cookie, bool session)
{
	struct mon_ids ids = mon_ids_of(bpf_get_current_task_btf());

	if (setup.movable && !session && !mon_counts_now(cookie))
		return;
	if (mon_is_watched(ids.tgid))
		__sync_fetch_and_add(&live.run.orphan_returns, 1);
}

/* The index of the frame that this return closes, everything above it dropped; -1: none. */
static __always_inline int mon_find_by_session(struct mon_thread *thread, __u64 word)
{
	__u32 index = (word & 0xff) - 1, depth = thread->depth;

	if (index >= depth || index >= MON_FRAMES_MAX)
		return -1;
	if (mon_session_word(mon_frame_at(thread, index)->start_ns, index) != word)
		return -1;
	if (index + 1 != depth)
		mon_drop_frames(thread, ~0ull, index + 1);
	return index;
}

static __always_inline int mon_find_by_sp(struct mon_thread *thread, __u64 sp, __u64 cookie)
{
	__u32 depth = thread->depth;
	struct mon_frame *frame;

	if (!depth)
		return -1;
	frame = mon_frame_at(thread, depth - 1);
	if (frame->sp < sp || mon_is_cut_off(frame)) {
		depth = mon_drop_frames(thread, sp, 0);
		if (!depth)
			return -1;
		frame = mon_frame_at(thread, depth - 1);
	}
	if (frame->sp != sp || frame->function != (__u32)cookie || !mon_may_close(frame, cookie))
		return -1;
	return (int)depth - 1;
}

static __always_inline void mon_leave(struct pt_regs *ctx, const __u64 *session, const bool sift)
{
	__u64 end_ns = bpf_ktime_get_ns(), child_ns;
	struct task_struct *task = bpf_get_current_task_btf();
	struct mon_frame *frame, *parent;
	struct mon_arguments *arguments;
	struct mon_counters *count;
	struct mon_thread *thread;
	struct mon_call call = {};
	bool has_texts;
	int index;

	thread = bpf_task_storage_get(&threads, task, NULL, 0);
	if (!thread) {
		mon_count_orphan(bpf_get_attach_cookie(ctx), session);
		return;
	}
	if (session)
		index = mon_find_by_session(thread, *session);
	else
		index = mon_find_by_sp(thread, PT_REGS_SP(ctx) - MON_RETURN_POPS,
				       bpf_get_attach_cookie(ctx));
	if (index < 0) {
		mon_count_orphan(bpf_get_attach_cookie(ctx), session);
		return;
	}
	frame = mon_frame_at(thread, index);
	thread->depth = index;
	call.start_ns = frame->start_ns;
	call.function = frame->function;
	call.weight = frame->weight;
	call.cpu = frame->cpu;
	call.caller = MON_FUNCTION_NONE;
	call.duration_ns = end_ns > call.start_ns ? end_ns - call.start_ns : 0;
	child_ns = frame->child_ns;
	call.child_ns = child_ns < call.duration_ns ? child_ns : call.duration_ns;
	if (index) {
		parent = mon_frame_at(thread, index - 1);
		parent->child_ns += call.duration_ns;
		call.caller = parent->function;
	}
	count = mon_counters_of(call.function);
	if (!count)
		return;
	if (sift && setup.skip_returns)
		mon_doubt(thread, index, &call);
	if (sift)
		mon_count_sifted(count, &call, frame->flags);
	else
		mon_count_return(count, call.function, call.duration_ns,
				 call.duration_ns - call.child_ns, 1);
	if (sift && setup.judge)
		call.weight = mon_judge(call.function, frame->flags, call.weight, call.duration_ns,
					PT_REGS_RC(ctx));
	if (!call.weight) {
		if (sift && setup.text_count && (frame->flags & MON_FRAME_TEXTS))
			mon_forget_texts(thread, index);
		return;
	}
	call.ret = PT_REGS_RC(ctx);
	call.born_ns = thread->born_ns;
	call.tgid = thread->tgid;
	call.tid = thread->tid;
	call.depth = index;
	if (setup.arg_count && (frame->flags & MON_FRAME_ARGS)) {
		arguments = bpf_task_storage_get(&thread_arguments, task, NULL, 0);
		MON_OPAQUE(index);
		if (arguments)
			call.args = arguments->args[index & (MON_FRAMES_MAX - 1)];
	}
	if (setup.stack_frames)
		call.leave = ctx;
	has_texts = setup.text_count && (frame->flags & MON_FRAME_TEXTS);
	if (has_texts)
		call.texts = mon_find_texts(thread, index);
	if (!thread->named)
		mon_emit_task(task, call.tgid, call.tid, call.born_ns, &thread->named);
	if (!(sift && setup.caps && mon_is_capped(count, call.function)))
		mon_emit_call(count, &call, true);
	if (has_texts)
		mon_forget_texts(thread, index);
}

#endif
