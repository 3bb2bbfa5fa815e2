/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process that is watched, held so that it cannot become another one: a pidfd and the start
 * time guard against pid reuse. Resolves pids and unique names, refuses what cannot be watched
 * (no such pid, no right, kernel thread, 32-bit) with one sentence.
 */
#ifndef MON_TARGET_H
#define MON_TARGET_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MON_TARGET_COMM_BYTES 64

struct mon_target {
	pid_t pid;			  /* thread group */
	int pidfd;			  /* owned */
	uint64_t start_ticks;		  /* field 22 of /proc/PID/stat */
	char comm[MON_TARGET_COMM_BYTES]; /* escaped */
	char *exe_path; /* readlink of /proc/PID/exe, escaped when printed, owned */
	bool other_mount_namespace;
};

/*
 * @text is a pid or a process name (comm, or base name of the executable); a name must be unique,
 * else the sentence lists the pids. -ESRCH, -EPERM, -EINVAL, -ENOEXEC (32-bit), -ENOTUNIQ.
 */
int mon_target_open(const char *text, struct mon_target *target_out, struct mon_error *error);
int mon_target_open_pid(pid_t pid, struct mon_target *target_out, struct mon_error *error);
void mon_target_close(struct mon_target *target);

/* Is it still the same process, alive? 0 or -ESRCH. */
int mon_target_check(const struct mon_target *target);

/* CPU time used so far by the whole process (utime + stime), ns; 0 when it is gone. */
uint64_t mon_target_cpu_ns(const struct mon_target *target);

/* Tests only: another root for "/proc". NULL: the real one. */
void mon_target_set_proc_root(const char *path);
const char *mon_target_proc_root(void);

#endif
