/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The BPF object as descriptors: its programs and maps, loaded for one run. Loading happens in a
 * short-lived child, because libbpf parses the kernel's whole BTF for it and this process would
 * keep that peak (11.5 MB, docs/decisions/0002); the descriptors come back over a socket. Nothing
 * of libbpf's stays here.
 */
#ifndef MON_OBJECT_H
#define MON_OBJECT_H

#include "base/cleanup.h"
#include "bpf/setup.h"
#include "capture/capture.h"

/* Descriptors that come out of loading; -1: not loaded in this run. */
enum mon_object_fd {
	MON_PROGRAM_ENTRY, /* in session mode of returns, too */
	MON_PROGRAM_RETURN,
	MON_PROGRAM_THREAD_EXIT,
	MON_PROGRAM_EXEC,
	MON_PROGRAM_FORK,
	MON_PROGRAM_FLUSH,
	MON_PROGRAM_OPEN,
	MON_PROGRAMS, /* how many; maps follow */
	MON_MAP_POLICIES = MON_PROGRAMS,
	MON_MAP_COUNTERS,
	MON_MAP_HISTOGRAMS,
	MON_MAP_ALLOWANCES,
	MON_MAP_ARMINGS,
	MON_MAP_WINDOWS,
	MON_MAP_THREADS,
	MON_MAP_ARGUMENTS,
	MON_MAP_TEXTS,
	MON_MAP_NAMES,
	MON_MAP_TGIDS,
	MON_MAP_LIVE,
	MON_MAP_RINGS, /* of several rings, the array that the programs choose from */
	MON_MAP_RING,  /* number 0; the others follow */
	MON_MAP_RING_LAST = MON_MAP_RING + MON_SETUP_RINGS_MAX - 1,
	MON_OBJECT_FDS
};

struct mon_object {
	int fds[MON_OBJECT_FDS]; /* owned */
	uint32_t cpu_count;
	mon_ns load_ns; /* wall time, child and all */
	mon_ns verifier_ns;
};

/* -EINVAL when no object can be made of them. */
int mon_object_check_options(const struct mon_capture_options *options);

/* 0, or -errno with a sentence; @object_out then holds nothing. */
int mon_object_load(const struct mon_capture_options *options, struct mon_object *object_out,
		    struct mon_error *error);
/* Closes what is open. */
void mon_object_clear(struct mon_object *object);

/* CPU * this >> MON_RING_SCALE_SHIFT is the number of its ring: as many CPUs next to each other for
 * each, of those that are online. */
uint32_t mon_object_ring_scale(uint32_t rings, uint32_t cpus);

/* Memlock of everything in it, from fdinfo. */
uint64_t mon_object_bytes(const struct mon_object *object);

/*
 * -EPERM with a sentence that names what is missing of CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN has
 * both in it, and since CVE-2025-38466 perf uprobes want it). @perf: that mode is meant.
 */
int mon_object_check_capabilities(bool perf, struct mon_error *error);

/* Where a function of this program lies in the file that it was mapped from. */
int mon_object_own_offset(uintptr_t address, uint64_t *offset_out);

#endif
