// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/clock.h"

#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec now;

	(void)clock_gettime(id, &now); /* cannot fail with these two ids and a valid address */
	return (uint64_t)now.tv_sec * MON_NS_PER_S + (uint64_t)now.tv_nsec;
}

static mon_ns system_now(void *context)
{
	(void)context;
	return read_clock(CLOCK_MONOTONIC);
}

const struct mon_clock mon_clock_system = {.now = system_now};

mon_ns mon_clock_now(const struct mon_clock *clock)
{
	return clock->now(clock->context);
}

mon_wall_ns mon_clock_wall(void)
{
	return (mon_wall_ns)read_clock(CLOCK_REALTIME);
}
