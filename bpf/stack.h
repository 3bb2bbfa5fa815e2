/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a kept call came from: its callers' return addresses, nearest first, as the frame pointers
 * lead to them. Shared by bpf/ and all of userspace that sizes, checks or stores them. Addresses
 * are the process's own; the store turns them into modules and offsets.
 */
#ifndef MON_STACK_RECORD_H
#define MON_STACK_RECORD_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define MON_STACK_FRAMES_DEFAULT 64
#define MON_STACK_FRAMES_MAX 127

/*
 * In a record of kind MON_EVENT_CALL_STACK, behind the call and before its texts. The room is one
 * number for a run and is told here too, so that the record can be read without knowing the run.
 */
struct mon_stack {
	__u16 frame_count; /* of `frames`; the rest is 0 */
	__u16 room_frames;
	__u32 reserved; /* 0 */
	__u64 frames[];
};

#define MON_STACK_BYTES(room_frames) (8u + 8u * (room_frames))

_Static_assert(sizeof(struct mon_stack) == 8, "MON_STACK_BYTES");

#endif
