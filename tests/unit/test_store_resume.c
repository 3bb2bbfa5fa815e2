// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A run that one process began and another one goes on with: store and ledger are thrown away in
 * the middle, without an end, and made anew from what the file holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/histogram.h"
#include "control/ledger.h"
#include "pipeline/store.h"
#include "tests/harness/database.h"
#include "tests/harness/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FUNCTIONS 3

/* What a kernel would have: counters and histograms outlive the monitor. */
static struct {
	struct mon_counters counters[FUNCTIONS];
	uint32_t histograms[FUNCTIONS][MON_HISTOGRAM_SLOTS];
	mon_ns now;
} kernel;

static int setup(void **state)
{
	memset(&kernel, 0, sizeof(kernel));
	kernel.now = STARTED_NS;
	return store_setup(state);
}

/* Some calls of each function but the last: most become records, some are sampled out. */
static void calls_happen(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t function = rand() % (FUNCTIONS - 1);
		struct mon_counters *counters = &kernel.counters[function];

		counters->calls++;
		counters->returns++;
		counters->total_ns += 1000;
		counters->self_ns += 600;
		if (!counters->min_ns)
			counters->min_ns = 1000;
		counters->max_ns = 1000;
		counters->recent_max_ns = 1000;
		kernel.histograms[function][mon_histogram_bucket(1000)]++;
		if (rand() % 4 == 0) {
			counters->sampled_out++;
		} else {
			counters->emitted++;
			(void)feed_call(function, 100 + rand() % 7, 0);
		}
	}
	kernel.now += MON_NS_PER_S;
}

static void tick(struct mon_store *store, struct mon_ledger *ledger, bool final)
{
	struct mon_batch batch = feed_batch();
	struct mon_tick rows;

	for (uint32_t i = 0; i < FUNCTIONS; i++)
		mon_ledger_update(ledger, i, &kernel.counters[i], kernel.histograms[i],
				  kernel.now - STARTED_NS);
	assert_int_equal(mon_ledger_take(ledger, kernel.now, final, &rows), 0);
	batch.tick = &rows;
	store_push(store, &batch, 0);
	mon_ledger_commit(ledger);
}

static struct mon_ledger *new_ledger(void)
{
	struct mon_ledger *ledger = NULL;

	assert_int_equal(mon_ledger_new(FUNCTIONS, STARTED_NS, NULL, &ledger), 0);
	return ledger;
}

static struct mon_store *resume(struct mon_ledger *ledger, struct mon_run_resumed *resumed)
{
	const struct mon_store_options chosen = store_options();
	struct mon_store *store = store_open(&chosen);
	struct mon_error error = {0};

	if (mon_store_resume(store, "u", resumed, &error))
		fail_msg("%s", error.text);
	for (uint32_t i = 0; i < resumed->functions.function_count; i++)
		assert_int_equal(mon_ledger_resume(ledger, i, &resumed->sums[i],
						   resumed->last_interval_end_ns),
				 0);
	return store;
}

static void assert_totals_are_the_sum_of_intervals(void)
{
	static const char *const columns[] = {"calls", "returns", "total_ns", "self_ns"};

	for (size_t i = 0; i < MON_ARRAY_COUNT(columns); i++) {
		char sql[256];

		(void)snprintf(sql, sizeof(sql),
			       "SELECT count(*) FROM function_total t WHERE %s<>(SELECT sum(%s) "
			       "FROM function_interval i WHERE i.function_id=t.function_id)",
			       columns[i], columns[i]);
		assert_int_equal(db_int(store_path, sql), 0);
	}
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM unbalanced"), 0);
	/* None overlaps the one before. */
	assert_int_equal(db_int(store_path,
				"SELECT count(*) FROM (SELECT start_ns, lag(start_ns+length_ns) "
				"OVER (PARTITION BY function_id ORDER BY start_ns) AS before FROM "
				"function_interval) WHERE start_ns<before"),
			 0);
}

static void assert_histograms_hold(void)
{
	for (uint32_t function = 0; function < FUNCTIONS - 1; function++) {
		const unsigned bucket = mon_histogram_bucket(1000);
		uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};
		const struct mon_store_options chosen = store_options();
		struct mon_store *store = store_open(&chosen);
		struct mon_run_resumed resumed;
		struct mon_error error;

		assert_int_equal(mon_store_resume(store, "u", &resumed, &error), 0);
		assert_int_equal(mon_histogram_decode(resumed.sums[function].histogram,
						      resumed.sums[function].histogram_bytes,
						      counts),
				 0);
		assert_int_equal(counts[bucket], kernel.histograms[function][bucket]);
		mon_run_resumed_clear(&resumed);
		mon_store_free(store);
	}
}

static void a_run_that_was_cut_goes_on(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct mon_ledger *ledger = new_ledger();
	struct mon_store *store = store_begun();
	uint64_t calls = 0, kept = 0;
	struct mon_run_resumed resumed = {0};

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (unsigned life = 0; life < 5; life++) {
		for (unsigned i = rand() % 6; i > 0; i--) {
			calls_happen(rand() % 300);
			tick(store, ledger, false);
		}
		/* Counted by the kernel, and nobody is there to see it. */
		mon_store_free(store);
		mon_run_resumed_clear(&resumed);
		mon_ledger_free(ledger);
		calls_happen(rand() % 300);
		ledger = new_ledger();
		store = resume(ledger, &resumed);
	}
	tick(store, ledger, true);
	for (uint32_t i = 0; i < FUNCTIONS; i++) {
		calls += kernel.counters[i].calls;
		kept += kernel.counters[i].emitted;
		assert_int_equal(mon_store_credited(store, i, MON_REASON_STORED),
				 kernel.counters[i].emitted);
	}
	store_end(store);
	mon_run_resumed_clear(&resumed);
	mon_ledger_free(ledger);
	assert_int_equal(db_int(store_path, "SELECT sum(calls) FROM function_total"), calls);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), kept);
	assert_totals_are_the_sum_of_intervals();
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM run"), 1);
	assert_int_equal(db_int(store_path, "SELECT complete FROM run"), 1);
	assert_true(db_int(store_path, "SELECT count(*) FROM task") <= 7);
	assert_int_equal(db_int(store_path, "SELECT count(DISTINCT tid) FROM task"),
			 db_int(store_path, "SELECT count(*) FROM task"));
	assert_histograms_hold();
}

static void what_is_known_of_the_run_comes_back(void **state)
{
	const struct mon_store_options chosen = store_options();
	struct mon_module modules[] = {{.path = (char *)"/usr/bin/a", .build_id = "aa"},
				       {.path = (char *)"/lib/b\x1b.so", .build_id = ""}};
	struct mon_function list[] = {
		{.module = 1,
		 .offset = 16,
		 .probe_offset = 20,
		 .size_bytes = 99,
		 .symbol = (char *)"_Zb",
		 .name = (char *)"b()",
		 .aliases = (char *)"c,d",
		 .source = "dynsym",
		 .cost = MON_COST_SINGLE_STEP,
		 .note = (char *)"special"},
		{.offset = 32, .probe_offset = 32, .symbol = (char *)"a", .name = (char *)"a"},
	};
	const struct mon_function_set set = {modules, 2, list, 2};
	const struct mon_run_info run = {.uuid = "other",
					 .part = 1,
					 .options = "returns=no records=yes",
					 .target = "pid 7",
					 .boot_id = "boot",
					 .started_ns = 5000,
					 .started_wall_ns = 6000,
					 .mode = MON_MODE_MULTI};
	struct mon_run_resumed resumed = {0};
	struct mon_store *store;
	struct mon_store_stats stats;
	struct mon_error error = {0};
	const struct mon_function *function;

	(void)state;
	store_end(store_begun()); /* an earlier run: bases differ from 1 */
	store = store_open(&chosen);
	assert_int_equal(mon_store_begin(store, &run, &set, &error), 0);
	store_end(store);

	store = store_open(&chosen);
	assert_int_equal(mon_store_resume(store, "missing", &resumed, &error), -ENOENT);
	assert_non_null(strstr(error.text, "no run missing"));
	assert_int_equal(mon_store_resume(store, "other", &resumed, &error), 0);
	mon_store_stats(store, &stats);
	assert_int_equal(stats.run_id, 2);
	assert_int_equal(stats.earlier_runs, 1);
	assert_string_equal(resumed.run.uuid, "other");
	assert_int_equal(resumed.run.part, 1);
	assert_string_equal(resumed.run.options, "returns=no records=yes");
	assert_string_equal(resumed.run.target, "pid 7");
	assert_string_equal(resumed.run.boot_id, "boot");
	assert_null(resumed.run.command);
	assert_int_equal(resumed.run.started_ns, 5000);
	assert_int_equal(resumed.run.started_wall_ns, 6000);
	assert_int_equal(resumed.run.mode, MON_MODE_MULTI);
	assert_int_equal(resumed.last_interval_end_ns, 5000);
	assert_int_equal(resumed.functions.module_count, 2);
	assert_int_equal(resumed.functions.function_count, 2);
	function = &resumed.functions.functions[0];
	assert_string_equal(resumed.functions.modules[function->module].path, "/lib/b\x1b.so");
	assert_string_equal(function->symbol, "_Zb");
	assert_string_equal(function->name, "b()");
	assert_string_equal(function->aliases, "c,d");
	assert_string_equal(function->note, "special");
	assert_string_equal(function->source, "dynsym");
	assert_int_equal(function->offset, 16);
	assert_int_equal(function->probe_offset, 20);
	assert_int_equal(function->size_bytes, 99);
	assert_int_equal(function->cost, MON_COST_SINGLE_STEP);
	assert_false(function->returns);
	function = &resumed.functions.functions[1];
	assert_string_equal(resumed.functions.modules[function->module].build_id, "aa");
	assert_null(function->aliases);
	assert_null(function->source);
	assert_int_equal(mon_store_reopen_run(store), 0);
	assert_int_equal(db_int(store_path, "SELECT ended_ns IS NULL FROM run WHERE id=2"), 1);
	assert_int_equal(db_int(store_path, "SELECT complete FROM run WHERE id=2"), 0);
	assert_int_equal(db_int(store_path, "SELECT complete FROM run WHERE id=1"), 1);
	mon_store_free(store);
	mon_run_resumed_clear(&resumed);
}

/* The spool and the pinned ring give what was in the file already once more. */
static void records_that_are_in_the_file_are_skipped_after_a_resume(void **state)
{
	struct mon_run_resumed resumed = {0};
	struct mon_ledger *ledger = new_ledger();
	struct mon_store *store = store_begun();
	struct mon_batch batch;

	(void)state;
	feed_calls(300);
	batch = feed_batch();
	batch.count = 200;
	batch.end = store_feed.records[199].end;
	store_push(store, &batch, 0);
	mon_store_free(store);
	store = resume(ledger, &resumed);
	assert_int_equal(mon_store_mark(store, 0), store_feed.records[199].end);
	batch.count = 300;
	batch.end = store_feed.position;
	store_push(store, &batch, 0);
	store_end(store);
	mon_run_resumed_clear(&resumed);
	mon_ledger_free(ledger);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 300);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), 300);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM task"), 5);
}

static void a_file_that_does_not_fit_together_is_refused(void **state)
{
	static const char *const damages[] = {
		"DELETE FROM function WHERE name='x()'",
		"UPDATE function SET module_id=99",
		"INSERT INTO function_interval VALUES(1,0,1,1,1,1,0,1,1,1,x'ff')",
	};
	const struct mon_store_options chosen = store_options();
	struct mon_store *store;

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(damages); i++) {
		struct mon_run_resumed resumed = {0};
		struct mon_error error = {0};

		store_end(store_begun());
		store_execute(damages[i]);
		store = store_open(&chosen);
		assert_int_equal(mon_store_resume(store, "u", &resumed, &error), -EUCLEAN);
		assert_non_null(strstr(error.text, "damaged"));
		assert_null(resumed.sums);
		mon_store_free(store);
		assert_int_equal(remove(store_path), 0);
	}
}

/* A kernel bucket is 32 bits wide: one that wrapped, before or after, is known by the sum. */
static void a_wrapped_bucket_goes_on(void **state)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {[9] = (1ull << 32) + 5, [10] = UINT32_MAX - 1};
	uint8_t blob[MON_HISTOGRAM_BLOB_MAX];
	struct mon_function_sum sum = {.calls = 7, .returns = 7, .histogram = blob};
	struct mon_counters counters = {.calls = 11, .returns = 11};
	struct mon_ledger *ledger = new_ledger();
	struct mon_interval row;
	struct mon_tick rows;

	(void)state;
	sum.histogram_bytes = mon_histogram_encode(counts, blob);
	assert_int_equal(mon_ledger_resume(ledger, 0, &sum, STARTED_NS + 3), 0);
	kernel.histograms[0][9] = 6;
	kernel.histograms[0][10] = 1;
	mon_ledger_update(ledger, 0, &counters, kernel.histograms[0], 0);
	assert_int_equal(mon_ledger_take(ledger, STARTED_NS + 2 * MON_NS_PER_S, false, &rows), 0);
	assert_int_equal(rows.interval_count, 1);
	row = rows.intervals[0];
	assert_int_equal(row.start_ns, STARTED_NS + 3);
	assert_int_equal(row.calls, 4);
	memset(counts, 0, sizeof(counts));
	assert_int_equal(mon_histogram_decode(row.histogram, row.histogram_bytes, counts), 0);
	assert_int_equal(counts[9], 1);
	assert_int_equal(counts[10], 3);
	mon_ledger_free(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, store_teardown)
		TEST(a_run_that_was_cut_goes_on),
		TEST(what_is_known_of_the_run_comes_back),
		TEST(records_that_are_in_the_file_are_skipped_after_a_resume),
		TEST(a_file_that_does_not_fit_together_is_refused),
		TEST(a_wrapped_bucket_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
