// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reader: ring to queue, woken by the programs once per quarter of the ring, else each 100 ms.
 * Writer: queue to store, a batch and the tick that is due in one push. A batch that was refused is
 * kept as it is and pushed again; meanwhile queue and ring fill, and what the ring then refuses is
 * counted by the programs. Nothing allocates after new.
 */
#include "monitor/workers.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define READ_MAX 1024
#define READER_MS 100
#define WRITER_NS (100 * MON_NS_PER_MS)
#define TRANSITIONS_MAX 64

struct mon_workers {
	struct mon_workers_options options;
	struct mon_breaker *breaker;
	pthread_t reader, writer;
	bool reader_runs, writer_runs;
	int wake_fd; /* ends the reader's wait */
	atomic_bool draining;
	_Atomic mon_ns deadline_ns; /* 0: none. After it the writer gives up what is refused */
	int writer_result;

	pthread_mutex_t lock; /* what follows; never held while anything is called */
	struct mon_tick tick;
	bool tick_offered, tick_written;
	struct mon_breaker_transition transitions[TRANSITIONS_MAX];
	size_t transition_count;
	struct mon_store_stats store_stats;

	/* The writer's own. */
	uint64_t positions[MON_STORE_BATCH_MAX];
	struct mon_record records[MON_STORE_BATCH_MAX];
	struct mon_breaker_transition writing[TRANSITIONS_MAX];
	struct mon_batch batch;
};

static void on_transition(const struct mon_breaker_transition *transition, void *context)
{
	struct mon_workers *workers = context;

	pthread_mutex_lock(&workers->lock);
	if (workers->transition_count < TRANSITIONS_MAX)
		workers->transitions[workers->transition_count++] = *transition;
	pthread_mutex_unlock(&workers->lock);
	mon_log(transition->to == MON_BREAKER_CLOSED ? MON_LOG_INFO : MON_LOG_WARNING,
		"breaker %s -> %s (%s%s%s)", mon_breaker_state_name(transition->from),
		mon_breaker_state_name(transition->to), transition->cause,
		transition->error ? ": " : "",
		transition->error ? mon_store_error_text(workers->options.store) : "");
}

static void *read_ring(void *arg)
{
	struct mon_workers *workers = arg;
	uint64_t positions[READ_MAX];
	bool last = false;

	while (!last) {
		/* Read once more after the last record can have come. */
		last = atomic_load(&workers->draining);
		if (!last)
			(void)mon_ring_wait(workers->options.ring, workers->wake_fd, READER_MS);
		for (;;) {
			struct mon_record record;
			size_t count = 0, taken = 0;

			while (count < READ_MAX &&
			       mon_ring_try_pop(workers->options.ring, &record) == 0)
				positions[count++] = record.position;
			if (!count)
				break;
			while (taken < count) {
				taken += mon_queue_push(workers->options.queue, positions + taken,
							count - taken);
				if (taken < count && mon_queue_closed(workers->options.queue))
					return NULL;
				if (taken < count)
					(void)mon_queue_wait_room(workers->options.queue,
								  WRITER_NS);
			}
		}
	}
	mon_queue_close(workers->options.queue);
	return NULL;
}

static int push_batch(void *arg)
{
	struct mon_workers *workers = arg;

	return mon_store_push(workers->options.store, &workers->batch);
}

/* Adds what waits beside the records. True when the batch has anything in it. */
static bool complete_batch(struct mon_workers *workers)
{
	pthread_mutex_lock(&workers->lock);
	if (!workers->batch.tick && workers->tick_offered)
		workers->batch.tick = &workers->tick;
	if (!workers->batch.transition_count && workers->transition_count) {
		memcpy(workers->writing, workers->transitions, sizeof(workers->writing));
		workers->batch.transitions = workers->writing;
		workers->batch.transition_count = workers->transition_count;
		workers->transition_count = 0;
	}
	pthread_mutex_unlock(&workers->lock);
	return workers->batch.count || workers->batch.tick || workers->batch.transition_count;
}

static void batch_written(struct mon_workers *workers)
{
	if (workers->batch.count)
		mon_ring_acknowledge(workers->options.ring, workers->batch.end);
	pthread_mutex_lock(&workers->lock);
	if (workers->batch.tick) {
		workers->tick_offered = false;
		workers->tick_written = true;
	}
	mon_store_stats(workers->options.store, &workers->store_stats);
	pthread_mutex_unlock(&workers->lock);
	/* Now, not at the next tick: a flood fills tens of megabytes in a second. */
	if (workers->store_stats.size_reached)
		workers->options.on_size_reached(workers->options.context);
	workers->batch = (struct mon_batch){.records = workers->records};
}

static bool past_deadline(const struct mon_workers *workers)
{
	mon_ns deadline_ns = atomic_load(&workers->deadline_ns);

	return deadline_ns && mon_clock_now(&mon_clock_system) >= deadline_ns;
}

static void *write_store(void *arg)
{
	struct mon_workers *workers = arg;

	workers->batch.records = workers->records;
	for (;;) {
		if (!workers->batch.count) {
			size_t count = mon_queue_pop(workers->options.queue, workers->positions,
						     MON_STORE_BATCH_MAX, WRITER_NS);

			for (size_t i = 0; i < count; i++)
				mon_ring_peek(workers->options.ring, workers->positions[i],
					      &workers->records[i]);
			workers->batch.count = count;
			workers->batch.end = count ? workers->records[count - 1].end : 0;
			if (!count && !complete_batch(workers) &&
			    mon_queue_closed(workers->options.queue))
				return NULL;
		}
		if (!complete_batch(workers))
			continue;
		workers->writer_result = mon_breaker_call(workers->breaker, push_batch, workers);
		if (!workers->writer_result) {
			batch_written(workers);
			continue;
		}
		if (past_deadline(workers))
			return NULL;
		/* Not permitted, or refused: nothing to do until time has passed. */
		(void)usleep(10000);
	}
}

int mon_workers_new(const struct mon_workers_options *options, struct mon_workers **workers_out)
{
	struct mon_breaker_options breaker = *options->breaker;
	struct mon_workers *workers = calloc(1, sizeof(*workers));
	int result;

	if (!workers)
		return -ENOMEM;
	workers->options = *options;
	pthread_mutex_init(&workers->lock, NULL);
	workers->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = workers->wake_fd < 0 ? -errno : 0;
	breaker.classify = mon_store_classify;
	breaker.on_transition = on_transition;
	breaker.context = workers;
	if (!result)
		result = mon_breaker_new(&breaker, &workers->breaker);
	mon_store_stats(options->store, &workers->store_stats);
	if (!result)
		result = -pthread_create(&workers->reader, NULL, read_ring, workers);
	workers->reader_runs = !result;
	if (!result)
		result = -pthread_create(&workers->writer, NULL, write_store, workers);
	workers->writer_runs = !result && workers->reader_runs;
	if (result) {
		mon_workers_free(workers);
		return result;
	}
	*workers_out = workers;
	return 0;
}

void mon_workers_free(struct mon_workers *workers)
{
	if (!workers)
		return;
	if (workers->reader_runs || workers->writer_runs)
		(void)mon_workers_drain(workers, 1);
	mon_breaker_free(workers->breaker);
	if (workers->wake_fd >= 0)
		(void)close(workers->wake_fd);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}

bool mon_workers_offer(struct mon_workers *workers, const struct mon_tick *tick)
{
	bool taken;

	pthread_mutex_lock(&workers->lock);
	taken = !workers->tick_offered && !workers->tick_written;
	if (taken) {
		workers->tick = *tick;
		workers->tick_offered = true;
	}
	pthread_mutex_unlock(&workers->lock);
	if (taken)
		mon_queue_kick(workers->options.queue);
	return taken;
}

bool mon_workers_tick_written(struct mon_workers *workers)
{
	bool written;

	pthread_mutex_lock(&workers->lock);
	written = workers->tick_written;
	workers->tick_written = false;
	pthread_mutex_unlock(&workers->lock);
	return written;
}

enum mon_breaker_state mon_workers_tick(struct mon_workers *workers)
{
	return mon_breaker_tick(workers->breaker);
}

void mon_workers_stats(struct mon_workers *workers, struct mon_store_stats *store_out,
		       struct mon_breaker_stats *breaker_out)
{
	pthread_mutex_lock(&workers->lock);
	*store_out = workers->store_stats;
	pthread_mutex_unlock(&workers->lock);
	mon_breaker_stats(workers->breaker, breaker_out);
}

int mon_workers_drain(struct mon_workers *workers, uint64_t timeout_ns)
{
	uint64_t one = 1;
	struct mon_breaker_stats stats;

	atomic_store(&workers->deadline_ns, mon_clock_now(&mon_clock_system) + timeout_ns);
	/* The end does not wait for a timer: what is refused now is refused for good. */
	mon_breaker_stats(workers->breaker, &stats);
	if (stats.state != MON_BREAKER_CLOSED)
		mon_breaker_force(workers->breaker, MON_BREAKER_DISABLED);
	atomic_store(&workers->draining, true);
	(void)!write(workers->wake_fd, &one, sizeof(one));
	if (workers->writer_runs)
		pthread_join(workers->writer, NULL);
	workers->writer_runs = false;
	mon_queue_close(workers->options.queue); /* a writer that gave up leaves the reader alone */
	if (workers->reader_runs)
		pthread_join(workers->reader, NULL);
	workers->reader_runs = false;
	return workers->batch.count || workers->batch.tick ? workers->writer_result : 0;
}

int mon_workers_write(struct mon_workers *workers, const struct mon_tick *tick)
{
	uint32_t tries = 0;
	int result;

	workers->batch = (struct mon_batch){.tick = tick};
	(void)complete_batch(workers);
	do
		result = mon_store_push(workers->options.store, &workers->batch);
	while (result && ++tries < MON_BREAKER_FAILURES_DEFAULT && !past_deadline(workers));
	mon_store_stats(workers->options.store, &workers->store_stats);
	return result;
}
