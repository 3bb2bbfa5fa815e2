/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strings and buffers that arguments point to: which of them a run captures, how they lie behind a
 * call's record, and how much room they take. Shared by bpf/ and all of userspace that sizes,
 * checks or stores them.
 */
#ifndef MON_TEXT_RECORD_H
#define MON_TEXT_RECORD_H

#ifndef __bpf__
#include <linux/types.h>
#endif

/* A string or a buffer that an argument points to. Arguments count from 1. */
struct mon_text_choice {
	__u8 argument;
	__u8 length_argument; /* 0: a string, up to its NUL */
};

/*
 * What an argument pointed to when the call was entered: its first bytes and its true length. A
 * record of kind MON_EVENT_CALL_TEXT has as many of them as the run captures, each in the same
 * room, so that its size is one number for a run and it can be read without knowing the run.
 */
#define MON_TEXTS_MAX 3

enum mon_text_flag {
	MON_TEXT_TRUE_UNKNOWN = 1 << 0, /* a string that goes on; it is not searched for its end */
	MON_TEXT_READ_FAILED = 1 << 1,	/* NULL, not mapped, or not in memory: nothing is stored */
};
#define MON_TEXT_FLAGS 0x3

struct mon_text {
	__u8 slot;	    /* which argument, 1..6 */
	__u8 flags;	    /* enum mon_text_flag */
	__u16 room_bytes;   /* that follow; the same for all of a run */
	__u16 stored_bytes; /* of them; the rest is 0 */
	__u16 reserved;	    /* 0 */
	__u64 true_bytes;   /* a string's length or what the length argument said; 0: unknown */
	__u8 bytes[];
};

/*
 * A string is read two bytes further than it is kept: its end, or one byte too many, tells whether
 * it was kept whole. In all three places (kernel, ring, plan) a text takes this much.
 */
#define MON_TEXT_ROOM_BYTES(capture_bytes) (((capture_bytes) + 2 + 7) & ~7u)
#define MON_TEXT_STRIDE_BYTES(capture_bytes) (16 + MON_TEXT_ROOM_BYTES(capture_bytes))

#define MON_CAPTURE_BYTES_DEFAULT 64

/* A record, call and texts, is what a reader may look at in one piece (MON_RING_READABLE_BYTES). */
#define MON_TEXTS_CALL_MAX_BYTES (2048u - 120u)
#define MON_TEXTS_CALL_BYTES(count, capture_bytes) ((count)*MON_TEXT_STRIDE_BYTES(capture_bytes))
/* The most that fits without a stack: 1910 bytes of one text, 942 of each of two, 622 of each of
 * three. */
#define MON_CAPTURE_BYTES_MAX(count) (((MON_TEXTS_CALL_MAX_BYTES / (count)-16) & ~7u) - 2)

_Static_assert(sizeof(struct mon_text) == 16, "MON_TEXT_STRIDE_BYTES");

#endif
