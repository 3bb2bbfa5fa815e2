// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Probes that are not at the symbol, on real programs. First those of a CET build, endbr64 then
 * push, in each mode: exact calls, arguments, durations, recursion, jumps out of calls. Then a
 * program that calls most of libcrypto, watched at a thousand moved probes at a time: it computes
 * what it computes unwatched, and each function has the calls and the arguments that it has when
 * the same functions are probed at their symbols.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/symbols.h"
#include "base/cleanup.h"
#include "bpf/event.h"
#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODE(state) (*(const char *const *)*(state))
#define CALLS 23
#define BATCH 1000 /* of names; attach takes 1,024 */
#define BATCHES_MAX 3

/* Where CET is not, nothing is moved, and everything else is the same. */
#if defined(__x86_64__)
#define SHIFT 4
#else
#define SHIFT 0
#endif

/* A run of @calls calls; every function of it is probed behind its endbr64. */
static void watch(const char *name, const char *argument, const char *mode, long calls,
		  const char *placement)
{
	struct target *target = target_start(name, argument, NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--mode", mode, "--sample", "1", "--max-overhead",
			       "0", "--args", "6", "--placement", placement, "watched_*", NULL);
	const int shift = strcmp(placement, "auto") == 0 ? SHIFT : 0;
	char sql[256];

	target_go(target);
	assert_int_equal(target_done(target), calls);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(target), 0);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM losses"), 0);
	assert_true(db_int(database, "SELECT count(*) FROM function") > 0);
	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM function WHERE probe_offset<>offset+%d OR "
		       "cost_class<>'%s' OR (note NOT NULL)<>%d",
		       shift, shift ? "emulated" : "single-step", shift > 0);
	assert_int_equal(db_int(database, sql), 0);
}

static int64_t count(const char *condition)
{
	char sql[512];

	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM calls WHERE %s", condition);
	return db_int(database, sql);
}

static void calls(void **state)
{
	(void)state;
	watch("calls_cet", NULL, MODE(state), CALLS, "auto");
	assert_int_equal(count("function='watched_call' AND duration_ns>0 AND caller IS NULL "
			       "AND ret_int=2*(arg1+1)"),
			 CALLS);
	assert_int_equal(count("function='watched_inner' AND duration_ns>0 AND depth=1 AND "
			       "caller='watched_call' AND ret_int=arg1+1"),
			 CALLS);
	assert_int_equal(count("1"), 2 * CALLS);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT arg1) FROM calls"), CALLS);
}

static void arguments(void **state)
{
	(void)state;
	watch("arguments_cet", NULL, MODE(state), CALLS, "auto");
	assert_int_equal(count("function='watched_arguments' AND arg1=ret_int AND arg3=arg1<<40 "
			       "AND arg4=arg5 AND arg6=~arg1 AND (arg2+arg1)&0xffffffff=0"),
			 CALLS);
	assert_int_equal(count("function='watched_fails' AND ret_int=-1 AND arg1%2=1"), CALLS / 2);
	assert_int_equal(count("function='watched_wide' AND ret=arg1<<33"), CALLS);
	assert_int_equal(count("duration_ns>0"), 3 * CALLS);
}

static void at_the_symbol(void **state)
{
	(void)state;
	watch("calls_cet", NULL, MODE(state), CALLS, "symbol");
	assert_int_equal(count("duration_ns>0"), 2 * CALLS);
}

static void recursion(void **state)
{
	(void)state;
	watch("recursion_cet", "50", MODE(state), 50, "auto");
	assert_int_equal(count("duration_ns>0 AND arg1=ret"), 50);
	assert_int_equal(count("depth=50-arg1 AND (caller IS NULL)=(arg1=50)"), 50);
	assert_int_equal(db_int(database, "SELECT total(self_ns)=max(duration_ns) FROM calls"), 1);
}

static void jumps_out_of_calls(void **state)
{
	char unwound[64];

	watch("longjmp_cet", NULL, MODE(state), CALLS, "auto");
	(void)snprintf(unwound, sizeof(unwound), "duration_ns IS NULL AND flags&%u",
		       (unsigned)MON_CALL_UNWOUND);
	assert_int_equal(count(unwound), 2 * CALLS);
	assert_int_equal(count("function='watched_outer' AND duration_ns>0 AND ret_int=-arg1"),
			 CALLS);
	assert_int_equal(count("function='watched_after' AND duration_ns>0 AND caller IS NULL"),
			 CALLS);
	assert_int_equal(count("1"), 4 * CALLS);
}

/*
 * A glob used to match `f.cold` beside `f`, and the return probe there overwrote a variable of f:
 * the target lived on and computed something else.
 */
static void cold_parts_are_left_alone(void **state)
{
	struct target *target = target_start("cold", NULL), *watched;
	char path[PATH_MAX], expected[64], *names;
	struct monitor *monitor;

	names = TOOL("nm", target_path("cold", path, sizeof(path)));
	assert_non_null(strstr(names, "watched_hot.cold"));
	free(names);
	target_go(target);
	(void)snprintf(expected, sizeof(expected), "%s",
		       target_wait_line(target, "sum ", PROCESS_TIMEOUT_MS));
	assert_int_equal(target_finish(target), 0);
	watched = target_start("cold", NULL);
	monitor = monitor_attach(watched, database, "--mode", MODE(state), "--sample", "1",
				 "--max-overhead", "0", "watched_hot*", NULL);
	target_go(watched);
	assert_string_equal(target_wait_line(watched, "sum ", PROCESS_TIMEOUT_MS), expected);
	assert_int_equal(target_done(watched), CALLS);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(watched), 0);
	assert_ledger_closed(database);
	assert_int_equal(count("function='watched_hot' AND duration_ns>0"), CALLS);
	assert_int_equal(count("1"), CALLS);
}

#if defined(__x86_64__)

/* The functions whose probe moves when so many arguments are wanted. */
static struct mon_function_set shifted(const char *path, uint8_t wanted)
{
	static const char *const all[] = {"*"};
	const struct mon_symbol_query query = {
		.globs = all, .glob_count = 1, .limit = 1000000, .arguments = wanted};
	struct mon_module_list modules;
	struct mon_function_set set = {0};
	struct mon_error error = {0};
	size_t kept = 0;

	if (mon_modules_of_file(path, &modules, &error) ||
	    mon_symbols_find(&modules, &query, &set, &error))
		fail_msg("%s", error.text);
	mon_module_list_clear(&modules);
	for (size_t i = 0; i < set.function_count; i++)
		if (set.functions[i].probe_offset != set.functions[i].offset) {
			struct mon_function moved = set.functions[i];

			set.functions[i] = set.functions[kept];
			set.functions[kept++] = moved;
		}
	assert_true(kept > BATCH);
	while (set.function_count > kept) {
		struct mon_function *last = &set.functions[--set.function_count];

		free(last->symbol);
		free(last->name);
		free(last->aliases);
		free(last->note);
	}
	return set;
}

/* What the program computes: "sum X". */
static void compute(struct target *target, char sum[64])
{
	target_go(target);
	(void)snprintf(sum, 64, "%s", target_wait_line(target, "sum ", 120000));
	assert_true(target_done(target) > 0);
	assert_int_equal(target_finish(target), 0);
}

static void watch_crypto(const struct mon_function_set *set, size_t from, const char *mode,
			 const char *placement, bool arguments, const char *expected)
{
	static const char *argv[BATCH + 32];
	struct target *target = target_start("crypto", NULL);
	struct monitor *monitor;
	size_t used = 0;
	char pid[16], sum[64];

	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	for (const char *const *word =
		     (const char *const[]){"attach", "-p", pid, "-o", database, "--max-overhead",
					   "0", "--force-returns", "--mode", mode, "--placement",
					   placement, NULL};
	     *word; word++)
		argv[used++] = *word;
	if (arguments) {
		argv[used++] = "--args";
		argv[used++] = "3";
		argv[used++] = "--sample";
		argv[used++] = "1";
	} else {
		argv[used++] = "-c";
	}
	for (size_t i = from; i < from + BATCH && i < set->function_count; i++)
		argv[used++] = set->functions[i].symbol;
	argv[used] = NULL;
	monitor = monitor_start(argv);
	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	compute(target, sum);
	/* The target has ended, and so does the monitor: a signal could find it doing that. */
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_string_equal(sum, expected);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM losses"), 0);
}

/* The last two runs of the database are of the same functions, probed here and there. */
#define LAST "(SELECT max(id) FROM run)"
#define BEFORE "(SELECT max(id)-1 FROM run)"
#define TOTALS(run)                                                                               \
	"SELECT f.symbol, f.offset, s.calls, s.returns FROM function f JOIN function_total s ON " \
	"s.function_id=f.id WHERE f.run_id=" run
#define ARGUMENTS(run)                                                                            \
	"SELECT f.symbol, f.offset, c.arg1, c.arg2, c.arg3, c.ret, row_number() OVER (PARTITION " \
	"BY f.id ORDER BY c.start_ns) FROM call c JOIN function f ON f.id=c.function_id WHERE "   \
	"f.run_id=" run

struct counts {
	int64_t functions, moved, called, calls;
};

static void compare(bool arguments, struct counts *counts)
{
	int64_t differences = db_int(
		database, "SELECT count(*) FROM (" TOTALS(LAST) " EXCEPT " TOTALS(BEFORE) ")");

	if (differences) {
		char *text = db_text(database,
				     "SELECT group_concat(symbol||' '||calls||' '||returns, ', ') "
				     "FROM (SELECT * FROM (" TOTALS(LAST) " EXCEPT " TOTALS(
					     BEFORE) ") LIMIT 20)");

		fail_msg("%" PRId64 " functions differ: %s", differences, text);
	}
	if (arguments) {
		differences = db_int(database, "SELECT count(*) FROM (" ARGUMENTS(
						       LAST) " EXCEPT " ARGUMENTS(BEFORE) ")");
		if (differences) {
			char *text = db_text(
				database, "SELECT group_concat(symbol, ', ') FROM (SELECT "
					  "DISTINCT symbol FROM (" ARGUMENTS(
						  LAST) " EXCEPT " ARGUMENTS(BEFORE) ") LIMIT 20)");

			fail_msg("%" PRId64 " calls differ, of %s", differences, text);
		}
	}
	counts->functions += db_int(database, "SELECT count(*) FROM function WHERE run_id=" LAST);
	counts->moved += db_int(database, "SELECT count(*) FROM function WHERE "
					  "probe_offset<>offset AND run_id=" LAST);
	counts->called += db_int(database, "SELECT count(*) FROM function f JOIN function_total s "
					   "ON s.function_id=f.id WHERE probe_offset<>offset AND "
					   "s.calls>0 AND f.run_id=" LAST);
	counts->calls += db_int(database, "SELECT total(s.calls) FROM function f JOIN "
					  "function_total s ON s.function_id=f.id WHERE "
					  "probe_offset<>offset AND f.run_id=" LAST);
	assert_int_equal(db_int(database, "SELECT count(*) FROM function WHERE "
					  "probe_offset<>offset AND run_id=" BEFORE),
			 0);
}

static void crypto(const char *mode, bool arguments)
{
	struct mon_function_set set;
	struct counts counts = {0};
	char path[PATH_MAX], expected[64];

	compute(target_start("crypto", NULL), expected);
	set = shifted(target_path("crypto", path, sizeof(path)), arguments ? 7 : 0);
	for (size_t from = 0; from < set.function_count && from < BATCHES_MAX * BATCH;
	     from += BATCH) {
		watch_crypto(&set, from, mode, "symbol", arguments, expected);
		watch_crypto(&set, from, mode, "auto", arguments, expected);
		compare(arguments, &counts);
	}
	mon_function_set_clear(&set);
	print_message("%s%s: %" PRId64 " functions watched, %" PRId64 " at a moved probe, %" PRId64
		      " of them called, %" PRId64 " calls\n",
		      mode, arguments ? ", three arguments" : "", counts.functions, counts.moved,
		      counts.called, counts.calls);
	assert_true(counts.moved >= BATCH);
	assert_true(counts.called >= (arguments ? BATCH / 2 : BATCH));
}

static void libcrypto_counts(void **state)
{
	crypto(MODE(state), false);
}

static void libcrypto_arguments(void **state)
{
	crypto(MODE(state), true);
}

#else

static void libcrypto_counts(void **state)
{
	(void)state; /* a probe is never moved */
}
static void libcrypto_arguments(void **state)
{
	(void)state;
}

#endif

int main(int argc, char **argv)
{
	static const char *const modes[] = {"session", "multi", "perf"};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
		size_t modes; /* the first so many */
	} rows[] = {
		{"calls", calls, 3},
		{"arguments", arguments, 3},
		{"at_the_symbol", at_the_symbol, 3},
		{"recursion", recursion, 3},
		{"jumps_out_of_calls", jumps_out_of_calls, 3},
		{"cold_parts_are_left_alone", cold_parts_are_left_alone, 3},
		{"libcrypto_counts", libcrypto_counts, 1},
		{"libcrypto_arguments", libcrypto_arguments, 1},
	};
	static struct CMUnitTest tests[MON_ARRAY_COUNT(rows) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][64];
	size_t test_count = 0;

	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++)
		for (size_t mode = 0; mode < rows[i].modes; mode++) {
			(void)snprintf(names[test_count], sizeof(names[test_count]), "%s_%s",
				       rows[i].name, modes[mode]);
			tests[test_count] = (struct CMUnitTest){
				.name = names[test_count],
				.test_func = rows[i].body,
				.setup_func = place_setup,
				.teardown_func = place_teardown,
				.initial_state = (void *)(uintptr_t)&modes[mode],
			};
			test_count++;
		}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("kernel/placement", tests, test_count, NULL, NULL);
}
