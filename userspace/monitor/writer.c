// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The writer thread: what is oldest, the spool before the queue, through the breaker into the
 * store, with the tick that is due in the same transaction. A batch is a copy, so that its space in
 * the ring does not depend on how long the database takes. One that was refused is kept as it is
 * and pushed again; meanwhile the reader has put the same records into the spool, and once the
 * batch is committed its mark tells them apart. Nothing allocates.
 */
#include "monitor/workers_internal.h"

#include "base/crash.h"
#include "monitor/remains.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REFUSED_WAIT_US 10000
#define WAKE_LEVEL 0.25

static int push_batch(void *argument)
{
	struct mon_workers *workers = argument;

	return mon_store_push(workers->options.store, &workers->batch);
}

/* Under `claim`: copies what is oldest in the queue until the memory is used up. */
static size_t copy_claimed(struct mon_workers *workers)
{
	char *at = workers->memory, *end = at + MON_WORKERS_BATCH_BYTES;
	size_t count = 0;

	for (;;) {
		if (workers->position_at == workers->position_count) {
			workers->position_at = 0;
			workers->position_count =
				count ? 0
				      : mon_queue_pop(workers->options.queue, workers->positions,
						      MON_STORE_BATCH_MAX, 0);
		}
		if (workers->position_at == workers->position_count)
			return count;
		for (; workers->position_at < workers->position_count; workers->position_at++) {
			uint64_t position = workers->positions[workers->position_at];
			struct mon_record *record = &workers->records[count];
			size_t bytes;

			if (position < workers->spooled_end)
				continue;
			mon_ring_peek(workers->options.ring, position, record);
			bytes = record->size_bytes < MON_RING_READABLE_BYTES
					? record->size_bytes
					: MON_RING_READABLE_BYTES;
			if (at + ((bytes + 7) & ~7ull) > end)
				return count;
			memcpy(at, record->data, bytes);
			record->data = at;
			at += (bytes + 7) & ~7ull;
			count++;
		}
	}
}

/*
 * What comes from the disk is looked at again: a checksum tells damage, not who wrote it. Last
 * counts of an end that was cut off are passed over: this monitor writes its own.
 */
static size_t pop_spooled(struct mon_workers *workers, uint32_t *ring_out)
{
	const struct mon_record_shape *shape = mon_ring_shape(workers->options.ring);
	size_t kept = 0, count;

	count = mon_spool_pop(workers->options.spool, workers->records, MON_STORE_BATCH_MAX,
			      workers->memory, MON_WORKERS_BATCH_BYTES, ring_out);
	for (size_t i = 0; i < count; i++) {
		struct mon_record record = workers->records[i];

		if (mon_remains_is(&record, shape->function_count))
			continue;
		if (!record.invalid)
			record.invalid = mon_record_check(shape, record.data, record.size_bytes);
		workers->records[kept++] = record;
	}
	return kept;
}

/* From the queue, unless anything older waits in the spool. False: it does. */
static bool claim_queue(struct mon_workers *workers, size_t *count_out)
{
	struct mon_spool *spool = workers->options.spool;
	bool drained;

	pthread_mutex_lock(&workers->claim);
	drained = !spool || mon_spool_drained(spool);
	if (drained)
		*count_out = copy_claimed(workers);
	pthread_mutex_unlock(&workers->claim);
	return drained;
}

/* Sets the batch's records, if any wait. False: the spool cannot be read now. */
static bool fill_batch(struct mon_workers *workers)
{
	struct mon_spool *spool = workers->options.spool;
	uint32_t ring = 0;
	size_t count = 0;
	bool readable = true;

	while (readable && !claim_queue(workers, &count)) {
		count = pop_spooled(workers, &ring);
		if (count)
			break;
		/* It may have held only what is committed or damaged: then the queue is next. */
		readable = mon_spool_drained(spool);
	}
	workers->batch.ring = ring;
	workers->batch.count = count;
	workers->batch.end = count ? workers->records[count - 1].end : 0;
	if (count)
		MON_CRASH_POINT("claimed");
	return readable;
}

/* Under `lock`: behind those of a batch that was refused, as many as there is room for. */
static void take_transitions(struct mon_workers *workers)
{
	size_t there = workers->batch.transition_count;
	size_t count = MON_WORKERS_TRANSITIONS_MAX - there;

	if (count > workers->transition_count)
		count = workers->transition_count;
	workers->transition_count -= count;
	memcpy(workers->writing + there, workers->transitions, count * sizeof(*workers->writing));
	memmove(workers->transitions, workers->transitions + count,
		workers->transition_count * sizeof(*workers->transitions));
	workers->batch.transitions = workers->writing;
	workers->batch.transition_count += count;
}

bool mon_workers_complete_batch(struct mon_workers *workers)
{
	pthread_mutex_lock(&workers->lock);
	if (!workers->batch.tick && workers->tick_offered)
		workers->batch.tick = &workers->tick;
	take_transitions(workers);
	pthread_mutex_unlock(&workers->lock);
	return workers->batch.count || workers->batch.tick || workers->batch.transition_count;
}

static void batch_written(struct mon_workers *workers)
{
	uint64_t one = 1;

	MON_CRASH_POINT("committed");
	atomic_store(&workers->committed_ns, mon_clock_now(&mon_clock_system));
	if (workers->batch.count) {
		if (workers->batch.end > atomic_load(&workers->committed_end))
			atomic_store(&workers->committed_end, workers->batch.end);
		if (workers->options.spool)
			mon_spool_release(workers->options.spool, workers->batch.ring,
					  workers->batch.end);
		/* Sooner than its timer only when room is short: each wake would make a small
		 * batch. */
		if (mon_workers_level(workers) >= WAKE_LEVEL)
			(void)!write(workers->wake_fd, &one, sizeof(one));
		MON_CRASH_POINT("released");
	}
	pthread_mutex_lock(&workers->lock);
	if (workers->batch.tick) {
		workers->tick_offered = false;
		workers->tick_written = true;
	}
	mon_store_stats(workers->options.store, &workers->store_stats);
	pthread_mutex_unlock(&workers->lock);
	/* Now, not at the next tick: a flood fills tens of megabytes in a second. */
	if (workers->store_stats.size_reached && workers->options.on_size_reached)
		workers->options.on_size_reached(workers->options.context);
	workers->batch = (struct mon_batch){.records = workers->records};
}

bool mon_workers_past_deadline(const struct mon_workers *workers)
{
	mon_ns deadline_ns = atomic_load(&workers->deadline_ns);

	return deadline_ns && mon_clock_now(&mon_clock_system) >= deadline_ns;
}

/* With nothing more to come, does trying again make sense? Without a spool it is all there is. */
static bool gives_up(struct mon_workers *workers, unsigned *tries)
{
	if (!atomic_load(&workers->draining))
		return false;
	if (mon_workers_past_deadline(workers))
		return true;
	/* Out already, one refusal may be of a try that began before: two are an answer. */
	return workers->options.spool &&
	       ++*tries >= (mon_workers_breaker_state(workers) == MON_BREAKER_CLOSED
				    ? MON_WORKERS_TRIES
				    : MON_WORKERS_TRIES_OUT);
}

/*
 * The end does not wait for a timer. Each time around: a try that was under way when the drain
 * began may open the breaker after it, and nobody ticks it any more.
 */
static void take_breaker_out(struct mon_workers *workers)
{
	if (atomic_load(&workers->draining) &&
	    mon_workers_breaker_state(workers) != MON_BREAKER_CLOSED)
		mon_breaker_force(workers->breaker, MON_BREAKER_DISABLED);
}

void *mon_workers_write_all(void *argument)
{
	struct mon_workers *workers = argument;
	unsigned tries = 0;
	bool trimmed = false;

	workers->batch.records = workers->records;
	while (!atomic_load(&workers->hurried)) {
		bool closed = mon_queue_closed(workers->options.queue); /* nothing comes after */
		bool readable = true, pressed = atomic_load(&workers->pressed);

		if (pressed && !trimmed)
			mon_store_trim(workers->options.store);
		trimmed = pressed;
		if (!workers->batch.count)
			readable = fill_batch(workers);
		if (!mon_workers_complete_batch(workers)) {
			if (!readable) {
				if (gives_up(workers, &tries))
					break;
				(void)usleep(REFUSED_WAIT_US);
				continue;
			}
			if (closed)
				break;
			(void)mon_queue_wait(workers->options.queue, MON_WORKERS_WAIT_NS);
			continue;
		}
		take_breaker_out(workers);
		workers->writer_result = mon_breaker_call(workers->breaker, push_batch, workers);
		if (!workers->writer_result) {
			batch_written(workers);
			tries = 0;
			continue;
		}
		if (gives_up(workers, &tries))
			break;
		/* Not permitted, or refused: nothing to do until time has passed. */
		(void)usleep(REFUSED_WAIT_US);
	}
	return NULL;
}
