// SPDX-License-Identifier: GPL-2.0-or-later
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/breaker.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define S MON_NS_PER_S
#define TIMEOUT MON_BREAKER_TIMEOUT_NS_DEFAULT
#define PROBE MON_BREAKER_PROBE_NS_DEFAULT

/* A breaker, a clock with hands that the test turns, and what the hook was told last. */
struct bench {
	struct mon_breaker *breaker;
	struct mon_clock clock;
	mon_ns now;
	unsigned called, hooks;
	struct mon_breaker_transition last;
	void (*in_hook)(struct bench *bench);
};

static mon_ns bench_now(void *context)
{
	return __atomic_load_n((mon_ns *)context, __ATOMIC_RELAXED);
}

/* The codes that the store uses, in miniature. */
static enum mon_outcome bench_classify(int result, void *context)
{
	(void)context;
	switch (result) {
	case 0:
		return MON_OUTCOME_SUCCESS;
	case -EUCLEAN:
		return MON_OUTCOME_TRIP;
	case -EINTR:
		return MON_OUTCOME_EXCLUDED;
	default:
		return MON_OUTCOME_FAILURE;
	}
}

static void bench_hook(const struct mon_breaker_transition *transition, void *context)
{
	struct bench *bench = context;

	bench->hooks++;
	bench->last = *transition;
	if (bench->in_hook)
		bench->in_hook(bench);
}

static void bench_open(struct bench *bench, const struct mon_breaker_options *given)
{
	struct mon_breaker_options options = given ? *given : (struct mon_breaker_options){0};

	*bench = (struct bench){.now = 1000 * S};
	bench->clock = (struct mon_clock){.now = bench_now, .context = &bench->now};
	options.clock = &bench->clock;
	options.classify = bench_classify;
	options.on_transition = bench_hook;
	options.context = bench;
	assert_int_equal(mon_breaker_new(&options, &bench->breaker), 0);
}

struct errand {
	struct bench *bench;
	int result;
	void (*inside)(struct bench *bench); /* what happens while the call is out */
};

static int run_errand(void *arg)
{
	struct errand *errand = arg;

	errand->bench->called++;
	if (errand->inside)
		errand->inside(errand->bench);
	return errand->result;
}

static int call(struct bench *bench, int result)
{
	return mon_breaker_call(bench->breaker, run_errand, &(struct errand){bench, result, NULL});
}

static int call_during(struct bench *bench, int result, void (*inside)(struct bench *bench))
{
	return mon_breaker_call(bench->breaker, run_errand,
				&(struct errand){bench, result, inside});
}

static struct mon_breaker_stats stats_of(const struct bench *bench)
{
	struct mon_breaker_stats stats;

	mon_breaker_stats(bench->breaker, &stats);
	return stats;
}

static enum mon_breaker_state state_of(const struct bench *bench)
{
	return stats_of(bench).state;
}

static void trip(struct bench *bench)
{
	assert_int_equal(call(bench, -EUCLEAN), -EUCLEAN);
	assert_int_equal(state_of(bench), MON_BREAKER_OPEN);
}

static void half_open(struct bench *bench)
{
	trip(bench);
	bench->now += TIMEOUT;
	assert_int_equal(mon_breaker_tick(bench->breaker), MON_BREAKER_HALF_OPEN);
}

static void test_trips_on_the_fifth(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL);
	for (int round = 0; round < 2; round++) { /* a success in between starts again */
		for (int i = 0; i < 4; i++)
			assert_int_equal(call(&bench, -EIO), -EIO);
		assert_int_equal(call(&bench, -EINTR), -EINTR); /* excluded: neither way */
		assert_int_equal(state_of(&bench), MON_BREAKER_CLOSED);
		assert_int_equal(stats_of(&bench).failures_in_row, 4);
		if (!round)
			assert_int_equal(call(&bench, 0), 0);
	}
	assert_int_equal(call(&bench, -ENOSPC), -ENOSPC);
	assert_int_equal(state_of(&bench), MON_BREAKER_OPEN);
	assert_int_equal(bench.hooks, 1);
	assert_int_equal(bench.last.from, MON_BREAKER_CLOSED);
	assert_int_equal(bench.last.to, MON_BREAKER_OPEN);
	assert_int_equal(bench.last.error, -ENOSPC);
	assert_int_equal(bench.last.at_ns, bench.now);
	assert_string_equal(bench.last.cause, "5 failures in a row");
	assert_int_equal(stats_of(&bench).last_error, -ENOSPC);
	assert_int_equal(stats_of(&bench).outcomes[MON_OUTCOME_FAILURE], 9);
	assert_int_equal(stats_of(&bench).outcomes[MON_OUTCOME_EXCLUDED], 2);
	bench.called = 0;
	assert_int_equal(call(&bench, 0), -EAGAIN);
	assert_int_equal(bench.called, 0);
	assert_int_equal(stats_of(&bench).not_permitted, 1);
	mon_breaker_free(bench.breaker);
}

static void test_trip_opens_at_once(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL);
	trip(&bench);
	assert_int_equal(bench.last.error, -EUCLEAN);
	assert_int_equal(stats_of(&bench).outcomes[MON_OUTCOME_TRIP], 1);
	assert_int_equal(stats_of(&bench).next_probe_ns, bench.now + TIMEOUT);
	mon_breaker_free(bench.breaker);
}

static void test_probe_closes_or_opens(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL);
	half_open(&bench);
	assert_int_equal(call(&bench, -EINTR), -EINTR); /* says nothing: the permit is free again */
	assert_int_equal(state_of(&bench), MON_BREAKER_HALF_OPEN);
	assert_int_equal(call(&bench, -EIO), -EIO);
	assert_int_equal(state_of(&bench), MON_BREAKER_OPEN);
	bench.now += TIMEOUT - 1;
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_OPEN);
	bench.now += 1;
	assert_int_equal(call(&bench, 0), -EAGAIN); /* the timer opens the door, not a call */
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(call(&bench, 0), 0);
	assert_int_equal(state_of(&bench), MON_BREAKER_CLOSED);
	assert_int_equal(stats_of(&bench).failures_in_row, 0);
	assert_int_equal(stats_of(&bench).open_ns, 2 * TIMEOUT);
	assert_int_equal(stats_of(&bench).transitions[MON_BREAKER_HALF_OPEN][MON_BREAKER_CLOSED],
			 1);
	bench.now += TIMEOUT; /* closed time is not open time */
	assert_int_equal(stats_of(&bench).open_ns, 2 * TIMEOUT);
	mon_breaker_free(bench.breaker);
}

static void second_call_is_refused(struct bench *bench)
{
	assert_int_equal(call(bench, 0), -EAGAIN);
}

static void test_one_permit(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL);
	half_open(&bench);
	assert_int_equal(call_during(&bench, 0, second_call_is_refused), 0);
	assert_int_equal(state_of(&bench), MON_BREAKER_CLOSED);
	mon_breaker_free(bench.breaker);
}

static void hang(struct bench *bench)
{
	bench->now += PROBE - 1;
	assert_int_equal(mon_breaker_tick(bench->breaker), MON_BREAKER_HALF_OPEN);
	bench->now += 1;
	assert_int_equal(mon_breaker_tick(bench->breaker), MON_BREAKER_OPEN);
	assert_string_equal(bench->last.cause, "probe hung");
	assert_int_equal(bench->last.error, -ETIMEDOUT);
	/* It still has the permit: no second probe, however long it takes. */
	bench->now += 10 * TIMEOUT;
	assert_int_equal(mon_breaker_tick(bench->breaker), MON_BREAKER_OPEN);
	assert_int_equal(call(bench, 0), -EAGAIN);
}

static void B01_hung_probe(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL);
	half_open(&bench);
	assert_int_equal(call_during(&bench, 0, hang), 0);
	assert_int_equal(state_of(&bench), MON_BREAKER_OPEN); /* its success came too late */
	assert_int_equal(stats_of(&bench).late, 1);
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(call(&bench, 0), 0);
	assert_int_equal(state_of(&bench), MON_BREAKER_CLOSED);
	mon_breaker_free(bench.breaker);
}

/* While the call is out, the breaker opens, recovers, and is closed again. */
static void a_life_passes(struct bench *bench)
{
	half_open(bench);
	assert_int_equal(call(bench, 0), 0);
	assert_int_equal(state_of(bench), MON_BREAKER_CLOSED);
	for (int i = 0; i < 4; i++)
		assert_int_equal(call(bench, -EIO), -EIO);
}

static void B02_late_result(void **state)
{
	static const int results[] = {0, -EIO, -EUCLEAN, -EINTR};
	struct bench bench;

	(void)state;
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		struct mon_breaker_stats stats;

		bench_open(&bench, NULL);
		assert_int_equal(call_during(&bench, results[i], a_life_passes), results[i]);
		stats = stats_of(&bench);
		assert_int_equal(stats.state, MON_BREAKER_CLOSED);
		assert_int_equal(stats.failures_in_row, 4);
		assert_int_equal(stats.late, 1);
		assert_int_equal(stats.outcomes[MON_OUTCOME_SUCCESS], 1);
		assert_int_equal(stats.outcomes[MON_OUTCOME_FAILURE], 4);
		assert_int_equal(stats.outcomes[MON_OUTCOME_TRIP], 1);
		assert_int_equal(stats.outcomes[MON_OUTCOME_EXCLUDED], 0);
		assert_int_equal(stats.last_error, -EIO);
		mon_breaker_free(bench.breaker);
	}
}

static void call_from_hook(struct bench *bench)
{
	bench->in_hook = NULL; /* what follows tells it again */
	assert_int_equal(call(bench, 0), -EAGAIN);
	assert_int_equal(mon_breaker_tick(bench->breaker), MON_BREAKER_OPEN);
	mon_breaker_force(bench->breaker, MON_BREAKER_DISABLED);
	assert_int_equal(call(bench, 0), 0);
	assert_int_equal(state_of(bench), MON_BREAKER_DISABLED);
}

static void B03_hook_calls_breaker(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL);
	bench.in_hook = call_from_hook;
	assert_int_equal(call(&bench, -EUCLEAN), -EUCLEAN);
	assert_int_equal(state_of(&bench), MON_BREAKER_DISABLED);
	assert_int_equal(bench.hooks, 2);
	mon_breaker_free(bench.breaker);
}

static void B04_clock_steps(void **state)
{
	struct bench bench;
	uint64_t open_ns;

	(void)state;
	bench_open(&bench, NULL);
	trip(&bench);
	bench.now += TIMEOUT / 2;
	open_ns = stats_of(&bench).open_ns;
	bench.now = 5; /* back to the beginning: one timeout from here, not a thousand seconds */
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_OPEN);
	assert_int_equal(stats_of(&bench).open_ns, open_ns); /* and no negative time */
	bench.now += TIMEOUT - 1;
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_OPEN);
	bench.now += 1;
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(call(&bench, -EIO), -EIO);
	bench.now = UINT64_MAX; /* and to the end */
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(call(&bench, 0), 0);
	assert_int_equal(state_of(&bench), MON_BREAKER_CLOSED);
	mon_breaker_free(bench.breaker);
}

/* Nobody calls while it is open: the timer alone brings it to where a call may try. */
static void B05_idle_while_open(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL);
	trip(&bench);
	for (int second = 1; second < 60; second++) {
		bench.now += S;
		assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_OPEN);
	}
	bench.now += S;
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(stats_of(&bench).next_probe_ns, 0);
	bench.now += 10 * TIMEOUT; /* an unused permit does not hang */
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(call(&bench, 0), 0);
	assert_int_equal(state_of(&bench), MON_BREAKER_CLOSED);
	mon_breaker_free(bench.breaker);
}

static void test_forced_open(void **state)
{
	struct mon_breaker_options options = {.start = MON_BREAKER_FORCED_OPEN};
	struct bench bench;

	(void)state;
	bench_open(&bench, &options);
	bench.now += 2 * TIMEOUT;
	assert_int_equal(mon_breaker_tick(bench.breaker), MON_BREAKER_FORCED_OPEN);
	assert_int_equal(call(&bench, 0), -EAGAIN);
	assert_int_equal(stats_of(&bench).open_ns, 2 * TIMEOUT);
	mon_breaker_force(bench.breaker, MON_BREAKER_OPEN); /* not a thing to force */
	assert_int_equal(state_of(&bench), MON_BREAKER_FORCED_OPEN);
	mon_breaker_force(bench.breaker, MON_BREAKER_CLOSED);
	assert_int_equal(call(&bench, 0), 0);
	trip(&bench);
	mon_breaker_force(bench.breaker, MON_BREAKER_CLOSED); /* takes back overrides only */
	assert_int_equal(state_of(&bench), MON_BREAKER_OPEN);
	mon_breaker_free(bench.breaker);
}

static void test_disabled_counts_and_never_blocks(void **state)
{
	struct mon_breaker_options options = {.start = MON_BREAKER_DISABLED};
	struct bench bench;

	(void)state;
	bench_open(&bench, &options);
	for (int i = 0; i < 20; i++)
		assert_int_equal(call(&bench, i % 2 ? -EUCLEAN : -EIO), i % 2 ? -EUCLEAN : -EIO);
	assert_int_equal(state_of(&bench), MON_BREAKER_DISABLED);
	assert_int_equal(stats_of(&bench).failures_in_row, 20);
	assert_int_equal(stats_of(&bench).outcomes[MON_OUTCOME_TRIP], 10);
	mon_breaker_force(bench.breaker, MON_BREAKER_CLOSED);
	assert_int_equal(stats_of(&bench).failures_in_row, 0);
	assert_int_equal(call(&bench, -EIO), -EIO);
	assert_int_equal(state_of(&bench), MON_BREAKER_CLOSED);
	mon_breaker_free(bench.breaker);
}

static void test_options_and_names(void **state)
{
	struct mon_clock clock = mon_clock_system;
	struct mon_breaker_options options = {.clock = &clock, .start = MON_BREAKER_OPEN};
	struct mon_breaker *breaker = NULL;

	(void)state;
	assert_int_equal(mon_breaker_new(&options, &breaker), -EINVAL);
	options.start = MON_BREAKER_CLOSED;
	options.failures_max = MON_BREAKER_FAILURES_MAX + 1;
	assert_int_equal(mon_breaker_new(&options, &breaker), -EINVAL);
	assert_null(breaker);
	mon_breaker_free(NULL);
	assert_string_equal(mon_breaker_state_name(MON_BREAKER_HALF_OPEN), "half-open");
	for (int i = 0; i < MON_BREAKER_STATES; i++)
		assert_non_null(mon_breaker_state_name(i));
}

/*
 * The model keeps the list of outcomes since the last transition and looks through it each time;
 * calls that are out are kept in a list of their own, each with the number of transitions it saw.
 * It shares no code and no idea with the machine.
 */
struct model {
	enum mon_breaker_state state;
	unsigned transitions;
	int history[4096];
	unsigned history_count;
	mon_ns since;
	bool probe_out;
	uint64_t late, refused;
};

static void model_move(struct model *model, enum mon_breaker_state to, mon_ns now)
{
	model->state = to;
	model->transitions++;
	model->history_count = 0;
	model->since = now;
}

static void model_result(struct model *model, unsigned seen, bool probe, int result, mon_ns now)
{
	unsigned row = 0;

	if (probe)
		model->probe_out = false;
	if (seen != model->transitions) {
		model->late++;
		return;
	}
	if (result != -EINTR)
		model->history[model->history_count++] = result;
	for (unsigned i = model->history_count; i && model->history[i - 1]; i--)
		row++;
	if (result == -EINTR || model->state == MON_BREAKER_DISABLED)
		return;
	if (model->state == MON_BREAKER_HALF_OPEN)
		model_move(model, result ? MON_BREAKER_OPEN : MON_BREAKER_CLOSED, now);
	else if (result == -EUCLEAN || row == 3)
		model_move(model, MON_BREAKER_OPEN, now);
}

#define OUT_MAX 3

struct walk {
	struct bench bench;
	struct model model;
	unsigned seed, left, depth;
};

static void walk_steps(struct walk *walk);

static void walk_call(struct walk *walk);

static int walk_inside(void *arg)
{
	static const int results[] = {0, 0, -EIO, -EIO, -EIO, -EINTR, -EUCLEAN};
	struct walk *walk = arg;

	if (walk->depth < OUT_MAX && rand_r(&walk->seed) % 2) {
		walk->depth++; /* others go on while this call is out */
		walk_steps(walk);
		walk->depth--;
	}
	return results[(size_t)rand_r(&walk->seed) % (sizeof(results) / sizeof(results[0]))];
}

static void walk_call(struct walk *walk)
{
	struct model *model = &walk->model;
	bool probe = model->state == MON_BREAKER_HALF_OPEN;
	bool permitted =
		probe ? !model->probe_out
		      : model->state == MON_BREAKER_CLOSED || model->state == MON_BREAKER_DISABLED;
	unsigned seen = model->transitions;
	int result;

	if (permitted && probe) {
		model->probe_out = true;
		model->since = walk->bench.now;
	}
	result = mon_breaker_call(walk->bench.breaker, walk_inside, walk);
	if (!permitted) {
		assert_int_equal(result, -EAGAIN);
		model->refused++;
		return;
	}
	assert_int_not_equal(result, -EAGAIN);
	model_result(model, seen, probe, result, walk->bench.now);
}

static void walk_force(struct walk *walk)
{
	static const enum mon_breaker_state to[] = {MON_BREAKER_CLOSED, MON_BREAKER_CLOSED,
						    MON_BREAKER_DISABLED, MON_BREAKER_FORCED_OPEN,
						    MON_BREAKER_OPEN};
	enum mon_breaker_state wanted = to[(size_t)rand_r(&walk->seed) % 5];
	enum mon_breaker_state is = walk->model.state;

	mon_breaker_force(walk->bench.breaker, wanted);
	if (wanted == is || wanted == MON_BREAKER_OPEN)
		return;
	if (wanted != MON_BREAKER_CLOSED || is == MON_BREAKER_DISABLED ||
	    is == MON_BREAKER_FORCED_OPEN)
		model_move(&walk->model, wanted, walk->bench.now);
}

static void walk_tick(struct walk *walk)
{
	struct model *model = &walk->model;
	mon_ns now = walk->bench.now;

	if (model->state == MON_BREAKER_OPEN && now >= model->since + 10 * S && !model->probe_out)
		model_move(model, MON_BREAKER_HALF_OPEN, now);
	else if (model->state == MON_BREAKER_HALF_OPEN && model->probe_out &&
		 now >= model->since + 4 * S)
		model_move(model, MON_BREAKER_OPEN, now);
	assert_int_equal(mon_breaker_tick(walk->bench.breaker), model->state);
}

static void walk_steps(struct walk *walk)
{
	unsigned steps = 1 + (unsigned)rand_r(&walk->seed) % 30;

	for (; steps && walk->left; steps--) {
		unsigned dice = (unsigned)rand_r(&walk->seed) % 40;
		struct mon_breaker_stats stats;

		walk->left--;
		walk->bench.now += (uint64_t)rand_r(&walk->seed) % (2 * S);
		if (dice == 0)
			walk_force(walk);
		else if (dice < 20)
			walk_tick(walk);
		else
			walk_call(walk);
		stats = stats_of(&walk->bench);
		assert_int_equal(stats.state, walk->model.state);
		assert_int_equal(stats.late, walk->model.late);
		assert_int_equal(stats.not_permitted, walk->model.refused);
		assert_int_equal(walk->bench.hooks, walk->model.transitions);
	}
}

static void test_random_events(void **state)
{
	struct mon_breaker_options options = {
		.failures_max = 3, .timeout_ns = 10 * S, .probe_ns = 4 * S};
	unsigned seed = (unsigned)mon_clock_now(&mon_clock_system);
	uint64_t late = 0;

	(void)state;
	print_message("seed %u\n", seed);
	for (int round = 0; round < 50; round++) {
		struct walk *walk = calloc(1, sizeof(*walk));

		assert_non_null(walk);
		bench_open(&walk->bench, &options);
		walk->seed = seed + (unsigned)round;
		walk->left = 2000;
		while (walk->left)
			walk_steps(walk);
		late += walk->model.late;
		mon_breaker_free(walk->bench.breaker);
		free(walk);
	}
	assert_true(late > 100); /* the interesting part was reached */
}

#define THREADS 4
#define CALLS 5000

struct crowd {
	struct mon_breaker *breaker;
	mon_ns now;
	uint64_t called, refused, transitions;
};

static void crowd_hook(const struct mon_breaker_transition *transition, void *context)
{
	struct crowd *crowd = context;

	assert_int_not_equal(transition->from, transition->to);
	__atomic_add_fetch(&crowd->transitions, 1, __ATOMIC_RELAXED);
}

static int crowd_errand(void *arg)
{
	return *(unsigned *)arg % 3 ? -EIO : 0;
}

static void *crowd_run(void *context)
{
	struct crowd *crowd = context;
	unsigned seed = (unsigned)(uintptr_t)&seed;

	for (int i = 0; i < CALLS; i++) {
		__atomic_add_fetch(&crowd->now, S / 4, __ATOMIC_RELAXED);
		(void)rand_r(&seed);
		if (mon_breaker_call(crowd->breaker, crowd_errand, &seed) == -EAGAIN)
			__atomic_add_fetch(&crowd->refused, 1, __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&crowd->called, 1, __ATOMIC_RELAXED);
		(void)mon_breaker_tick(crowd->breaker);
		if (i % 1000 == 999) {
			mon_breaker_force(crowd->breaker, MON_BREAKER_DISABLED);
			mon_breaker_force(crowd->breaker, MON_BREAKER_CLOSED);
		}
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	struct crowd crowd = {.now = S};
	struct mon_clock clock = {.now = bench_now, .context = &crowd.now};
	struct mon_breaker_options options = {
		.clock = &clock, .on_transition = crowd_hook, .context = &crowd};
	struct mon_breaker_stats stats;
	uint64_t transitions = 0, results;
	pthread_t threads[THREADS];

	(void)state;
	assert_int_equal(mon_breaker_new(&options, &crowd.breaker), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &crowd), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	mon_breaker_stats(crowd.breaker, &stats);
	for (int from = 0; from < MON_BREAKER_STATES; from++)
		for (int to = 0; to < MON_BREAKER_STATES; to++)
			transitions += stats.transitions[from][to];
	results = stats.late;
	for (int outcome = 0; outcome < MON_OUTCOMES; outcome++)
		results += stats.outcomes[outcome];
	assert_int_equal(transitions, crowd.transitions);
	assert_int_equal(results, crowd.called);
	assert_int_equal(stats.not_permitted, crowd.refused);
	assert_int_equal(crowd.called + crowd.refused, THREADS * CALLS);
	assert_true(stats.transitions[MON_BREAKER_CLOSED][MON_BREAKER_OPEN] > 0);
	mon_breaker_free(crowd.breaker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trips_on_the_fifth),
		cmocka_unit_test(test_trip_opens_at_once),
		cmocka_unit_test(test_probe_closes_or_opens),
		cmocka_unit_test(test_one_permit),
		cmocka_unit_test(B01_hung_probe),
		cmocka_unit_test(B02_late_result),
		cmocka_unit_test(B03_hook_calls_breaker),
		cmocka_unit_test(B04_clock_steps),
		cmocka_unit_test(B05_idle_while_open),
		cmocka_unit_test(test_forced_open),
		cmocka_unit_test(test_disabled_counts_and_never_blocks),
		cmocka_unit_test(test_options_and_names),
		cmocka_unit_test(test_random_events),
		cmocka_unit_test(test_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
