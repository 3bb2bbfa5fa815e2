/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exit_mid_call [N] [exit|_exit]: N calls, "done N", then at the next line the process ends with
 * status 3 inside watched_exits, which never returns.
 */
#include "target.h"

WATCHED int watched_call(int number)
{
	target_sink += number;
	return number;
}

WATCHED int watched_exits(int at_once)
{
	target_sink++;
	if (at_once)
		_exit(3);
	exit(3);
	return at_once;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	char line[64];

	target_ready();
	for (long i = 0; i < calls; i++)
		watched_call((int)i);
	target_say("done %ld\n", calls);
	if (!target_line(line, sizeof(line)))
		return 0;
	return watched_exits(argc > 2 && strcmp(argv[2], "_exit") == 0);
}
