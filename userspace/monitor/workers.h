/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two threads on the data's way. The reader takes the rings into the queue and gives their
 * space back; when the level rises or the database is out, it moves the oldest records to the
 * spool. The writer takes what is oldest, spool before queue, through the breaker into the store.
 * A record's space in the ring is given back once it is committed or spooled.
 */
#ifndef MON_WORKERS_H
#define MON_WORKERS_H

#include "pipeline/breaker.h"
#include "pipeline/queue.h"
#include "pipeline/rings.h"
#include "pipeline/spool.h"
#include "pipeline/store.h"

/* Spooling starts and stops at these shares of the fuller of queue and fullest ring. */
#define MON_LEVEL_HIGH 0.9
#define MON_LEVEL_LOW 0.7

/* Transitions of the breaker that wait for the database. */
#define MON_WORKERS_TRANSITIONS_MAX 64

struct mon_workers;

struct mon_workers_options {
	struct mon_rings *rings;
	struct mon_queue *queue;
	struct mon_spool *spool; /* NULL: what the database does not take fills the ring */
	struct mon_store *store;
	struct mon_budget *budget;		   /* may be NULL */
	const struct mon_breaker_options *breaker; /* classify and hook are set here */
	/* By the writer, after each push while the database is as large as it may be. */
	void (*on_size_reached)(void *context);
	/* By the reader: ring and spool are full, calls are better refused; or there is room again.
	 */
	void (*on_gate)(void *context, bool closed);
	/* By the reader, each 100 ms at least. */
	void (*on_alive)(void *context, mon_ns now);
	void *context; /* of the three; each may be NULL */
};

struct mon_workers_stats {
	struct mon_store_stats store; /* as of the writer's last push */
	struct mon_breaker_stats breaker;
	struct mon_ring_stats ring;	    /* all rings together */
	struct mon_ring_stats fullest_ring; /* one of them */
	struct mon_queue_stats queue;
	struct mon_spool_stats spool; /* zero without one */
	bool spooling, gate_closed;
	double level; /* 0..1, the fuller of queue and fullest ring */
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
void mon_workers_stats(struct mon_workers *workers, struct mon_workers_stats *stats_out);

/* Memory is short: the overflow is not taken, so that spooling starts earlier; caches are given
 * back. Until it is called with false. */
void mon_workers_set_pressure(struct mon_workers *workers, bool pressed);

/*
 * No more records come: reads the ring to its end, writes what there is, ends both threads. While
 * the database takes it, everything is written. Once it refuses (at once when the breaker is open;
 * after a few tries or @timeout_ns else) the rest goes to the spool. 0, or -errno of the store when
 * something waits in the spool or, without one, is left.
 * When somebody was in a hurry, or nothing moved for 5 s: -EINPROGRESS, the writer hangs in the
 * database's disk, and nothing that it works with (store, workers, queue, rings) may be used or
 * freed any more; to push to the spool is all that is allowed. -ETIMEDOUT: the reader hangs in the
 * spool's disk, and not even that. Only the process can be ended then.
 */
int mon_workers_drain(struct mon_workers *workers, uint64_t timeout_ns);
/* Ends a drain at once, from any thread or a signal handler: the rest goes to the spool. */
void mon_workers_hurry(struct mon_workers *workers);
/* After drain: the breaker's transitions that the database did not take. Returns how many. */
size_t mon_workers_transitions(struct mon_workers *workers,
			       struct mon_breaker_transition *transitions_out, size_t max);
/* After drain: one last tick, by the caller's thread, tried as often as the breaker would. */
int mon_workers_write(struct mon_workers *workers, const struct mon_tick *tick);

#endif
