/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watched_even and watched_odd call each other: N calls in all, the odd one half of them. */
#include "target.h"

WATCHED long watched_odd(long depth);

WATCHED long watched_even(long depth)
{
	target_sink++;
	return depth <= 1 ? 1 : 1 + watched_odd(depth - 1);
}

WATCHED long watched_odd(long depth)
{
	target_sink--;
	return depth <= 1 ? 1 : 1 + watched_even(depth - 1);
}

int main(int argc, char **argv)
{
	long depth = target_number(argc, argv, 1, 24);

	target_ready();
	target_end(watched_even(depth));
	return 0;
}
