/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plain case: N calls of watched_call, each of which calls watched_inner once. */
#include "target.h"

WATCHED int watched_inner(int number)
{
	target_sink += number;
	return number + 1;
}

WATCHED int watched_call(int number)
{
	return watched_inner(number) * 2;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);

	target_ready();
	for (long i = 0; i < calls; i++)
		watched_call((int)i);
	target_end(calls);
	return 0;
}
