/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open calls: pushed at entry, popped at return, dropped when they will never return. A frame is
 * dead when the stack pointer has risen above it (longjmp, exception); at equal stack pointers it
 * is alive only if the new call is a tail call, which shows in its return address: the kernel put
 * its trampoline there for the first one (facts of kernel/events/uprobes.c: chained instances).
 * Dropping is rare and loops with bpf_loop, whose body is verified once.
 */
#ifndef MON_FRAMES_BPF_H
#define MON_FRAMES_BPF_H

#include "arming.bpf.h"
#include "emit.bpf.h"
#include "filter.bpf.h"
#include "sift.bpf.h"

#if defined(__TARGET_ARCH_x86)
#define MON_RETURN_POPS 8 /* the return address */
#else
#define MON_RETURN_POPS 0
#endif

/* Is the call that is entered now a tail call of one whose return the kernel follows? */
static __noinline bool mon_is_chained(struct pt_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 trampoline = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
	__u64 address = 0;

#if defined(__TARGET_ARCH_x86)
	if (bpf_probe_read_user(&address, sizeof(address), (void *)PT_REGS_SP(ctx)))
		return false;
#else
	address = PT_REGS_RET(ctx);
#endif
	return trampoline && address == trampoline;
}

struct mon_drop {
	struct mon_thread *thread;
	struct task_struct *task;
	__u64 alive_sp; /* frames from here up live: the loop ends. ~0: all die */
	__u32 depth;	/* frames left */
	__u32 keep;	/* and so many oldest ones stay in any case */
	__u32 flag;	/* enum mon_call_flag: how they ended */
};

static long mon_drop_one(__u32 iteration, struct mon_drop *drop)
{
	struct mon_thread *thread = drop->thread;
	struct mon_call call = {};
	struct mon_arguments *arguments;
	struct mon_counters *count;
	struct mon_frame *frame;
	bool has_texts, cut_off;
	__u32 index;

	if (drop->depth <= drop->keep)
		return 1;
	index = (drop->depth - 1) & (MON_FRAMES_MAX - 1);
	frame = mon_frame_at(thread, index);
	cut_off = mon_is_cut_off(frame);
	if (frame->sp >= drop->alive_sp && !cut_off)
		return 1;
	drop->depth = index;
	/* As if it had never been watched: what it called was called by the one around it. */
	if (cut_off && index)
		mon_frame_at(thread, index - 1)->child_ns += frame->child_ns;
	count = mon_counters_of(frame->function);
	if (!count)
		return 0;
	__sync_fetch_and_add(&count->unfinished, 1);
	has_texts = setup.text_count && (frame->flags & MON_FRAME_TEXTS);
	if (!frame->weight) {
		/* What never returned was neither slow nor failed. */
		if (setup.judge && (frame->flags & MON_FRAME_AWAITED)) {
			__sync_fetch_and_add(&count->sampled_out, 1);
			if (has_texts)
				mon_forget_texts(thread, index);
		}
		return 0;
	}
	call.start_ns = frame->start_ns;
	call.born_ns = thread->born_ns;
	call.tgid = thread->tgid;
	call.tid = thread->tid;
	call.function = frame->function;
	call.caller = index ? mon_frame_at(thread, index - 1)->function : MON_FUNCTION_NONE;
	call.weight = frame->weight;
	call.cpu = frame->cpu;
	call.depth = index;
	call.flags = cut_off ? MON_CALL_UNRETURNED : drop->flag;
	if (setup.skip_returns)
		mon_doubt_caller(thread, index, &call);
	if (setup.arg_count && (frame->flags & MON_FRAME_ARGS)) {
		arguments = bpf_task_storage_get(&thread_arguments, drop->task, NULL, 0);
		if (arguments)
			call.args = arguments->args[index];
	}
	if (has_texts)
		call.texts = mon_find_texts(thread, index);
	if (!thread->named)
		mon_emit_task(drop->task, thread->tgid, thread->tid, thread->born_ns,
			      &thread->named);
	if (!setup.caps || !mon_is_capped(count, call.function))
		mon_emit_call(count, &call, false);
	if (has_texts)
		mon_forget_texts(thread, index);
	return 0;
}

/*
 * Drops the newest frames of @depth down to @keep that lie below @alive_sp or were cut off. Returns
 * how many are left; `thread->depth` is the caller's to set.
 */
static __noinline __u32 mon_drop_frames(struct mon_thread *thread, __u64 alive_sp, __u32 keep)
{
	struct mon_drop drop = {
		.thread = thread,
		.task = bpf_get_current_task_btf(),
		.alive_sp = alive_sp,
		.depth = thread->depth,
		.keep = keep,
		.flag = MON_CALL_UNWOUND,
	};

	bpf_loop(MON_FRAMES_MAX, mon_drop_one, &drop, 0);
	thread->depth = drop.depth;
	return drop.depth;
}

/* The thread's end, in any way: whoever gets the depth accounts for the frames. */
static __always_inline void mon_drop_all(struct mon_thread *thread, struct task_struct *task,
					 __u32 flag)
{
	struct mon_drop drop = {
		.thread = thread,
		.task = task,
		.alive_sp = ~0ull,
		.flag = flag,
	};

	drop.depth = __sync_lock_test_and_set(&thread->depth, 0);
	if (drop.depth)
		bpf_loop(MON_FRAMES_MAX, mon_drop_one, &drop, 0);
}

/* NULL: the cap is reached, or the kernel had no memory. */
static __noinline struct mon_thread *mon_thread_new(__u32 tgid, __u32 tid)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mon_thread *thread = NULL;

	if (__sync_fetch_and_add(&live.run.threads, 1) < setup.threads_max)
		thread = mon_create(&threads, task);
	if (!thread) {
		__sync_fetch_and_add(&live.run.threads, -1);
		__sync_fetch_and_add(&live.run.threads_refused, 1);
		return NULL;
	}
	thread->tgid = tgid;
	thread->tid = tid;
	thread->born_ns = task->start_time;
	return thread;
}

#endif
