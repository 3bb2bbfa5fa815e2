// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The reader thread: ring to queue, woken by the programs once per quarter of the ring, by the
 * writer when it has committed, else each 100 ms. It alone gives the ring's space back, so what it
 * reads there stays as it is.
 *
 * Spooling takes the oldest records first, those that the writer has in hand among them: the ring's
 * space is given back in order, and a writer that hangs in fsync must not stop that. The writer
 * works on a copy; when its batch is committed after all, the mark tells that the spool's copies
 * are not needed. Nothing allocates.
 */
#include "monitor/workers_internal.h"

#include "base/crash.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

#define READ_MAX 1024
#define SPOOL_MAX 512
#define READER_MS 100
#define READER_MS_HIGH 1

static bool breaker_is_closed(const struct mon_workers *workers)
{
	enum mon_breaker_state state = mon_workers_breaker_state(workers);

	return state == MON_BREAKER_CLOSED || state == MON_BREAKER_DISABLED;
}

double mon_workers_level(struct mon_workers *workers)
{
	struct mon_queue_stats queue;
	struct mon_ring_stats ring;
	double of_queue, of_ring;

	mon_queue_stats(workers->options.queue, &queue);
	mon_ring_stats(workers->options.ring, &ring);
	of_queue = queue.slots ? (double)queue.used / (double)queue.slots : 0;
	of_ring = (double)(ring.produced - ring.acknowledged) / (double)ring.size_bytes;
	return of_queue > of_ring ? of_queue : of_ring;
}

/* Everything that is committed or spooled. */
static void acknowledge(struct mon_workers *workers)
{
	uint64_t end = atomic_load(&workers->committed_end);
	struct mon_ring_stats ring;

	if (workers->spooled_end > end)
		end = workers->spooled_end;
	/* What an earlier monitor committed may lie ahead of what was read yet. */
	mon_ring_stats(workers->options.ring, &ring);
	mon_ring_acknowledge(workers->options.ring, end < ring.read ? end : ring.read);
}

/* Everything before @end is in the spool. */
static void is_spooled(struct mon_workers *workers, uint64_t end)
{
	MON_CRASH_POINT("spooled");
	pthread_mutex_lock(&workers->claim);
	workers->spooled_end = end;
	(void)mon_queue_drop_before(workers->options.queue, end);
	pthread_mutex_unlock(&workers->claim);
	acknowledge(workers);
	MON_CRASH_POINT("spooled_acknowledged");
}

/* Moves the oldest records to the spool: all of them, or until the level is low. */
static void spool_oldest(struct mon_workers *workers, bool all)
{
	struct mon_record records[SPOOL_MAX];
	struct mon_ring_stats ring;
	uint64_t position;

	workers->spool_refuses = false;
	while (all || mon_workers_level(workers) >= MON_LEVEL_LOW) {
		size_t count = 0, taken = 0;
		int result;

		/* What the writer committed meanwhile may be given back: go on behind it. */
		mon_ring_stats(workers->options.ring, &ring);
		position = ring.acknowledged;
		while (count < SPOOL_MAX &&
		       mon_ring_walk(workers->options.ring, &position, &records[count]) == 0)
			count++;
		if (!count)
			break;
		MON_CRASH_POINT("spooling");
		result = mon_spool_push(workers->options.spool, 0, records, count, &taken);
		if (taken)
			is_spooled(workers, records[taken - 1].end);
		if (result) {
			workers->spool_refuses = true;
			if (!workers->spool_told)
				mon_log(MON_LOG_WARNING, "the spool takes no more (%s)",
					strerror(-result));
			workers->spool_told = true;
			break;
		}
		workers->spool_told = false;
	}
	mon_queue_kick(workers->options.queue);
}

static void set_gate(struct mon_workers *workers, bool closed)
{
	if (atomic_load(&workers->gate_closed) == closed)
		return;
	atomic_store(&workers->gate_closed, closed);
	if (workers->options.on_gate)
		workers->options.on_gate(workers->options.context, closed);
}

/* Gives back what is committed, then looks whether more has to leave the ring. */
static void settle(struct mon_workers *workers)
{
	bool out = !breaker_is_closed(workers), spooling = atomic_load(&workers->spooling);
	double level;

	acknowledge(workers);
	level = mon_workers_level(workers);
	if (!workers->options.spool)
		return;
	if (level >= MON_LEVEL_HIGH && !spooling) {
		mon_log(MON_LOG_INFO,
			"queue and ring are %.0f %% full: the oldest calls go to the "
			"spool",
			level * 100);
		spooling = true;
	}
	if (out || spooling) {
		spool_oldest(workers, out);
		level = mon_workers_level(workers);
	}
	/* Stops when what was spooled is on its way back, else each rise would be told. */
	if (spooling && level < MON_LEVEL_LOW && mon_spool_drained(workers->options.spool)) {
		mon_log(MON_LOG_INFO, "the spool is empty again");
		spooling = false;
	}
	atomic_store(&workers->spooling, spooling);
	if (workers->spool_refuses && level >= MON_LEVEL_HIGH)
		set_gate(workers, true);
	else if (level < MON_LEVEL_LOW)
		set_gate(workers, false);
}

static void say_alive(const struct mon_workers *workers)
{
	if (workers->options.on_alive)
		workers->options.on_alive(workers->options.context,
					  mon_clock_now(&mon_clock_system));
}

/* False: the queue is closed, the writer has given up. */
static bool enqueue(struct mon_workers *workers, const uint64_t *positions, size_t count)
{
	size_t taken = 0;

	for (;;) {
		/* Spooled meanwhile: then it is dropped here, too. */
		while (taken < count && positions[taken] < workers->spooled_end)
			taken++;
		taken += mon_queue_push(workers->options.queue, positions + taken, count - taken);
		if (taken == count)
			return true;
		if (mon_queue_closed(workers->options.queue))
			return false;
		settle(workers);
		(void)mon_queue_wait_room(workers->options.queue, MON_WORKERS_WAIT_NS);
		say_alive(workers); /* a writer that hangs without a spool keeps us here */
	}
}

/*
 * The programs wake at each quarter of the ring. The last time before it is full may be below the
 * level at which spooling starts, and what does not fit any more wakes nobody.
 */
static int patience_ms(struct mon_workers *workers)
{
	return mon_workers_level(workers) >= MON_LEVEL_LOW ? READER_MS_HIGH : READER_MS;
}

static uint64_t ring_produced(const struct mon_workers *workers)
{
	struct mon_ring_stats ring;

	mon_ring_stats(workers->options.ring, &ring);
	return ring.produced;
}

static bool has_read_to(const struct mon_workers *workers, uint64_t end)
{
	struct mon_ring_stats ring;

	mon_ring_stats(workers->options.ring, &ring);
	return ring.read >= end;
}

/* Takes up to READ_MAX records out of the ring into the queue. False: the queue is closed. */
static bool read_some(struct mon_workers *workers, uint64_t known_end, bool *more_out)
{
	uint64_t positions[READ_MAX];
	struct mon_record record;
	size_t read = 0, count = 0;

	while (read < READ_MAX && mon_ring_try_pop(workers->options.ring, &record) == 0) {
		read++;
		if (record.end > known_end)
			positions[count++] = record.position;
	}
	if (count && !enqueue(workers, positions, count))
		return false;
	settle(workers);
	*more_out = read == READ_MAX;
	return true;
}

void *mon_workers_read(void *argument)
{
	struct mon_workers *workers = argument;
	/* What an earlier monitor of this run committed or spooled: read again and passed over. */
	uint64_t known_end = atomic_load(&workers->committed_end);
	bool last = false;

	if (workers->spooled_end > known_end)
		known_end = workers->spooled_end;
	while (!last) {
		uint64_t end;
		bool more = true;

		/* Read once more after the last record can have come; pinned programs go on. */
		last = atomic_load(&workers->draining);
		if (!last)
			(void)mon_ring_wait(workers->options.ring, workers->wake_fd,
					    patience_ms(workers));
		/*
		 * Until the ring was empty once. To go on while anything comes would be to poll,
		 * for as long as the target calls faster than we look, and to miss the drain.
		 */
		end = ring_produced(workers);
		while (more) {
			say_alive(workers);
			if (!read_some(workers, known_end, &more))
				return NULL;
			more = more && !(last && has_read_to(workers, end));
		}
	}
	mon_queue_close(workers->options.queue);
	return NULL;
}

void mon_workers_spool_rest(struct mon_workers *workers)
{
	uint64_t end = ring_produced(workers);
	struct mon_record record;
	bool more;

	/* The reader leaves early when the writer gave up: what it had not read is kept as well. */
	do {
		acknowledge(workers);
		for (more = false; mon_ring_try_pop(workers->options.ring, &record) == 0;)
			more = true;
		if (workers->options.spool)
			spool_oldest(workers, true);
	} while (more && workers->options.spool && !workers->spool_refuses &&
		 !has_read_to(workers, end));
	/* What was discarded behind the last record has nobody else to give it back. */
	(void)mon_ring_try_pop(workers->options.ring, &record);
}
