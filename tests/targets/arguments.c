/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Known arguments and return values: call i passes i, -i, i << 40, a string, a pointer to it and
 * ~i; watched_fails returns -1 for each odd i; watched_wide returns i << 33.
 */
#include "target.h"

WATCHED long watched_arguments(int a, int b, uint64_t c, const char *d, void *e, long f)
{
	target_sink += a + b + (long)c + d[0] + (e != NULL) + f;
	return a;
}

WATCHED int watched_fails(int number)
{
	target_sink += number;
	return number % 2 ? -1 : number;
}

WATCHED uint64_t watched_wide(int number)
{
	target_sink += number;
	return (uint64_t)number << 33;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	char text[] = "hello";

	target_ready();
	for (long i = 0; i < calls; i++) {
		watched_arguments((int)i, (int)-i, (uint64_t)i << 40, text, text, ~i);
		watched_fails((int)i);
		watched_wide((int)i);
	}
	target_end(calls);
	return 0;
}
