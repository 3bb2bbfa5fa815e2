/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For benchmarks: each line on stdin is "CALLS_PER_S MILLISECONDS"; it calls for so long at that
 * rate, or with 0 as fast as it can, and answers "made CALLS". In between it does not sleep: a
 * thread that wakes up late would come in bursts.
 */
#include <time.h>

#include "target.h"

#define BETWEEN_LOOKS 16 /* calls */
#define NS_PER_S 1000000000u

WATCHED uint64_t watched_paced(uint64_t number)
{
	STARTS_WITH_PUSH();
	__asm__ volatile("" : "+r"(number));
	return number;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t call(uint64_t calls_per_s, uint64_t for_ns)
{
	const uint64_t from_ns = now_ns();
	uint64_t calls = 0, spent_ns = 0;

	while (spent_ns < for_ns) {
		/* What is due by now; who was late catches up. */
		if (!calls_per_s || calls < (uint64_t)((double)spent_ns * calls_per_s / NS_PER_S))
			for (int i = 0; i < BETWEEN_LOOKS; i++)
				watched_paced(calls++);
		spent_ns = now_ns() - from_ns;
	}
	return calls;
}

int main(void)
{
	char line[64];

	target_say("ready\n");
	while (target_line(line, sizeof(line))) {
		char *end;
		uint64_t calls_per_s = strtoull(line, &end, 10), for_ms = strtoull(end, NULL, 10);

		target_say("made %llu\n",
			   (unsigned long long)call(calls_per_s, for_ms * (NS_PER_S / 1000)));
	}
	return 0;
}
