/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What capture/ fixes before the programs are loaded (the verifier then removes the branches that
 * this run never takes), and the few words that both sides share while it runs.
 */
#ifndef MON_SETUP_H
#define MON_SETUP_H

#include "bpf/counters.h"
#include "bpf/policy.h"
#include "bpf/stack.h"
#include "bpf/text.h"

#define MON_SETUP_RINGS_MAX 16
#define MON_RING_SCALE_SHIFT 16
#define MON_TGIDS_MAX 64 /* processes watched by one capture */

/* Read-only data of the programs. */
struct mon_setup {
	__u32 cpu_count;      /* possible CPUs: counters of a function */
	__u32 function_count; /* cookies are below it */
	__u32 threads_max;
	__u32 arg_count;	/* 0..6 */
	__u64 wakeup_bytes;	/* the reader is woken each time the ring took so many */
	__u64 namespace_device; /* of the monitor's pid namespace; both 0: the initial one */
	__u64 namespace_inode;
	__u64 reader_timeout_ns; /* 0: never; else see `heartbeat_ns` */
	__u8 returns;		 /* frames and durations; else entries only */
	__u8 filter;		 /* only the processes told; else all */
	__u8 allowance;		 /* some function is sampled by `auto` */
	__u8 movable;		 /* functions may change links (bpf/arming.h) */
	/* Only the sifting programs (bpf/sift.bpf.h) look at these. */
	__u8 skip_returns; /* some function may have MON_POLICY_NO_RETURN; session mode only */
	__u8 judge;	   /* of some function slow or failed calls are kept, or failures counted */
	__u8 caps;	   /* records a second are capped, of some function or of all */
	__u8 ring_count;   /* 1..MON_SETUP_RINGS_MAX */
	__u32 ring_scale;  /* CPU * it >> MON_RING_SCALE_SHIFT: number of the CPU's ring */
	/* All 0 without texts. The sums are made once, so that the verifier need not. */
	__u32 text_count;		 /* 0..MON_TEXTS_MAX */
	__u32 capture_bytes;		 /* of each, at most */
	__u32 text_room_bytes;		 /* MON_TEXT_ROOM_BYTES */
	__u32 texts_bytes;		 /* of one call: all of them with their headers */
	__u32 text_record_bytes;	 /* call and texts */
	struct mon_text_choice texts[4]; /* MON_TEXTS_MAX of them */
	__u32 records_per_s;		 /* cap of all functions together; 0: none */
	/* All 0 without stacks. */
	__u32 stack_frames;	       /* 0..MON_STACK_FRAMES_MAX */
	__u32 stack_bytes;	       /* MON_STACK_BYTES */
	__u32 stack_record_bytes;      /* call and stack */
	__u32 stack_text_record_bytes; /* and texts */
	__u32 never;		       /* 0, see bpf/monbpf.bpf.c */
};

/* Plain data of the programs, mapped by capture/. */
struct mon_live {
	struct mon_run_counters run; /* written by the programs */
	struct mon_gate gate;	     /* by capture/ */
	__u32 tgid_count;	     /* by capture/: one is compared here, more are looked up */
	__u32 tgid;
	/*
	 * By capture/: when the reader was last known to live, CLOCK_MONOTONIC. A chosen call that
	 * ends later than the reader's timeout after it is counted as gate_closed: nobody reads.
	 * Seconds of the allowance are told by it, too.
	 */
	__u64 heartbeat_ns;
	/*
	 * By capture/: calls that began before it may have watched calls inside and around them of
	 * which nobody knows. 0: no return was ever skipped, ~0: now is.
	 */
	__u64 skipped_until_ns;
	__u32 cut_off;	  /* by capture/: some link of a moved function was closed */
	__u32 meter_tgid; /* by capture/: the child that times hits, watched like a target; or 0 */
};

_Static_assert(sizeof(struct mon_setup) == 112, "layout");
_Static_assert(sizeof(struct mon_live) == 176, "layout");

#endif
