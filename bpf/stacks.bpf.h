/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The callers of a kept call, by frame pointers. Walked when the record is written: at the return,
 * where the function's own frame is gone and everything around it is as it was at entry, so nothing
 * has to be kept while the call is open. Without return probes it is walked at entry.
 *
 * Not bpf_get_stack(): at entry it leaves the caller out unless the kernel recognises the probed
 * instruction (since 6.11), and before 6.11 it shows the trampoline of return probes in place of
 * every caller that is watched itself. Here the address that the trampoline stands for is taken
 * from the kernel's list, found by where on the stack it was.
 *
 * A frame must lie above the one before, the first above the stack pointer: code without frame
 * pointers gives a short stack rather than a wrong one. What is not in memory ends the walk.
 */
#ifndef MON_STACKS_BPF_H
#define MON_STACKS_BPF_H

#include "maps.bpf.h"

struct mon_walk {
	__u64 *frames; /* of the record: setup.stack_frames of them */
	__u64 fp;      /* of the next frame: points to the next one's, then the return address */
	__u64 trampoline;
	struct return_instance *instance; /* the newest that is not below */
	__u32 count;
	__u32 reserved;
};

/* Plain variables: BPF_CORE_READ() would look for our own struct in the kernel. */
static long mon_look_at_instance(__u32 iteration, struct mon_walk *walk)
{
	struct return_instance *instance = walk->instance;

	if (!instance || BPF_CORE_READ(instance, stack) > walk->fp)
		return 1;
	walk->instance = BPF_CORE_READ(instance, next);
	return 0;
}

/* What the trampoline stands for in the frame at walk->fp; itself, if the kernel does not know. */
static __always_inline __u64 mon_behind_trampoline(struct mon_walk *walk)
{
	struct return_instance *instance;

	bpf_loop(MON_FRAMES_MAX, mon_look_at_instance, walk, 0);
	instance = walk->instance;
	if (!instance)
		return walk->trampoline;
#if defined(__TARGET_ARCH_x86) /* elsewhere the address was pushed by the function itself */
	if (BPF_CORE_READ(instance, stack) != walk->fp + 8)
		return walk->trampoline;
#endif
	return BPF_CORE_READ(instance, orig_ret_vaddr);
}

static long mon_walk_one(__u32 iteration, struct mon_walk *walk)
{
	__u32 index = iteration + 1; /* 0 is the caller's */
	__u64 record[2], *frames = walk->frames;

	MON_OPAQUE(index);
	if (index >= setup.stack_frames ||
	    bpf_probe_read_user(record, sizeof(record), (void *)walk->fp) || !record[1])
		return 1;
	if (record[1] == walk->trampoline)
		record[1] = mon_behind_trampoline(walk);
	frames[index] = record[1];
	walk->count = index + 1;
	if (record[0] <= walk->fp)
		return 1;
	walk->fp = record[0];
	return 0;
}

/* @returning: @ctx is of the return, else of the entry. Every byte of @stack is written. */
static __always_inline void mon_fill_stack(struct mon_stack *stack, struct pt_regs *ctx,
					   bool returning)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 sp = PT_REGS_SP(ctx), fp = PT_REGS_FP(ctx), address = 0;
	struct mon_walk walk = {.frames = stack->frames};

	if (setup.returns) {
		walk.trampoline = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
		walk.instance = BPF_CORE_READ(task, utask, return_instances);
	}
	bpf_probe_read_kernel(stack, setup.stack_bytes, mon_zeros);
	stack->room_frames = setup.stack_frames;
	if (returning)
		address = PT_REGS_IP(ctx);
#if defined(__TARGET_ARCH_x86)
	else if (bpf_probe_read_user(&address, sizeof(address), (void *)sp))
		address = 0;
	/* As if the return address were part of a frame; at the return it was popped already. */
	walk.fp = sp - (returning ? 16 : 8);
#else
	else
		address = PT_REGS_RET(ctx);
	walk.fp = sp - 1;
#endif
	if (!address) {
		__sync_fetch_and_add(&live.run.stacks_refused, 1);
		return;
	}
	if (address == walk.trampoline)
		address = mon_behind_trampoline(&walk);
	stack->frames[0] = address;
	walk.count = 1;
	walk.fp = fp;
	if (fp >= sp)
		bpf_loop(setup.stack_frames, mon_walk_one, &walk, 0);
	stack->frame_count = walk.count;
}

#endif
