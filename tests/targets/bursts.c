/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each line on stdin is a number of calls, made at once; "made N" is the answer. Of 16 calls one
 * (3, 19, ...) returns -1, one (7, 23, ...) 0, one (11, 27, ...) 1 << 63, the others 1. With a
 * second number on the line every so many-th call (0, M, 2M, ...) takes at least 200 us.
 */
#include <time.h>

#include "target.h"

#define SLOW_NS 200000

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

WATCHED int64_t watched_burst(uint64_t number, const char *text, bool slow)
{
	STARTS_WITH_PUSH();
	target_sink += text[0];
	if (slow)
		for (uint64_t from_ns = now_ns(); now_ns() - from_ns < SLOW_NS;) {
		}
	switch (number % 16) {
	case 3:
		return -1;
	case 7:
		return 0;
	case 11:
		return INT64_MIN;
	default:
		return 1;
	}
}

int main(void)
{
	char line[64];

	target_say("ready\n");
	while (target_line(line, sizeof(line))) {
		unsigned long calls = 0, slow_each = 0, i;

		(void)sscanf(line, "%lu %lu", &calls, &slow_each);
		for (i = 0; i < calls; i++)
			watched_burst(i, "burst", slow_each && i % slow_each == 0);
		target_say("made %lu\n", i);
	}
	return 0;
}
