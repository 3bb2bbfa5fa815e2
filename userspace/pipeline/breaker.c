// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * First the machine: a struct and four steps that know nothing of locks, clocks, hooks or SQLite.
 * Each step takes the time and returns why the state changed, or NULL. Then what is around it:
 * lock, classification, metrics, hooks.
 *
 * A permit carries the generation it was given in, and each transition starts a new one: a result
 * of an older generation is late and counts for nothing. A hung probe keeps the one permit until
 * it comes back (its thread is still inside SQLite), so the machine stays OPEN that long.
 * A clock that goes back restarts the wait from there: never longer than one more timeout.
 */
#include "pipeline/breaker.h"

#include "base/cleanup.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct machine {
	uint32_t failures_max;
	uint64_t timeout_ns, probe_ns;
	char failures_cause[40]; /* "5 failures in a row" */

	enum mon_breaker_state state;
	uint64_t generation;
	uint32_t failures; /* in a row */
	mon_ns since_ns;   /* OPEN: since when. HALF_OPEN: when the probe started */
	bool probe_out;	   /* the one permit is with someone, also after the probe hung */
};

struct permit {
	uint64_t generation;
	bool probe;
};

static const char *machine_enter(struct machine *machine, enum mon_breaker_state state, mon_ns now,
				 const char *cause)
{
	machine->state = state;
	machine->generation++;
	machine->since_ns = now;
	if (state != MON_BREAKER_OPEN)
		machine->failures = 0;
	return cause;
}

static bool machine_elapsed(struct machine *machine, mon_ns now, uint64_t wait_ns)
{
	if (now < machine->since_ns)
		machine->since_ns = now;
	return now - machine->since_ns >= wait_ns;
}

static const char *machine_tick(struct machine *machine, mon_ns now)
{
	if (machine->state == MON_BREAKER_OPEN) {
		if (machine_elapsed(machine, now, machine->timeout_ns) && !machine->probe_out)
			return machine_enter(machine, MON_BREAKER_HALF_OPEN, now, "timeout over");
	} else if (machine->state == MON_BREAKER_HALF_OPEN && machine->probe_out) {
		if (machine_elapsed(machine, now, machine->probe_ns))
			return machine_enter(machine, MON_BREAKER_OPEN, now, "probe hung");
	}
	return NULL;
}

static bool machine_permit(struct machine *machine, mon_ns now, struct permit *permit)
{
	bool probe = machine->state == MON_BREAKER_HALF_OPEN;

	if (machine->state == MON_BREAKER_OPEN || machine->state == MON_BREAKER_FORCED_OPEN ||
	    (probe && machine->probe_out))
		return false;
	if (probe) {
		machine->probe_out = true;
		machine->since_ns = now;
	}
	*permit = (struct permit){.generation = machine->generation, .probe = probe};
	return true;
}

/* Only for a result of the current generation. */
static const char *machine_result(struct machine *machine, enum mon_outcome outcome, mon_ns now)
{
	bool failed = outcome == MON_OUTCOME_FAILURE || outcome == MON_OUTCOME_TRIP;

	if (outcome == MON_OUTCOME_SUCCESS)
		machine->failures = 0;
	if (failed && machine->failures < UINT32_MAX)
		machine->failures++;
	if (machine->state == MON_BREAKER_HALF_OPEN && outcome == MON_OUTCOME_SUCCESS)
		return machine_enter(machine, MON_BREAKER_CLOSED, now, "probe succeeded");
	if (machine->state == MON_BREAKER_HALF_OPEN && failed)
		return machine_enter(machine, MON_BREAKER_OPEN, now, "probe failed");
	if (machine->state == MON_BREAKER_CLOSED && outcome == MON_OUTCOME_TRIP)
		return machine_enter(machine, MON_BREAKER_OPEN, now, "permanent error");
	if (machine->state == MON_BREAKER_CLOSED && machine->failures >= machine->failures_max)
		return machine_enter(machine, MON_BREAKER_OPEN, now, machine->failures_cause);
	return NULL;
}

static const char *machine_force(struct machine *machine, enum mon_breaker_state state, mon_ns now)
{
	bool overridden =
		machine->state == MON_BREAKER_FORCED_OPEN || machine->state == MON_BREAKER_DISABLED;

	if (state == machine->state)
		return NULL;
	if (state == MON_BREAKER_FORCED_OPEN || state == MON_BREAKER_DISABLED)
		return machine_enter(machine, state, now, "by hand");
	if (state == MON_BREAKER_CLOSED && overridden)
		return machine_enter(machine, state, now, "override taken back");
	return NULL;
}

struct mon_breaker {
	struct mon_breaker_options options; /* constant after new */
	pthread_mutex_t lock;		    /* of everything below */
	struct machine machine;
	mon_ns accounted_ns; /* up to when open_ns is counted */
	struct mon_breaker_stats stats;
};

const char *mon_breaker_state_name(enum mon_breaker_state state)
{
	static const char *const names[MON_BREAKER_STATES] = {
		[MON_BREAKER_CLOSED] = "closed",       [MON_BREAKER_OPEN] = "open",
		[MON_BREAKER_HALF_OPEN] = "half-open", [MON_BREAKER_FORCED_OPEN] = "forced-open",
		[MON_BREAKER_DISABLED] = "disabled",
	};

	return names[state];
}

int mon_breaker_new(const struct mon_breaker_options *options, struct mon_breaker **breaker_out)
{
	struct mon_breaker *breaker;
	struct machine *machine;

	if (!options->clock || options->failures_max > MON_BREAKER_FAILURES_MAX ||
	    (options->start != MON_BREAKER_CLOSED && options->start != MON_BREAKER_FORCED_OPEN &&
	     options->start != MON_BREAKER_DISABLED))
		return -EINVAL;
	breaker = calloc(1, sizeof(*breaker));
	if (!breaker)
		return -ENOMEM;
	breaker->options = *options;
	machine = &breaker->machine;
	machine->state = options->start;
	machine->failures_max =
		options->failures_max ? options->failures_max : MON_BREAKER_FAILURES_DEFAULT;
	machine->timeout_ns =
		options->timeout_ns ? options->timeout_ns : MON_BREAKER_TIMEOUT_NS_DEFAULT;
	machine->probe_ns = options->probe_ns ? options->probe_ns : MON_BREAKER_PROBE_NS_DEFAULT;
	(void)snprintf(machine->failures_cause, sizeof(machine->failures_cause),
		       "%u failure%s in a row", machine->failures_max,
		       machine->failures_max == 1 ? "" : "s");
	breaker->accounted_ns = mon_clock_now(options->clock);
	(void)pthread_mutex_init(&breaker->lock, NULL); /* cannot fail without attributes */
	*breaker_out = breaker;
	return 0;
}

void mon_breaker_free(struct mon_breaker *breaker)
{
	if (!breaker)
		return;
	(void)pthread_mutex_destroy(&breaker->lock);
	free(breaker);
}

/* Takes the lock and the time, and counts the time that went by in the state it was in. */
static mon_ns enter(struct mon_breaker *breaker)
{
	enum mon_breaker_state state;
	mon_ns now;

	pthread_mutex_lock(&breaker->lock);
	now = mon_clock_now(breaker->options.clock);
	state = breaker->machine.state;
	if (now > breaker->accounted_ns && state != MON_BREAKER_CLOSED &&
	    state != MON_BREAKER_DISABLED)
		breaker->stats.open_ns += now - breaker->accounted_ns;
	breaker->accounted_ns = now;
	return now;
}

/* Counts the transition, if @cause says there was one, lets go of the lock, then tells the hook. */
static void leave(struct mon_breaker *breaker, enum mon_breaker_state from, const char *cause,
		  int error, mon_ns now)
{
	struct mon_breaker_transition transition = {
		.at_ns = now,
		.from = from,
		.to = breaker->machine.state,
		.cause = cause,
		.error = error,
	};

	if (cause)
		breaker->stats.transitions[from][transition.to]++;
	pthread_mutex_unlock(&breaker->lock);
	if (cause && breaker->options.on_transition)
		breaker->options.on_transition(&transition, breaker->options.context);
}

static enum mon_outcome classify(const struct mon_breaker *breaker, int result)
{
	if (breaker->options.classify)
		return breaker->options.classify(result, breaker->options.context);
	return result < 0 ? MON_OUTCOME_FAILURE : MON_OUTCOME_SUCCESS;
}

static void take_result(struct mon_breaker *breaker, const struct permit *permit, int result)
{
	enum mon_outcome outcome = classify(breaker, result);
	bool failed = outcome == MON_OUTCOME_FAILURE || outcome == MON_OUTCOME_TRIP;
	mon_ns now = enter(breaker);
	enum mon_breaker_state from = breaker->machine.state;
	const char *cause = NULL;

	if (permit->probe)
		breaker->machine.probe_out = false;
	if (permit->generation != breaker->machine.generation) {
		breaker->stats.late++;
	} else {
		breaker->stats.outcomes[outcome]++;
		if (failed)
			breaker->stats.last_error = result;
		cause = machine_result(&breaker->machine, outcome, now);
	}
	leave(breaker, from, cause, failed ? result : 0, now);
}

int mon_breaker_call(struct mon_breaker *breaker, int (*fn)(void *arg), void *arg)
{
	struct permit permit;
	mon_ns now = enter(breaker);
	bool permitted = machine_permit(&breaker->machine, now, &permit);
	int result;

	if (!permitted)
		breaker->stats.not_permitted++;
	pthread_mutex_unlock(&breaker->lock);
	if (!permitted)
		return -EAGAIN;
	result = fn(arg);
	take_result(breaker, &permit, result);
	return result;
}

enum mon_breaker_state mon_breaker_tick(struct mon_breaker *breaker)
{
	mon_ns now = enter(breaker);
	enum mon_breaker_state from = breaker->machine.state;
	const char *cause = machine_tick(&breaker->machine, now);
	enum mon_breaker_state to = breaker->machine.state;

	leave(breaker, from, cause, cause && to == MON_BREAKER_OPEN ? -ETIMEDOUT : 0, now);
	return to;
}

void mon_breaker_force(struct mon_breaker *breaker, enum mon_breaker_state state)
{
	mon_ns now = enter(breaker);
	enum mon_breaker_state from = breaker->machine.state;
	const char *cause = machine_force(&breaker->machine, state, now);

	leave(breaker, from, cause, 0, now);
}

void mon_breaker_stats(struct mon_breaker *breaker, struct mon_breaker_stats *stats_out)
{
	(void)enter(breaker);
	*stats_out = breaker->stats;
	stats_out->state = breaker->machine.state;
	stats_out->failures_in_row = breaker->machine.failures;
	stats_out->next_probe_ns = breaker->machine.state == MON_BREAKER_OPEN
					   ? breaker->machine.since_ns + breaker->machine.timeout_ns
					   : 0;
	pthread_mutex_unlock(&breaker->lock);
}
