// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The governor against a naive model of a target: so many calls by its own CPU time, which is what
 * hits leave. The model knows the true cost; the governor is told counters, as in life.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "base/cleanup.h"
#include "bpf/policy.h"
#include "control/governor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS_MAX 200
#define LOOK_NS (MON_NS_PER_S / 4)
#define S(seconds) ((unsigned)((seconds)*4))

struct model {
	struct mon_governor *governor;
	uint32_t count;
	double rate[FUNCTIONS_MAX];	/* calls by second of own CPU time */
	uint8_t stepped[FUNCTIONS_MAX]; /* 1: MON_GOVERNOR_STEPPED */
	double truth[FUNCTIONS_MAX];	/* calls, seen or not */
	bool closed[FUNCTIONS_MAX];	/* just now: its link is still there and costs */
	struct mon_governor_counts counts[FUNCTIONS_MAX];
	struct mon_trap_cost cost; /* the true one */
	double busy;		   /* share of one CPU; 1: as fast as it can */
	bool skips;		   /* returns of every function, always */
	double own_ns, cost_ns;
	mon_ns now;
	uint64_t cpu_ns;
	unsigned changes;
};

static const struct mon_trap_cost costs = {.entry_ns = {700, 9000}, .full_ns = {1400, 10000}};

static void begin_as(struct model *model, uint32_t count, bool stepped,
		     const struct mon_governor_config *config)
{
	memset(model, 0, sizeof(*model));
	model->skips = config->skips_returns;
	model->stepped[0] = stepped;
	model->count = count;
	model->cost = costs;
	model->busy = 1;
	model->now = MON_NS_PER_S;
	for (uint32_t i = 0; i < count; i++)
		model->counts[i].armed = true;
	assert_int_equal(mon_governor_new(config, count, model->stepped, NULL, &model->governor),
			 0);
	assert_false(mon_governor_look(
		model->governor,
		&(struct mon_governor_look){.now = model->now, .functions = model->counts}));
}

static struct mon_governor_config config_of(double limit, bool skip, bool window)
{
	return (struct mon_governor_config){
		.limit = limit,
		.cost = costs,
		.record_ns = 250,
		.returns = true,
		.can_lower_rates = true,
		.can_skip_returns = skip,
		.can_window = window,
	};
}

static void begin_with(struct model *model, uint32_t count, bool stepped, double limit, bool skip,
		       bool window)
{
	const struct mon_governor_config config = config_of(limit, skip, window);

	begin_as(model, count, stepped, &config);
}

static void begin(struct model *model, uint32_t count, double limit, bool skip, bool window)
{
	begin_with(model, count, false, limit, skip, window);
}

/* One in MON_FOLLOW_N is more than are kept. */
static double hit_ns(const struct model *model, uint32_t i, bool no_return)
{
	double kept = mon_governor_lower_rates(model->governor) ? 0.001 : 0.01;
	double entry = model->cost.entry_ns[model->stepped[i]];
	double full = model->cost.full_ns[model->stepped[i]];

	return entry + (no_return ? 1.0 / MON_FOLLOW_N : 1) * (full - entry) + kept * 250;
}

/* A quarter of a second: each function is armed for all of it or not at all. */
static void step(struct model *model)
{
	double kept = mon_governor_lower_rates(model->governor) ? 0.001 : 0.01, load = 0;
	double cpu_ns = model->busy * (double)LOOK_NS, own_ns;

	for (uint32_t i = 0; i < model->count; i++) {
		struct mon_governor_order order = mon_governor_order(model->governor, i);

		model->closed[i] = model->counts[i].armed;
		model->counts[i].armed = !order.windowed || (double)rand() / RAND_MAX < order.share;
		model->closed[i] &= !model->counts[i].armed;
		if (model->closed[i])
			load += model->rate[i] * model->cost.entry_ns[model->stepped[i]] / 1e9;
		if (model->counts[i].armed)
			load += model->rate[i] * hit_ns(model, i, order.no_return || model->skips) /
				1e9;
	}
	own_ns = cpu_ns / (1 + load);
	for (uint32_t i = 0; i < model->count; i++) {
		double calls = model->rate[i] * own_ns / 1e9;

		model->truth[i] += calls;
		if (model->closed[i])
			model->counts[i].ignored += (uint64_t)calls;
		if (!model->counts[i].armed)
			continue;
		model->counts[i].calls += (uint64_t)calls;
		model->counts[i].returns += (uint64_t)calls;
		model->counts[i].emitted += (uint64_t)(calls * kept);
	}
	model->own_ns += own_ns;
	model->cost_ns += cpu_ns - own_ns;
	model->now += LOOK_NS;
	model->cpu_ns += (uint64_t)cpu_ns;
	model->changes += mon_governor_look(
		model->governor, &(struct mon_governor_look){.now = model->now,
							     .cpu_ns = model->cpu_ns,
							     .functions = model->counts});
}

static void steps(struct model *model, unsigned count)
{
	while (count--)
		step(model);
}

static void end(struct model *model)
{
	mon_governor_free(model->governor);
}

static void test_below_the_limit_nothing_is_done(void **state)
{
	struct model model;

	(void)state;
	begin(&model, 3, 0.10, true, true);
	model.rate[0] = 50000; /* 7 % */
	model.rate[1] = 1000;
	steps(&model, S(60));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_FREE);
	assert_int_equal(model.changes, 0);
	/* What it says is what it was. */
	assert_true(mon_governor_overhead_of_run(model.governor) > 0.068);
	assert_true(mon_governor_overhead_of_run(model.governor) < 0.078);
	end(&model);
}

static void test_returns_go_before_time(void **state)
{
	struct model model;
	uint32_t no_return, windowed;

	(void)state;
	begin(&model, 3, 0.10, true, true);
	model.rate[0] = 100000; /* 14 % with returns, 7 % without */
	model.rate[1] = 1000;
	steps(&model, S(10));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_NO_RETURNS);
	mon_governor_tally(model.governor, &no_return, &windowed);
	assert_int_equal(no_return, 1); /* as few as needed, the dearest */
	assert_true(mon_governor_order(model.governor, 0).no_return);
	assert_true(mon_governor_overhead(model.governor) < 0.10);
	end(&model);
}

static void check_cost(const struct model *model)
{
	double true_cost = model->cost_ns / model->own_ns;

	assert_true(fabs(mon_governor_overhead_of_run(model->governor) / true_cost - 1) < 0.01);
}

/* Where returns are skipped some are followed, and are charged: 4.4 % of 7 % here. */
static void test_returns_that_are_followed_are_charged(void **state)
{
	struct mon_governor_config config = config_of(0.10, true, false);
	struct model model;

	(void)state;
	begin_as(&model, 1, false, &config);
	model.rate[0] = 100000;
	steps(&model, S(120));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_NO_RETURNS);
	check_cost(&model);
	end(&model);
	/* The same where it never was otherwise: there is nothing to be done. */
	config.skips_returns = true;
	begin_as(&model, 1, false, &config);
	model.rate[0] = 100000;
	steps(&model, S(120));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_FREE);
	check_cost(&model);
	end(&model);
}

/* Over 30 s, escalation and all, the run pays no more than 1.2 times what was allowed. */
static void check_limit(double rate, bool stepped, double limit, bool skip)
{
	struct model model;
	double overhead, estimate;

	begin_with(&model, 3, stepped, limit, skip, true);
	model.rate[0] = rate;
	model.rate[1] = 100;
	steps(&model, S(30));
	overhead = model.cost_ns / model.own_ns;
	print_message("%.0f calls/s%s, limit %.2f: cost %.3f, %u changes\n", rate,
		      stepped ? ", single-stepped" : "", limit, overhead, model.changes);
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_WINDOWS);
	assert_true(model.changes <= 3);
	assert_true(overhead <= 1.2 * limit);
	/* The count, scaled by the target's own CPU time, is the true one. */
	estimate = (double)model.counts[0].calls * model.own_ns /
		   (double)mon_governor_armed_own_ns(model.governor, 0);
	assert_true(estimate > 0.98 * model.truth[0] && estimate < 1.02 * model.truth[0]);
	/* What is rare is left alone. */
	assert_false(mon_governor_order(model.governor, 1).windowed);
	end(&model);
}

static void test_the_limit_is_kept(void **state)
{
	(void)state;
	check_limit(300000, false, 0.10, true);
	check_limit(300000, false, 0.10, false);
	check_limit(1000000, false, 0.10, true);
	check_limit(100000, false, 0.05, false);
	check_limit(100000, true, 0.10, true);
	check_limit(5000000, false, 0.10, true);
}

/* A start on a bad moment is mended by what is measured later, of which some is nonsense. */
static void check_learning(double start, bool skip)
{
	struct model model;
	double estimate;
	uint64_t cost_ns, own_ns;

	begin_with(&model, 1, false, 0.10, skip, true);
	for (size_t i = 0; i < 2; i++) { /* the truth, of which the governor heard `start` times */
		model.cost.entry_ns[i] = (uint32_t)(costs.entry_ns[i] / start);
		model.cost.full_ns[i] = (uint32_t)(costs.full_ns[i] / start);
	}
	model.rate[0] = 1000000;
	for (unsigned i = 0; i < S(30); i++) {
		bool full = !skip || i % 2;
		uint32_t ns = full ? model.cost.full_ns[0] : model.cost.entry_ns[0];

		step(&model);
		if (i % 20 == 7)
			ns *= 5;
		mon_governor_note_cost(model.governor, false, full, ns);
	}
	mon_governor_sums(model.governor, &cost_ns, &own_ns);
	estimate = (double)model.counts[0].calls * (double)own_ns /
		   (double)mon_governor_armed_own_ns(model.governor, 0);
	print_message("started with %.1f of the cost: count %+.1f %%, cost of %.3f told as %.3f\n",
		      start, 100 * (estimate / model.truth[0] - 1), model.cost_ns / model.own_ns,
		      (double)cost_ns / (double)own_ns);
	assert_true(estimate > 0.97 * model.truth[0] && estimate < 1.03 * model.truth[0]);
	end(&model);
}

static void test_costs_are_learned(void **state)
{
	(void)state;
	check_learning(1, true);
	check_learning(0.7, true);
	check_learning(1.3, true);
	check_learning(0.7, false);
	check_learning(1.3, false);
}

static void test_it_comes_back_when_the_load_goes(void **state)
{
	struct model model;
	unsigned changes;

	(void)state;
	begin(&model, 3, 0.10, true, true);
	model.rate[0] = 1000000;
	steps(&model, S(10));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_WINDOWS);
	model.rate[0] = 100;
	steps(&model, S(240));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_FREE);
	changes = model.changes;
	steps(&model, S(60));
	assert_int_equal(model.changes, changes);
	end(&model);
}

/* A load that swings about the limit must not make it swing with each tick. */
static void test_it_does_not_swing(void **state)
{
	struct model model;

	(void)state;
	begin(&model, 2, 0.10, true, true);
	for (unsigned i = 0; i < S(300); i++) {
		model.rate[0] = i / 8 % 2 ? 100000 : 40000; /* 14 % and 5.6 %, each 2 s */
		step(&model);
	}
	print_message("%u changes in 300 s\n", model.changes);
	assert_true(model.changes <= 2 * 300 / 5);
	/* Backing off: more and more rarely. */
	model.changes = 0;
	for (unsigned i = 0; i < S(300); i++) {
		model.rate[0] = i / 8 % 2 ? 100000 : 40000;
		step(&model);
	}
	assert_true(model.changes <= 10);
	end(&model);
}

static void test_what_cannot_be_kept_is_said(void **state)
{
	struct model model;

	(void)state;
	begin(&model, 2, 0.10, true, false);
	model.rate[0] = 1000000;
	steps(&model, S(10));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_BEYOND);
	assert_true(mon_governor_order(model.governor, 0).no_return);
	assert_false(mon_governor_order(model.governor, 0).windowed);
	end(&model);
}

static void test_windows_that_fail_are_given_up(void **state)
{
	struct model model;

	(void)state;
	begin(&model, 2, 0.10, true, true);
	model.rate[0] = 1000000;
	steps(&model, S(5));
	assert_true(mon_governor_order(model.governor, 0).windowed);
	mon_governor_give_up_windows(model.governor);
	steps(&model, S(5));
	assert_false(mon_governor_order(model.governor, 0).windowed);
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_BEYOND);
	end(&model);
}

/* Ten calls a second are most of what an idle target does, and nobody's business. */
static void test_an_idle_target_is_left_alone(void **state)
{
	struct model model;

	(void)state;
	begin(&model, 1, 0.10, true, true);
	model.busy = 0.0001;
	model.rate[0] = 1e6;
	steps(&model, S(30));
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_FREE);
	end(&model);
}

/* After @load the governor is as soon where it would be without it: what was is not paid for ever.
 */
static void check_forgiven(void (*load)(struct model *model), double limit, double rate)
{
	struct model model, fresh;
	double share = 0, fresh_share = 0;

	begin(&model, 2, limit, true, true);
	begin(&fresh, 2, limit, true, true);
	load(&model);
	model.rate[0] = fresh.rate[0] = rate;
	model.busy = 1;
	/* Its rate is learned in windows, a minute apart where shares are least. */
	steps(&model, S(7200));
	steps(&fresh, S(7200));
	for (unsigned i = 0; i < S(60); i++) {
		step(&model);
		step(&fresh);
		share += mon_governor_order(model.governor, 0).share / S(60);
		fresh_share += mon_governor_order(fresh.governor, 0).share / S(60);
	}
	print_message("share %.4f, without what was before %.4f\n", share, fresh_share);
	assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_WINDOWS);
	assert_int_equal(mon_governor_step(fresh.governor), MON_GOVERNOR_WINDOWS);
	assert_true(share > 0.6 * fresh_share);
	end(&model);
	end(&fresh);
}

/* Far above the limit for ten hours, and negligible: 0.6 % of a CPU. */
static void be_negligible(struct model *model)
{
	model->busy = 0.015;
	model->rate[0] = 470000;
	steps(model, S(36000));
	assert_int_equal(mon_governor_step(model->governor), MON_GOVERNOR_FREE);
}

/* So many calls that the shortest share of the time is too much. */
static void be_too_much(struct model *model)
{
	model->rate[0] = 1e9;
	steps(model, S(36000));
	assert_int_equal(mon_governor_step(model->governor), MON_GOVERNOR_WINDOWS);
}

static void test_a_debt_has_an_end(void **state)
{
	(void)state;
	check_forgiven(be_negligible, 0.02, 1e6);
	check_forgiven(be_too_much, 0.002, 40000);
}

/* What became negligible is given back, as it would not have been taken; however idle it became. */
static void test_what_became_negligible_is_given_back(void **state)
{
	static const double busy[] = {0.005, 0.0001, 0};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(busy); i++) {
		struct model model;

		begin(&model, 1, 0.10, true, true);
		model.rate[0] = 1e6;
		steps(&model, S(10));
		assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_WINDOWS);
		model.busy = busy[i];
		steps(&model, S(60));
		assert_int_equal(mon_governor_step(model.governor), MON_GOVERNOR_FREE);
		end(&model);
	}
}

static void test_records_with_more_in_them_cost_more(void **state)
{
	(void)state;
	assert_int_equal(mon_governor_record_ns(false, 0), 250);
	assert_int_equal(mon_governor_record_ns(true, 0), 1450);
	assert_int_equal(mon_governor_record_ns(true, 2), 2450);
}

/* Many functions, of any rates: no more of them than needed, and the limit holds. */
static void test_random_loads(void **state)
{
	unsigned seed = getenv("MON_SEED") ? (unsigned)atoi(getenv("MON_SEED")) : 20261125;

	(void)state;
	print_message("MON_SEED=%u\n", seed);
	srand(seed);
	for (unsigned round = 0; round < 40; round++) {
		double limit = 0.02 + 0.01 * (rand() % 20), overhead;
		struct model model;

		begin(&model, 1 + (uint32_t)rand() % FUNCTIONS_MAX, limit, rand() % 2, true);
		for (uint32_t i = 0; i < model.count; i++)
			model.rate[i] = rand() % 8 ? rand() % 300 : rand() % 300000;
		steps(&model, S(60));
		model.own_ns = model.cost_ns = 0;
		steps(&model, S(120));
		overhead = model.cost_ns / model.own_ns;
		if (overhead > 1.2 * limit &&
		    mon_governor_step(model.governor) != MON_GOVERNOR_BEYOND)
			fail_msg("round %u: cost %.3f, limit %.3f", round, overhead, limit);
		end(&model);
	}
}

static void test_memory_is_the_budgets(void **state)
{
	const struct mon_governor_config config = {.limit = 0.1};
	static const uint8_t stepped[FUNCTIONS_MAX];
	struct mon_governor *governor;
	struct mon_budget *budget;

	(void)state;
	assert_int_equal(mon_budget_new(mon_governor_bytes(FUNCTIONS_MAX), &budget), 0);
	assert_int_equal(mon_governor_new(&config, FUNCTIONS_MAX, stepped, budget, &governor), 0);
	assert_int_equal(mon_budget_used(budget), mon_governor_bytes(FUNCTIONS_MAX));
	mon_governor_free(governor);
	assert_int_equal(mon_budget_used(budget), 0);
	mon_budget_fail_at(budget, 1);
	assert_int_equal(mon_governor_new(&config, FUNCTIONS_MAX, stepped, budget, &governor),
			 -12 /* ENOMEM */);
	/* Of MON_GOVERNED_FUNCTION_BYTES it leaves 64 to what carries it out. */
	assert_true(mon_governor_bytes(1) <= MON_GOVERNED_FUNCTION_BYTES - 64);
	mon_budget_free(budget);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_below_the_limit_nothing_is_done),
		cmocka_unit_test(test_returns_go_before_time),
		cmocka_unit_test(test_returns_that_are_followed_are_charged),
		cmocka_unit_test(test_the_limit_is_kept),
		cmocka_unit_test(test_costs_are_learned),
		cmocka_unit_test(test_it_comes_back_when_the_load_goes),
		cmocka_unit_test(test_it_does_not_swing),
		cmocka_unit_test(test_what_cannot_be_kept_is_said),
		cmocka_unit_test(test_windows_that_fail_are_given_up),
		cmocka_unit_test(test_an_idle_target_is_left_alone),
		cmocka_unit_test(test_a_debt_has_an_end),
		cmocka_unit_test(test_what_became_negligible_is_given_back),
		cmocka_unit_test(test_records_with_more_in_them_cost_more),
		cmocka_unit_test(test_random_loads),
		cmocka_unit_test(test_memory_is_the_budgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
