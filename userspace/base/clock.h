/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time is passed in: stages hold a struct mon_clock and never ask the system themselves, so a
 * test can turn the hands. Monotonic time is mon_ns; the wall clock is for display only.
 */
#ifndef MON_CLOCK_H
#define MON_CLOCK_H

#include <stdint.h>

typedef uint64_t mon_ns;     /* CLOCK_MONOTONIC, what bpf_ktime_get_ns() reads */
typedef int64_t mon_wall_ns; /* Unix time */

#define MON_NS_PER_US 1000ull
#define MON_NS_PER_MS 1000000ull
#define MON_NS_PER_S 1000000000ull

struct mon_clock {
	mon_ns (*now)(void *context);
	void *context;
};

mon_ns mon_clock_now(const struct mon_clock *clock);
mon_wall_ns mon_clock_wall(void);

/* The real one; never freed. */
extern const struct mon_clock mon_clock_system;

#endif
