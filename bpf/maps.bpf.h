/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every map of the programs. Sizes that depend on the run are 1 here and set by capture/ before
 * loading. What userspace reads or writes while calls are made is a mapped array: no system call.
 * Counters and allowances are indexed by function * cpu_count + cpu, because a per-CPU array
 * cannot be mapped.
 */
#ifndef MON_MAPS_BPF_H
#define MON_MAPS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "bpf/arming.h"
#include "bpf/event.h"
#include "bpf/frames.h"
#include "bpf/setup.h"

const volatile struct mon_setup setup;
struct mon_live live;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mon_policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mon_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mon_histogram);
} histograms SEC(".maps");

struct mon_allowance {
	__u64 since_ns; /* start of the second that `kept_second` counts */
	__u32 kept_run;
	__u32 kept_second;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mon_allowance);
} allowances SEC(".maps");

/* Records of the second that the upper half names; one word, so that both change at once. */
struct mon_window {
	__u64 word;
};

/* Of each function, and behind them of all together. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mon_window);
} windows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mon_arming);
} armings SEC(".maps");

struct mon_ring_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
struct mon_ring_map ring SEC(".maps");

/* Where a run has several, one for each group of CPUs; else it is not made. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct mon_ring_map);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mon_thread);
} threads SEC(".maps");

/* Arguments of the chosen calls that are open; apart, so that a run without pays nothing. */
struct mon_arguments {
	__u64 args[MON_FRAMES_MAX][MON_EVENT_ARGS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mon_arguments);
} thread_arguments SEC(".maps");

/*
 * What arguments point to, of the chosen calls that are open: all texts of one call, each a struct
 * mon_text and its room. Not in task storage: since 6.19 (f484f4a3e058) the kernel has no memory
 * for values above 8 KB there, and a thread would hold room for 64 calls, most of them never open.
 */
struct mon_texts_key {
	__u64 thread; /* address of its struct mon_thread: no other has it */
	__u64 frame;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct mon_texts_key));
	__uint(value_size, sizeof(struct mon_text));
} open_texts SEC(".maps");

/* Who a thread is, for runs without frames: the head of struct mon_thread. */
struct mon_name {
	__u32 named;
	__u32 tgid;
	__u32 tid;
	__u32 reserved;
	__u64 born_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mon_name);
} thread_names SEC(".maps");

/* Watched processes, when there is more than one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MON_TGIDS_MAX);
	__type(key, __u32);
	__type(value, __u8);
} tgids SEC(".maps");

/*
 * Makes a thread's storage, zeroed, or returns NULL. The kernel refuses a create now and then soon
 * after an earlier capture of the same thread: 10 of 360 first calls, none after a pause of 250 ms,
 * so it is most likely the old storage that is still being freed. Each got it at the second try.
 */
#define MON_CREATE_TRIES 3

static __always_inline void *mon_create(void *map, struct task_struct *task)
{
	void *made = NULL;

	for (int i = 0; i < MON_CREATE_TRIES && !made; i++)
		made = bpf_task_storage_get(map, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return made;
}

/* To clear with: one call of a helper, where a loop would be walked by the verifier. */
const char mon_zeros[MON_TEXTS_CALL_MAX_BYTES] = {};

/* Keeps clang from folding a bound or a mask away that the verifier needs to see. */
#define MON_OPAQUE(variable) asm volatile("" : "+r"(variable))

#endif
