/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of /proc/PID, read whole into a bounded buffer. The root can be another directory, so that
 * a test can show what a process never would (mon_target_set_proc_root()).
 */
#ifndef MON_PROC_H
#define MON_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MON_PROC_PATH_BYTES 512
#define MON_PROC_COMM_BYTES 64

struct mon_proc_stat {
	char comm[MON_PROC_COMM_BYTES]; /* raw */
	char state;			/* 'R', 'S', … 'Z' */
	bool kernel_thread;
	uint64_t cpu_ticks; /* utime + stime */
	uint64_t start_ticks;
};

/* Room for "<root>/PID/<name>". Returns @path. */
const char *mon_proc_path(char path[MON_PROC_PATH_BYTES], pid_t pid, const char *name);

/* Bytes read, a NUL behind them (at most @size - 1), or -errno. */
ssize_t mon_proc_read(pid_t pid, const char *name, char *buffer, size_t size);
/* As mon_proc_read() for a link's text. */
ssize_t mon_proc_link(pid_t pid, const char *name, char *buffer, size_t size);

/* 0, or -errno of the file, or -EPROTO when it is not what proc(5) says. */
int mon_proc_stat(pid_t pid, struct mon_proc_stat *stat_out);
/* "Tgid", "SigCgt" of /proc/PID/status. 0, -errno, -ENOENT without that line. */
int mon_proc_status(pid_t pid, const char *key, unsigned base, uint64_t *value_out);

#endif
