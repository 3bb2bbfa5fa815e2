// SPDX-License-Identifier: GPL-2.0-or-later
#include "capture/closer.h"

#include "base/cleanup.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct mon_closer {
	struct mon_live *live;
	struct mon_arming *armings;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	size_t running;
	bool hurry;
};

struct batch {
	struct mon_closer *closer;
	struct mon_closing closing;
};

int mon_capture_need_closer(struct mon_capture *capture)
{
	struct mon_closer *closer;
	pthread_condattr_t attributes;

	if (capture->closer)
		return 0;
	closer = calloc(1, sizeof(*closer));
	if (!closer)
		return -ENOMEM;
	closer->live = capture->live;
	closer->armings = capture->armings;
	(void)pthread_mutex_init(&closer->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&closer->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	capture->closer = closer;
	return 0;
}

/* Never back: a later link's batch may be done before an earlier one's. */
static void cut_off(struct mon_closer *closer, uint32_t function, uint32_t alive_from)
{
	uint32_t *at = &closer->armings[function].alive_from;
	uint32_t seen = __atomic_load_n(at, __ATOMIC_RELAXED);

	while ((int32_t)(alive_from - seen) > 0 &&
	       !__atomic_compare_exchange_n(at, &seen, alive_from, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED)) {
	}
}

static void close_now(struct mon_closer *closer, struct mon_closing *closing)
{
	for (size_t i = 0; i < closing->function_count; i++)
		cut_off(closer, closing->functions[i], closing->alive_from);
	if (closing->function_count)
		__atomic_store_n(&closer->live->cut_off, 1, __ATOMIC_RELEASE);
	mon_probes_close(closing->probes, closing->probe_count);
	free(closing->probes);
	free(closing->functions);
}

static void *close_batch(void *argument)
{
	MON_FREE struct batch *batch = argument;
	struct mon_closer *closer = batch->closer;
	mon_ns until = mon_clock_now(&mon_clock_system) + batch->closing.delay_ns;
	const struct timespec at = {.tv_sec = (time_t)(until / MON_NS_PER_S),
				    .tv_nsec = (long)(until % MON_NS_PER_S)};

	pthread_mutex_lock(&closer->lock);
	while (batch->closing.delay_ns && !closer->hurry)
		if (pthread_cond_timedwait(&closer->changed, &closer->lock, &at))
			break;
	pthread_mutex_unlock(&closer->lock);
	close_now(closer, &batch->closing);
	pthread_mutex_lock(&closer->lock);
	closer->running--;
	pthread_cond_broadcast(&closer->changed);
	pthread_mutex_unlock(&closer->lock);
	return NULL;
}

void mon_closer_close(struct mon_closer *closer, const struct mon_closing *closing)
{
	struct batch *batch = malloc(sizeof(*batch));
	struct mon_closing mine = *closing;
	pthread_t thread;

	if (batch) {
		*batch = (struct batch){.closer = closer, .closing = *closing};
		pthread_mutex_lock(&closer->lock);
		closer->running++;
		pthread_mutex_unlock(&closer->lock);
		if (!pthread_create(&thread, NULL, close_batch, batch)) {
			(void)pthread_detach(thread);
			return;
		}
		pthread_mutex_lock(&closer->lock);
		closer->running--;
		pthread_mutex_unlock(&closer->lock);
		free(batch);
	}
	close_now(closer, &mine);
}

void mon_closer_wait(struct mon_closer *closer)
{
	if (!closer)
		return;
	pthread_mutex_lock(&closer->lock);
	closer->hurry = true;
	pthread_cond_broadcast(&closer->changed);
	while (closer->running)
		pthread_cond_wait(&closer->changed, &closer->lock);
	closer->hurry = false;
	pthread_mutex_unlock(&closer->lock);
}

void mon_closer_free(struct mon_closer *closer)
{
	if (!closer)
		return;
	mon_closer_wait(closer);
	(void)pthread_cond_destroy(&closer->changed);
	(void)pthread_mutex_destroy(&closer->lock);
	free(closer);
}
