/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What full watching would cost, found before doing it: a second of counting by entries, and what a
 * hit costs on this machine. Nothing is written, and nothing is left attached.
 */
#ifndef MON_CENSUS_H
#define MON_CENSUS_H

#include "monitor/config.h"
#include "monitor/watched.h"

struct mon_census_row {
	const char *name; /* of `watched` */
	uint64_t calls;
	bool stepped;	  /* the probed instruction is single-stepped (or not known) */
	uint32_t call_ns; /* full watching of one call */
	double of_cpu;	  /* cost by second: 0.5 is half of a CPU */
	double of_target; /* cost by the targets' own CPU time; 0 when that is not known */
};

struct mon_census {
	struct mon_watched watched;
	enum mon_mode mode;
	bool returns; /* full watching has return probes */
	struct mon_trap_cost cost;
	mon_ns length_ns;
	uint64_t own_ns;	     /* 0: every process of a file, whose CPU time is not known */
	struct mon_census_row *rows; /* dearest first */
	size_t row_count;
	struct mon_census_row sum;
};

/* Blocks for a second. 0, or -errno with a sentence. */
int mon_census_take(const struct mon_config *config, struct mon_census *census_out,
		    struct mon_error *error);
void mon_census_clear(struct mon_census *census);

#endif
