/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The records that cross the ring, one for each finished (or abandoned) call that was chosen.
 *
 * Compiled by both compilers: bpf/ fills them, userspace/pipeline/ validates and stores them. Every
 * byte is a named field and is written before submit, so no kernel memory ever leaves through a
 * gap. A call record is written without its `args` when the run captures no arguments: 72 bytes
 * cross the ring instead of 120. Record and ring header (8 bytes) never exceed 128 bytes, but for
 * runs that capture strings or buffers (struct mon_text), whose records are of one size, too.
 */
#ifndef MON_EVENT_H
#define MON_EVENT_H

#ifndef __bpf__
#include <linux/types.h>
#include <stddef.h>
#endif

#include "bpf/text.h"

#define MON_EVENT_VERSION 1
#define MON_EVENT_ARGS_MAX 6
#define MON_EVENT_COMM_BYTES 16
#define MON_FUNCTION_NONE 0xffffffffu /* no watched function around this call */

/* First byte of every record. */
enum mon_event_kind {
	MON_EVENT_CALL = 1, /* struct mon_call_event */
	MON_EVENT_TASK = 2, /* struct mon_task_event: once for each thread, before its first call */
	MON_EVENT_CALL_TEXT = 3, /* all of struct mon_call_event, then the run's texts */
};

/*
 * Why a call has no duration; at most one of these is set. Without any of them the call
 * returned and `duration_ns`, `child_ns` and `ret` hold; with one of them they are zero.
 */
enum mon_call_flag {
	MON_CALL_ENTRY_ONLY = 1 << 0,  /* no return probe by choice (hazard) */
	MON_CALL_UNRETURNED = 1 << 1,  /* nested beyond what the kernel or a frame can follow */
	MON_CALL_UNWOUND = 1 << 2,     /* left by longjmp, exception or pthread_exit */
	MON_CALL_THREAD_EXIT = 1 << 3, /* its thread ended inside it */
	MON_CALL_EXEC = 1 << 4,	       /* its process image was replaced inside it */
	MON_CALL_IN_FLIGHT = 1 << 5,   /* still open when the run ended */
};
#define MON_CALL_UNFINISHED 0x3f /* any of the above */

/* What is not known of a call because returns of others are not followed. */
enum mon_call_doubt {
	MON_CALL_SELF_UNKNOWN = 1 << 6,	  /* finished, `child_ns` is 0 and means nothing */
	MON_CALL_CALLER_UNKNOWN = 1 << 7, /* `caller` is none, `depth` the least it can be */
};
#define MON_CALL_DOUBTS (MON_CALL_SELF_UNKNOWN | MON_CALL_CALLER_UNKNOWN)

struct mon_call_event {
	__u8 kind;	/* MON_EVENT_CALL or MON_EVENT_CALL_TEXT */
	__u8 version;	/* MON_EVENT_VERSION */
	__u16 flags;	/* enum mon_call_flag, enum mon_call_doubt */
	__u32 function; /* attach cookie: index into the run's function table */
	__u64 start_ns; /* CLOCK_MONOTONIC */
	__u64 duration_ns;
	__u64 child_ns; /* part of duration_ns spent in watched callees */
	__u64 ret;	/* return register, all 64 bits */
	__u64 born_ns;	/* task start, CLOCK_MONOTONIC: tells a reused tid from the old one */
	__u32 pid;	/* tgid, initial pid namespace or the monitor's own */
	__u32 tid;
	__u32 caller;	 /* nearest watched function around this one, or MON_FUNCTION_NONE */
	__u32 weight;	 /* this record stands for so many calls; never 0 */
	__u16 cpu;	 /* where the call was entered */
	__u16 depth;	 /* watched calls open around this one */
	__u32 arg_count; /* of `args` that follow: 0 or what the run captures */
	__u64 args[MON_EVENT_ARGS_MAX];
};

/* Size of a call record in a run that captures no arguments. */
#define MON_CALL_EVENT_BARE_BYTES 72

struct mon_task_event {
	__u8 kind;    /* MON_EVENT_TASK */
	__u8 version; /* MON_EVENT_VERSION */
	__u16 reserved;
	__u32 reserved2;
	__u64 born_ns; /* CLOCK_MONOTONIC */
	__u32 pid;
	__u32 tid;
	char comm[MON_EVENT_COMM_BYTES]; /* may lack a NUL; anything may be in it */
};

_Static_assert(sizeof(struct mon_call_event) == 120, "record and ring header: 128 bytes");
_Static_assert(__builtin_offsetof(struct mon_call_event, start_ns) == 8, "layout");
_Static_assert(__builtin_offsetof(struct mon_call_event, born_ns) == 40, "layout");
_Static_assert(__builtin_offsetof(struct mon_call_event, caller) == 56, "layout");
_Static_assert(__builtin_offsetof(struct mon_call_event, arg_count) == 68, "layout");
_Static_assert(__builtin_offsetof(struct mon_call_event, args) == MON_CALL_EVENT_BARE_BYTES,
	       "arguments last");
_Static_assert(sizeof(struct mon_task_event) == 40, "layout");

#endif
