/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watched_head jumps to watched_tail: one return address, two open calls. Needs TARGET_FLAGS_tail.
 */
#include "target.h"

WATCHED int watched_tail(int number)
{
	target_sink += number;
	return number + 1;
}

WATCHED int watched_head(int number)
{
	target_sink -= number;
	return watched_tail(number + 1);
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);

	target_ready();
	for (long i = 0; i < calls; i++)
		target_sink += watched_head((int)i);
	target_end(calls);
	return 0;
}
