/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links made with the bare system calls: libbpf 1.4 does not know sessions, and its attach calls
 * would parse the target's ELF, which its maintainers say it must not be trusted with. Each call
 * returns a descriptor, owned by the caller, or -errno; closing it detaches.
 */
#ifndef MON_LINK_H
#define MON_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum mon_link_kind {
	MON_LINK_SESSION,
	MON_LINK_MULTI_ENTRY,
	MON_LINK_MULTI_RETURN,
};

/* @offsets and @cookies of @count functions of one file; @pid 0: every process. */
int mon_link_multi(int program_fd, enum mon_link_kind kind, const char *path,
		   const uint64_t *offsets, const uint64_t *cookies, uint32_t count, pid_t pid);

/* One function. @pid -1: every process. */
int mon_link_perf(int program_fd, bool at_return, const char *path, uint64_t offset,
		  uint64_t cookie, pid_t pid);

int mon_link_tracepoint(int program_fd); /* tp_btf programs */
/*
 * Of tasks. @pid 0: of the whole machine; else of the threads of that process, as our own pid
 * namespace numbers it (f0d74c4da1f0, 6.1).
 */
int mon_link_iterator(int program_fd, pid_t pid);

#endif
