// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What does this kernel do? Each program is loaded alone and linked to a function of our own, which
 * is then called: a feature is there when the hit was counted. Loading proves nothing (6.1 loads
 * programs of attach types it has never heard of, and fails their links).
 *
 * uprobe_multi is from 89ae89f53d20 (6.6), its session from d920179b3d4c (6.13), the pid filter
 * that lets every thread pass from 46ba0e49b642 (6.10); the ring buffer from 457f44363a88 (5.8),
 * attach cookies from 7adfc6c9b315 (5.15).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

__u64 hits;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

static __always_inline void count(void *ctx)
{
	__sync_fetch_and_add(&hits, bpf_get_attach_cookie(ctx));
}

SEC("uprobe.multi")
int feature_session(void *ctx)
{
	count(ctx);
	return 1;
}

SEC("uprobe.multi")
int feature_multi(void *ctx)
{
	count(ctx);
	return 0;
}

SEC("uprobe")
int feature_perf(void *ctx)
{
	count(ctx);
	return 0;
}
