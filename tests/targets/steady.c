/* SPDX-License-Identifier: GPL-2.0-or-later */
/* So many calls a second, in a burst each millisecond, each with its number; until a line comes. */
#include "target.h"

#include <poll.h>
#include <time.h>

#define TICKS_PER_S 1000
#define TICK_NS (1000000000L / TICKS_PER_S)

WATCHED uint64_t watched_steady(uint64_t number)
{
	STARTS_WITH_PUSH();
	target_sink += (long)number;
	return number;
}

int main(int argc, char **argv)
{
	long burst = target_number(argc, argv, 1, 20000) / TICKS_PER_S, calls = 0;
	struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
	struct timespec next;

	target_ready();
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!poll(&line, 1, 0)) {
		for (long i = 0; i < burst; i++)
			watched_steady((uint64_t)calls++);
		next.tv_nsec += TICK_NS;
		if (next.tv_nsec >= 1000000000L) {
			next.tv_nsec -= 1000000000L;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	target_end(calls);
	return 0;
}
