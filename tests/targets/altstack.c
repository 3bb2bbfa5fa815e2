/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * altstack [N] [high|low]: inside watched_open a signal arrives whose handler runs on an alternate
 * stack above (or below) the thread's own and calls watched_call. High is fatal to the process
 * when a return probe is open.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "target.h"

#define PART_BYTES (256UL * 1024)

static char *region; /* low alternate stack, the thread's stack, high alternate stack */
static long calls;
static int high;

WATCHED int watched_call(int number)
{
	target_sink += number;
	return number;
}

WATCHED int watched_open(int number)
{
	pthread_kill(pthread_self(), SIGUSR1);
	return number + 1;
}

static void handler(int signal)
{
	watched_call(signal);
}

static void *thread_main(void *unused)
{
	stack_t alternate = {
		.ss_sp = region + (high ? 2 : 0) * PART_BYTES,
		.ss_size = PART_BYTES,
	};

	if (sigaltstack(&alternate, NULL) != 0)
		exit(1);
	for (long i = 0; i < calls; i++)
		watched_open((int)i);
	return unused;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	pthread_attr_t attributes;
	pthread_t thread;

	calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	high = argc <= 2 || strcmp(argv[2], "high") == 0;
	region = mmap(NULL, 3 * PART_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (region == MAP_FAILED || sigaction(SIGUSR1, &action, NULL) != 0)
		return 1;
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, region + PART_BYTES, PART_BYTES);

	target_ready();
	if (pthread_create(&thread, &attributes, thread_main, NULL) != 0)
		return 1;
	pthread_join(thread, NULL);
	target_end(calls);
	return 0;
}
