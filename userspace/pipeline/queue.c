// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two circles of places under one lock. The base is there for life; the overflow is allocated
 * under the budget by the push that needs it and freed by the pop that empties it. What leaves the
 * base is replaced at once by the oldest of the overflow, so the base is full whenever the overflow
 * holds anything: order is kept and no slot of either part is ever out of use. The reader thread
 * pushes, the writer thread pops, any thread may kick, close or ask.
 */
#include "pipeline/queue.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define SLOTS_MAX ((size_t)1 << 30)
#define TIMEOUT_MAX_NS (365ull * 24 * 3600 * MON_NS_PER_S)

struct part {
	uint64_t *slots; /* NULL: not allocated */
	size_t capacity, head, used;
};

struct mon_queue {
	struct mon_budget *budget; /* may be NULL */
	pthread_mutex_t lock;	   /* of everything below */
	pthread_cond_t arrived, room;
	struct part base, overflow;
	bool closed, kicked, sparing;
	bool starved; /* the overflow was refused and nothing was popped since */
	size_t used_peak;
	uint64_t pushed, popped, refused, dropped, overflow_refused;
};

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Copies in at most two pieces; the caller knows that there is room. */
static void part_append(struct part *part, const uint64_t *places, size_t count)
{
	size_t tail = (part->head + part->used) % part->capacity;
	size_t first = smaller(count, part->capacity - tail);

	memcpy(part->slots + tail, places, first * sizeof(*places));
	memcpy(part->slots, places + first, (count - first) * sizeof(*places));
	part->used += count;
}

/* The oldest that lie in one piece, at most @count. */
static size_t part_oldest(const struct part *part, size_t count)
{
	return smaller(smaller(count, part->used), part->capacity - part->head);
}

static void part_drop(struct part *part, size_t count)
{
	part->head = (part->head + count) % part->capacity;
	part->used -= count;
}

static size_t part_take(struct part *part, uint64_t *places, size_t count)
{
	size_t taken = 0;

	while (taken < count && part->used) {
		size_t piece = part_oldest(part, count - taken);

		memcpy(places + taken, part->slots + part->head, piece * sizeof(*places));
		part_drop(part, piece);
		taken += piece;
	}
	return taken;
}

static uint64_t part_bytes(const struct part *part)
{
	return part->capacity * sizeof(*part->slots);
}

static void overflow_release(struct mon_queue *queue)
{
	if (queue->overflow.slots)
		mon_budget_free_bytes(queue->budget, MON_BUDGET_OVERFLOW, queue->overflow.slots,
				      part_bytes(&queue->overflow));
	queue->overflow.slots = NULL;
	queue->overflow.head = 0;
}

static bool overflow_ensure(struct mon_queue *queue)
{
	if (queue->overflow.slots)
		return true;
	if (queue->sparing)
		return false;
	queue->overflow.slots =
		mon_budget_calloc(queue->budget, MON_BUDGET_OVERFLOW, part_bytes(&queue->overflow));
	queue->starved = !queue->overflow.slots;
	queue->overflow_refused += queue->starved;
	return !queue->starved;
}

/* Fills what a pop left free in the base, so that the base is always the older part. */
static void refill(struct mon_queue *queue)
{
	struct part *base = &queue->base, *overflow = &queue->overflow;

	while (overflow->used && base->used < base->capacity) {
		size_t piece = part_oldest(overflow, base->capacity - base->used);

		part_append(base, overflow->slots + overflow->head, piece);
		part_drop(overflow, piece);
	}
	if (!overflow->used)
		overflow_release(queue);
}

static int make_condition(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;
	int result = pthread_condattr_init(&attributes);

	if (result)
		return -result;
	result = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (!result)
		result = pthread_cond_init(condition, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	return -result;
}

int mon_queue_new(const struct mon_queue_options *options, struct mon_queue **queue_out)
{
	MON_FREE struct mon_queue *queue = calloc(1, sizeof(*queue));
	int result;

	if (!queue)
		return -ENOMEM;
	queue->budget = options->budget;
	queue->base.capacity = options->slots ? options->slots : MON_QUEUE_SLOTS_DEFAULT;
	queue->overflow.capacity =
		options->overflow_slots ? options->overflow_slots : MON_QUEUE_OVERFLOW_DEFAULT;
	if (queue->base.capacity > SLOTS_MAX || queue->overflow.capacity > SLOTS_MAX)
		return -EINVAL;
	result = make_condition(&queue->arrived);
	if (result)
		return result;
	result = make_condition(&queue->room);
	if (result)
		goto destroy_arrived;
	queue->base.slots =
		mon_budget_calloc(queue->budget, MON_BUDGET_QUEUE, part_bytes(&queue->base));
	if (!queue->base.slots) {
		result = -ENOMEM;
		goto destroy_room;
	}
	(void)pthread_mutex_init(&queue->lock, NULL); /* cannot fail without attributes */
	*queue_out = TAKE_PTR(queue);
	return 0;

destroy_room:
	(void)pthread_cond_destroy(&queue->room);
destroy_arrived:
	(void)pthread_cond_destroy(&queue->arrived);
	return result;
}

void mon_queue_free(struct mon_queue *queue)
{
	if (!queue)
		return;
	overflow_release(queue);
	mon_budget_free_bytes(queue->budget, MON_BUDGET_QUEUE, queue->base.slots,
			      part_bytes(&queue->base));
	(void)pthread_cond_destroy(&queue->arrived);
	(void)pthread_cond_destroy(&queue->room);
	(void)pthread_mutex_destroy(&queue->lock);
	free(queue);
}

size_t mon_queue_push(struct mon_queue *queue, const uint64_t *places, size_t count)
{
	size_t taken = 0, used;

	pthread_mutex_lock(&queue->lock);
	if (!queue->closed) {
		taken = smaller(count, queue->base.capacity - queue->base.used);
		part_append(&queue->base, places, taken);
		if (taken < count && queue->overflow.used < queue->overflow.capacity &&
		    overflow_ensure(queue)) {
			size_t more = smaller(count - taken,
					      queue->overflow.capacity - queue->overflow.used);

			part_append(&queue->overflow, places + taken, more);
			taken += more;
		}
	}
	used = queue->base.used + queue->overflow.used;
	if (used > queue->used_peak)
		queue->used_peak = used;
	queue->pushed += taken;
	queue->refused += count - taken;
	if (taken)
		pthread_cond_signal(&queue->arrived);
	pthread_mutex_unlock(&queue->lock);
	return taken;
}

static struct timespec deadline_after(uint64_t timeout_ns)
{
	uint64_t bounded_ns = timeout_ns < TIMEOUT_MAX_NS ? timeout_ns : TIMEOUT_MAX_NS;
	mon_ns at_ns = mon_clock_now(&mon_clock_system) + bounded_ns;

	return (struct timespec){.tv_sec = (time_t)(at_ns / MON_NS_PER_S),
				 .tv_nsec = (long)(at_ns % MON_NS_PER_S)};
}

/* Under the lock, which waiting lets go. */
static void await_arrival(struct mon_queue *queue, uint64_t timeout_ns)
{
	struct timespec deadline = deadline_after(timeout_ns);

	while (!queue->base.used && !queue->closed && !queue->kicked && timeout_ns)
		if (pthread_cond_timedwait(&queue->arrived, &queue->lock, &deadline))
			break;
	queue->kicked = false;
}

bool mon_queue_wait(struct mon_queue *queue, uint64_t timeout_ns)
{
	bool there;

	pthread_mutex_lock(&queue->lock);
	await_arrival(queue, timeout_ns);
	there = queue->base.used;
	pthread_mutex_unlock(&queue->lock);
	return there;
}

static void made_room(struct mon_queue *queue)
{
	queue->starved = false;
	pthread_cond_broadcast(&queue->room);
}

size_t mon_queue_pop(struct mon_queue *queue, uint64_t *places, size_t max, uint64_t timeout_ns)
{
	size_t taken = 0;

	pthread_mutex_lock(&queue->lock);
	await_arrival(queue, timeout_ns);
	do {
		taken += part_take(&queue->base, places + taken, max - taken);
		refill(queue);
	} while (taken < max && queue->base.used);
	queue->popped += taken;
	if (taken)
		made_room(queue);
	pthread_mutex_unlock(&queue->lock);
	return taken;
}

static bool is_before(uint64_t place, const uint64_t *ends)
{
	return MON_PLACE_POSITION(place) < ends[MON_PLACE_RING(place)];
}

size_t mon_queue_drop_before(struct mon_queue *queue, const uint64_t *ends)
{
	struct part *base = &queue->base;
	size_t dropped = 0;

	pthread_mutex_lock(&queue->lock);
	while (base->used && is_before(base->slots[base->head], ends)) {
		part_drop(base, 1);
		dropped++;
		if (!base->used)
			refill(queue);
	}
	refill(queue);
	queue->dropped += dropped;
	if (dropped)
		made_room(queue);
	pthread_mutex_unlock(&queue->lock);
	return dropped;
}

void mon_queue_spare_memory(struct mon_queue *queue, bool spare)
{
	pthread_mutex_lock(&queue->lock);
	queue->sparing = spare;
	pthread_mutex_unlock(&queue->lock);
}

void mon_queue_kick(struct mon_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->kicked = true;
	pthread_cond_signal(&queue->arrived);
	pthread_mutex_unlock(&queue->lock);
}

static bool overflow_is_possible(const struct mon_queue *queue)
{
	return queue->overflow.slots || (!queue->starved && !queue->sparing);
}

static bool has_room(const struct mon_queue *queue)
{
	if (queue->closed)
		return false;
	if (queue->base.used < queue->base.capacity)
		return true;
	if (!overflow_is_possible(queue))
		return false;
	return queue->overflow.used < queue->overflow.capacity;
}

bool mon_queue_wait_room(struct mon_queue *queue, uint64_t timeout_ns)
{
	struct timespec deadline = deadline_after(timeout_ns);
	bool room;

	pthread_mutex_lock(&queue->lock);
	while (!has_room(queue) && !queue->closed && timeout_ns)
		if (pthread_cond_timedwait(&queue->room, &queue->lock, &deadline))
			break;
	room = has_room(queue);
	pthread_mutex_unlock(&queue->lock);
	return room;
}

void mon_queue_close(struct mon_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->closed = true;
	pthread_cond_broadcast(&queue->arrived);
	pthread_cond_broadcast(&queue->room);
	pthread_mutex_unlock(&queue->lock);
}

bool mon_queue_closed(struct mon_queue *queue)
{
	bool closed;

	pthread_mutex_lock(&queue->lock);
	closed = queue->closed;
	pthread_mutex_unlock(&queue->lock);
	return closed;
}

void mon_queue_stats(struct mon_queue *queue, struct mon_queue_stats *stats_out)
{
	size_t overflow_slots = 0;

	pthread_mutex_lock(&queue->lock);
	if (overflow_is_possible(queue))
		overflow_slots = queue->overflow.capacity;
	*stats_out = (struct mon_queue_stats){
		.used = queue->base.used + queue->overflow.used,
		.slots = queue->base.capacity + overflow_slots,
		.overflow_used = queue->overflow.used,
		.used_peak = queue->used_peak,
		.pushed = queue->pushed,
		.popped = queue->popped,
		.refused = queue->refused,
		.dropped = queue->dropped,
		.overflow_refused = queue->overflow_refused,
	};
	pthread_mutex_unlock(&queue->lock);
}
