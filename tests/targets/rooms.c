/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watched_outer calls watched_middle, which calls watched_leaf; lines say what to do:
 *   enter   outer calls middle, which takes further lines; leave: both return
 *   leaf N  N calls of leaf from where we are, by way of a function that nobody watches
 *   run     rounds of outer, middle and leaf until the next line comes
 * "ok N" after each but enter and leave ("in", "out"); N counts leaf, or rounds.
 */
#include "target.h"

#include <poll.h>

WATCHED long watched_leaf(long number)
{
	STARTS_WITH_PUSH();
	target_sink += number;
	return number;
}

WATCHED long between(long number)
{
	volatile char room[256];

	room[0] = (char)number;
	return watched_leaf(number) + room[0];
}

static void take_lines(bool inside);

WATCHED void watched_middle(bool takes_lines)
{
	if (takes_lines)
		take_lines(true);
	else
		between(1);
	target_sink++;
}

WATCHED void watched_outer(bool takes_lines)
{
	watched_middle(takes_lines);
	target_sink++;
}

static void run(void)
{
	struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
	long rounds = 0;

	while (!poll(&line, 1, 0))
		for (int i = 0; i < 64; i++, rounds++)
			watched_outer(false);
	target_say("ok %ld\n", rounds);
}

static void take_lines(bool inside)
{
	char line[64];

	if (inside)
		target_say("in\n");
	while (target_line(line, sizeof(line))) {
		if (strcmp(line, "enter") == 0) {
			watched_outer(true);
			target_say("out\n");
		} else if (strcmp(line, "leave") == 0) {
			return;
		} else if (strcmp(line, "run") == 0) {
			run();
		} else if (strncmp(line, "leaf ", 5) == 0) {
			long count = strtol(line + 5, NULL, 10);

			for (long i = 0; i < count; i++)
				between(i);
			target_say("ok %ld\n", count);
		}
	}
}

int main(void)
{
	target_say("ready\n");
	take_lines(false);
	return 0;
}
