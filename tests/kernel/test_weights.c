// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a kept call stands for, in each policy and mode: the sum of weights against the calls that
 * the target itself counted, 50 draws each; slow and failed calls are kept whole; a return that is
 * not wanted is not followed; records are capped. The kernel's random numbers cannot be seeded, so
 * a draw is a burst of calls of one target under one capture.
 *
 * Bounds: a draw beyond 4 sigma happens in 1 of 16,000, so of 750 draws in every 20th run of this
 * program; such a draw is made once more, and fails when that one is beyond, too (1 run in 300,000;
 * what is biased fails both). Sizes are such that 1 % of the mean is 5 sigma of it or more.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "bpf/frames.h"
#include "control/sampler.h"
#include "tests/harness/functions.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MODE(state) (*(const enum mon_mode *)*(state))
#define DRAWS 50
#define ALL_FUNCTIONS 4

static struct watch watch;
static struct target *target;

static int tear_down(void **state)
{
	watch_free(&watch);
	watch = (struct watch){0};
	return process_teardown(state);
}

static void open_on(const char *name, const char *const symbols[],
		    const struct mon_capture_options *options)
{
	char path[PATH_MAX];

	functions_add(&watch.set, target_path(name, path, sizeof(path)), symbols);
	target = target_start(name, NULL);
	watch_open(&watch, options);
}

static void open_bursts(const struct mon_capture_options *options, struct mon_policy policy)
{
	static const char *const symbols[] = {"watched_burst", NULL};

	open_on("bursts", symbols, options);
	mon_capture_write_policy(watch.capture, 0, policy);
	watch_attach(&watch, target_pid(target));
}

/* Returns the target's own count. */
static uint64_t burst(unsigned calls, unsigned slow_each)
{
	char line[64];

	(void)snprintf(line, sizeof(line), "%u %u", calls, slow_each);
	process_say(target_process(target), line);
	return strtoull(target_wait_line(target, "made ", PROCESS_TIMEOUT_MS) + 5, NULL, 10);
}

static void close_bursts(void)
{
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch_counters(&watch, 0).ring_full, 0);
	assert_int_equal(watch_run_counters(&watch).orphan_returns, 0);
	assert_int_equal(target_finish(target), 0);
}

/* --- sums of weights -------------------------------------------------------------------- */

struct sums {
	unsigned calls, slow_each;
	double variance; /* of the sum of weights of one draw */
	double worst;	 /* in sigma */
};

/* How far the weights of one burst are off. */
static double draw(const struct sums *sums)
{
	struct mon_counters before = watch_counters(&watch, 0), after;
	uint64_t weights = watch.records[0].weight;

	assert_int_equal(burst(sums->calls, sums->slow_each), sums->calls);
	watch_read(&watch);
	after = watch_counters(&watch, 0);
	weights = watch.records[0].weight - weights;
	assert_int_equal(after.calls - before.calls, sums->calls);
	/* Followed or estimated, returns are never anything else. */
	if (watch.options.returns)
		assert_int_equal(after.returns - before.returns,
				 watch.options.may_skip_returns ? weights : sums->calls);
	return (double)weights - (double)sums->calls;
}

static void hold_sums(const char *what, struct sums sums)
{
	double sigma = sqrt(sums.variance), sum = 0, bound = 0.01 * sums.calls;

	assert_true(bound >= 5 * sigma / sqrt(DRAWS));
	for (int i = 0; i < DRAWS; i++) {
		double off = draw(&sums);

		if (fabs(off) > 4 * sigma)
			off = draw(&sums);
		if (fabs(off) > 4 * sigma)
			fail_msg("%s: draw %d is off by %.0f of %u, sigma %.1f", what, i, off,
				 sums.calls, sigma);
		if (fabs(off) / sigma > sums.worst)
			sums.worst = fabs(off) / sigma;
		sum += off;
	}
	print_message("%s: mean %+.3f %% (bound 1), worst %.1f sigma (bound 4)\n", what,
		      100 * sum / DRAWS / sums.calls, sums.worst);
	if (fabs(sum / DRAWS) > bound)
		fail_msg("%s: the mean of %d draws is off by %.1f of %u", what, DRAWS, sum / DRAWS,
			 sums.calls);
}

#define FIXED_N 3
#define FIXED_CALLS 10000

static void weights_fixed(void **state)
{
	const struct mon_capture_options options = watch_options(MODE(state));
	const struct mon_policy policy = {.sample = mon_sample_word(FIXED_N)};

	open_bursts(&options, policy);
	hold_sums("1 in 3", (struct sums){.calls = FIXED_CALLS,
					  .variance = (double)FIXED_CALLS * (FIXED_N - 1)});
	close_bursts();
}

/*
 * The first calls weigh 1, exactly; those of each second vary by nothing, too, and are so few here
 * that the others' variance stands. N is not auto's own 10, which would want 45,000 calls a draw.
 */
static void weights_auto(void **state)
{
	const struct mon_policy policy = {.sample = mon_sample_word(FIXED_N),
					  .flags = MON_POLICY_ALLOWANCE};
	struct mon_capture_options options = watch_options(MODE(state));

	options.allowance = true;
	open_bursts(&options, policy);
	assert_int_equal(burst(MON_ALLOWANCE_RUN, 0), MON_ALLOWANCE_RUN);
	watch_read(&watch);
	assert_int_equal(watch.records[0].all, MON_ALLOWANCE_RUN);
	assert_int_equal(watch.records[0].weight, MON_ALLOWANCE_RUN);
	hold_sums("auto, with 1 in 3",
		  (struct sums){.calls = FIXED_CALLS,
				.variance = (double)FIXED_CALLS * (FIXED_N - 1)});
	close_bursts();
}

/* Kept whole: 1 of 400 that takes long. A call that is preempted may be slow, too, and be kept. */
static void weights_keep_slow(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	const struct mon_policy policy = {.sample = mon_sample_word(FIXED_N),
					  .slow_ns = 150 * MON_NS_PER_US};
	enum { SLOW_EACH = 400 };

	options.judge = true;
	open_bursts(&options, policy);
	hold_sums("keep slow, else 1 in 3",
		  (struct sums){.calls = FIXED_CALLS,
				.slow_each = SLOW_EACH,
				.variance = (double)(FIXED_CALLS - FIXED_CALLS / SLOW_EACH) *
					    (FIXED_N - 1)});
	assert_true(watch.records[0].all * FIXED_N > watch.records[0].weight);
	close_bursts();
}

/* 2 of 16 return a negative int: -1, and nothing else of 64 bits whose low half is. */
static void weights_keep_failed(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	const struct mon_policy policy = {.sample = mon_sample_word(FIXED_N),
					  .flags = MON_POLICY_KEEP_FAILED,
					  .failed_if = MON_FAILED_NEGATIVE};

	options.judge = true;
	open_bursts(&options, policy);
	hold_sums("keep failed, else 1 in 3",
		  (struct sums){.calls = FIXED_CALLS,
				.variance = FIXED_CALLS * 15.0 / 16 * (FIXED_N - 1)});
	close_bursts();
}

/* What --stats counts does: no return is followed but a chosen call's, or none at all. */
static void weights_counts(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	const struct mon_policy policy = {.sample = mon_sample_word(FIXED_N),
					  .flags = MON_POLICY_NO_RETURN};

	options.returns = options.may_skip_returns = MODE(state) == MON_MODE_SESSION;
	open_bursts(&options, policy);
	hold_sums("counts, 1 in 3", (struct sums){.calls = FIXED_CALLS,
						  .variance = (double)FIXED_CALLS * (FIXED_N - 1)});
	close_bursts();
}

/* --- returns that are followed more often than calls are kept ----------------------------- */

#define FOLLOWED_CALLS 200000
#define FOLLOWED_SLOW_EACH 40
#define RARE_N 1000

static uint64_t of_other_weight;

static void check_rare(const struct mon_record *record)
{
	const struct mon_call_event *call = record->data;

	of_other_weight += call->weight != RARE_N;
}

/* 6 sigma of @expected events, each seen once in @one_in times: 1 run in 500 million. */
static void assert_drawn(const char *what, uint64_t seen, double expected, double one_in)
{
	double sigma = sqrt(expected * (one_in - 1));

	print_message("%s: %llu for %.0f, %+.1f sigma\n", what, (unsigned long long)seen, expected,
		      ((double)seen - expected) / sigma);
	if (fabs((double)seen - expected) > 6 * sigma)
		fail_msg("%s: %llu for %.0f, sigma %.0f", what, (unsigned long long)seen, expected,
			 sigma);
}

/* Sums over buckets: of all, and of those that begin at @from_ns or later; bounds of the total. */
struct spread {
	uint64_t all, later, least_ns, most_ns;
};

static struct spread spread_of(const uint32_t *histogram, uint64_t from_ns)
{
	struct spread spread = {0};

	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		spread.all += histogram[i];
		if (mon_histogram_lower_ns(i) >= from_ns)
			spread.later += histogram[i];
		spread.least_ns += histogram[i] * mon_histogram_lower_ns(i);
		if (histogram[i])
			spread.most_ns += histogram[i] * mon_histogram_upper_ns(i);
	}
	return spread;
}

/*
 * 1 in 1,000 is kept and weighs 1,000, as ever; 1 in MON_FOLLOW_N is followed and counts so often
 * in returns, failures, times and histogram, kept or not. Every 40th call takes 200 us or more: of
 * what is told of it only a call that was held up takes as long.
 */
static void followed_more_often_than_kept(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	const uint64_t slow = FOLLOWED_CALLS / FOLLOWED_SLOW_EACH;
	const uint32_t *histogram;
	struct mon_counters counters;
	struct spread spread;
	uint64_t slow_ns;

	options.may_skip_returns = options.judge = true;
	of_other_weight = 0;
	watch.on_record = check_rare;
	open_bursts(&options, (struct mon_policy){.sample = mon_sample_word(RARE_N),
						  .flags = MON_POLICY_NO_RETURN,
						  .failed_if = MON_FAILED_NEGATIVE});
	assert_int_equal(burst(FOLLOWED_CALLS, FOLLOWED_SLOW_EACH), FOLLOWED_CALLS);
	close_bursts();
	mon_capture_read_counters(watch.capture, 0, &counters, &histogram);
	assert_int_equal(counters.calls, FOLLOWED_CALLS);
	assert_drawn("weights", watch.records[0].weight, FOLLOWED_CALLS, RARE_N);
	assert_int_equal(of_other_weight, 0);
	assert_int_equal(counters.unfinished, 0);
	slow_ns = mon_histogram_lower_ns(mon_histogram_bucket(200 * MON_NS_PER_US));
	spread = spread_of(histogram, slow_ns);
	assert_int_equal(spread.all, counters.returns);
	assert_in_range(counters.total_ns, spread.least_ns, spread.most_ns);
	if (MODE(state) != MON_MODE_SESSION) {
		assert_int_equal(counters.returns, FOLLOWED_CALLS);
		assert_int_equal(counters.failed, FOLLOWED_CALLS / 16);
		return;
	}
	assert_int_equal(counters.returns % MON_FOLLOW_N, 0);
	assert_true(counters.returns / MON_FOLLOW_N > 10 * watch.records[0].all);
	assert_drawn("returns", counters.returns, FOLLOWED_CALLS, MON_FOLLOW_N);
	assert_drawn("failed", counters.failed, FOLLOWED_CALLS / 16, MON_FOLLOW_N);
	assert_drawn("slow", spread.later, (double)slow, MON_FOLLOW_N);
}

/* What the allowance keeps was not drawn: it stands for itself alone, and the others for all else.
 */
static void followed_beside_an_allowance(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	struct mon_counters counters;

	options.may_skip_returns = options.allowance = true;
	open_bursts(&options,
		    (struct mon_policy){.sample = mon_sample_word(RARE_N),
					.flags = MON_POLICY_NO_RETURN | MON_POLICY_ALLOWANCE});
	assert_int_equal(burst(MON_ALLOWANCE_RUN, 0), MON_ALLOWANCE_RUN);
	watch_read(&watch);
	assert_int_equal(watch.records[0].all, MON_ALLOWANCE_RUN);
	assert_int_equal(watch_counters(&watch, 0).returns, MON_ALLOWANCE_RUN);
	assert_int_equal(burst(FOLLOWED_CALLS, 0), FOLLOWED_CALLS);
	close_bursts();
	counters = watch_counters(&watch, 0);
	assert_int_equal(counters.calls, FOLLOWED_CALLS + MON_ALLOWANCE_RUN);
	if (MODE(state) == MON_MODE_SESSION)
		assert_drawn("returns", counters.returns - MON_ALLOWANCE_RUN, FOLLOWED_CALLS,
			     MON_FOLLOW_N);
	else
		assert_int_equal(counters.returns, counters.calls);
}

/*
 * Followed and not kept, and no return: left by longjmp, by the end of their thread, still open,
 * too deep for a frame, refused one. Each was sampled out when it began and is counted no more.
 */
static void followed_calls_that_never_return(void **state)
{
	static const struct {
		const char *target, *arguments[2], *line;
		const char *symbols[ALL_FUNCTIONS];
		uint32_t threads_max;
		uint64_t returns; /* of the first function in session mode; 0: any number */
	} cases[] = {
		{"longjmp",
		 {"3000"},
		 "done",
		 {"watched_outer", "watched_middle", "watched_leaf", NULL},
		 4096,
		 0},
		{"pthread_exit_mid",
		 {"1000"},
		 "done",
		 {"watched_exits", "watched_leaf", NULL},
		 4096,
		 0},
		{"nested", {"4000"}, "blocked", {"watched_inner", NULL}, 4096, 0},
		/* Some 250 of 4,000 are followed, and the kernel has room for 64. */
		{"recursion",
		 {"4000", "10"},
		 "done",
		 {"watched_recursion", NULL},
		 4096,
		 10ull * MON_FRAMES_MAX * MON_FOLLOW_N},
		{"threads", {"1000", "8"}, "done", {"watched_threaded", NULL}, 1, 0},
	};
	struct mon_capture_options options = watch_options(MODE(state));
	char path[PATH_MAX];

	options.may_skip_returns = true;
	for (size_t i = 0; i < MON_ARRAY_COUNT(cases); i++) {
		uint64_t unfinished = 0, unreturned = 0, refused;

		options.threads_max = cases[i].threads_max;
		functions_add(&watch.set, target_path(cases[i].target, path, sizeof(path)),
			      cases[i].symbols);
		target = target_start(cases[i].target, cases[i].arguments[0], cases[i].arguments[1],
				      NULL);
		watch_open(&watch, &options);
		for (uint32_t f = 0; f < watch.set.function_count; f++)
			mon_capture_write_policy(
				watch.capture, f,
				(struct mon_policy){.sample = mon_sample_word(RARE_N),
						    .flags = MON_POLICY_NO_RETURN});
		watch_attach(&watch, target_pid(target));
		target_go(target);
		(void)target_wait_line(target, cases[i].line, PROCESS_TIMEOUT_MS);
		refused = watch_run_counters(&watch).threads_refused;
		watch_close_probes(&watch);
		watch_check(&watch);
		for (size_t f = 0; f < watch.set.function_count; f++) {
			struct mon_counters counters = watch_counters(&watch, f);

			unfinished += counters.unfinished;
			unreturned += counters.calls - counters.returns / MON_FOLLOW_N;
			assert_int_equal(counters.sampled_out + counters.emitted +
						 counters.frame_refused,
					 counters.calls);
		}
		assert_true(unreturned > 0);
		if (cases[i].threads_max == 1)
			assert_true(refused > 0);
		else if (!cases[i].returns)
			assert_true(unfinished > 0);
		else if (MODE(state) == MON_MODE_SESSION)
			assert_int_equal(watch_counters(&watch, 0).returns, cases[i].returns);
		process_signal(target_process(target), SIGKILL);
		watch_free(&watch);
		watch = (struct watch){0};
	}
}

/* --- slow and failed calls -------------------------------------------------------------- */

#define KEPT_CALLS 4000

static uint8_t seen[KEPT_CALLS];
static uint64_t not_whole;

static void remember(const struct mon_record *record)
{
	const struct mon_call_event *call = record->data;

	if (call->args[0] < KEPT_CALLS)
		seen[call->args[0]]++;
	not_whole += call->weight != 1;
}

static void open_kept(const struct mon_capture_options *options, struct mon_policy policy)
{
	memset(seen, 0, sizeof(seen));
	not_whole = 0;
	watch.on_record = remember;
	open_bursts(options, policy);
}

/* Each expression on what the target returns: -1, 0, 1 << 63 and 1. */
static void failed_calls_are_kept(void **state)
{
	static const struct {
		uint32_t failed_if;
		bool at[16];
	} cases[] = {
		{MON_FAILED_NEGATIVE, {[3] = true}},
		{MON_FAILED_ZERO, {[7] = true, [11] = true}},
		{MON_FAILED_NOT_ZERO, {1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1}},
		{MON_FAILED_NEGATIVE64, {[3] = true, [11] = true}},
	};
	struct mon_capture_options options = watch_options(MODE(state));

	options.judge = true;
	options.arg_count = 1;
	for (size_t i = 0; i < MON_ARRAY_COUNT(cases); i++) {
		uint64_t failed = 0;

		open_kept(&options, (struct mon_policy){.sample = MON_SAMPLE_NONE,
							.flags = MON_POLICY_KEEP_FAILED,
							.failed_if = cases[i].failed_if});
		assert_int_equal(burst(KEPT_CALLS, 0), KEPT_CALLS);
		close_bursts();
		for (unsigned n = 0; n < KEPT_CALLS; n++) {
			if (seen[n] != cases[i].at[n % 16])
				fail_msg("case %zu: call %u kept %u times", i, n, seen[n]);
			failed += seen[n];
		}
		assert_int_equal(watch_counters(&watch, 0).failed, failed);
		assert_int_equal(watch_counters(&watch, 0).sampled_out, KEPT_CALLS - failed);
		assert_int_equal(not_whole, 0);
		watch_free(&watch);
		watch = (struct watch){0};
	}
}

/* Counting failures keeps none. */
static void failed_calls_are_counted(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));

	options.judge = true;
	open_bursts(&options, (struct mon_policy){.sample = MON_SAMPLE_NONE,
						  .failed_if = MON_FAILED_NEGATIVE});
	assert_int_equal(burst(KEPT_CALLS, 0), KEPT_CALLS);
	close_bursts();
	assert_int_equal(watch_counters(&watch, 0).failed, KEPT_CALLS / 16);
	assert_int_equal(watch_counters(&watch, 0).sampled_out, KEPT_CALLS);
	assert_int_equal(watch.records[0].all, 0);
}

/*
 * Every 10th call takes 200 us: those are all there, with what they were given and once. Texts of
 * the others are given back: with room for 4 calls' none of 4,000 is refused.
 */
static void slow_calls_are_kept(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	uint64_t kept = 0;

	options.judge = true;
	options.arg_count = 1;
	options.text_count = 1;
	options.texts[0].argument = 2;
	options.capture_bytes = 8;
	options.text_calls = 4;
	open_kept(&options,
		  (struct mon_policy){.sample = MON_SAMPLE_NONE, .slow_ns = 150 * MON_NS_PER_US});
	assert_int_equal(burst(KEPT_CALLS, 10), KEPT_CALLS);
	close_bursts();
	for (unsigned n = 0; n < KEPT_CALLS; n++) {
		if (seen[n] > 1 || (n % 10 == 0 && !seen[n]))
			fail_msg("call %u kept %u times", n, seen[n]);
		kept += seen[n];
	}
	/* Others are as slow only when they are held up. */
	assert_true(kept < KEPT_CALLS / 2);
	assert_int_equal(watch_counters(&watch, 0).sampled_out, KEPT_CALLS - kept);
	assert_int_equal(watch_run_counters(&watch).texts_refused, 0);
	assert_int_equal(not_whole, 0);
}

/*
 * Calls that are awaited and never return: left by longjmp, by the end of their thread, still open.
 * Each is counted as sampled out, once, and gives its texts back.
 */
static void awaited_calls_that_never_return(void **state)
{
	static const struct {
		const char *target, *line;
		const char *symbols[ALL_FUNCTIONS];
	} cases[] = {
		{"longjmp", "done", {"watched_outer", "watched_middle", "watched_leaf", NULL}},
		{"pthread_exit_mid", "done", {"watched_exits", "watched_leaf", NULL}},
		{"killed", "blocked", {"watched_call", "watched_blocks", NULL}},
	};
	struct mon_capture_options options = watch_options(MODE(state));

	options.judge = true;
	options.text_count = 1;
	options.texts[0] = (struct mon_text_choice){.argument = 1, .length_argument = 2};
	options.capture_bytes = 8;
	options.text_calls = 8;
	for (size_t i = 0; i < MON_ARRAY_COUNT(cases); i++) {
		uint64_t unfinished = 0;

		open_on(cases[i].target, cases[i].symbols, &options);
		for (uint32_t f = 0; f < watch.set.function_count; f++)
			mon_capture_write_policy(
				watch.capture, f,
				(struct mon_policy){.sample = MON_SAMPLE_NONE,
						    .slow_ns = MON_NS_PER_S * 3600});
		watch_attach(&watch, target_pid(target));
		target_go(target);
		(void)target_wait_line(target, cases[i].line, PROCESS_TIMEOUT_MS);
		watch_close_probes(&watch);
		watch_check(&watch);
		for (size_t f = 0; f < watch.set.function_count; f++) {
			unfinished += watch_counters(&watch, f).unfinished;
			assert_int_equal(watch_counters(&watch, f).sampled_out,
					 watch_counters(&watch, f).calls);
			assert_int_equal(watch.records[f].all, 0);
		}
		assert_true(unfinished > 0);
		assert_int_equal(watch_run_counters(&watch).texts_refused, 0);
		process_signal(target_process(target), SIGKILL);
		watch_free(&watch);
		watch = (struct watch){0};
	}
}

/* --- returns that are skipped ----------------------------------------------------------- */

/* Three bursts, the second with returns skipped: those cost no trap, and all is as before then. */
static void returns_are_skipped_for_a_while(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));
	const struct mon_policy all = {.sample = MON_SAMPLE_ALL},
				none = {.sample = MON_SAMPLE_NONE, .flags = MON_POLICY_NO_RETURN};
	bool session = MODE(state) == MON_MODE_SESSION;
	const uint32_t *histogram;
	struct mon_counters counters;
	uint64_t self_ns;

	options.may_skip_returns = true;
	open_bursts(&options, all);
	assert_int_equal(burst(1000, 0), 1000);
	watch_read(&watch);
	assert_int_equal(watch.records[0].last.flags, 0);
	mon_capture_read_counters(watch.capture, 0, &counters, &histogram);
	assert_int_equal(histogram[MON_HISTOGRAM_MARKS], 0);
	assert_int_equal(counters.self_ns, counters.total_ns);
	self_ns = counters.self_ns;
	mon_capture_write_policy(watch.capture, 0, none);
	assert_int_equal(burst(1000, 0), 1000);
	mon_capture_write_policy(watch.capture, 0, all);
	assert_int_equal(burst(1000, 0), 1000);
	close_bursts(); /* orphan returns are those that nobody wanted: there is none */
	mon_capture_read_counters(watch.capture, 0, &counters, &histogram);
	assert_int_equal(counters.calls, 3000);
	assert_int_equal(counters.returns, session ? 2000 : 3000);
	assert_int_equal(counters.sampled_out, 1000);
	assert_int_equal(watch.records[0].all, 2000);
	/* What the last calls call is known again; what is around them may have begun before. */
	assert_int_equal(histogram[MON_HISTOGRAM_MARKS], session ? MON_MARK_ESTIMATED : 0);
	assert_int_equal(watch.records[0].last.flags, session ? MON_CALL_CALLER_UNKNOWN : 0);
	assert_true(counters.self_ns > self_ns);
	assert_int_equal(counters.self_ns, counters.total_ns);
}

/* One function skips, its caller does not: the caller's self time would hold that of both. */
static void self_time_is_not_known_around_skipped_calls(void **state)
{
	static const char *const symbols[] = {"watched_call", "watched_inner", NULL};
	struct mon_capture_options options = watch_options(MODE(state));
	bool session = MODE(state) == MON_MODE_SESSION;
	const uint32_t *histogram;
	struct mon_counters counters;

	options.may_skip_returns = true;
	open_on("calls", symbols, &options);
	mon_capture_write_policy(
		watch.capture, 1,
		(struct mon_policy){.sample = MON_SAMPLE_NONE, .flags = MON_POLICY_NO_RETURN});
	watch_attach(&watch, target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 23);
	close_bursts();
	mon_capture_read_counters(watch.capture, 0, &counters, &histogram);
	assert_int_equal(counters.returns, 23);
	assert_int_equal(watch.records[0].last.flags, session ? MON_CALL_DOUBTS : 0);
	assert_int_equal(histogram[MON_HISTOGRAM_MARKS], session ? MON_MARK_SELF_UNKNOWN : 0);
	if (session)
		assert_int_equal(counters.self_ns, 0);
	assert_int_equal(watch_counters(&watch, 1).returns, session ? 0 : 23);
}

static uint64_t known_self, known_caller;

/* Each watched_call calls watched_inner once: what is told of them must be so. */
static void check_pair(const struct mon_record *record)
{
	const struct mon_call_event *call = record->data;

	if (call->function == 0 && !(call->flags & MON_CALL_SELF_UNKNOWN)) {
		known_self++;
		assert_true(call->child_ns > 0);
	}
	if (call->function == 1 && !(call->flags & MON_CALL_CALLER_UNKNOWN)) {
		known_caller++;
		assert_int_equal(call->caller, 0);
	}
}

/* Policies change as fast as can be while calls are made: no return is taken for another's. */
static void returns_are_skipped_now_and_then(void **state)
{
	static const char *const symbols[] = {"watched_call", "watched_inner", NULL};
	const struct mon_policy policies[] = {
		{.sample = MON_SAMPLE_ALL},
		{.sample = mon_sample_word(2), .flags = MON_POLICY_NO_RETURN},
		{.sample = MON_SAMPLE_NONE, .flags = MON_POLICY_NO_RETURN},
		{.sample = mon_sample_word(2)},
	};
	struct mon_capture_options options = watch_options(MODE(state));
	char path[PATH_MAX];
	unsigned flips = 0;

	options.may_skip_returns = true;
	known_self = known_caller = 0;
	watch.on_record = check_pair;
	functions_add(&watch.set, target_path("calls", path, sizeof(path)), symbols);
	target = target_start("calls", "100000", NULL);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	target_go(target);
	while (!process_try_line(target_process(target), PROCESS_STDOUT, "done", 0)) {
		mon_capture_write_policy(watch.capture, flips % 2, policies[flips / 2 % 4]);
		flips++;
		watch_read(&watch);
	}
	close_bursts();
	assert_true(flips > 20);
	assert_int_equal(watch_counters(&watch, 0).calls, 100000);
	assert_int_equal(watch_counters(&watch, 1).calls, 100000);
	assert_true(known_self > 0 && known_caller > 0);
	print_message("%u changes, self time known of %llu calls, caller of %llu\n", flips,
		      (unsigned long long)known_self, (unsigned long long)known_caller);
}

/* --- caps ------------------------------------------------------------------------------- */

/* In as many seconds of the clock as the burst touches: that often a cap, and not once more. */
static void records_are_capped(void **state)
{
	static const struct {
		uint32_t of_function, of_all, most;
	} cases[] = {{100, 0, 100}, {0, 150, 150}, {200, 50, 50}, {50, 200, 50}};
	struct mon_capture_options options = watch_options(MODE(state));

	options.caps = true;
	for (size_t i = 0; i < 2 * MON_ARRAY_COUNT(cases); i++) {
		size_t at = i / 2;
		struct mon_counters counters;
		mon_ns from_ns, to_ns;
		uint64_t seconds;

		options.returns = i % 2;
		options.records_per_s = cases[at].of_all;
		open_bursts(&options, (struct mon_policy){.sample = MON_SAMPLE_ALL,
							  .records_per_s = cases[at].of_function});
		from_ns = mon_clock_now(&mon_clock_system);
		assert_int_equal(burst(5000, 0), 5000);
		to_ns = mon_clock_now(&mon_clock_system);
		close_bursts();
		seconds = to_ns / MON_NS_PER_S - from_ns / MON_NS_PER_S + 1;
		counters = watch_counters(&watch, 0);
		assert_in_range(counters.emitted, cases[at].most, seconds * cases[at].most);
		assert_int_equal(counters.rate_cap, 5000 - counters.emitted);
		watch_free(&watch);
		watch = (struct watch){0};
	}
}

/* What the gate refuses is lost under the gate's name, and no cap. */
static void a_closed_gate_is_no_cap(void **state)
{
	struct mon_capture_options options = watch_options(MODE(state));

	options.caps = true;
	options.records_per_s = 10;
	open_bursts(&options, (struct mon_policy){.sample = MON_SAMPLE_ALL});
	mon_capture_set_gate(watch.capture, MON_REASON_GATE_CLOSED);
	assert_int_equal(burst(1000, 0), 1000);
	close_bursts();
	assert_int_equal(watch_counters(&watch, 0).gate_closed, 1000);
	assert_int_equal(watch_counters(&watch, 0).rate_cap, 0);
}

int main(int argc, char **argv)
{
	static enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
	} rows[] = {
		{"weights_fixed", weights_fixed},
		{"weights_auto", weights_auto},
		{"weights_keep_slow", weights_keep_slow},
		{"weights_keep_failed", weights_keep_failed},
		{"weights_counts", weights_counts},
		{"followed_more_often_than_kept", followed_more_often_than_kept},
		{"followed_beside_an_allowance", followed_beside_an_allowance},
		{"followed_calls_that_never_return", followed_calls_that_never_return},
		{"failed_calls_are_kept", failed_calls_are_kept},
		{"failed_calls_are_counted", failed_calls_are_counted},
		{"slow_calls_are_kept", slow_calls_are_kept},
		{"awaited_calls_that_never_return", awaited_calls_that_never_return},
		{"returns_are_skipped_for_a_while", returns_are_skipped_for_a_while},
		{"returns_are_skipped_now_and_then", returns_are_skipped_now_and_then},
		{"self_time_is_not_known_around_skipped_calls",
		 self_time_is_not_known_around_skipped_calls},
		{"records_are_capped", records_are_capped},
		{"a_closed_gate_is_no_cap", a_closed_gate_is_no_cap},
	};
	static struct CMUnitTest tests[MON_ARRAY_COUNT(rows) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][80];
	size_t count = 0;

	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++)
		for (size_t mode = 0; mode < MON_ARRAY_COUNT(modes); mode++) {
			(void)snprintf(names[count], sizeof(names[count]), "%s_%s", rows[i].name,
				       mon_mode_name(modes[mode]));
			tests[count] = (struct CMUnitTest){
				.name = names[count],
				.test_func = rows[i].body,
				.teardown_func = tear_down,
				.initial_state = &modes[mode],
			};
			count++;
		}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("kernel/weights", tests, NULL, NULL);
}
