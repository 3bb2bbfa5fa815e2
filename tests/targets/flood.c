/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls watched_flood as fast as it can from the first line on stdin to the next, then "done N". */
#include <pthread.h>
#include <stdatomic.h>

#include "target.h"

static atomic_bool stop;

WATCHED uint64_t watched_flood(uint64_t number)
{
	STARTS_WITH_PUSH();
	__asm__ volatile("" : "+r"(number));
	return number;
}

static void *wait_for_line(void *unused)
{
	char line[64];

	target_line(line, sizeof(line));
	atomic_store(&stop, true);
	return unused;
}

int main(void)
{
	pthread_t waiter;
	uint64_t calls = 0;

	target_ready();
	if (pthread_create(&waiter, NULL, wait_for_line, NULL) != 0)
		return 1;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		watched_flood(calls++);
	pthread_join(waiter, NULL);
	target_end((long)calls);
	return 0;
}
