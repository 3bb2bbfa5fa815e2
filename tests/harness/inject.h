/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System calls of a running process fail or take long, by strace: the program is as it is shipped.
 */
#ifndef HARNESS_INJECT_H
#define HARNESS_INJECT_H

#include "tests/harness/process.h"

/*
 * inject_start(pid, "pwrite64", "error=EIO", database). Every thread is traced when it returns.
 * With a @database only calls on that file and its WAL are meant, not those on a spool; else NULL.
 */
struct process *inject_start(pid_t pid, const char *call, const char *fault, const char *database);
/* What it did ends; the process goes on. */
void inject_end(struct process *inject);

#endif
