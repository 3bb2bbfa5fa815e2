/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A memory cgroup (v1 or v2) for one program, and a swap file. Both have to be taken back in the
 * teardown: what a test leaves there is there for the whole machine.
 */
#ifndef HARNESS_CGROUP_H
#define HARNESS_CGROUP_H

#include <stdint.h>

/* Makes one, below the root. */
void cgroup_make(void);
/* argv of what moves itself there and execs what follows it: for monitor_start_under(). */
const char *const *cgroup_under(void);
uint64_t cgroup_usage_bytes(void);
/* 0: none. Taken back step by step by the kernel: what does not go stays, and the limit with it. */
void cgroup_limit(uint64_t bytes);
/* How often it had to kill. */
uint64_t cgroup_oom_kills(void);
/* Kills what is in it, removes it. Nothing to do when there is none. */
void cgroup_remove(void);

/* A file in @directory. */
void swap_on(const char *directory, uint64_t bytes);
void swap_off(void);

#endif
