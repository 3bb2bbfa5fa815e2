// SPDX-License-Identifier: GPL-2.0-or-later
/* What the kernel alone takes for a probe: programs that do nothing. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("uprobe.multi")
int empty_session(void *ctx)
{
	return 0;
}

SEC("uprobe.multi")
int empty_multi(void *ctx)
{
	return 0;
}

SEC("uprobe")
int empty_perf(void *ctx)
{
	return 0;
}
