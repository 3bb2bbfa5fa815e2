/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * N threads, one after another, each end inside watched_leaf inside watched_exits: neither ever
 * returns. Then watched_after returns N times.
 */
#include <pthread.h>

#include "target.h"

WATCHED void watched_leaf(long number)
{
	target_sink += number;
	pthread_exit(NULL);
}

WATCHED void watched_exits(long number)
{
	watched_leaf(number);
	target_sink -= number;
}

WATCHED long watched_after(long number)
{
	target_sink -= number;
	return number;
}

static void *thread_main(void *number)
{
	watched_exits((long)number);
	return NULL;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);

	target_ready();
	for (long i = 0; i < calls; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, thread_main, (void *)i) != 0)
			return 1;
		pthread_join(thread, NULL);
		watched_after(i);
	}
	target_end(calls);
	return 0;
}
