// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two clocks matter. Shares of time are shares of the target's CPU time, of which hits take a part;
 * rates are calls by own CPU time (what is left of it), because a function is called more often
 * when fewer hits are in its way: a rate by any other clock would promise too little.
 *
 * Everything is predicted from rates, so one look is enough to find the step that fits, and the
 * next ones correct it. No randomness and no clock here: windows are drawn by the caller.
 */
#include "control/governor.h"

#include "base/budget.h"
#include "bpf/policy.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define OWN_TRUSTED 5 /* own CPU time is trusted from a fifth of all on */
#define SMOOTH_NS ((double)MON_NS_PER_S)
#define COST_MAX 0.98 /* of the CPU time: costs are measured, not known */
#define WINDOW_MEAN_S 0.375
#define GRACE_S 0.25 /* a window's link outlives it so long, for returns; its hits cost */
#define LOOK_LEAST_NS (20 * MON_NS_PER_MS) /* CPU time from which a decision is made */
#define CALM_WAIT_MAX_NS (160 * MON_NS_PER_S)
#define ROOM_FOR_WINDOWS 0.8 /* of the limit, at most, is what is always armed */
#define PAYBACK_FLOOR 0.2    /* of the limit is left while a debt is paid */
/* A record in the ring and what it takes to fill it: not measured, as it matters much less. */
#define RECORD_NS 250
#define RECORD_STACK_NS 1200
#define RECORD_TEXT_NS 500
#define READINGS_MAX 64	    /* of a hit's cost, that its mean is of */
#define READING_OFF_MAX 0.3 /* of the mean: more is taken for so much */
#define READINGS_TRUSTED 32 /* of all costs together: what was before is then priced for good */

struct hits {
	double entries[2], returns[2], kept; /* [1]: single-stepped */
};

/*
 * CPU time in which these hits were made, and what is left of it without them. Costs are known
 * better later than at the start, so the first hits are priced when that has come.
 */
struct spent {
	double settled_own_ns;
	double cpu_ns; /* not settled yet, and its hits */
	struct hits hits;
};

struct function {
	struct mon_governor_counts before;
	double calls, kept, own_ns; /* smoothed, of the time it was armed */
	struct spent armed;	    /* of the run */
	double armed_cpu_ns;
	bool stepped, needs_returns, no_return, windowed;
};

struct candidate {
	double worth;
	uint32_t function;
};

/* What a hit costs, by whether its instruction is single-stepped. */
struct cost {
	double ns;
	unsigned readings; /* it is the mean of, at most READINGS_MAX */
};

struct mon_governor {
	struct mon_governor_config config;
	struct cost entry[2], full[2]; /* without the return, and with it */
	unsigned readings;
	struct mon_budget *budget;
	uint32_t count, no_return_count, windowed_count;
	struct function *functions;
	struct candidate *candidates;
	bool looked, lower_rates, windows_failed, beyond;
	double share;
	mon_ns looked_ns, decided_ns;
	uint64_t cpu_ns;
	double recent_cost_ns, recent_own_ns, recent_ns; /* smoothed */
	double undecided_ns;				 /* CPU time since the last decision */
	double debt_ns;
	mon_ns calm_since_ns; /* 0: it is not */
	mon_ns calm_wait_ns;  /* longer each time a step back was soon taken again */
	mon_ns relaxed_ns;
	struct spent spent; /* of the run */
	double spent_cpu_ns;
};

uint32_t mon_governor_record_ns(bool stacks, uint32_t texts)
{
	return RECORD_NS + (stacks ? RECORD_STACK_NS : 0) + texts * RECORD_TEXT_NS;
}

uint64_t mon_governor_bytes(uint32_t function_count)
{
	return function_count * (uint64_t)(sizeof(struct function) + sizeof(struct candidate));
}

int mon_governor_new(const struct mon_governor_config *config, uint32_t function_count,
		     const uint8_t *traits, struct mon_budget *budget,
		     struct mon_governor **governor_out)
{
	struct mon_governor *governor = calloc(1, sizeof(*governor));

	if (!governor)
		return -ENOMEM;
	governor->functions =
		mon_budget_calloc(budget, MON_BUDGET_TOTALS, mon_governor_bytes(function_count));
	if (!governor->functions) {
		free(governor);
		return -ENOMEM;
	}
	governor->candidates = (void *)(governor->functions + function_count);
	governor->config = *config;
	governor->budget = budget;
	governor->count = function_count;
	governor->calm_wait_ns = MON_GOVERNOR_CALM_NS;
	for (size_t i = 0; i < 2; i++) {
		governor->entry[i] = (struct cost){config->cost.entry_ns[i], 1};
		governor->full[i] = (struct cost){config->cost.full_ns[i], 1};
	}
	for (uint32_t i = 0; i < function_count; i++) {
		governor->functions[i].stepped = traits[i] & MON_GOVERNOR_STEPPED;
		governor->functions[i].needs_returns = traits[i] & MON_GOVERNOR_NEEDS_RETURNS;
	}
	*governor_out = governor;
	return 0;
}

void mon_governor_free(struct mon_governor *governor)
{
	if (!governor)
		return;
	mon_budget_free_bytes(governor->budget, MON_BUDGET_TOTALS, governor->functions,
			      mon_governor_bytes(governor->count));
	free(governor);
}

void mon_governor_note_cost(struct mon_governor *governor, bool stepped, bool with_return,
			    uint32_t ns)
{
	struct cost *cost = with_return ? &governor->full[stepped] : &governor->entry[stepped];
	double before = cost->ns, reading = ns;

	/* A bad moment of the child's says nothing of hits. */
	if (reading > before * (1 + READING_OFF_MAX))
		reading = before * (1 + READING_OFF_MAX);
	if (reading < before * (1 - READING_OFF_MAX))
		reading = before * (1 - READING_OFF_MAX);
	governor->readings++;
	if (cost->readings < READINGS_MAX)
		cost->readings++;
	cost->ns += (reading - before) / cost->readings;
	/* Where nobody can time an entry alone, it costs the same part of both as at the start. */
	if (with_return && !governor->config.can_skip_returns)
		governor->entry[stepped].ns *= cost->ns / before;
}

static double return_ns(const struct mon_governor *governor, bool stepped)
{
	double entry = governor->entry[stepped].ns, full = governor->full[stepped].ns;

	return governor->config.returns && full > entry ? full - entry : 0;
}

/* How many of @calls have a return trap where it is skipped, @kept of them kept (bpf/policy.h). */
static double followed(double calls, double kept)
{
	return kept > calls / MON_FOLLOW_N ? kept : calls / MON_FOLLOW_N;
}

/* Cost by own CPU time of watching it all the time. */
static double predict(const struct mon_governor *governor, const struct function *function,
		      bool no_return)
{
	double kept = function->calls > 0 ? function->kept / function->calls : 0;
	double returns = no_return || governor->config.skips_returns ? followed(1, kept) : 1;
	double hit_ns = governor->entry[function->stepped].ns + kept * governor->config.record_ns +
			returns * return_ns(governor, function->stepped);

	return function->own_ns > 0 ? function->calls * hit_ns / function->own_ns : 0;
}

static double predict_armed(const struct mon_governor *governor)
{
	double sum = 0;

	for (uint32_t i = 0; i < governor->count; i++)
		if (!governor->functions[i].windowed)
			sum += predict(governor, &governor->functions[i],
				       governor->functions[i].no_return);
	return sum;
}

static double price(const struct mon_governor *governor, const struct hits *hits)
{
	double sum = hits->kept * governor->config.record_ns;

	for (size_t i = 0; i < 2; i++)
		sum += hits->entries[i] * governor->entry[i].ns +
		       hits->returns[i] * return_ns(governor, i);
	return sum;
}

/* Its hits since the last look. */
static void count(const struct mon_governor *governor, const struct function *function,
		  const struct mon_governor_counts *now, struct hits *hits)
{
	const struct mon_governor_counts *before = &function->before;
	double calls = (double)(now->calls - before->calls);
	double kept = (double)(now->emitted - before->emitted);
	/* Where returns are skipped `returns` is an estimate of all. */
	double returns = function->no_return || governor->config.skips_returns
				 ? followed(calls, kept)
				 : (double)(now->returns - before->returns);
	/* Of two links at once only one costs a trap. */
	double ignored = now->armed ? 0 : (double)(now->ignored - before->ignored);

	hits->entries[function->stepped] += calls + ignored;
	hits->returns[function->stepped] += returns;
	hits->kept += kept;
}

/* Own CPU time is never none: costs are measured, not known. */
static double own_of(const struct mon_governor *governor, double cpu_ns, const struct hits *hits)
{
	double cost_ns = price(governor, hits);

	return cpu_ns - (cost_ns < COST_MAX * cpu_ns ? cost_ns : COST_MAX * cpu_ns);
}

static double own_spent(const struct mon_governor *governor, const struct spent *spent)
{
	return spent->settled_own_ns + own_of(governor, spent->cpu_ns, &spent->hits);
}

static void spend(const struct mon_governor *governor, struct spent *spent, double cpu_ns,
		  const struct hits *hits)
{
	spent->cpu_ns += cpu_ns;
	for (size_t i = 0; i < 2; i++) {
		spent->hits.entries[i] += hits->entries[i];
		spent->hits.returns[i] += hits->returns[i];
	}
	spent->hits.kept += hits->kept;
	if (governor->readings >= READINGS_TRUSTED)
		*spent = (struct spent){.settled_own_ns = own_spent(governor, spent)};
}

static void smooth(double *value, double added, double passed_ns)
{
	*value = *value / (1 + passed_ns / SMOOTH_NS) + added;
}

/* The rate of one that was armed all of the time since the last look. */
static void learn(const struct mon_governor *governor, struct function *function,
		  const struct mon_governor_counts *now, double cpu_ns, const struct hits *hits)
{
	double own_ns = own_of(governor, cpu_ns, hits);

	if (now->armed) {
		smooth(&function->calls, (double)(now->calls - function->before.calls), own_ns);
		smooth(&function->kept, (double)(now->emitted - function->before.emitted), own_ns);
		smooth(&function->own_ns, own_ns, own_ns);
		spend(governor, &function->armed, cpu_ns, hits);
		function->armed_cpu_ns += cpu_ns;
	}
	function->before = *now;
}

static int dearest_first(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;

	if (left->worth != right->worth)
		return left->worth < right->worth ? 1 : -1;
	return (left->function > right->function) - (left->function < right->function);
}

static uint32_t collect(struct mon_governor *governor, bool returns)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < governor->count; i++) {
		struct function *function = &governor->functions[i];
		double worth = predict(governor, function, function->no_return);

		if (function->windowed ||
		    (returns && (function->no_return || function->needs_returns)))
			continue;
		if (returns)
			worth -= predict(governor, function, true);
		if (worth > 0)
			governor->candidates[used++] = (struct candidate){worth, i};
	}
	qsort(governor->candidates, used, sizeof(*governor->candidates), dearest_first);
	return used;
}

/* As few as bring what is always armed from @armed down to @target. */
static double skip_returns(struct mon_governor *governor, double armed, double target)
{
	uint32_t used = collect(governor, true);

	for (uint32_t i = 0; i < used && armed > target; i++) {
		governor->functions[governor->candidates[i].function].no_return = true;
		governor->no_return_count++;
		armed -= governor->candidates[i].worth;
	}
	return armed;
}

static double make_windows(struct mon_governor *governor, double armed, double target)
{
	uint32_t used = collect(governor, false);

	for (uint32_t i = 0; i < used && armed > target; i++) {
		if (governor->windowed_count == MON_GOVERNOR_WINDOWED_MAX)
			break;
		governor->functions[governor->candidates[i].function].windowed = true;
		governor->windowed_count++;
		armed -= governor->candidates[i].worth;
	}
	return armed;
}

static bool can_window(const struct mon_governor *governor)
{
	return governor->config.can_window && !governor->windows_failed;
}

/* Takes as many steps as are needed; true: some. */
static bool escalate(struct mon_governor *governor)
{
	double limit = governor->config.limit, armed = predict_armed(governor);
	uint32_t skipped = governor->no_return_count, windowed = governor->windowed_count;
	bool lowered = false;

	if (governor->config.can_lower_rates && !governor->lower_rates) {
		governor->lower_rates = lowered = true;
		for (uint32_t i = 0; i < governor->count; i++)
			governor->functions[i].kept /= MON_GOVERNOR_RATE_DIVISOR;
		armed = predict_armed(governor);
	}
	if (armed > limit && governor->config.can_skip_returns)
		armed = skip_returns(governor, armed, limit);
	if (armed > limit && can_window(governor))
		armed = make_windows(governor, armed, ROOM_FOR_WINDOWS * limit);
	governor->beyond = armed > limit;
	return lowered || skipped != governor->no_return_count ||
	       windowed != governor->windowed_count;
}

static bool raise_rates(struct mon_governor *governor, double target)
{
	for (uint32_t i = 0; i < governor->count; i++)
		governor->functions[i].kept *= MON_GOVERNOR_RATE_DIVISOR;
	if (predict_armed(governor) <= target) {
		governor->lower_rates = false;
		return true;
	}
	for (uint32_t i = 0; i < governor->count; i++)
		governor->functions[i].kept /= MON_GOVERNOR_RATE_DIVISOR;
	return false;
}

/* Cost by own CPU time that may be after a step back: below the limit with room, or negligible. */
static double relaxed_to(const struct mon_governor *governor)
{
	double limit = governor->config.limit;

	if (limit * governor->recent_own_ns < MON_GOVERNOR_NEGLIGIBLE * governor->recent_ns)
		limit = governor->recent_own_ns > 0
				? MON_GOVERNOR_NEGLIGIBLE * governor->recent_ns /
					  governor->recent_own_ns
				: HUGE_VAL;
	return MON_GOVERNOR_CALM * limit;
}

/* Gives back what fits, the last step first, cheapest functions first. True: something. */
static bool relax(struct mon_governor *governor)
{
	double target = relaxed_to(governor), armed = predict_armed(governor);
	bool changed = false;

	for (int windows = 1; windows >= 0; windows--)
		for (;;) {
			struct function *best = NULL;
			double least = 0;

			for (uint32_t i = 0; i < governor->count; i++) {
				struct function *function = &governor->functions[i];
				double more =
					predict(governor, function, windows && function->no_return);

				if (!windows)
					more -= predict(governor, function, true);
				if (windows ? !function->windowed
					    : !function->no_return || function->windowed)
					continue;
				if (!best || more < least) {
					best = function;
					least = more;
				}
			}
			if (!best || armed + least > target)
				break;
			armed += least;
			changed = true;
			if (windows) {
				best->windowed = false;
				governor->windowed_count--;
			} else {
				best->no_return = false;
				governor->no_return_count--;
			}
		}
	if (!changed && governor->lower_rates && !governor->no_return_count &&
	    !governor->windowed_count)
		changed = raise_rates(governor, target);
	return changed;
}

/* All windows have the same share: what is left of the limit, by what they take while open. */
static double find_share(const struct mon_governor *governor)
{
	double limit = governor->config.limit, armed = predict_armed(governor), taken = 0,
	       after = 0;
	double own = governor->recent_ns > 0 ? governor->recent_own_ns / governor->recent_ns : 0;
	double most = MON_GOVERNOR_OPENS_PER_S * WINDOW_MEAN_S, left, share;

	if (!governor->windowed_count)
		return 0;
	for (uint32_t i = 0; i < governor->count; i++) {
		const struct function *function = &governor->functions[i];
		double cost = predict(governor, function, function->no_return);

		double hits = function->own_ns > 0
				      ? function->calls * governor->entry[function->stepped].ns /
						function->own_ns
				      : 0;

		if (!function->windowed)
			continue;
		taken += cost / (1 + armed + cost);
		after += hits / (1 + armed + hits);
	}
	if (own > 0)
		limit -= governor->debt_ns / (own * (double)MON_GOVERNOR_PAYBACK_NS);
	if (limit < PAYBACK_FLOOR * governor->config.limit)
		limit = PAYBACK_FLOOR * governor->config.limit;
	left = (limit - armed) / (1 + limit);
	if (left <= 0)
		return 0;
	share = taken > 0 ? left / (taken + after * GRACE_S / WINDOW_MEAN_S) : 1;
	/* The next one opens before that is over. */
	if (share > WINDOW_MEAN_S / (WINDOW_MEAN_S + GRACE_S))
		share = taken > after ? (left - after) / (taken - after) : 1;
	if (share > most / governor->windowed_count)
		share = most / governor->windowed_count;
	if (share < MON_GOVERNOR_SHARE_MIN)
		share = MON_GOVERNOR_SHARE_MIN;
	return share < MON_GOVERNOR_SHARE_MAX ? share : MON_GOVERNOR_SHARE_MAX;
}

/* Would one step back fit, with room? */
static bool is_calm(const struct mon_governor *governor)
{
	return mon_governor_overhead(governor) < MON_GOVERNOR_CALM * governor->config.limit;
}

static bool decide(struct mon_governor *governor, double overhead, bool negligible, mon_ns now)
{
	bool changed = false;

	/* Windows are steered by their share; what is always armed decides on more steps. */
	if (governor->windowed_count && can_window(governor))
		overhead = predict_armed(governor);
	if (!negligible && overhead > governor->config.limit) {
		governor->calm_since_ns = 0;
		changed = escalate(governor);
		if (changed && governor->relaxed_ns &&
		    now - governor->relaxed_ns < 2 * governor->calm_wait_ns &&
		    governor->calm_wait_ns < CALM_WAIT_MAX_NS)
			governor->calm_wait_ns *= 2;
		return changed;
	}
	governor->beyond = false;
	if (mon_governor_step(governor) == MON_GOVERNOR_FREE)
		return false;
	if (!governor->windowed_count && !is_calm(governor) && !negligible) {
		governor->calm_since_ns = 0;
		return false;
	}
	if (!governor->calm_since_ns)
		governor->calm_since_ns = now;
	if (now - governor->calm_since_ns < governor->calm_wait_ns)
		return false;
	governor->calm_since_ns = now;
	changed = relax(governor);
	if (changed)
		governor->relaxed_ns = now;
	return changed;
}

/* Nobody owes what is let be, or more than MON_GOVERNOR_PAYBACK_NS of the limit can pay. */
static void keep_debt(struct mon_governor *governor, double added_ns, bool negligible)
{
	double limit = governor->config.limit, cpu = 0, most_ns;

	if (governor->recent_ns > 0)
		cpu = (governor->recent_cost_ns + governor->recent_own_ns) / governor->recent_ns;
	most_ns = limit / (1 + limit) * cpu * (double)MON_GOVERNOR_PAYBACK_NS;
	if (!negligible || added_ns < 0)
		governor->debt_ns += added_ns;
	if (governor->debt_ns > most_ns)
		governor->debt_ns = most_ns;
	if (governor->debt_ns < 0)
		governor->debt_ns = 0;
}

bool mon_governor_look(struct mon_governor *governor, const struct mon_governor_look *look)
{
	double passed_ns, cpu_ns, own_ns, cost_ns, overhead, share;
	bool changed = false, negligible, first = !governor->looked;
	struct hits hits = {0};

	passed_ns = (double)(look->now - governor->looked_ns);
	cpu_ns = (double)(look->cpu_ns > governor->cpu_ns ? look->cpu_ns - governor->cpu_ns : 0);
	for (uint32_t i = 0; i < governor->count && !first; i++)
		count(governor, &governor->functions[i], &look->functions[i], &hits);
	own_ns = own_of(governor, cpu_ns, &hits);
	cost_ns = cpu_ns - own_ns;
	for (uint32_t i = 0; i < governor->count; i++) {
		if (first)
			governor->functions[i].before = look->functions[i];
		else
			learn(governor, &governor->functions[i], &look->functions[i], cpu_ns,
			      &hits);
	}
	governor->looked = true;
	governor->looked_ns = look->now;
	governor->cpu_ns = look->cpu_ns;
	if (first) {
		governor->decided_ns = look->now;
		return false;
	}
	spend(governor, &governor->spent, cpu_ns, &hits);
	governor->spent_cpu_ns += cpu_ns;
	smooth(&governor->recent_cost_ns, cost_ns, passed_ns);
	smooth(&governor->recent_own_ns, own_ns, passed_ns);
	smooth(&governor->recent_ns, passed_ns, passed_ns);
	negligible = governor->recent_cost_ns < MON_GOVERNOR_NEGLIGIBLE * governor->recent_ns;
	keep_debt(governor, cost_ns - governor->config.limit * own_ns, negligible);
	governor->undecided_ns += cpu_ns;
	if (governor->undecided_ns >= (double)LOOK_LEAST_NS ||
	    look->now - governor->decided_ns >= MON_NS_PER_S / 2) {
		governor->undecided_ns = 0;
		governor->decided_ns = look->now;
		overhead = own_ns > 0 ? cost_ns / own_ns : 0;
		if (mon_governor_overhead(governor) > overhead)
			overhead = mon_governor_overhead(governor);
		changed = decide(governor, overhead, negligible, look->now);
		if (changed) { /* what was before says nothing of what is now */
			governor->recent_cost_ns = governor->recent_own_ns = 0;
			governor->recent_ns = 0;
		}
		if (mon_governor_step(governor) == MON_GOVERNOR_FREE)
			governor->debt_ns = 0;
	}
	share = find_share(governor);
	governor->share = share;
	return changed;
}

struct mon_governor_order mon_governor_order(const struct mon_governor *governor, uint32_t function)
{
	const struct function *of = &governor->functions[function];

	return (struct mon_governor_order){
		.no_return = of->no_return,
		.windowed = of->windowed,
		.share = of->windowed ? governor->share : 1,
	};
}

bool mon_governor_lower_rates(const struct mon_governor *governor)
{
	return governor->lower_rates;
}

enum mon_governor_step mon_governor_step(const struct mon_governor *governor)
{
	if (governor->beyond)
		return MON_GOVERNOR_BEYOND;
	if (governor->windowed_count)
		return MON_GOVERNOR_WINDOWS;
	if (governor->no_return_count)
		return MON_GOVERNOR_NO_RETURNS;
	return governor->lower_rates ? MON_GOVERNOR_RATES : MON_GOVERNOR_FREE;
}

void mon_governor_give_up_windows(struct mon_governor *governor)
{
	governor->windows_failed = true;
	for (uint32_t i = 0; i < governor->count; i++)
		governor->functions[i].windowed = false;
	governor->windowed_count = 0;
}

void mon_governor_tally(const struct mon_governor *governor, uint32_t *no_return_out,
			uint32_t *windowed_out)
{
	*no_return_out = governor->no_return_count;
	*windowed_out = governor->windowed_count;
}

double mon_governor_overhead(const struct mon_governor *governor)
{
	return governor->recent_own_ns > 0 ? governor->recent_cost_ns / governor->recent_own_ns : 0;
}

void mon_governor_sums(const struct mon_governor *governor, uint64_t *cost_ns_out,
		       uint64_t *own_ns_out)
{
	double own_ns = own_spent(governor, &governor->spent);

	*cost_ns_out = (uint64_t)(governor->spent_cpu_ns - own_ns);
	*own_ns_out = (uint64_t)own_ns;
}

double mon_governor_overhead_of_run(const struct mon_governor *governor)
{
	double own_ns = own_spent(governor, &governor->spent);

	return own_ns > 0 ? (governor->spent_cpu_ns - own_ns) / own_ns : 0;
}

uint64_t mon_governor_armed_own_ns(const struct mon_governor *governor, uint32_t function)
{
	const struct function *of = &governor->functions[function];
	double own_ns = own_spent(governor, &of->armed);

	/* A small difference of two large numbers, one of them an estimate, is none. */
	return own_ns < of->armed_cpu_ns / OWN_TRUSTED ? 0 : (uint64_t)own_ns;
}

double mon_governor_full_cost(const struct mon_governor *governor, uint32_t function)
{
	return predict(governor, &governor->functions[function], false);
}

const char *mon_governor_step_name(enum mon_governor_step step)
{
	static const char *const names[] = {
		[MON_GOVERNOR_FREE] = "none",
		[MON_GOVERNOR_RATES] = "lower rates",
		[MON_GOVERNOR_NO_RETURNS] = "fewer returns",
		[MON_GOVERNOR_WINDOWS] = "a share of the time",
		[MON_GOVERNOR_BEYOND] = "beyond the limit",
	};

	return names[step];
}
