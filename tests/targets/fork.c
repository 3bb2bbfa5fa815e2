/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first line on stdin forks a child. On each line the parent makes N calls, then the child
 * makes N calls (or as many as the second argument says), and the parent prints "child PID" and
 * "done N". The child ends with the parent. So do as many others as the third argument says, which
 * do nothing.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "target.h"

WATCHED int watched_forked(int number)
{
	STARTS_WITH_PUSH();
	target_sink += number;
	return number;
}

static void make_calls(long calls)
{
	for (long i = 0; i < calls; i++)
		watched_forked((int)i);
}

static void child_main(int orders, int answers, long calls)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(orders, &byte, 1) == 1) {
		make_calls(calls);
		if (write(answers, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

static void start_idle(long count)
{
	while (count--)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	long of_child = target_number(argc, argv, 2, calls);
	int orders[2];
	int answers[2];
	pid_t child = 0;
	char line[64];
	char byte = 'g';

	if (pipe(orders) != 0 || pipe(answers) != 0)
		return 1;
	target_say("ready\n");
	while (target_line(line, sizeof(line))) {
		if (child == 0) {
			start_idle(target_number(argc, argv, 3, 0));
			child = fork();
			if (child < 0)
				return 1;
			if (child == 0) {
				close(orders[1]);
				child_main(orders[0], answers[1], of_child);
			}
			target_say("child %d\n", (int)child);
		}
		make_calls(calls);
		if (write(orders[1], &byte, 1) != 1 || read(answers[0], &byte, 1) != 1)
			return 1;
		target_say("done %ld\n", calls);
	}
	return 0;
}
