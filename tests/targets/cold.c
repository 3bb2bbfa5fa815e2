/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watched_hot has a part that is seldom run and that GCC keeps elsewhere, as watched_hot.cold: its
 * stack has variables where a called function has its return address. Prints "sum N" of N calls.
 */
#include "target.h"

__attribute__((noinline, cold)) static void rare(long *number)
{
	*number += 1;
	target_sink++;
}

WATCHED long watched_hot(long n, long m)
{
	long a = n * 3, b = m * 5;

	if (__builtin_expect(n & 1, 0)) {
		rare(&a);
		rare(&b);
		a += b;
		rare(&a);
	}
	return a + b;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT), sum = 0;

	target_ready();
	for (long i = 0; i < calls; i++)
		sum += watched_hot(i, i + 1);
	target_say("sum %ld\n", sum);
	target_end(calls);
	return 0;
}
