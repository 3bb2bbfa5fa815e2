/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program under test, run as its users run it. */
#ifndef HARNESS_MONITOR_H
#define HARNESS_MONITOR_H

#include "tests/harness/process.h"

struct monitor;

/* argv without the program's name, ended by NULL: {"attach", "-p", pid, NULL}. */
struct monitor *monitor_start(const char *const argv[]);
pid_t monitor_pid(const struct monitor *monitor);
/* A line on stderr; fails the test when it does not come in time. */
const char *monitor_wait_line(struct monitor *monitor, const char *prefix, int timeout_ms);
/* SIGINT, then the end: exit status or 128 + signal. */
int monitor_stop(struct monitor *monitor);
/* The end without a signal: -d, or the target ended. */
int monitor_wait(struct monitor *monitor, int timeout_ms);
const char *monitor_stdout(struct monitor *monitor);
const char *monitor_stderr(struct monitor *monitor);
void monitor_free(struct monitor *monitor);
struct process *monitor_process(struct monitor *monitor);

#endif
