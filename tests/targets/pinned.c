/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One thread for each pair of arguments, a CPU and how many calls it makes there: (CPU, number).
 * The threads live until the end of stdin.
 */
#include <pthread.h>
#include <sched.h>

#include "target.h"

#define THREADS_MAX 64

static struct {
	long cpu, calls;
} works[THREADS_MAX];
static pthread_barrier_t go, finished, end;

WATCHED long watched_pinned(long cpu, long number)
{
	STARTS_WITH_PUSH();
	return cpu + number;
}

static void *thread_main(void *argument)
{
	long work = (long)argument, cpu = works[work].cpu;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		_exit(7);
	pthread_barrier_wait(&go);
	for (long i = 0; i < works[work].calls; i++)
		watched_pinned(cpu, i);
	pthread_barrier_wait(&finished);
	pthread_barrier_wait(&end);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_barrier_t *const barriers[] = {&go, &finished, &end};
	pthread_t threads[THREADS_MAX];
	long sum = 0;
	int count = (argc - 1) / 2;

	if (count < 1 || count > THREADS_MAX)
		return 2;
	for (size_t i = 0; i < 3; i++)
		pthread_barrier_init(barriers[i], NULL, (unsigned)count + 1);
	for (long i = 0; i < count; i++) {
		works[i].cpu = target_number(argc, argv, 2 * (int)i + 1, 0);
		works[i].calls = target_number(argc, argv, 2 * (int)i + 2, 0);
		sum += works[i].calls;
		if (pthread_create(&threads[i], NULL, thread_main, (void *)i) != 0)
			return 1;
	}
	target_ready();
	pthread_barrier_wait(&go);
	pthread_barrier_wait(&finished);
	target_end(sum);
	pthread_barrier_wait(&end);
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
