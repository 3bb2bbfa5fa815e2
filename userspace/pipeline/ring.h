/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The BPF ring buffer, mapped and read by ourselves, because reading and acknowledging are two
 * steps here: a record's space goes back to the kernel only when it is safe elsewhere. (run, ring,
 * position) is the record's identity. libbpf's reader acknowledges as it reads. One ring; those of
 * a run are pipeline/rings.h.
 *
 * Life: new, pop, walk, acknowledge (reader thread) ... peek (writer thread), stats, free.
 * Invariant: acknowledged <= read <= produced <= acknowledged + size.
 */
#ifndef MON_RING_H
#define MON_RING_H

#include "bpf/event.h"
#include "pipeline/record.h"

#include <stddef.h>
#include <stdint.h>

struct mon_ring;

struct mon_ring_options {
	int map_fd; /* BPF_MAP_TYPE_RINGBUF; stays the caller's */
	size_t size_bytes;
	uint16_t number;		    /* below MON_RINGS_MAX: what its records say */
	uint32_t function_count;	    /* a record naming a function past it is invalid */
	uint32_t arg_count;		    /* what this run captures */
	uint32_t text_count, capture_bytes; /* likewise; MON_TEXTS_MAX and bpf/text.h bound them */
	uint32_t stack_frames;		    /* room of each stack; 0: none */
	/* Tests: pages laid out as ring.c maps them, instead of map_fd (which is then -1). */
	void *consumer_page;
	void *producer_pages; /* producer page, the data, the data's first page again */
};

struct mon_ring_stats {
	uint64_t produced, read, acknowledged; /* positions */
	uint64_t size_bytes;
	uint64_t records, discarded, invalid;
};

int mon_ring_new(const struct mon_ring_options *options, struct mon_ring **ring_out);
void mon_ring_free(struct mon_ring *ring);

/* Next unread record, validated: 0, or -EAGAIN when the producer has none ready. */
int mon_ring_try_pop(struct mon_ring *ring, struct mon_record *record_out);

/* The record at a position that was popped and not yet acknowledged. Same result as pop's. */
void mon_ring_peek(const struct mon_ring *ring, uint64_t position, struct mon_record *record_out);

/*
 * Goes over what was popped and is not acknowledged yet, again: the first record at or after
 * *position, which must lie on a record or on the acknowledged position. *position is then where
 * the next one begins. 0, or -EAGAIN: that was the last one popped. By whoever acknowledges.
 */
int mon_ring_walk(const struct mon_ring *ring, uint64_t *position, struct mon_record *record_out);

/* What records of this run look like. */
const struct mon_record_shape *mon_ring_shape(const struct mon_ring *ring);

/* Gives everything before @end back to the kernel. Positions only rise; a lower one is ignored. */
void mon_ring_acknowledge(struct mon_ring *ring, uint64_t end);

void mon_ring_stats(const struct mon_ring *ring, struct mon_ring_stats *stats_out);

#endif
