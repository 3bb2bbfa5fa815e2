// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The reader thread: rings to queue, woken by the programs once per quarter of the ring, by the
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
#include "base/text.h"

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
	struct mon_rings_stats rings;
	double of_queue, of_ring;

	mon_queue_stats(workers->options.queue, &queue);
	mon_rings_stats(workers->options.rings, &rings);
	of_queue = queue.slots ? (double)queue.used / (double)queue.slots : 0;
	of_ring = mon_ring_level(&rings.fullest);
	return of_queue > of_ring ? of_queue : of_ring;
}

/* Everything that is committed or spooled. */
static void acknowledge(struct mon_workers *workers)
{
	for (uint32_t i = 0; i < mon_rings_count(workers->options.rings); i++) {
		struct mon_ring *ring = mon_rings_at(workers->options.rings, i);
		uint64_t end = atomic_load(&workers->committed_ends[i]);
		struct mon_ring_stats stats;

		if (workers->spooled_ends[i] > end)
			end = workers->spooled_ends[i];
		/* What an earlier monitor committed may lie ahead of what was read yet. */
		mon_ring_stats(ring, &stats);
		mon_ring_acknowledge(ring, end < stats.read ? end : stats.read);
	}
}

/* Everything of @ring before @end is in the spool. */
static void is_spooled(struct mon_workers *workers, uint32_t ring, uint64_t end)
{
	MON_CRASH_POINT("spooled");
	pthread_mutex_lock(&workers->claim);
	workers->spooled_ends[ring] = end;
	(void)mon_queue_drop_before(workers->options.queue, workers->spooled_ends);
	pthread_mutex_unlock(&workers->claim);
	acknowledge(workers);
	MON_CRASH_POINT("spooled_acknowledged");
}

/* The oldest of one ring: returns how many there were. */
static size_t spool_some(struct mon_workers *workers, uint32_t number)
{
	const struct mon_ring *ring = mon_rings_at(workers->options.rings, number);
	struct mon_record records[SPOOL_MAX];
	struct mon_ring_stats stats;
	size_t count = 0, taken = 0;
	uint64_t position;
	int result;

	/* What the writer committed meanwhile may be given back: go on behind it. */
	mon_ring_stats(ring, &stats);
	position = stats.acknowledged;
	while (count < SPOOL_MAX && mon_ring_walk(ring, &position, &records[count]) == 0)
		count++;
	if (!count)
		return 0;
	MON_CRASH_POINT("spooling");
	result = mon_spool_push(workers->options.spool, number, records, count, &taken);
	if (taken)
		is_spooled(workers, number, records[taken - 1].end);
	workers->spool_refuses = result != 0;
	workers->spool_error = result;
	return count;
}

/* Moves the oldest records to the spool, of each ring in turn: all, or until the level is low. */
static void spool_oldest(struct mon_workers *workers, bool all)
{
	uint32_t rings = mon_rings_count(workers->options.rings);
	size_t count = 1;

	workers->spool_refuses = false;
	while (count && !workers->spool_refuses &&
	       (all || mon_workers_level(workers) >= MON_LEVEL_LOW)) {
		count = 0;
		for (uint32_t i = 0; i < rings && !workers->spool_refuses; i++)
			count += spool_some(workers, i);
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

/* With a tiny ring or a full spool these change many times a second. */
static void tell(struct mon_workers *workers, double level)
{
	mon_ns now = mon_clock_now(&mon_clock_system);
	struct mon_spool_stats spool;
	char said[MON_LOG_TIMES_BYTES], count[32];
	uint64_t times;

	if (mon_log_state_look(&workers->tell_refusing, workers->spool_refuses, now, &times) &&
	    workers->spool_refuses)
		mon_log(MON_LOG_WARNING, "the spool takes no more (%s)%s",
			strerror(-workers->spool_error), mon_log_times(said, times));
	if (mon_log_state_look(&workers->tell_gate, atomic_load(&workers->gate_closed), now,
			       &times)) {
		if (workers->tell_gate.told)
			mon_log(MON_LOG_WARNING,
				"ring and spool are full: no more calls are kept (gate_closed), "
				"exact statistics go on%s",
				mon_log_times(said, times));
		else
			mon_log(MON_LOG_INFO, "there is room in the ring again: calls are kept");
	}
	if (!mon_log_state_look(&workers->tell_spooling, atomic_load(&workers->spooling), now,
				&times))
		return;
	mon_spool_stats(workers->options.spool, &spool);
	if (workers->tell_spooling.told)
		mon_log(MON_LOG_INFO,
			"queue and ring are %.0f %% full: the oldest calls go to the spool%s",
			level * 100, mon_log_times(said, times));
	else
		mon_log(MON_LOG_INFO, "the spool is empty again: %s records went through it",
			mon_format_count(count, sizeof(count),
					 spool.pushed - workers->spooled_told));
	workers->spooled_told = spool.pushed;
}

/* What was kept quiet. */
static void tell_rest(const struct mon_workers *workers)
{
	struct mon_spool_stats spool;
	char more[32], count[32];

	if (!workers->tell_spooling.times)
		return;
	mon_spool_stats(workers->options.spool, &spool);
	mon_log(MON_LOG_INFO, "the oldest calls went to the spool %s more time%s, %s records",
		mon_format_count(more, sizeof(more), workers->tell_spooling.times),
		workers->tell_spooling.times == 1 ? "" : "s",
		mon_format_count(count, sizeof(count), spool.pushed - workers->spooled_told));
}

/* Gives back what is committed, then looks whether more has to leave the ring. */
static void settle(struct mon_workers *workers)
{
	bool out = !breaker_is_closed(workers), spooling = atomic_load(&workers->spooling);
	double level, highest;

	acknowledge(workers);
	level = highest = mon_workers_level(workers);
	if (!workers->options.spool)
		return;
	if (level >= MON_LEVEL_HIGH)
		spooling = true;
	if (out || spooling) {
		spool_oldest(workers, out);
		level = mon_workers_level(workers);
	}
	/* Stops when what was spooled is on its way back, else each rise would count. */
	if (spooling && level < MON_LEVEL_LOW && mon_spool_drained(workers->options.spool))
		spooling = false;
	atomic_store(&workers->spooling, spooling);
	if (workers->spool_refuses && level >= MON_LEVEL_HIGH)
		set_gate(workers, true);
	else if (level < MON_LEVEL_LOW)
		set_gate(workers, false);
	tell(workers, highest);
}

static void say_alive(const struct mon_workers *workers)
{
	if (workers->options.on_alive)
		workers->options.on_alive(workers->options.context,
					  mon_clock_now(&mon_clock_system));
}

/* Places of one ring. False: the queue is closed, the writer has given up. */
static bool enqueue(struct mon_workers *workers, uint32_t ring, const uint64_t *places,
		    size_t count)
{
	size_t taken = 0;

	for (;;) {
		/* Spooled meanwhile: then it is dropped here, too. */
		while (taken < count &&
		       MON_PLACE_POSITION(places[taken]) < workers->spooled_ends[ring])
			taken++;
		taken += mon_queue_push(workers->options.queue, places + taken, count - taken);
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

/* What is read until the rings were empty once. */
struct reading {
	/* What an earlier monitor of this run committed or spooled: read again and passed over. */
	uint64_t known_ends[MON_RINGS_MAX];
	uint64_t ends[MON_RINGS_MAX]; /* where the producers were when it began */
	bool more[MON_RINGS_MAX];
};

static void begin_reading(const struct mon_workers *workers, struct reading *reading)
{
	for (uint32_t i = 0; i < mon_rings_count(workers->options.rings); i++) {
		struct mon_ring_stats stats;

		mon_ring_stats(mon_rings_at(workers->options.rings, i), &stats);
		reading->ends[i] = stats.produced;
		reading->more[i] = true;
	}
}

static bool has_read_to(const struct mon_ring *ring, uint64_t end)
{
	struct mon_ring_stats stats;

	mon_ring_stats(ring, &stats);
	return stats.read >= end;
}

/* Takes up to READ_MAX records out of one ring into the queue. False: the queue is closed. */
static bool read_some(struct mon_workers *workers, struct reading *reading, uint32_t number,
		      bool last)
{
	struct mon_ring *ring = mon_rings_at(workers->options.rings, number);
	uint64_t places[READ_MAX];
	struct mon_record record;
	size_t read = 0, count = 0;

	while (read < READ_MAX && mon_ring_try_pop(ring, &record) == 0) {
		read++;
		if (record.end > reading->known_ends[number])
			places[count++] = MON_PLACE(number, record.position);
	}
	if (count && !enqueue(workers, number, places, count))
		return false;
	settle(workers);
	reading->more[number] =
		read == READ_MAX && !(last && has_read_to(ring, reading->ends[number]));
	return true;
}

/*
 * Until each ring was empty once. To go on while anything comes would be to poll, for as long as
 * the target calls faster than we look, and to miss the drain. In turn: a busy ring does not make
 * the others full. False: the queue is closed.
 */
static bool read_all(struct mon_workers *workers, struct reading *reading, bool last)
{
	uint32_t rings = mon_rings_count(workers->options.rings);

	begin_reading(workers, reading);
	for (bool more = true; more;) {
		more = false;
		for (uint32_t i = 0; i < rings; i++) {
			if (!reading->more[i])
				continue;
			say_alive(workers);
			if (!read_some(workers, reading, i, last))
				return false;
			more |= reading->more[i];
		}
	}
	return true;
}

void *mon_workers_read(void *argument)
{
	struct mon_workers *workers = argument;
	struct reading reading = {0};
	bool last = false;

	for (uint32_t i = 0; i < MON_RINGS_MAX; i++) {
		reading.known_ends[i] = atomic_load(&workers->committed_ends[i]);
		if (workers->spooled_ends[i] > reading.known_ends[i])
			reading.known_ends[i] = workers->spooled_ends[i];
	}
	while (!last) {
		/* Read once more after the last record can have come; pinned programs go on. */
		last = atomic_load(&workers->draining);
		if (!last)
			(void)mon_rings_wait(workers->options.rings, workers->wake_fd,
					     patience_ms(workers));
		if (!read_all(workers, &reading, last))
			return NULL;
	}
	tell_rest(workers);
	mon_queue_close(workers->options.queue);
	return NULL;
}

/* What the reader did not read. True: there was something, and the end was not reached. */
static bool read_rest(struct mon_workers *workers, const struct reading *reading)
{
	bool more = false;

	for (uint32_t i = 0; i < mon_rings_count(workers->options.rings); i++) {
		struct mon_ring *ring = mon_rings_at(workers->options.rings, i);
		struct mon_record record;
		bool any = false;

		while (mon_ring_try_pop(ring, &record) == 0)
			any = true;
		more |= any && !has_read_to(ring, reading->ends[i]);
	}
	return more;
}

void mon_workers_spool_rest(struct mon_workers *workers)
{
	struct reading reading = {0};
	struct mon_record record;
	bool more;

	begin_reading(workers, &reading);
	/* The reader leaves early when the writer gave up: what it had not read is kept as well. */
	do {
		acknowledge(workers);
		more = read_rest(workers, &reading);
		if (workers->options.spool)
			spool_oldest(workers, true);
	} while (more && workers->options.spool && !workers->spool_refuses);
	/* What was discarded behind the last record has nobody else to give it back. */
	for (uint32_t i = 0; i < mon_rings_count(workers->options.rings); i++)
		(void)mon_ring_try_pop(mon_rings_at(workers->options.rings, i), &record);
}
