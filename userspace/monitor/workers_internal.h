/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What reader.c, writer.c and workers.c share; nobody else includes it. */
#ifndef MON_WORKERS_INTERNAL_H
#define MON_WORKERS_INTERNAL_H

#include "base/budget.h"
#include "base/log.h"
#include "monitor/workers.h"

#include <pthread.h>
#include <stdatomic.h>

#define MON_WORKERS_WAIT_NS (100 * MON_NS_PER_MS)
/* A batch is copied out of the ring: so many bytes of it, however many records that is. */
#define MON_WORKERS_BATCH_BYTES MON_BUDGET_BATCH_BYTES
#define MON_WORKERS_TRIES 5	/* of a drain while the breaker is closed */
#define MON_WORKERS_TRIES_OUT 2 /* while it is not */

struct mon_workers {
	struct mon_workers_options options;
	struct mon_breaker *breaker;
	pthread_t reader, writer;
	bool reader_runs, writer_runs;
	bool hangs;  /* a thread was given up: what it works with is not freed */
	int wake_fd; /* ends the reader's wait */
	atomic_bool draining, hurried, pressed;
	_Atomic mon_ns committed_ns; /* when the last batch was committed, or the drain began */
	_Atomic mon_ns deadline_ns;  /* 0: none. After it the writer gives up what is refused */
	int writer_result;

	/*
	 * Held while the writer copies records out of the ring, and while the reader says that
	 * some are safe in the spool: after that the kernel may write over them.
	 */
	pthread_mutex_t claim;
	/* Under `claim`, of each ring: the writer takes nothing before it from there. */
	uint64_t spooled_ends[MON_RINGS_MAX];

	_Atomic uint64_t committed_ends[MON_RINGS_MAX]; /* by the writer; the reader acknowledges */

	pthread_mutex_t lock; /* what follows; never held while anything is called */
	struct mon_tick tick;
	bool tick_offered, tick_written;
	struct mon_breaker_transition transitions[MON_WORKERS_TRANSITIONS_MAX];
	size_t transition_count;
	unsigned probes_failed; /* since the breaker opened */
	struct mon_store_stats store_stats;

	/* The reader's own; others load the two flags. */
	atomic_bool spooling, gate_closed;
	bool spool_refuses;
	int spool_error; /* why it refused last */
	struct mon_log_state tell_spooling, tell_refusing, tell_gate;
	uint64_t spooled_told; /* records that were spooled when that was told */

	/* The writer's own. */
	uint64_t places[MON_STORE_BATCH_MAX];
	size_t place_at, place_count; /* popped and not copied yet: the memory was used up */
	struct mon_record records[MON_STORE_BATCH_MAX];
	void *memory; /* MON_WORKERS_BATCH_BYTES, what `records` point into */
	struct mon_breaker_transition writing[MON_WORKERS_TRANSITIONS_MAX];
	struct mon_batch batch;
};

void *mon_workers_read(void *workers);
void *mon_workers_write_all(void *workers);
/* With both threads gone: everything that is not acknowledged goes to the spool. */
void mon_workers_spool_rest(struct mon_workers *workers);
double mon_workers_level(struct mon_workers *workers);
/* As it is now: hooks of two threads may tell of two transitions in the wrong order. */
enum mon_breaker_state mon_workers_breaker_state(const struct mon_workers *workers);
/* Adds tick and transitions that wait to the batch. True when the batch has anything in it. */
bool mon_workers_complete_batch(struct mon_workers *workers);
bool mon_workers_past_deadline(const struct mon_workers *workers);

#endif
