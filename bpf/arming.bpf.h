/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See bpf/arming.h. Behind setup.movable, so that a capture without it has no trace of this. */
#ifndef MON_ARMING_BPF_H
#define MON_ARMING_BPF_H

#include "maps.bpf.h"

static __always_inline bool mon_counts_now(__u64 cookie)
{
	__u32 function = cookie;
	struct mon_arming *arming = bpf_map_lookup_elem(&armings, &function);

	if (!arming || *(volatile __u32 *)&arming->current == cookie >> 32)
		return true;
	__sync_fetch_and_add(&arming->ignored, 1);
	return false;
}

/*
 * Is a return told to this link that of @frame? To the one that saw it begin, for as long as that
 * is there, and to the one that counts now, which may be there for longer. Whichever is first pops.
 */
static __always_inline bool mon_may_close(const struct mon_frame *frame, __u64 cookie)
{
	struct mon_arming *arming;
	__u32 function = cookie;

	if (!setup.movable || frame->generation == cookie >> 32)
		return true;
	arming = bpf_map_lookup_elem(&armings, &function);
	return !arming || *(volatile __u32 *)&arming->current == cookie >> 32;
}

/*
 * Will this call's return never be seen, because its link was closed? Such a frame says nothing of
 * what is called now. Nobody looks before the first link was closed.
 */
static __always_inline bool mon_is_cut_off(const struct mon_frame *frame)
{
	struct mon_arming *arming;
	__u32 function = frame->function;

	if (!setup.movable || !*(volatile __u32 *)&live.cut_off)
		return false;
	arming = bpf_map_lookup_elem(&armings, &function);
	return arming && (__s32)(frame->generation - *(volatile __u32 *)&arming->alive_from) < 0;
}

#endif
