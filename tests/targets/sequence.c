/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sequence [N] [CPU]: a tight loop of N calls whose argument counts from 0, on one CPU when given.
 * Prints "elapsed_ns E" before "done N": what a call costs, and which numbers are missing.
 */
#include <sched.h>
#include <time.h>

#include "target.h"

WATCHED uint64_t watched_sequence(uint64_t number)
{
	STARTS_WITH_PUSH();
	__asm__ volatile("" : "+r"(number));
	return number;
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, 1000000);
	long cpu = target_number(argc, argv, 2, -1);

	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) != 0)
			return 1;
	}
	target_ready();
	long start = now_ns();
	for (long i = 0; i < calls; i++)
		watched_sequence((uint64_t)i);
	target_say("elapsed_ns %ld\n", now_ns() - start);
	target_end(calls);
	return 0;
}
