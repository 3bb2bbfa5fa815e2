/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program under test, run as its users run it. */
#ifndef HARNESS_MONITOR_H
#define HARNESS_MONITOR_H

#include "tests/harness/process.h"

#include <stddef.h>

struct monitor;
struct target;

/* argv without the program's name, ended by NULL: {"attach", "-p", pid, NULL}. */
struct monitor *monitor_start(const char *const argv[]);
/*
 * The same by another program: {"prlimit", "--nofile=16", NULL}. When that execs it, the pid is the
 * program's own.
 */
struct monitor *monitor_start_under(const char *const under[], const char *const argv[]);
/*
 * `attach -p` the target `-o` the database, then the arguments, ended by NULL. Returns once it said
 * that it watches.
 */
struct monitor *monitor_attach(const struct target *target, const char *database, ...)
	__attribute__((sentinel));
pid_t monitor_pid(const struct monitor *monitor);
/* A line on stderr; fails the test when it does not come in time. */
const char *monitor_wait_line(struct monitor *monitor, const char *prefix, int timeout_ms);
/* SIGINT, then the end: exit status or 128 + signal. */
int monitor_stop(struct monitor *monitor);
/* The same, and fails the test when the status is another, or too much memory was held. */
void monitor_end(struct monitor *monitor, int expected);
/* The most that the process and its BPF maps and programs held is within the default budget. */
void monitor_assert_within_budget(const struct monitor *monitor);
/* The end without a signal: -d, or the target ended. */
int monitor_wait(struct monitor *monitor, int timeout_ms);
const char *monitor_stdout(struct monitor *monitor);
const char *monitor_stderr(struct monitor *monitor);
/* How many lines on stderr hold @part. */
size_t monitor_count_lines(struct monitor *monitor, const char *part);
void monitor_free(struct monitor *monitor);
struct process *monitor_process(struct monitor *monitor);

#endif
