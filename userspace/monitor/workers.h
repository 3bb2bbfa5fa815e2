/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two threads on the data's way: one reads the ring into the queue, one takes the queue through
 * the breaker into the store. A record's space in the ring is given back once it is committed.
 */
#ifndef MON_WORKERS_H
#define MON_WORKERS_H

#include "pipeline/breaker.h"
#include "pipeline/queue.h"
#include "pipeline/ring.h"
#include "pipeline/store.h"

struct mon_workers;

struct mon_workers_options {
	struct mon_ring *ring;
	struct mon_queue *queue;
	struct mon_store *store;
	const struct mon_breaker_options *breaker; /* classify and hook are set here */
	/* By the writer, after each push while the database is as large as it may be. */
	void (*on_size_reached)(void *context);
	void *context;
};

int mon_workers_new(const struct mon_workers_options *options, struct mon_workers **workers_out);
/* After drain, or before the threads did anything. */
void mon_workers_free(struct mon_workers *workers);

/* Hands @tick to the writer: false while the last one is still out. Its arrays stay until taken. */
bool mon_workers_offer(struct mon_workers *workers, const struct mon_tick *tick);
/* True once after the tick that was offered is in the database. */
bool mon_workers_tick_written(struct mon_workers *workers);

/* Once a second: the breaker's timer. */
enum mon_breaker_state mon_workers_tick(struct mon_workers *workers);
/* A copy of the store's figures as of the writer's last push. */
void mon_workers_stats(struct mon_workers *workers, struct mon_store_stats *store_out,
		       struct mon_breaker_stats *breaker_out);

/*
 * No more records come: reads the ring to its end, writes what there is, ends both threads. 0, or
 * -errno of the store when it would not take everything within @timeout_ns.
 */
int mon_workers_drain(struct mon_workers *workers, uint64_t timeout_ns);
/* After drain: one last tick, by the caller's thread, tried as often as the breaker would. */
int mon_workers_write(struct mon_workers *workers, const struct mon_tick *tick);

#endif
