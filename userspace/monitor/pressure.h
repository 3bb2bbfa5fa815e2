/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is memory short for this process? When its cgroup (v1 or v2) is near its limit, or more of the
 * process goes to swap than before. Asked once a second by the main thread: a few small files.
 *
 * It begins at once and ends only when there was no sign of it for some seconds, so that a limit
 * that is just reached does not begin and end it each second.
 */
#ifndef MON_PRESSURE_H
#define MON_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

struct mon_pressure {
	char usage_path[4096], limit_path[4096], stat_path[4096]; /* "": no cgroup that limits */
	const char *status_path;
	uint64_t swapped_bytes; /* as of the last sign, or the least since */
	unsigned calm;		/* times without a sign */
	bool pressed;
};

/* So many times without a sign, and there is memory again. */
#define MON_PRESSURE_CALM 5

/* Finds the cgroup once. */
void mon_pressure_find(struct mon_pressure *pressure_out);
bool mon_pressure_now(struct mon_pressure *pressure);

#endif
