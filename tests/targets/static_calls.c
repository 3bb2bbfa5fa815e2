/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Static functions, which only .symtab knows, and one function with two names. */
#include "target.h"

WATCHED static int watched_static(int number)
{
	target_sink += number;
	return number;
}

WATCHED int watched_named(int number)
{
	target_sink -= number;
	return number;
}

int watched_alias(int number) __attribute__((alias("watched_named")));

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);

	target_ready();
	for (long i = 0; i < calls; i++) {
		watched_static((int)i);
		watched_named((int)i);
		watched_alias((int)i);
	}
	target_end(calls);
	return 0;
}
