/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What arguments point to: read once, at entry, for calls that were chosen, and never more than the
 * run asked for, however long it is. A string is not searched for its end beyond that: its length
 * is then unknown. What is not in memory is not waited for, a program may not fault: READ_FAILED.
 *
 * Every byte of a text is written, here or to 0. The sizes are read-only data, so the verifier
 * knows them as numbers.
 */
#ifndef MON_TEXTS_BPF_H
#define MON_TEXTS_BPF_H

#include "maps.bpf.h"

/* To clear with: one call of a helper instead of a loop that the verifier walks. */
const char mon_zeros[MON_TEXTS_THREAD_MAX_BYTES / MON_FRAMES_MAX] = {};

static __always_inline void mon_read_text(__u32 which, const __u64 *args, struct mon_text *text)
{
	__u32 bytes = setup.capture_bytes, length_argument = setup.texts[which].length_argument;
	__u32 argument = setup.texts[which].argument;
	const void *from;
	__u64 length = 0;
	long got;

	MON_OPAQUE(argument);
	MON_OPAQUE(length_argument);
	from = (const void *)args[argument & 7];
	bpf_probe_read_kernel(text->bytes, setup.text_room_bytes, mon_zeros);
	text->slot = setup.texts[which].argument;
	text->flags = 0;
	text->room_bytes = setup.text_room_bytes;
	text->stored_bytes = 0;
	text->reserved = 0;
	text->true_bytes = 0;
	if (setup.texts[which].length_argument) {
		length = args[length_argument & 7];
		text->true_bytes = length;
		if (length > bytes)
			length = bytes;
		if (bpf_probe_read_user(text->bytes, length, from))
			text->flags = MON_TEXT_READ_FAILED;
		else
			text->stored_bytes = length;
		return;
	}
	got = bpf_probe_read_user_str(text->bytes, bytes + 2, from);
	if (got <= 0) {
		text->flags = MON_TEXT_READ_FAILED | MON_TEXT_TRUE_UNKNOWN;
	} else if (got > bytes + 1) {
		text->stored_bytes = bytes;
		text->flags = MON_TEXT_TRUE_UNKNOWN;
		text->bytes[bytes] = 0; /* it told that there is more; nobody asked for it */
	} else {
		text->stored_bytes = got - 1;
		text->true_bytes = got - 1;
	}
}

/* @room: setup.texts_bytes of them. */
static __always_inline void mon_read_texts(struct pt_regs *ctx, void *room)
{
	const __u32 stride = sizeof(struct mon_text) + setup.text_room_bytes;
	const __u64 args[8] = {
		[1] = PT_REGS_PARM1(ctx), [2] = PT_REGS_PARM2(ctx), [3] = PT_REGS_PARM3(ctx),
		[4] = PT_REGS_PARM4(ctx), [5] = PT_REGS_PARM5(ctx), [6] = PT_REGS_PARM6(ctx),
	};

	if (setup.text_count > 0)
		mon_read_text(0, args, room);
	if (setup.text_count > 1)
		mon_read_text(1, args, room + stride);
	if (setup.text_count > 2)
		mon_read_text(2, args, room + stride + stride);
}

/* Where the texts of a frame lie, in thread_texts. */
static __always_inline void *mon_texts_at(void *texts, __u32 index)
{
	MON_OPAQUE(index);
	return texts + (index & (MON_FRAMES_MAX - 1)) * setup.texts_bytes;
}

#endif
