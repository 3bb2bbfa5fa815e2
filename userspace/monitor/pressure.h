/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is memory short for this process? When its cgroup (v1 or v2) is near its limit, or part of it was
 * swapped out. Asked once a second by the main thread: a few small files.
 */
#ifndef MON_PRESSURE_H
#define MON_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

struct mon_pressure {
	char usage_path[4096], limit_path[4096], stat_path[4096]; /* "": no cgroup that limits */
};

/* Finds the cgroup once. */
void mon_pressure_find(struct mon_pressure *pressure_out);
bool mon_pressure_now(const struct mon_pressure *pressure);

#endif
