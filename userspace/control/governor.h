/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much of each function is watched so that the probes cost the target no more than was allowed:
 * (counters before, counters now, limit) -> orders. Pure but for its own memory; the caller says
 * what time it is and what CPU time the target has taken.
 *
 * Overhead is what hits cost, divided by the CPU time that the target takes for itself (its CPU
 * time without that cost). Hits of processes that are not watched are
 * in neither: their CPU time is theirs. Above the limit, in this order and no further than needed:
 * records are kept at a tenth of the rate; most calls get no return trap, dearest functions first;
 * functions are armed for a share of the time only, dearest first. What was spent above the limit
 * is paid back over MON_GOVERNOR_PAYBACK_NS by shorter shares. Steps are taken back when the cost
 * would stay below MON_GOVERNOR_CALM of the limit, or of what is negligible, and has for
 * MON_GOVERNOR_CALM_NS.
 *
 * Life: new, look (each quarter of a second, and whenever a function was armed or disarmed), then
 * order and the figures, ..., free. One thread.
 */
#ifndef MON_GOVERNOR_H
#define MON_GOVERNOR_H

#include "base/types.h"

#include <stdbool.h>
#include <stdint.h>

#define MON_GOVERNOR_LIMIT_DEFAULT 0.10
#define MON_GOVERNOR_WINDOWED_MAX 128 /* functions that are armed for a share of the time */
#define MON_GOVERNOR_OPENS_PER_S 8    /* windows of all of them together */
#define MON_GOVERNOR_SHARE_MIN 0.005
#define MON_GOVERNOR_SHARE_MAX 0.9
#define MON_GOVERNOR_CALM 0.7
#define MON_GOVERNOR_CALM_NS (5 * MON_NS_PER_S)
#define MON_GOVERNOR_PAYBACK_NS (10 * MON_NS_PER_S)
#define MON_GOVERNOR_RATE_DIVISOR 10
/* Below this share of one CPU the cost is let be, however little the target itself does. */
#define MON_GOVERNOR_NEGLIGIBLE 0.01

struct mon_budget;
struct mon_governor;

struct mon_governor_config {
	double limit; /* 0.1: ten percent */
	struct mon_trap_cost cost;
	uint32_t record_ns;   /* what keeping a call costs beyond its traps */
	bool returns;	      /* every call has a return trap unless ordered otherwise */
	bool skips_returns;   /* of every function, whatever is ordered (`--stats counts`) */
	bool can_lower_rates; /* `--sample auto` of some function */
	bool can_skip_returns, can_window;
};

/* Cumulative counters of one function, as the programs have them. */
struct mon_governor_counts {
	uint64_t calls, returns, emitted;
	uint64_t ignored; /* hits that did not count */
	bool armed;	  /* since the last look */
};

struct mon_governor_look {
	mon_ns now;
	uint64_t cpu_ns; /* the targets' CPU time so far, traps included */
	const struct mon_governor_counts *functions;
};

/* What is to be done with one function. */
struct mon_governor_order {
	bool no_return; /* few calls get a return trap (MON_POLICY_NO_RETURN) */
	bool windowed;	/* armed for `share` of the time; else always */
	double share;	/* 0: not at all for now */
};

enum mon_governor_step {
	MON_GOVERNOR_FREE,
	MON_GOVERNOR_RATES,
	MON_GOVERNOR_NO_RETURNS,
	MON_GOVERNOR_WINDOWS,
	MON_GOVERNOR_BEYOND, /* it has done all it can, and the cost is above the limit */
};

enum mon_governor_trait {
	MON_GOVERNOR_STEPPED = 1 << 0, /* its probed instruction is single-stepped, or not known */
	MON_GOVERNOR_NEEDS_RETURNS = 1 << 1, /* its slow or failed calls are kept */
};

/* @traits: of each function. */
int mon_governor_new(const struct mon_governor_config *config, uint32_t function_count,
		     const uint8_t *traits, struct mon_budget *budget,
		     struct mon_governor **governor_out);
void mon_governor_free(struct mon_governor *governor);
uint64_t mon_governor_bytes(uint32_t function_count);

/* For the configuration: about what keeping a call costs, with a stack, and with so many texts. */
uint32_t mon_governor_record_ns(bool stacks, uint32_t texts);

/* True: orders or the lower rates changed. The first look only remembers. */
bool mon_governor_look(struct mon_governor *governor, const struct mon_governor_look *look);

struct mon_governor_order mon_governor_order(const struct mon_governor *governor,
					     uint32_t function);
/*
 * What a hit costs now, measured again. One reading may be off by much, the start too: their mean
 * counts, and what was spent before the first 32 of them is priced anew by it.
 */
void mon_governor_note_cost(struct mon_governor *governor, bool stepped, bool with_return,
			    uint32_t ns);

bool mon_governor_lower_rates(const struct mon_governor *governor);
enum mon_governor_step mon_governor_step(const struct mon_governor *governor);
/* This step failed for a reason of the kernel's (no descriptors, ...): it is not tried again. */
void mon_governor_give_up_windows(struct mon_governor *governor);
/* Functions that lack returns, and that are windowed. */
void mon_governor_tally(const struct mon_governor *governor, uint32_t *no_return_out,
			uint32_t *windowed_out);

/* Cost / own CPU time, of about the last second and of the run: 0.06 is "+6 %". */
double mon_governor_overhead(const struct mon_governor *governor);
double mon_governor_overhead_of_run(const struct mon_governor *governor);
/* What the hits of the run cost, and the CPU time that the target took without them. */
void mon_governor_sums(const struct mon_governor *governor, uint64_t *cost_ns_out,
		       uint64_t *own_ns_out);
/*
 * The target's own CPU time while this function was armed: calls happen in it. 0: not known, hits
 * took nearly all of its time then.
 */
uint64_t mon_governor_armed_own_ns(const struct mon_governor *governor, uint32_t function);
/* What watching this function all the time, returns and all, would cost by what was seen of it. */
double mon_governor_full_cost(const struct mon_governor *governor, uint32_t function);

const char *mon_governor_step_name(enum mon_governor_step step);

#endif
