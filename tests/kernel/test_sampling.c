// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is kept of a call, as asked for on the command line: --sample, --args, --stats and -c, in
 * each mode. Which calls are kept is chance: how many is held to 6 sigma, one failure in 500
 * million runs; what is counted is exact all the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "bpf/policy.h"
#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/target.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODE(state) (*(const char *const *)*(state))
#define CALLS 23
#define MANY 20000
#define MANY_TEXT "20000"

static int64_t of(const char *column, const char *function)
{
	char sql[256];

	(void)snprintf(sql, sizeof(sql), "SELECT %s FROM functions WHERE function='%s'", column,
		       function);
	return db_int(database, sql);
}

static int64_t count_calls(const char *function, const char *condition)
{
	char sql[1024];

	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM calls WHERE function='%s' AND (%s)",
		       function, condition);
	return db_int(database, sql);
}

/* All the calls of a target; exit 0, the books closed, nothing lost. */
static void run(struct target *target, struct monitor *monitor, long calls)
{
	target_go(target);
	assert_int_equal(target_done(target), calls);
	monitor_end(monitor, 0);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT coalesce(sum(count),0) FROM losses"), 0);
	assert_int_equal(target_finish(target), 0);
}

static void assert_sampled(const char *function, int64_t calls, int64_t one_in)
{
	double chance = 1.0 / (double)one_in;
	double expected = (double)calls * chance;
	int64_t kept = count_calls(function, "1");
	char weight[32];

	(void)snprintf(weight, sizeof(weight), "weight<>%lld", (long long)one_in);
	if (fabs((double)kept - expected) > 6 * sqrt(expected * (1 - chance)))
		fail_msg("%s: kept %lld of %lld, expected %.0f", function, (long long)kept,
			 (long long)calls, expected);
	assert_int_equal(count_calls(function, weight), 0);
	assert_int_equal(of("calls", function), calls);
	assert_int_equal(of("returns", function), calls);
	assert_int_equal(of("stored", function), kept);
}

/* What two --sample options, in this order, make of the two functions. */
static void sample(const char *mode, const char *first, const char *second, int64_t call_one_in,
		   int64_t inner_one_in)
{
	struct target *target = target_start("calls", MANY_TEXT, NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", mode, "--sample", first, "--sample",
			       second, "--max-overhead", "0", "watched_*", NULL);

	run(target, monitor, MANY);
	assert_sampled("watched_call", MANY, call_one_in);
	assert_sampled("watched_inner", MANY, inner_one_in);
}

static void a_rule_for_one_function(void **state)
{
	sample(MODE(state), "25%", "watched_call=1/10", 10, 4);
}

static void the_last_rule_that_matches_wins(void **state)
{
	sample(MODE(state), "watched_call=1/10", "25%", 4, 4);
}

static void every_call_of_one_function(void **state)
{
	sample(MODE(state), "1/100", "*_inner=1", 100, 1);
}

/* The target passes i, -i, i << 40, a string, a pointer to it, ~i; see what each returns there. */
static void arguments_are_the_targets_own(void **state)
{
	struct target *target = target_start("arguments", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--mode", MODE(state),
						 "--sample", "1", "--args", "6", "watched_*", NULL);

	run(target, monitor, CALLS);
	assert_int_equal(count_calls("watched_arguments", "1"), CALLS);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT arg1) FROM calls WHERE "
					  "function='watched_arguments' AND arg1 BETWEEN 0 AND 22"),
			 CALLS);
	assert_int_equal(count_calls("watched_arguments",
				     "(arg2&0xffffffff)=(-arg1&0xffffffff) AND arg3=arg1<<40 AND "
				     "arg4=arg5 AND arg4<>0 AND arg6=~arg1 AND ret=arg1"),
			 CALLS);
	assert_int_equal(
		count_calls("watched_fails", "ret_int=CASE arg1%2 WHEN 1 THEN -1 ELSE arg1 END"),
		CALLS);
	assert_int_equal(count_calls("watched_wide", "ret=arg1<<33"), CALLS);
}

static void no_more_arguments_than_asked_for(void **state)
{
	struct target *target = target_start("arguments", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--mode", MODE(state),
						 "--sample", "1", "--args", "1", "watched_*", NULL);

	run(target, monitor, CALLS);
	assert_int_equal(count_calls("watched_arguments",
				     "arg1=ret AND coalesce(arg2,arg3,arg4,arg5,arg6) IS NULL"),
			 CALLS);
}

/* Entries only: calls are counted and kept, and no time is claimed for any. */
static void assert_entries_only(const char *function)
{
	assert_int_equal(of("calls", function), CALLS);
	assert_int_equal(of("returns", function), 0);
	assert_int_equal(of("total_ns IS NULL AND max_ns IS NULL", function), 1);
	assert_int_equal(count_calls(function, "duration_ns IS NOT NULL OR weight<>1"), 0);
}

/* Where returns cannot be skipped one by one, none is followed. */
static void counts_only(void **state)
{
	bool session = strcmp(MODE(state), "session") == 0;
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", MODE(state), "--sample", "1", "--args",
			       "1", "--stats", "counts", "watched_*", NULL);

	run(target, monitor, CALLS);
	assert_int_equal(monitor_count_lines(monitor, "entries only, no durations"), !session);
	assert_int_equal(monitor_count_lines(monitor, "times are estimated"), session);
	for (int i = 0; i < 2; i++) {
		const char *function = i ? "watched_inner" : "watched_call";

		assert_int_equal(count_calls(function, "1"), CALLS);
		assert_int_equal(count_calls(function, "arg1 BETWEEN 0 AND 22"), CALLS);
		if (!session)
			assert_entries_only(function);
		else
			assert_int_equal(count_calls(function, "duration_ns>0 AND weight=1"),
					 CALLS);
	}
}

static void counts_only_without_records(void **state)
{
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--mode", MODE(state), "-c",
						 "--stats", "counts", "watched_*", NULL);

	run(target, monitor, CALLS);
	assert_entries_only("watched_call");
	assert_entries_only("watched_inner");
	assert_int_equal(count_calls("watched_call", "1"), 0);
}

/*
 * Of 1 call in 10 the return is followed. Calls are exact; returns, total and the histogram are the
 * weighted sum of what is in `call`, to the last bit; and what nobody saw is not claimed.
 */
static void counts_with_a_sample(void **state)
{
	struct target *target = target_start("calls", MANY_TEXT, NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", MODE(state), "--sample", "1/10",
			       "--stats", "counts", "--max-overhead", "0", "watched_*", NULL);

	run(target, monitor, MANY);
	if (strcmp(MODE(state), "session") != 0) {
		assert_int_equal(db_int(database, "SELECT sum(returns) FROM functions"), 0);
		return;
	}
	assert_int_equal(of("calls", "watched_call"), MANY);
	assert_int_equal(
		db_int(database,
		       "SELECT count(*) FROM (SELECT s.returns=sum(c.weight) AND "
		       "s.total_ns=sum(c.weight*c.duration_ns) AND s.min_ns=min(c.duration_ns) "
		       "AND s.max_ns=max(c.duration_ns) AND s.estimated=1 AND s.self_ns IS NULL AS "
		       "holds FROM function_total s JOIN call c USING(function_id) GROUP BY "
		       "function_id) WHERE holds"),
		2);
	/* Both of a pair of nested calls are kept once in 100 times; even then it is not known. */
	assert_int_equal(db_int(database,
				"SELECT count(*) FROM call WHERE weight<>10 OR flags<>192 "
				"OR duration_ns IS NULL OR child_ns IS NOT NULL OR "
				"caller_id IS NOT NULL"),
			 0);
	assert_true(abs((int)(of("returns", "watched_call") - MANY)) <
		    6 * sqrt((double)MANY * (10 - 1)));
}

/* 1 in 1,000 is kept, and times are of 1 in 16 all the same. */
static void counts_with_a_rare_sample(void **state)
{
	struct target *target = target_start("calls", MANY_TEXT, NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", MODE(state), "--sample", "1/1000",
			       "--stats", "counts", "--max-overhead", "0", "watched_*", NULL);
	int64_t returns;

	run(target, monitor, MANY);
	for (int i = 0; i < 2; i++) {
		const char *function = i ? "watched_inner" : "watched_call";

		assert_int_equal(of("calls", function), MANY);
		assert_int_equal(count_calls(function, "weight<>1000"), 0);
		assert_true(of("stored", function) < 20 + 6 * sqrt(20));
		returns = of("returns", function);
		if (strcmp(MODE(state), "session") != 0) {
			assert_int_equal(returns, 0);
			continue;
		}
		assert_int_equal(returns % MON_FOLLOW_N, 0);
		assert_true(abs((int)(returns - MANY)) <
			    6 * sqrt((double)MANY * (MON_FOLLOW_N - 1)));
		assert_int_equal(of("estimated AND self_ns IS NULL AND total_ns>=min_ns*returns "
				    "AND total_ns<=max_ns*returns",
				    function),
				 1);
	}
}

/* -c: exact statistics with times, and no record of any call. */
static void statistics_only(void **state)
{
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", MODE(state), "-c", "watched_*", NULL);

	run(target, monitor, CALLS);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 0);
	for (int i = 0; i < 2; i++) {
		const char *function = i ? "watched_inner" : "watched_call";

		assert_int_equal(of("calls", function), CALLS);
		assert_int_equal(of("returns", function), CALLS);
		assert_int_equal(of("stored", function), 0);
		assert_int_equal(of("min_ns>0 AND max_ns>=min_ns AND total_ns>=max_ns AND "
				    "self_ns<=total_ns",
				    function),
				 1);
	}
	/* The caller's time holds that of what it calls. */
	assert_true(of("total_ns", "watched_call") > of("total_ns", "watched_inner"));
	assert_true(of("self_ns", "watched_call") <=
		    of("total_ns", "watched_call") - of("total_ns", "watched_inner"));
}

static int64_t in_ledger(const char *function, const char *reason)
{
	char sql[512];

	(void)snprintf(
		sql, sizeof(sql),
		"SELECT coalesce(sum(l.count),0) FROM ledger l JOIN reason r ON "
		"r.id=l.reason_id JOIN function f ON f.id=l.function_id WHERE f.name='%s' AND "
		"r.name='%s'",
		function, reason);
	return db_int(database, sql);
}

/* watched_fails returns -1 for each odd argument; the others return what is not negative. */
static void failed_calls(void **state)
{
	struct target *target = target_start("arguments", MANY_TEXT, NULL);
	struct monitor *monitor = monitor_attach(
		target, database, "--mode", MODE(state), "--sample", "1/1000", "--args", "1",
		"--failed", "watched_f*=ret<0", "--keep-failed", "watched_*", NULL);

	run(target, monitor, MANY);
	assert_int_equal(of("failed", "watched_fails"), MANY / 2);
	assert_int_equal(count_calls("watched_fails", "ret_int=-1 AND arg1%2=1 AND weight=1"),
			 MANY / 2);
	assert_int_equal(count_calls("watched_fails", "ret_int<>-1 AND weight<>1000"), 0);
	assert_int_equal(of("failed IS NULL", "watched_wide"), 1);
	assert_int_equal(db_int(database, "SELECT count(*) FROM function WHERE failed_if='ret<0'"),
			 1);
	assert_int_equal(db_int(database, "SELECT sum(i.failed) FROM function_interval i JOIN "
					  "function f ON f.id=i.function_id WHERE "
					  "f.name='watched_fails'"),
			 MANY / 2);
}

/* Every call takes longer than 1 ns, so all of the one function are slow and none of the other. */
static void slow_calls(void **state)
{
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--mode", MODE(state),
						 "--sample", "1/1000000", "--keep-slow", "24h",
						 "--keep-slow", "*_call=1ns", "watched_*", NULL);

	run(target, monitor, CALLS);
	assert_int_equal(count_calls("watched_call", "weight=1 AND duration_ns>0"), CALLS);
	assert_int_equal(in_ledger("watched_inner", "sampled_out") + of("stored", "watched_inner"),
			 CALLS);
}

/* At most a cap in each second of the clock that the calls touch, and the rest is counted. */
static void capped(void **state)
{
	struct target *target = target_start("calls", MANY_TEXT, NULL);
	struct monitor *monitor = monitor_attach(
		target, database, "--mode", MODE(state), "--sample", "1", "--max-records-per-sec",
		"1000", "--max-records-per-sec", "*_inner=100", "watched_*", NULL);
	mon_ns from_ns = mon_clock_now(&mon_clock_system);
	int64_t inner, kept, seconds;

	run(target, monitor, MANY);
	seconds = (int64_t)(mon_clock_now(&mon_clock_system) / MON_NS_PER_S -
			    from_ns / MON_NS_PER_S + 1);
	inner = of("stored", "watched_inner");
	kept = inner + of("stored", "watched_call");
	assert_int_equal(in_ledger("watched_inner", "rate_cap"), MANY - inner);
	assert_true(inner >= 100 && inner <= 100 * seconds);
	assert_int_equal(in_ledger("watched_call", "rate_cap"), MANY - (kept - inner));
	assert_true(kept >= 1000 && kept <= 1000 * seconds);
}

static void a_rounded_rate_is_said(void **state)
{
	struct target *target = target_start("calls", MANY_TEXT, NULL);
	struct monitor *monitor = monitor_attach(target, database, "--mode", MODE(state),
						 "--sample", "30%", "watched_*", NULL);

	run(target, monitor, MANY);
	assert_int_equal(monitor_count_lines(monitor, "--sample 30% is rounded to 1/3"), 1);
	assert_sampled("watched_call", MANY, 3);
}

int main(int argc, char **argv)
{
	static const char *const modes[] = {"session", "multi", "perf"};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
	} rows[] = {
		{"a_rule_for_one_function", a_rule_for_one_function},
		{"the_last_rule_that_matches_wins", the_last_rule_that_matches_wins},
		{"every_call_of_one_function", every_call_of_one_function},
		{"a_rounded_rate_is_said", a_rounded_rate_is_said},
		{"arguments_are_the_targets_own", arguments_are_the_targets_own},
		{"no_more_arguments_than_asked_for", no_more_arguments_than_asked_for},
		{"counts_only", counts_only},
		{"counts_only_without_records", counts_only_without_records},
		{"counts_with_a_sample", counts_with_a_sample},
		{"counts_with_a_rare_sample", counts_with_a_rare_sample},
		{"statistics_only", statistics_only},
		{"failed_calls", failed_calls},
		{"slow_calls", slow_calls},
		{"capped", capped},
	};
	static struct CMUnitTest tests[MON_ARRAY_COUNT(rows) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][64];
	size_t count = 0;

	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++)
		for (size_t mode = 0; mode < MON_ARRAY_COUNT(modes); mode++) {
			(void)snprintf(names[count], sizeof(names[count]), "%s_%s", rows[i].name,
				       modes[mode]);
			tests[count] = (struct CMUnitTest){
				.name = names[count],
				.test_func = rows[i].body,
				.setup_func = place_setup,
				.teardown_func = place_teardown,
				.initial_state = (void *)(uintptr_t)&modes[mode],
			};
			count++;
		}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("kernel/sampling", tests, count, NULL, NULL);
}
