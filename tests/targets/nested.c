/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nested [N]: watched_outer calls watched_inner, which calls itself, N calls deep in all (18); in
 * the innermost it prints "blocked" and waits for a line. Then all return.
 */
#include "target.h"

WATCHED long watched_inner(long depth)
{
	char line[64];

	target_sink++;
	if (depth > 1)
		return 1 + watched_inner(depth - 1);
	target_say("blocked\n");
	if (!target_line(line, sizeof(line)))
		exit(7);
	return 1;
}

WATCHED long watched_outer(long depth)
{
	target_sink++;
	return 1 + watched_inner(depth - 1);
}

int main(int argc, char **argv)
{
	long depth = target_number(argc, argv, 1, 18);

	target_ready();
	target_end(watched_outer(depth));
	return 0;
}
