/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For benchmarks: each line on stdin is a number of calls; "took NS CALLS" is the answer. */
#include <time.h>

#include "target.h"

WATCHED uint64_t watched_timed(uint64_t number)
{
	STARTS_WITH_PUSH();
	__asm__ volatile("" : "+r"(number));
	return number;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(void)
{
	char line[64];

	target_say("ready\n");
	while (target_line(line, sizeof(line))) {
		uint64_t calls = strtoull(line, NULL, 10), from_ns = now_ns();

		for (uint64_t i = 0; i < calls; i++)
			watched_timed(i);
		target_say("took %llu %llu\n", (unsigned long long)(now_ns() - from_ns),
			   (unsigned long long)calls);
	}
	return 0;
}
