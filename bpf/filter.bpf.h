/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is this, and is it watched? Process numbers are those of the monitor's pid namespace. Links
 * have a pid filter too, but the kernel's lets some foreigners through, and where it is broken
 * (uprobe_multi in 6.6-6.9 drops other threads) it is not used at all.
 */
#ifndef MON_FILTER_BPF_H
#define MON_FILTER_BPF_H

#include "maps.bpf.h"

struct mon_ids {
	__u32 tgid;
	__u32 tid;
};

/*
 * tgid << 32 | tid of the current task there; 0: it is not in there. Apart, so that clang does not
 * load from a task and from the stack with one instruction, and leave the latter's address to be
 * returned.
 */
static __noinline __u64 mon_ids_in_namespace(void)
{
	struct bpf_pidns_info info = {};

	if (bpf_get_ns_current_pid_tgid(setup.namespace_device, setup.namespace_inode, &info,
					sizeof(info)))
		return 0;
	return (__u64)info.tgid << 32 | info.pid;
}

/* @task is the current one. Without a namespace its own words say it: one helper call less. */
static __always_inline struct mon_ids mon_ids_of(struct task_struct *task)
{
	__u64 both;

	if (!setup.namespace_inode)
		return (struct mon_ids){.tgid = task->tgid, .tid = task->pid};
	both = mon_ids_in_namespace();
	return (struct mon_ids){.tgid = both >> 32, .tid = (__u32)both};
}

static __always_inline bool mon_is_watched(__u32 tgid)
{
	if (!setup.filter || tgid == live.tgid)
		return true;
	if (tgid && tgid == live.meter_tgid)
		return true;
	return live.tgid_count > 1 && bpf_map_lookup_elem(&tgids, &tgid);
}

/* The pid that @task has for the monitor, or 0: it is not in our namespace. */
static __always_inline __u32 mon_pid_of(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	if (!setup.namespace_inode)
		return BPF_CORE_READ(task, pid);
	for (__u32 i = 1; i < 8; i++) { /* the kernel nests 32; nobody does */
		struct upid *upid = &pid->numbers[i];

		if (i > level)
			break;
		if (BPF_CORE_READ(upid, ns, ns.inum) == setup.namespace_inode)
			return BPF_CORE_READ(upid, nr);
	}
	return 0;
}

#endif
