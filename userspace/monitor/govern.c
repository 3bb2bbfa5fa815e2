// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Looks are made each quarter of a second, in the first second each tenth, and whenever a function
 * was armed or disarmed, so that between two looks each function is armed either all the time or
 * not at all. Windows have random lengths and pauses: a target that works in step with them would
 * be seen wrong. Bounds: MON_GOVERNOR_WINDOWED_MAX windows, MON_COVERAGE_ROWS_MAX rows that wait.
 */
#include "monitor/monitor_internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "monitor/govern.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define LOOK_NS (MON_NS_PER_S / 4)
#define LOOK_FIRST_NS (MON_NS_PER_S / 10)
#define FIRST_NS (2 * MON_NS_PER_S)
#define LOOK_MANY_NS MON_NS_PER_S /* where a look reads much */
#define MANY_COUNTERS 100000
#define SHUT_NS (MON_NS_PER_S / 2) /* until it is asked again whether a window may open */
#define NAMES_SHOWN 3
#define SAID_BYTES 512
#define KEPT_WITHIN 1.05 /* of the limit: steering is no better */

/* Of one function. */
struct armed {
	mon_ns sum_ns;	 /* of times that are over */
	mon_ns since_ns; /* 0: it is not armed now */
	bool alone;	 /* it left the shared link */
};

struct window {
	uint32_t function;
	bool open;
	mon_ns next_ns; /* when it opens or closes */
};

struct mon_govern {
	struct mon_monitor *monitor;
	struct mon_governor *governor;
	double limit;
	uint32_t count;
	struct mon_governor_counts *counts;
	struct armed *armed;
	struct window windows[MON_GOVERNOR_WINDOWED_MAX];
	size_t window_count;
	clockid_t clocks[MON_TARGETS_MAX]; /* of the targets' CPU time */
	uint64_t cpu_ns[MON_TARGETS_MAX];  /* as last read: what ended keeps it */
	size_t clock_count;
	mon_ns begun_ns, next_look_ns, look_ns;
	bool changed;	    /* orders are to be carried out */
	unsigned timings;   /* of hits, that were asked for */
	bool times_form[2]; /* which ones are of use; [1]: single-stepped */
	bool times_entry, times_full;
	uint64_t random;
	enum mon_governor_step told;
	char said[MON_GOVERNOR_BEYOND + 1][SAID_BYTES]; /* of each step, its last line; "": none */
	bool repeats_told;
	mon_ns acted_ns; /* the first orders; 0: there were none */
	uint64_t acted_cost_ns, acted_own_ns;
};

_Static_assert(sizeof(struct armed) + sizeof(struct mon_governor_counts) <= 64,
	       "the plan knows what a function takes");

/* xorshift64*: windows need no secret. */
static double random_share(struct mon_govern *govern)
{
	govern->random ^= govern->random >> 12;
	govern->random ^= govern->random << 25;
	govern->random ^= govern->random >> 27;
	return (double)((govern->random * 0x2545f4914f6cdd1dull) >> 11) / 9007199254740992.0;
}

static uint64_t read_cpu(struct mon_govern *govern, mon_ns now)
{
	uint64_t sum = 0;

	if (!govern->clock_count) /* every process: one CPU is the measure */
		return now - govern->begun_ns;
	for (size_t i = 0; i < govern->clock_count; i++) {
		struct timespec at;

		if (!clock_gettime(govern->clocks[i], &at))
			govern->cpu_ns[i] =
				(uint64_t)at.tv_sec * MON_NS_PER_S + (uint64_t)at.tv_nsec;
		sum += govern->cpu_ns[i];
	}
	return sum;
}

static bool has_window(const struct mon_govern *govern, uint32_t function)
{
	for (size_t i = 0; i < govern->window_count; i++)
		if (govern->windows[i].function == function)
			return true;
	return false;
}

static void look(struct mon_govern *govern)
{
	struct mon_capture *capture = govern->monitor->capture;
	struct mon_governor_look look = {.functions = govern->counts};

	for (uint32_t i = 0; i < govern->count; i++) {
		struct mon_governor_counts *counts = &govern->counts[i];

		mon_capture_read_calls(capture, i, &counts->calls, &counts->returns,
				       &counts->emitted);
		/* While links overlap the others' hits are ignored by one of the two. */
		if (govern->armed[i].alone)
			counts->ignored = mon_capture_ignored(capture, i);
	}
	look.now = mon_clock_now(&mon_clock_system);
	look.cpu_ns = read_cpu(govern, look.now);
	if (mon_governor_look(govern->governor, &look))
		govern->changed = true;
	/* What it was armed from here on. */
	for (uint32_t i = 0; i < govern->count; i++)
		govern->counts[i].armed = govern->armed[i].since_ns != 0;
	govern->next_look_ns =
		look.now + (look.now - govern->begun_ns < FIRST_NS && govern->look_ns < LOOK_MANY_NS
				    ? LOOK_FIRST_NS
				    : govern->look_ns);
}

/*
 * Costs are measured again as long as something depends on them: one of the up to four figures at a
 * time, in turn.
 */
static void time_hits(struct mon_govern *govern)
{
	struct mon_capture *capture = govern->monitor->capture;
	struct mon_trap_reading reading;
	bool stepped, with_return;

	if (!mon_capture_read_trap(capture, &reading))
		mon_governor_note_cost(govern->governor, reading.stepped, reading.with_return,
				       reading.ns);
	if (mon_governor_step(govern->governor) == MON_GOVERNOR_FREE)
		return;
	govern->timings++;
	stepped = govern->times_form[0] && govern->times_form[1] ? govern->timings / 2 % 2
								 : govern->times_form[1];
	with_return = govern->times_entry && govern->times_full ? govern->timings % 2
								: govern->times_full;
	(void)mon_capture_ask_trap(capture, stepped, with_return);
}

int mon_govern_new(struct mon_monitor *monitor, const struct mon_trap_cost *cost,
		   struct mon_govern **govern_out)
{
	const struct mon_function_set *set = &monitor->watched.set;
	const struct mon_config *config = &monitor->config;
	struct mon_governor_config options = {
		.limit = config->max_overhead,
		.cost = *cost,
		.record_ns = mon_governor_record_ns(config->stack_frames > 0, config->text_count),
		.returns = monitor->returns,
		.skips_returns = config->counts_only,
		.can_skip_returns =
			monitor->mode == MON_MODE_SESSION && monitor->returns && !config->keep_none,
		.can_window = !config->persist,
	};
	struct mon_govern *govern = calloc(1, sizeof(*govern));
	MON_FREE uint8_t *traits = calloc(set->function_count + 1, sizeof(*traits));
	uint64_t per_function = sizeof(*govern->armed) + sizeof(*govern->counts);
	int result = 0;

	if (!govern || !traits) {
		free(govern);
		return -ENOMEM;
	}
	govern->monitor = monitor;
	govern->limit = config->max_overhead;
	govern->count = (uint32_t)set->function_count;
	govern->times_full = options.returns;
	govern->times_entry = !options.returns || options.can_skip_returns;
	for (uint32_t i = 0; i < govern->count; i++) {
		const struct mon_policy *policy = &monitor->policies[i];

		if (set->functions[i].cost != MON_COST_EMULATED)
			traits[i] |= MON_GOVERNOR_STEPPED;
		govern->times_form[set->functions[i].cost != MON_COST_EMULATED] = true;
		if (policy->slow_ns || (policy->flags & MON_POLICY_KEEP_FAILED))
			traits[i] |= MON_GOVERNOR_NEEDS_RETURNS;
		options.can_lower_rates |= !config->keep_none && monitor->rules[i]->automatic;
	}
	govern->counts =
		mon_budget_calloc(monitor->budget, MON_BUDGET_TOTALS, govern->count * per_function);
	if (!govern->counts)
		result = -ENOMEM;
	if (!result)
		result = mon_governor_new(&options, govern->count, traits, monitor->budget,
					  &govern->governor);
	if (!result && options.can_window)
		result = mon_ledger_make_room(monitor->ledger);
	if (result) {
		mon_govern_free(govern);
		return result;
	}
	govern->armed = (void *)(govern->counts + govern->count);
	for (uint32_t i = 0; i < govern->count; i++)
		govern->armed[i].since_ns = monitor->armed_ns;
	for (size_t i = 0; i < monitor->watched.target_count; i++)
		if (!clock_getcpuclockid(monitor->watched.targets[i].pid,
					 &govern->clocks[govern->clock_count]))
			govern->clock_count++;
	(void)!getrandom(&govern->random, sizeof(govern->random), 0);
	govern->random |= 1;
	govern->begun_ns = monitor->armed_ns;
	govern->look_ns =
		(uint64_t)govern->count * (uint64_t)sysconf(_SC_NPROCESSORS_CONF) > MANY_COUNTERS
			? LOOK_MANY_NS
			: LOOK_NS;
	look(govern);
	*govern_out = govern;
	return 0;
}

void mon_govern_free(struct mon_govern *govern)
{
	if (!govern)
		return;
	mon_governor_free(govern->governor);
	mon_budget_free_bytes(govern->monitor->budget, MON_BUDGET_TOTALS, govern->counts,
			      govern->count * (sizeof(*govern->armed) + sizeof(*govern->counts)));
	free(govern);
}

static void disarmed(struct mon_govern *govern, uint32_t function, mon_ns at_ns, const char *why)
{
	struct armed *armed = &govern->armed[function];

	if (!armed->since_ns)
		return;
	armed->sum_ns += at_ns - armed->since_ns;
	(void)mon_ledger_cover(govern->monitor->ledger, function, armed->since_ns, at_ns, why);
	armed->since_ns = 0;
}

/* --- windows --------------------------------------------------------------------------------- */

/* Whatever errno it is then: what it had below /proc is gone. */
static bool targets_ended(const struct mon_monitor *monitor)
{
	for (size_t i = 0; i < monitor->watched.target_count; i++)
		if (!mon_target_check(&monitor->watched.targets[i]))
			return false;
	return monitor->watched.target_count > 0;
}

static void open_window(struct mon_govern *govern, struct window *window, mon_ns now)
{
	struct mon_monitor *monitor = govern->monitor;
	struct mon_governor_order order = mon_governor_order(govern->governor, window->function);
	mon_ns from_ns;
	int result;

	/* One row for each that is open must still fit. */
	if ((order.windowed && order.share <= 0) ||
	    !mon_ledger_has_room(monitor->ledger, 2 * govern->window_count)) {
		window->next_ns = now + SHUT_NS;
		return;
	}
	result = mon_capture_window_open(monitor->capture, &monitor->watched.set, window->function,
					 &from_ns);
	if (result) {
		if (result != -ESRCH && !targets_ended(monitor))
			mon_log(MON_LOG_VERBOSE, "%s is not armed for now: %s",
				MON_ESCAPED(monitor->watched.set.functions[window->function].name),
				strerror(-result));
		window->next_ns = now + 2 * SHUT_NS;
		return;
	}
	look(govern);
	govern->armed[window->function].since_ns = from_ns;
	govern->counts[window->function].armed = true;
	window->open = true;
	window->next_ns =
		from_ns + MON_WINDOW_NS_MIN +
		(mon_ns)(random_share(govern) * (double)(MON_WINDOW_NS_MAX - MON_WINDOW_NS_MIN));
}

static mon_ns pause_ns(struct mon_govern *govern, uint32_t function)
{
	double share = mon_governor_order(govern->governor, function).share;
	double mean_ns = (double)(MON_WINDOW_NS_MIN + MON_WINDOW_NS_MAX) / 2;

	if (share <= 0)
		return SHUT_NS;
	return (mon_ns)(mean_ns * (1 / share - 1) * (0.5 + random_share(govern)));
}

static void close_window(struct mon_govern *govern, struct window *window)
{
	mon_ns to_ns;

	mon_capture_window_close(govern->monitor->capture, window->function, &to_ns);
	look(govern);
	disarmed(govern, window->function, to_ns, "window");
	govern->counts[window->function].armed = false;
	window->open = false;
	window->next_ns = to_ns + pause_ns(govern, window->function);
}

/* One that is watched all the time again keeps the link that it has. */
static void act_on_windows(struct mon_govern *govern, mon_ns now)
{
	for (size_t i = 0; i < govern->window_count; i++) {
		struct window *window = &govern->windows[i];

		if (!mon_governor_order(govern->governor, window->function).windowed) {
			if (!window->open)
				open_window(govern, window, now);
			if (window->open)
				*window = govern->windows[--govern->window_count];
			continue;
		}
		if (now < window->next_ns)
			continue;
		if (window->open)
			close_window(govern, window);
		else
			open_window(govern, window, now);
	}
}

/* --- orders ---------------------------------------------------------------------------------- */

static void begin_windows(struct mon_govern *govern, const uint32_t *functions, size_t count,
			  mon_ns at_ns)
{
	look(govern);
	for (size_t i = 0; i < count; i++) {
		uint32_t function = functions[i];

		disarmed(govern, function, at_ns, "until the limit was passed");
		govern->counts[function].armed = false;
		govern->armed[function].alone = true;
		govern->windows[govern->window_count++] = (struct window){
			.function = function,
			.next_ns = at_ns + (mon_ns)(random_share(govern) *
						    (double)pause_ns(govern, function)),
		};
	}
}

/* Functions that are to have windows and have none. */
static size_t collect(const struct mon_govern *govern, bool alone, uint32_t *functions)
{
	size_t count = 0, room = MON_GOVERNOR_WINDOWED_MAX - govern->window_count;

	for (uint32_t i = 0; i < govern->count && count < room; i++)
		if (govern->armed[i].alone == alone && !has_window(govern, i) &&
		    mon_governor_order(govern->governor, i).windowed)
			functions[count++] = i;
	return count;
}

static void release(struct mon_govern *govern)
{
	struct mon_monitor *monitor = govern->monitor;
	uint32_t functions[MON_GOVERNOR_WINDOWED_MAX];
	size_t count = collect(govern, true, functions);
	mon_ns at_ns;
	int result;

	/* What had windows before is alone already. */
	for (size_t i = 0; i < count; i++) {
		mon_capture_window_close(monitor->capture, functions[i], &at_ns);
		begin_windows(govern, &functions[i], 1, at_ns);
	}
	count = collect(govern, false, functions);
	if (!count)
		return;
	result = mon_capture_release(monitor->capture, &monitor->watched.set, functions, count,
				     &at_ns);
	if (!result) {
		begin_windows(govern, functions, count, at_ns);
		return;
	}
	/* It ended; the run will know in a moment. */
	if (result == -ESRCH || targets_ended(monitor))
		return;
	mon_log(MON_LOG_WARNING,
		"the limit of %.3g %% cannot be kept by arming functions for a share of the time "
		"(%s): watch fewer functions",
		100 * govern->limit, strerror(-result));
	mon_governor_give_up_windows(govern->governor);
}

/* Once, and again only when it says something else. */
static void say(struct mon_govern *govern, enum mon_governor_step step, const char *line)
{
	char *last = govern->said[step];

	if (strncmp(last, line, SAID_BYTES - 1) != 0) {
		mon_log(step == MON_GOVERNOR_BEYOND ? MON_LOG_WARNING : MON_LOG_INFO, "%s", line);
		(void)snprintf(last, SAID_BYTES, "%s", line);
	} else if (step != govern->told && !govern->repeats_told) {
		govern->repeats_told = true;
		mon_log(MON_LOG_INFO,
			"limit of %.3g %%: steps are taken and taken back as before, and told only "
			"when they are new; monbpf status shows where it is",
			100 * govern->limit);
	}
	govern->told = step;
}

static void tell(struct mon_govern *govern)
{
	const struct mon_function_set *set = &govern->monitor->watched.set;
	enum mon_governor_step step = mon_governor_step(govern->governor);
	uint32_t no_return, windowed, shown = 0;
	char limit[32], names[3 * 128] = "", line[SAID_BYTES];
	size_t used = 0;

	mon_governor_tally(govern->governor, &no_return, &windowed);
	(void)snprintf(limit, sizeof(limit), "%.3g %%", 100 * govern->limit);
	for (uint32_t i = 0; i < govern->count && shown < NAMES_SHOWN && windowed; i++)
		if (mon_governor_order(govern->governor, i).windowed)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%.100s",
						 shown++ ? ", " : "",
						 MON_ESCAPED(set->functions[i].name));
	switch (step) {
	case MON_GOVERNOR_FREE:
		(void)snprintf(
			line, sizeof(line),
			"the target pays less than %s again: everything is watched as before",
			limit);
		break;
	case MON_GOVERNOR_RATES:
		(void)snprintf(line, sizeof(line),
			       "limit of %s: calls are kept at a tenth of the rate", limit);
		break;
	case MON_GOVERNOR_NO_RETURNS:
		(void)snprintf(line, sizeof(line),
			       "limit of %s: of %u function%s 1 call in %d and those that are kept "
			       "are followed to their return; times are estimates from these",
			       limit, no_return, no_return == 1 ? "" : "s", MON_FOLLOW_N);
		break;
	case MON_GOVERNOR_WINDOWS:
		(void)snprintf(line, sizeof(line),
			       "limit of %s: %u function%s armed for a share of the time (%s%s); "
			       "totals are scaled and marked ~",
			       limit, windowed, windowed == 1 ? " is" : "s are", names,
			       windowed > shown ? ", ..." : "");
		break;
	case MON_GOVERNOR_BEYOND:
		/* The figure is of the moment. */
		(void)snprintf(line, sizeof(line), "%s", govern->said[step]);
		if (!line[0])
			(void)snprintf(line, sizeof(line),
				       "the limit of %s cannot be kept: hits cost %.3g %% of the "
				       "target's CPU time%s; watch fewer functions",
				       limit, 100 * mon_governor_overhead_of_run(govern->governor),
				       govern->monitor->config.persist
					       ? ", and with --persist functions are armed all the "
						 "time"
					       : "");
		break;
	}
	say(govern, step, line);
}

/* Why the run cost more than it was allowed, if it did. */
static void tell_end(const struct mon_govern *govern)
{
	double of_run = mon_governor_overhead_of_run(govern->governor), since = 0;
	mon_ns lasted_ns = mon_clock_now(&mon_clock_system) - govern->begun_ns;
	uint64_t cost_ns, own_ns;
	char first[32], why[192];

	/* As the report rounds it. */
	if (of_run < govern->limit + 0.0005)
		return;
	mon_governor_sums(govern->governor, &cost_ns, &own_ns);
	if (govern->acted_ns && own_ns > govern->acted_own_ns)
		since = (double)(cost_ns - govern->acted_cost_ns) /
			(double)(own_ns - govern->acted_own_ns);
	(void)mon_format_ns(first, sizeof(first), govern->acted_ns - govern->begun_ns);
	if ((double)cost_ns < MON_GOVERNOR_NEGLIGIBLE * (double)lasted_ns)
		(void)snprintf(
			why, sizeof(why),
			"it is let be below %.0f %% of a CPU, however little the target does",
			100 * MON_GOVERNOR_NEGLIGIBLE);
	else if (govern->said[MON_GOVERNOR_BEYOND][0])
		(void)snprintf(why, sizeof(why),
			       "the limit could not be kept; watch fewer functions");
	else if (!govern->acted_ns)
		(void)snprintf(why, sizeof(why), "the run was over before the limit acted");
	else if (lasted_ns - (govern->acted_ns - govern->begun_ns) < MON_GOVERNOR_PAYBACK_NS)
		(void)snprintf(why, sizeof(why),
			       "what the first %s cost, before the limit acted, is paid back over "
			       "%.0f s, and the run was shorter",
			       first, (double)MON_GOVERNOR_PAYBACK_NS / 1e9);
	else if (since <= KEPT_WITHIN * govern->limit)
		(void)snprintf(why, sizeof(why),
			       "that was in the first %s, before the limit acted; +%.1f %% since",
			       first, 100 * since);
	else
		(void)snprintf(why, sizeof(why),
			       "its calls came and went faster than the limit acts, which looks "
			       "each %.2g s; +%.1f %% since the first %s",
			       (double)govern->look_ns / 1e9, 100 * since, first);
	mon_log(MON_LOG_INFO, "the target paid +%.1f %% CPU, above the limit of %.3g %%: %s",
		100 * of_run, 100 * govern->limit, why);
}

static void carry_out(struct mon_govern *govern)
{
	govern->changed = false;
	if (!govern->acted_ns) {
		govern->acted_ns = mon_clock_now(&mon_clock_system);
		mon_governor_sums(govern->governor, &govern->acted_cost_ns, &govern->acted_own_ns);
	}
	release(govern);
	for (uint32_t i = 0; i < govern->count; i++)
		mon_monitor_write_policy(govern->monitor, i,
					 (uint64_t)mon_look_rate(govern->monitor->look, i));
	tell(govern);
}

/* --- for the run ----------------------------------------------------------------------------- */

mon_ns mon_govern_next(const struct mon_govern *govern)
{
	mon_ns next;

	if (!govern)
		return UINT64_MAX;
	next = govern->next_look_ns;
	for (size_t i = 0; i < govern->window_count; i++)
		if (govern->windows[i].next_ns < next)
			next = govern->windows[i].next_ns;
	return next;
}

void mon_govern_act(struct mon_govern *govern, mon_ns now)
{
	if (now >= govern->next_look_ns) {
		time_hits(govern);
		look(govern);
	}
	if (govern->changed)
		carry_out(govern);
	act_on_windows(govern, now);
	if (mon_governor_step(govern->governor) == MON_GOVERNOR_BEYOND &&
	    govern->told != MON_GOVERNOR_BEYOND)
		tell(govern);
}

void mon_govern_account(struct mon_govern *govern, uint32_t function, mon_ns now,
			mon_ns *armed_ns_out)
{
	const struct armed *armed;

	if (!govern)
		return;
	armed = &govern->armed[function];
	*armed_ns_out = armed->sum_ns + (armed->since_ns ? now - armed->since_ns : 0);
}

void mon_govern_share(struct mon_govern *govern, uint32_t function, mon_ns now)
{
	uint64_t cost_ns, own_ns;

	if (!govern || !govern->armed[function].alone)
		return;
	mon_governor_sums(govern->governor, &cost_ns, &own_ns);
	mon_ledger_set_share(govern->monitor->ledger, function, now - govern->monitor->armed_ns,
			     own_ns, mon_governor_armed_own_ns(govern->governor, function));
}

void mon_govern_end(struct mon_govern *govern)
{
	if (!govern)
		return;
	for (uint32_t i = 0; i < govern->count; i++) {
		mon_ns to_ns;

		if (!govern->armed[i].alone || !govern->armed[i].since_ns)
			continue;
		mon_capture_window_close(govern->monitor->capture, i, &to_ns);
		look(govern);
		disarmed(govern, i, to_ns, "window");
		govern->counts[i].armed = false;
	}
	govern->window_count = 0;
	look(govern);
	tell_end(govern);
}

void mon_govern_policy(const struct mon_govern *govern, uint32_t function, bool automatic,
		       struct mon_policy *policy)
{
	uint32_t one_in = mon_sample_word_n(policy->sample);

	if (!govern)
		return;
	if (automatic && one_in && mon_governor_lower_rates(govern->governor))
		policy->sample = mon_sample_word(one_in * MON_GOVERNOR_RATE_DIVISOR);
	if (mon_governor_order(govern->governor, function).no_return)
		policy->flags |= MON_POLICY_NO_RETURN;
}

const struct mon_governor *mon_govern_governor(const struct mon_govern *govern)
{
	return govern ? govern->governor : NULL;
}

void mon_govern_overhead(const struct mon_govern *govern, struct mon_overhead *overhead_out)
{
	*overhead_out = (struct mon_overhead){0};
	if (!govern)
		return;
	overhead_out->limit = govern->limit;
	mon_governor_sums(govern->governor, &overhead_out->cost_ns, &overhead_out->own_ns);
}
