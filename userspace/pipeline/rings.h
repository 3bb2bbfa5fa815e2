/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rings of one run: one for each group of CPUs, because producers of one BPF ring wait for each
 * other (with 16 of them 1.3-2.6 M records/s instead of 11-13 M). Read one after the other: order
 * is kept within a ring and not across them. Waiting is for all of them at once.
 *
 * Life: new, add (each ring, in the order of its number), wait, at ... stats, free.
 */
#ifndef MON_RINGS_H
#define MON_RINGS_H

#include "pipeline/ring.h"

struct mon_rings;

int mon_rings_new(struct mon_rings **rings_out);
/* Frees the rings, too. Takes NULL. */
void mon_rings_free(struct mon_rings *rings);

/* The next one: options->number is set here. -E2BIG beyond MON_RINGS_MAX; else as mon_ring_new. */
int mon_rings_add(struct mon_rings *rings, const struct mon_ring_options *options);

uint32_t mon_rings_count(const struct mon_rings *rings);
struct mon_ring *mon_rings_at(const struct mon_rings *rings, uint32_t number);

/*
 * Waits until the programs wake us for any of them, @wake_fd (an eventfd, or -1) is readable, or
 * @timeout_ms. Edge triggered: unacknowledged records do not wake (level triggering spins, and the
 * target pays). Returns 0 or -errno; -EINTR is normal.
 */
int mon_rings_wait(struct mon_rings *rings, int wake_fd, int timeout_ms);

struct mon_rings_stats {
	struct mon_ring_stats sum;     /* of all; with one ring, its own */
	struct mon_ring_stats fullest; /* where calls are lost first */
};
void mon_rings_stats(const struct mon_rings *rings, struct mon_rings_stats *stats_out);

/* 0..1: how full a ring is, of what is not acknowledged. */
double mon_ring_level(const struct mon_ring_stats *stats);

#endif
