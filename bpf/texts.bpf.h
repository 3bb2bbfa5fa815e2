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
	if (got < 0) {
		text->flags = MON_TEXT_READ_FAILED | MON_TEXT_TRUE_UNKNOWN;
	} else if (got > bytes + 1) {
		text->stored_bytes = bytes;
		text->flags = MON_TEXT_TRUE_UNKNOWN;
		text->bytes[bytes] = 0; /* it told that there is more; nobody asked for it */
	} else if (got > 0) {		/* with its NUL, but for an empty one: 0 on 6.1 and 6.12 */
		text->stored_bytes = got - 1;
		text->true_bytes = got - 1;
	}
}

/* @room: setup.texts_bytes of zeros. */
static __noinline void mon_read_texts(struct pt_regs *ctx, void *room)
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

static __always_inline struct mon_texts_key mon_texts_key(const struct mon_thread *thread,
							  __u32 index)
{
	return (struct mon_texts_key){.thread = (__u64)thread, .frame = index};
}

/* At entry, before the call can change them. False: no room, it goes without. */
static __noinline bool mon_keep_texts(struct pt_regs *ctx, struct mon_thread *thread, __u32 index)
{
	struct mon_texts_key key = mon_texts_key(thread, index);
	void *texts = NULL;

	if (!bpf_map_update_elem(&open_texts, &key, mon_zeros, 0 /* BPF_ANY */))
		texts = bpf_map_lookup_elem(&open_texts, &key);
	if (!texts) {
		__sync_fetch_and_add(&live.run.texts_refused, 1);
		return false;
	}
	mon_read_texts(ctx, texts);
	return true;
}

static __always_inline const void *mon_find_texts(const struct mon_thread *thread, __u32 index)
{
	struct mon_texts_key key = mon_texts_key(thread, index);

	return bpf_map_lookup_elem(&open_texts, &key);
}

static __always_inline void mon_forget_texts(const struct mon_thread *thread, __u32 index)
{
	struct mon_texts_key key = mon_texts_key(thread, index);

	bpf_map_delete_elem(&open_texts, &key);
}

#endif
