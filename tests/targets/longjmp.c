/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * N times: watched_outer calls watched_middle calls watched_leaf, which jumps back to
 * watched_outer. Outer returns N times, middle and leaf never; watched_after then returns N times.
 */
#include <setjmp.h>

#include "target.h"

static jmp_buf back;

WATCHED int watched_leaf(int number)
{
	target_sink += number;
	longjmp(back, 1);
	return number;
}

WATCHED int watched_middle(int number)
{
	return watched_leaf(number) + 1;
}

WATCHED int watched_outer(int number)
{
	if (setjmp(back) == 0)
		return watched_middle(number) + 1;
	return -number;
}

WATCHED int watched_after(int number)
{
	target_sink -= number;
	return number;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);

	target_ready();
	for (volatile long i = 0; i < calls; i++) {
		watched_outer((int)i);
		watched_after((int)i);
	}
	target_end(calls);
	return 0;
}
