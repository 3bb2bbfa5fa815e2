/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * T threads (64) make N calls each; every call's argument is its own number, so that a test sees
 * which one is missing. The threads live until the end of stdin.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "target.h"

#define THREADS_MAX 4096

static atomic_long next_number;
static long calls_each;
static pthread_barrier_t made;
static pthread_barrier_t go;
static pthread_barrier_t finished;
static pthread_barrier_t end;

WATCHED long watched_threaded(long number)
{
	STARTS_WITH_PUSH();
	return number + 1;
}

static void *thread_main(void *unused)
{
	pthread_barrier_wait(&made);
	pthread_barrier_wait(&go);
	for (long i = 0; i < calls_each; i++)
		watched_threaded(atomic_fetch_add(&next_number, 1));
	pthread_barrier_wait(&finished);
	pthread_barrier_wait(&end);
	return unused;
}

int main(int argc, char **argv)
{
	static pthread_t threads[THREADS_MAX];
	long count = target_number(argc, argv, 2, 64);

	calls_each = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	if (count < 1 || count > THREADS_MAX)
		return 2;
	pthread_barrier_t *const barriers[] = {&made, &go, &finished, &end};
	for (size_t i = 0; i < 4; i++)
		pthread_barrier_init(barriers[i], NULL, (unsigned int)count + 1);
	for (long i = 0; i < count; i++) {
		if (pthread_create(&threads[i], NULL, thread_main, NULL) != 0)
			return 1;
	}
	pthread_barrier_wait(&made);
	target_ready();
	pthread_barrier_wait(&go);
	pthread_barrier_wait(&finished);
	target_end(atomic_load(&next_number));
	pthread_barrier_wait(&end);
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
