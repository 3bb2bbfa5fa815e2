/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exec [N] [plain|mid]: N calls, "done N", then at the next line execv of itself, either between
 * calls or inside watched_execs. The new image prints "ready" again and does the plain N calls.
 */
#include "target.h"

WATCHED int watched_call(int number)
{
	target_sink += number;
	return number;
}

WATCHED int watched_execs(char **arguments)
{
	execv("/proc/self/exe", arguments);
	return -1;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	const char *how = argc > 2 ? argv[2] : "plain";
	char number[32];
	char after[] = "after";
	char *arguments[] = {argv[0], number, after, NULL};
	char line[64];

	snprintf(number, sizeof(number), "%ld", calls);
	target_ready();
	for (long i = 0; i < calls; i++)
		watched_call((int)i);
	if (strcmp(how, "after") == 0) {
		target_end(calls);
		return 0;
	}
	target_say("done %ld\n", calls);
	if (!target_line(line, sizeof(line)))
		return 0;
	if (strcmp(how, "mid") == 0)
		return watched_execs(arguments);
	execv("/proc/self/exe", arguments);
	return 1;
}
