/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A watched program of tests/targets, driven by its protocol; see tests/targets/target.h. */
#ifndef HARNESS_TARGET_H
#define HARNESS_TARGET_H

#include "tests/harness/process.h"

struct target;

/* Arguments end with NULL. Returns once the program said "ready". */
struct target *target_start(const char *name, ...) __attribute__((sentinel));
/* The same for a program anywhere: a copy of a target. @argument may be NULL. */
struct target *target_start_file(const char *path, const char *argument);
pid_t target_pid(const struct target *target);
/* Room for a path; returns it. */
const char *target_path(const char *name, char *path, size_t size);
void target_go(struct target *target);
const char *target_wait_line(struct target *target, const char *prefix, int timeout_ms);
/* Waits for "done N" and returns N. */
long target_done(struct target *target);
/* Closes stdin, waits for the end: exit status or 128 + signal. Frees the target. */
int target_finish(struct target *target);
struct process *target_process(struct target *target);

#endif
