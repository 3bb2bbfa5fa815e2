/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole way of the data for tests: ring, queue, spool, breaker, store and the two threads, all
 * of them real, on pages that the test fills as the kernel would. Those pages, the database and the
 * spool outlive one life of the threads; so does what must have arrived in the end: calls numbered
 * 0, 1, 2, … in `ret`, each of them once, in order. Between store_setup() and store_teardown().
 */
#ifndef HARNESS_WORKERS_H
#define HARNESS_WORKERS_H

#include "monitor/workers.h"

#include <stdatomic.h>

struct path_options {
	size_t ring_bytes; /* 0: 64 KiB */
	size_t slots, overflow_slots;
	uint64_t spool_max_bytes;	    /* 0: no spool */
	struct mon_breaker_options breaker; /* no timeout: 20 ms */
	enum mon_durability durability;
	const struct mon_clock *clock; /* of the breaker; NULL: the system's */
	bool plain;		       /* nothing but good calls */
	bool large;		       /* half of the records are none, and up to 2000 bytes long */
};

struct path {
	struct path_options options;
	unsigned seed;

	/* The kernel's side, and what it accepted. */
	char *memory; /* consumer page, producer page, data, its first page again; shared by forks
		       */
	size_t page;
	uint64_t *consumer, *producer;
	uint64_t calls, invalid, ticks;

	/* One life. */
	bool begun;
	struct mon_ring *ring;
	struct mon_queue *queue;
	struct mon_spool *spool;
	struct mon_store *store;
	struct mon_workers *workers;
	struct mon_run_resumed resumed;
	unsigned threads; /* of this process, without the two */
	struct mon_tick tick;
	atomic_bool gate_closed;
	atomic_uint gate_closings, alive;
	void (*_Atomic on_alive)(void); /* by the reader thread */
};

/* What the writer's next accesses to its disk do. Any thread may change it. */
struct path_disk {
	atomic_int write_code, sync_code; /* SQLITE_OK: as the disk says */
	atomic_bool hang_write, hang_sync;
	atomic_bool hangs; /* somebody waits in it */
	void (*on_write)(void);
};
extern struct path_disk path_disk;

void path_open(struct path *path, const struct path_options *options, unsigned seed);
void path_close(struct path *path); /* with no life in it */

/* A life: begins the run, or goes on with it. False (with a line on stderr): no. */
bool path_try_start(struct path *path);
void path_start(struct path *path); /* fails the test */
/*
 * mon_workers_drain(). A thread that was given up while its disk hung is waited for afterwards: the
 * test goes on with what that thread works with.
 */
int path_drain(struct path *path, uint64_t timeout_ns);
/* After drain. */
void path_stop(struct path *path);

/* As many as there is room for, in one burst; then the reader is woken. Returns how many calls. */
size_t path_produce(struct path *path, size_t count);
/* All of them, waiting for room. False: none came for 20 s. */
bool path_produce_all(struct path *path, size_t count);
bool path_offer(struct path *path);
struct mon_workers_stats path_stats(struct path *path);

/* Until it is true; fails the test after 20 s. */
#define path_wait(condition)                                              \
	do {                                                              \
		for (unsigned path_round = 0; !(condition); path_round++) \
			path_pause(path_round, #condition);               \
	} while (0)
void path_pause(unsigned round, const char *what);

/* Rows in the database: everything, each once, in order. */
void assert_path_delivered(const struct path *path);
/* A prefix of it, in order; returns how many calls. */
uint64_t assert_path_prefix(const struct path *path);

#endif
