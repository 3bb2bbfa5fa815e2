/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Places of records that were read and wait for the writer: 10,000, and an overflow of 50,000
 * more that is allocated only when needed and given back when empty. FIFO. It holds no copies; the
 * records stay in the ring.
 *
 * One thread pushes (reader), one pops (writer); the lock is taken once for a batch, not for each
 * record. Nothing allocates but the overflow.
 */
#ifndef MON_QUEUE_H
#define MON_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_QUEUE_SLOTS_DEFAULT 10000
#define MON_QUEUE_OVERFLOW_DEFAULT 50000

/*
 * A place: number of the ring, and the position in it. 60 bits of bytes are 36 years of 1 GB/s. Of
 * ring 0 it is the position.
 */
#define MON_PLACE_SHIFT 60
#define MON_PLACE(ring, position) ((uint64_t)(ring) << MON_PLACE_SHIFT | (position))
#define MON_PLACE_RING(place) ((uint32_t)((place) >> MON_PLACE_SHIFT))
#define MON_PLACE_POSITION(place) ((place) & (((uint64_t)1 << MON_PLACE_SHIFT) - 1))

struct mon_budget;
struct mon_queue;

struct mon_queue_options {
	size_t slots;		   /* 0: MON_QUEUE_SLOTS_DEFAULT */
	size_t overflow_slots;	   /* 0: MON_QUEUE_OVERFLOW_DEFAULT */
	struct mon_budget *budget; /* may be NULL */
};

struct mon_queue_stats {
	size_t used;  /* in both parts */
	size_t slots; /* of both; without the overflow while it cannot be had */
	size_t overflow_used;
	size_t used_peak;
	uint64_t pushed, popped, refused, dropped; /* places */
	uint64_t overflow_refused;		   /* times the overflow could not be allocated */
};

int mon_queue_new(const struct mon_queue_options *options, struct mon_queue **queue_out);
void mon_queue_free(struct mon_queue *queue);

/* Appends as many as fit, in order, and wakes the writer. Returns how many were taken. */
size_t mon_queue_push(struct mon_queue *queue, const uint64_t *places, size_t count);

/*
 * Takes up to @max, oldest first. Waits until there is one, the queue is closed or kicked, or
 * @timeout_ns passed. Returns how many; 0 says nothing came.
 */
size_t mon_queue_pop(struct mon_queue *queue, uint64_t *places, size_t max, uint64_t timeout_ns);

/* Waits as pop does, and takes nothing. True: something is there. */
bool mon_queue_wait(struct mon_queue *queue, uint64_t timeout_ns);

/*
 * Takes away, oldest first, what lies before its ring's @ends[MON_RINGS_MAX]: it is safe elsewhere.
 * Stops at the first that is not; what of another ring is behind it stays until then. Returns how
 * many.
 */
size_t mon_queue_drop_before(struct mon_queue *queue, const uint64_t *ends);

/* Wakes the one who pops, once (a tick is ready to be written). */
void mon_queue_kick(struct mon_queue *queue);

/* Waits until there is room for one, closed, or @timeout_ns. True: there is room. */
bool mon_queue_wait_room(struct mon_queue *queue, uint64_t timeout_ns);

/* Under memory pressure: the overflow is not allocated, so that spooling begins earlier. */
void mon_queue_spare_memory(struct mon_queue *queue, bool spare);

/* No more will be pushed: pop returns what is left and then 0 at once. */
void mon_queue_close(struct mon_queue *queue);
bool mon_queue_closed(struct mon_queue *queue);

void mon_queue_stats(struct mon_queue *queue, struct mon_queue_stats *stats_out);

#endif
