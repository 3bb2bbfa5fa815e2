/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a thread holds in task storage while watched calls are open in it: a header that names the
 * thread and up to 64 frames, oldest first. Only the thread itself pushes and pops; whoever empties
 * it otherwise (its end, exec, the end of the run) takes `depth` with an exchange, so that each
 * frame is accounted for once. The iterator hands the whole struct to userspace as it is.
 */
#ifndef MON_FRAMES_H
#define MON_FRAMES_H

#include "bpf/policy.h"

/* The kernel follows so many returns of a thread and no more (MAX_URETPROBE_DEPTH). */
#define MON_FRAMES_MAX 64

enum mon_frame_flag {
	MON_FRAME_ARGS = 1 << 0,    /* its arguments were kept */
	MON_FRAME_TEXTS = 1 << 1,   /* what they point to, too */
	MON_FRAME_AWAITED = 1 << 2, /* its return decides whether it is kept, chosen or not */
};

/*
 * Above the flags: how many calls it stands for in returns, times and histogram, less one. Not more
 * than `weight` where that is not 0, but MON_FOLLOW_N at most.
 */
#define MON_FRAME_TIMES_SHIFT 8

struct mon_frame {
	__u64 start_ns;
	__u64 child_ns; /* spent in watched callees that returned */
	__u64 sp;	/* stack pointer at entry: says which calls are still alive */
	__u32 function;
	__u32 weight; /* 0: not chosen, counted only */
	__u16 cpu;
	__u16 flags;	  /* enum mon_frame_flag, and MON_FRAME_TIMES_SHIFT */
	__u32 generation; /* of the link that saw it begin (bpf/arming.h) */
};

struct mon_thread {
	__u32 depth;
	__u32 named; /* its task record is in the ring */
	__u32 tgid;  /* in the monitor's pid namespace, as tid */
	__u32 tid;
	__u64 born_ns;
	struct mon_frame frames[MON_FRAMES_MAX];
};

_Static_assert(MON_FOLLOW_N - 1 <= 0xffff >> MON_FRAME_TIMES_SHIFT, "fits the flags");
_Static_assert(sizeof(struct mon_frame) == 40, "small: a thread costs a 4 kB object");
_Static_assert(sizeof(struct mon_thread) == 24 + 64 * 40, "layout");

#endif
