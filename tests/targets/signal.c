/* SPDX-License-Identifier: GPL-2.0-or-later */
/* N times (23) a signal arrives in the middle of watched_interrupted; its handler calls another. */
#include <signal.h>

#include "target.h"

WATCHED int watched_in_handler(int number)
{
	STARTS_WITH_PUSH();
	target_sink += number;
	return number;
}

static void handle(int number)
{
	watched_in_handler(number);
}

WATCHED int watched_interrupted(int number)
{
	STARTS_WITH_PUSH();
	raise(SIGUSR1);
	return number + 1;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);

	signal(SIGUSR1, handle);
	target_ready();
	for (long i = 0; i < calls; i++)
		watched_interrupted((int)i);
	target_end(calls);
	return 0;
}
