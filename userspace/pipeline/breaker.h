/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The circuit breaker between writer and SQLite: after 5 failures in a row nothing is tried for
 * 60 s, then one probe; one success closes it again. A small pure state machine with an injected
 * clock; what a result means is told by the caller's classify function, what happens on a
 * transition by a hook. Any thread may call; hooks run outside the lock and may call the breaker.
 */
#ifndef MON_BREAKER_H
#define MON_BREAKER_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_BREAKER_FAILURES_DEFAULT 5
#define MON_BREAKER_FAILURES_MAX 1000
#define MON_BREAKER_TIMEOUT_NS_DEFAULT (60 * MON_NS_PER_S)
#define MON_BREAKER_PROBE_NS_DEFAULT (30 * MON_NS_PER_S)

enum mon_breaker_state {
	MON_BREAKER_CLOSED,
	MON_BREAKER_OPEN,
	MON_BREAKER_HALF_OPEN,
	MON_BREAKER_FORCED_OPEN, /* by hand: nothing passes */
	MON_BREAKER_DISABLED,	 /* by hand: counts, never blocks */
	MON_BREAKER_STATES
};
const char *mon_breaker_state_name(enum mon_breaker_state state); /* "closed", "half-open", … */

/* What a result says about the other side. */
enum mon_outcome {
	MON_OUTCOME_SUCCESS,
	MON_OUTCOME_FAILURE,  /* counts towards the limit */
	MON_OUTCOME_TRIP,     /* opens at once */
	MON_OUTCOME_EXCLUDED, /* says nothing (interrupted at shutdown, poison record) */
	MON_OUTCOMES
};

struct mon_breaker;

struct mon_breaker_transition {
	mon_ns at_ns;
	enum mon_breaker_state from, to;
	const char
		*cause; /* "5 failures in a row", "probe hung", …; lives as long as the breaker */
	int error;	/* the -errno that caused it, or 0 */
};

struct mon_breaker_options {
	uint32_t failures_max;	      /* 0: default. The failures_max-th failure in a row opens */
	uint64_t timeout_ns;	      /* 0: default */
	uint64_t probe_ns;	      /* 0: default. A probe older than this counts as hung */
	enum mon_breaker_state start; /* CLOSED, FORCED_OPEN or DISABLED */
	const struct mon_clock *clock;
	enum mon_outcome (*classify)(int result, void *context);
	void (*on_transition)(const struct mon_breaker_transition *transition, void *context);
	void *context; /* of both */
};

struct mon_breaker_stats {
	enum mon_breaker_state state;
	uint64_t transitions[MON_BREAKER_STATES][MON_BREAKER_STATES]; /* [from][to] */
	uint64_t outcomes[MON_OUTCOMES];
	uint64_t not_permitted, late;
	uint32_t failures_in_row;
	uint64_t open_ns;     /* total time OPEN, HALF_OPEN or FORCED_OPEN */
	mon_ns next_probe_ns; /* 0 unless OPEN */
	int last_error;
};

int mon_breaker_new(const struct mon_breaker_options *options, struct mon_breaker **breaker_out);
void mon_breaker_free(struct mon_breaker *breaker);

/*
 * Calls fn(arg) and returns its result, or -EAGAIN without calling it when not permitted. A result
 * that arrives after its permit was taken away (hung probe) is returned but changes nothing.
 */
int mon_breaker_call(struct mon_breaker *breaker, int (*fn)(void *arg), void *arg);

/*
 * The timer: OPEN becomes HALF_OPEN when its time has come, a hung probe goes back to OPEN. Call
 * at least once a second: an idle target recovers too. Returns the state after it.
 */
enum mon_breaker_state mon_breaker_tick(struct mon_breaker *breaker);

/* By hand; MON_BREAKER_CLOSED takes either override back. */
void mon_breaker_force(struct mon_breaker *breaker, enum mon_breaker_state state);

void mon_breaker_stats(struct mon_breaker *breaker, struct mon_breaker_stats *stats_out);

#endif
