/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A monitor that is to be killed, reduced to its capture: a process that arms, pins and waits. And
 * what the kernel says is left of it.
 */
#ifndef HARNESS_LOADER_H
#define HARNESS_LOADER_H

#include "capture/capture.h"

/* What it does once all is pinned, before it says that it is ready. 0: it went well. */
typedef int (*loader_then)(struct mon_capture *capture);

/* Its run's started_ns is 23, armed_ns 42. */
struct loader {
	const struct mon_capture_options *options;
	struct mon_function_set *set;
	pid_t target;
	const char *base, *database, *uuid;
	loader_then then; /* or NULL */
};

/* Comes back when all is armed and pinned; one that failed fails the test. */
pid_t loader_start(const struct loader *loader);
/* SIGKILL, and waits for the end. */
void loader_kill(pid_t pid);

/* The kernel's number of the pinned entry program. */
uint32_t loader_program(const char *base, const char *uuid);
/* How many links of the whole machine run it. */
size_t loader_links(uint32_t program);
/* The kernel lets go of a program in the background; fails the test when it does not. */
void loader_wait_unloaded(uint32_t program);

#endif
