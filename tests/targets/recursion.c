/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One call of watched_recursion to a depth of N calls (101: the kernel keeps 64 return probes). */
#include "target.h"

WATCHED long watched_recursion(long depth)
{
	target_sink++;
	if (depth <= 1)
		return 1;
	return 1 + watched_recursion(depth - 1);
}

int main(int argc, char **argv)
{
	long depth = target_number(argc, argv, 1, 101);
	long rounds = target_number(argc, argv, 2, 1);
	long calls = 0;

	target_ready();
	for (long i = 0; i < rounds; i++)
		calls += watched_recursion(depth);
	target_end(calls);
	return 0;
}
