// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of the two threads, and what the main thread asks of them. Nothing allocates after new.
 */
#include "monitor/workers_internal.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#define HURRY_ROUND_NS (50 * (long)MON_NS_PER_MS)
#define HURRY_ROUNDS 10
#define STUCK_NS (5 * MON_NS_PER_S)

/* A probe that hung is told by the timer's thread, while the writer is in the store. */
static const char *error_text(const struct mon_workers *workers, int error)
{
	if (!error)
		return "";
	return error == -ETIMEDOUT ? "no answer" : mon_store_error_text(workers->options.store);
}

/*
 * With the lock held. A database that stays out is probed each minute: those that fail are told
 * when they are twice as many.
 */
static bool is_told(struct mon_workers *workers, const struct mon_breaker_transition *transition,
		    unsigned *failed_out)
{
	unsigned failed = workers->probes_failed;

	if (transition->from == MON_BREAKER_CLOSED)
		failed = 0;
	else if (transition->from == MON_BREAKER_HALF_OPEN && transition->to == MON_BREAKER_OPEN)
		failed++;
	workers->probes_failed = failed;
	*failed_out = failed;
	if (transition->to == MON_BREAKER_HALF_OPEN)
		failed++;
	return transition->to == MON_BREAKER_CLOSED || !(failed & (failed - 1));
}

static void on_transition(const struct mon_breaker_transition *transition, void *context)
{
	struct mon_workers *workers = context;
	char probes[64] = "";
	unsigned failed;
	bool told;

	pthread_mutex_lock(&workers->lock);
	/* The list is full after half an hour: how it ended is worth more than one more probe. */
	if (workers->transition_count == MON_WORKERS_TRANSITIONS_MAX)
		workers->transition_count--;
	workers->transitions[workers->transition_count++] = *transition;
	told = is_told(workers, transition, &failed);
	pthread_mutex_unlock(&workers->lock);
	if (!told)
		return;
	if (failed > 1)
		(void)snprintf(probes, sizeof(probes), ", %u probes failed so far", failed);
	mon_log(transition->to == MON_BREAKER_CLOSED ? MON_LOG_INFO : MON_LOG_WARNING,
		"breaker %s -> %s (%s%s%s)%s", mon_breaker_state_name(transition->from),
		mon_breaker_state_name(transition->to), transition->cause,
		transition->error ? ": " : "", error_text(workers, transition->error), probes);
}

/* What the database and the spool have of this run already: an earlier monitor's. */
static void find_ends(struct mon_workers *workers)
{
	for (uint32_t ring = 0; ring < MON_RINGS_MAX; ring++) {
		uint64_t mark = mon_store_mark(workers->options.store, ring);

		atomic_store(&workers->committed_ends[ring], mark);
		if (!workers->options.spool)
			continue;
		workers->spooled_ends[ring] = mon_spool_end(workers->options.spool, ring);
		mon_spool_release(workers->options.spool, ring, mark);
	}
}

/* The writer first: when there is no reader, nothing was taken out of the ring. */
static int start_threads(struct mon_workers *workers)
{
	int result = -pthread_create(&workers->writer, NULL, mon_workers_write_all, workers);

	workers->writer_runs = !result;
	if (!result)
		result = -pthread_create(&workers->reader, NULL, mon_workers_read, workers);
	workers->reader_runs = !result;
	if (result && workers->writer_runs) {
		mon_queue_close(workers->options.queue);
		pthread_join(workers->writer, NULL);
		workers->writer_runs = false;
	}
	return result;
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
	pthread_mutex_init(&workers->claim, NULL);
	workers->memory =
		mon_budget_calloc(options->budget, MON_BUDGET_QUEUE, MON_WORKERS_BATCH_BYTES);
	workers->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = workers->wake_fd < 0 ? -errno : workers->memory ? 0 : -ENOMEM;
	breaker.classify = mon_store_classify;
	breaker.on_transition = on_transition;
	breaker.context = workers;
	if (!result)
		result = mon_breaker_new(&breaker, &workers->breaker);
	mon_store_stats(options->store, &workers->store_stats);
	find_ends(workers);
	if (!result)
		result = start_threads(workers);
	if (result) {
		mon_workers_free(workers);
		return result;
	}
	*workers_out = workers;
	return 0;
}

void mon_workers_free(struct mon_workers *workers)
{
	if (!workers || workers->hangs)
		return;
	if (workers->reader_runs || workers->writer_runs)
		(void)mon_workers_drain(workers, 1);
	mon_breaker_free(workers->breaker);
	if (workers->wake_fd >= 0)
		(void)close(workers->wake_fd);
	mon_budget_free_bytes(workers->options.budget, MON_BUDGET_QUEUE, workers->memory,
			      MON_WORKERS_BATCH_BYTES);
	pthread_mutex_destroy(&workers->lock);
	pthread_mutex_destroy(&workers->claim);
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

enum mon_breaker_state mon_workers_breaker_state(const struct mon_workers *workers)
{
	struct mon_breaker_stats stats;

	mon_breaker_stats(workers->breaker, &stats);
	return stats.state;
}

enum mon_breaker_state mon_workers_tick(struct mon_workers *workers)
{
	return mon_breaker_tick(workers->breaker);
}

void mon_workers_stats(struct mon_workers *workers, struct mon_workers_stats *stats_out)
{
	struct mon_workers_stats stats = {
		.spooling = atomic_load(&workers->spooling),
		.gate_closed = atomic_load(&workers->gate_closed),
		.level = mon_workers_level(workers),
	};
	struct mon_rings_stats rings;

	pthread_mutex_lock(&workers->lock);
	stats.store = workers->store_stats;
	pthread_mutex_unlock(&workers->lock);
	mon_breaker_stats(workers->breaker, &stats.breaker);
	mon_rings_stats(workers->options.rings, &rings);
	stats.ring = rings.sum;
	stats.fullest_ring = rings.fullest;
	mon_queue_stats(workers->options.queue, &stats.queue);
	if (workers->options.spool)
		mon_spool_stats(workers->options.spool, &stats.spool);
	*stats_out = stats;
}

void mon_workers_set_pressure(struct mon_workers *workers, bool pressed)
{
	if (atomic_exchange(&workers->pressed, pressed) == pressed)
		return;
	mon_queue_spare_memory(workers->options.queue, pressed);
}

static void wake_reader(struct mon_workers *workers)
{
	uint64_t one = 1;

	(void)!write(workers->wake_fd, &one, sizeof(one));
}

/*
 * Past the deadline of a drain, and nothing was committed for as long: a disk that does not answer.
 * A long backlog that is being written is none.
 */
static bool is_stuck(const struct mon_workers *workers)
{
	return mon_workers_past_deadline(workers) &&
	       mon_clock_now(&mon_clock_system) - atomic_load(&workers->committed_ns) >= STUCK_NS;
}

/* Joins, or gives up on a thread that hangs in the disk: at once when somebody is in a hurry. */
static bool join(struct mon_workers *workers, pthread_t thread)
{
	for (int patience = HURRY_ROUNDS;;) {
		struct timespec until;

		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += HURRY_ROUND_NS;
		until.tv_sec += until.tv_nsec / (long)MON_NS_PER_S;
		until.tv_nsec %= (long)MON_NS_PER_S;
		if (pthread_timedjoin_np(thread, NULL, &until) != ETIMEDOUT)
			return true;
		if ((atomic_load(&workers->hurried) && !patience--) || is_stuck(workers)) {
			(void)pthread_detach(thread);
			return false;
		}
	}
}

int mon_workers_drain(struct mon_workers *workers, uint64_t timeout_ns)
{
	struct mon_rings_stats rings;
	bool left;

	atomic_store(&workers->committed_ns, mon_clock_now(&mon_clock_system));
	atomic_store(&workers->deadline_ns, mon_clock_now(&mon_clock_system) + timeout_ns);
	atomic_store(&workers->draining, true);
	wake_reader(workers);
	/* Who hangs goes down with the process; what the writer has in hand is in the spool. */
	workers->hangs = workers->writer_runs && !join(workers, workers->writer);
	workers->writer_runs = false;
	mon_queue_close(workers->options.queue); /* a writer that gave up leaves the reader alone */
	if (workers->reader_runs && !join(workers, workers->reader)) {
		workers->reader_runs = false;
		workers->hangs = true; /* in the spool's disk: nobody else may use it now */
		return -ETIMEDOUT;
	}
	workers->reader_runs = false;
	mon_workers_spool_rest(workers);
	if (workers->hangs)
		return -EINPROGRESS;
	mon_rings_stats(workers->options.rings, &rings);
	left = workers->batch.count || workers->batch.tick ||
	       rings.sum.acknowledged < rings.sum.read ||
	       (workers->options.spool && !mon_spool_drained(workers->options.spool));
	if (!left)
		return 0;
	return workers->writer_result ? workers->writer_result : -EINTR;
}

void mon_workers_hurry(struct mon_workers *workers)
{
	atomic_store(&workers->hurried, true);
}

int mon_workers_write(struct mon_workers *workers, const struct mon_tick *tick)
{
	uint32_t tries = 0;
	int result;

	/* The records are in the spool; how the breaker came to refuse them is not. */
	workers->batch = (struct mon_batch){
		.tick = tick,
		.transitions = workers->batch.transitions,
		.transition_count = workers->batch.transition_count,
	};
	(void)mon_workers_complete_batch(workers);
	do
		result = mon_store_push(workers->options.store, &workers->batch);
	while (result && ++tries < MON_WORKERS_TRIES && !mon_workers_past_deadline(workers));
	if (!result)
		workers->batch = (struct mon_batch){.records = workers->records};
	mon_store_stats(workers->options.store, &workers->store_stats);
	return result;
}

size_t mon_workers_transitions(struct mon_workers *workers,
			       struct mon_breaker_transition *transitions_out, size_t max)
{
	size_t count = 0;

	/* Those of the refused batch first; the writer is gone or in the store, not in its list. */
	for (size_t i = 0; i < workers->batch.transition_count && count < max; i++)
		transitions_out[count++] = workers->batch.transitions[i];
	pthread_mutex_lock(&workers->lock);
	for (size_t i = 0; i < workers->transition_count && count < max; i++)
		transitions_out[count++] = workers->transitions[i];
	pthread_mutex_unlock(&workers->lock);
	return count;
}
