/* SPDX-License-Identifier: GPL-2.0-or-later */
/* N calls, "done N", then "blocked" from inside watched_blocks, which waits for a signal or the
 * end of stdin. */
#include "target.h"

WATCHED int watched_call(int number)
{
	target_sink += number;
	return number;
}

WATCHED int watched_blocks(int number)
{
	char line[64];

	target_say("blocked\n");
	while (target_line(line, sizeof(line)))
		number++;
	return number;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);

	target_ready();
	for (long i = 0; i < calls; i++)
		watched_call((int)i);
	target_say("done %ld\n", calls);
	return watched_blocks(0);
}
