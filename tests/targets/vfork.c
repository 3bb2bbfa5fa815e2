/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * N children (5) by vfork, in the middle of a watched function, each of which calls another one on
 * its parent's stack. The parent's own calls: N of watched_parent, N of watched_both.
 */
#include <sys/wait.h>

#include "target.h"

WATCHED int watched_both(int number)
{
	STARTS_WITH_PUSH();
	target_sink += number;
	return number;
}

WATCHED int watched_parent(int number)
{
	int status = -1;
	pid_t child = vfork();

	if (child == 0) {
		watched_both(number);
		_exit(0);
	}
	waitpid(child, &status, 0);
	watched_both(number);
	return status;
}

int main(int argc, char **argv)
{
	long children = target_number(argc, argv, 1, 5);

	target_ready();
	for (long i = 0; i < children; i++)
		if (watched_parent((int)i) != 0)
			return 3;
	target_end(2 * children);
	return 0;
}
