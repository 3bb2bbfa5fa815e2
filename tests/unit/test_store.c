// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Records and ticks become rows, once each. What must be in the file is asked by a connection of our
 * own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "base/cleanup.h"
#include "pipeline/store.h"
#include "tests/harness/database.h"
#include "tests/harness/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void a_run_is_written_and_read_back(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_store_stats stats;
	struct mon_batch batch;
	struct stat status;

	(void)state;
	feed_calls(120);
	feed_call(1, 100, MON_CALL_UNWOUND)->caller = 0;
	(void)feed_call(1, 100, MON_CALL_IN_FLIGHT);
	(void)feed_call(1, 100, MON_CALL_THREAD_EXIT);
	(void)feed_call(1, 100, MON_CALL_ENTRY_ONLY);
	batch = feed_batch();
	store_push(store, &batch, 0);
	mon_store_stats(store, &stats);
	assert_int_equal(stats.rows, 124);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_STORED), 41);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_UNWOUND), 1);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_IN_FLIGHT), 1);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_UNRETURNED), 1);
	store_end(store);

	assert_int_equal(stat(store_path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_false(store_exists("-wal"));
	assert_false(store_exists("-lock"));
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM calls"), 124);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call WHERE duration_ns IS NULL"),
			 4);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM calls WHERE self_ns=600"), 120);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM calls WHERE caller='first'"), 1);
	assert_int_equal(db_int(store_path, "SELECT min(ret_int) FROM calls"), -7);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM task"), 5);
	assert_int_equal(db_int(store_path, "SELECT born_ns FROM task"), 5 - (int64_t)STARTED_NS);
	assert_int_equal(db_int(store_path, "SELECT first_call FROM batch"), 1);
	assert_int_equal(db_int(store_path, "SELECT last_call FROM batch"), 124);
	assert_int_equal(db_int(store_path, "SELECT from_ns FROM batch"), 0);
	assert_int_equal(db_int(store_path, "SELECT position FROM mark"), 124 * 80);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), 124);
	assert_int_equal(db_int(store_path, "SELECT complete FROM run"), 1);
	assert_int_equal(db_int(store_path, "SELECT wall_ns FROM clock"), 77);
	assert_int_equal(db_int(store_path, "PRAGMA application_id"), 0x4d6f6e62);
}

static void a_tick_is_written_once_and_may_be_repeated(void **state)
{
	struct mon_store *store = store_begun();
	static const uint8_t histogram[] = {3, 9};
	const struct mon_total totals[] = {
		{.function = 0,
		 .wanted_ns = 10,
		 .armed_ns = 9,
		 .calls = 9,
		 .returns = 9,
		 .total_ns = 90,
		 .self_ns = 80,
		 .min_ns = 1,
		 .max_ns = 20,
		 .histogram = histogram,
		 .histogram_bytes = 2},
		{.function = 2, .calls = 0},
	};
	const struct mon_interval interval = {.function = 0,
					      .start_ns = STARTED_NS + 5,
					      .length_ns = 4,
					      .calls = 9,
					      .returns = 9,
					      .histogram = histogram,
					      .histogram_bytes = 2};
	const struct mon_ledger_entry entry = {.function = 0,
					       .reason = MON_REASON_SAMPLED_OUT,
					       .count = 9,
					       .from_ns = STARTED_NS + 1,
					       .to_ns = STARTED_NS + 2};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9,
				      .wall_ns = 86,
				      .clock_row = true,
				      .totals = totals,
				      .total_count = 2,
				      .intervals = &interval,
				      .interval_count = 1,
				      .entries = &entry,
				      .entry_count = 1};
	const struct mon_breaker_transition transition = {
		STARTED_NS + 3, MON_BREAKER_CLOSED, MON_BREAKER_OPEN, "5 failures in a row", -EIO};
	const struct mon_batch batch = {
		.tick = &tick, .transitions = &transition, .transition_count = 1};

	(void)state;
	store_push(store, &batch, 0);
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM function_total"), 2);
	assert_int_equal(db_int(store_path, "SELECT self_ns FROM function_total"), 80);
	assert_int_equal(db_int(store_path, "SELECT total_ns IS NULL FROM function_total "
					    "WHERE function_id=3"),
			 1);
	assert_int_equal(db_int(store_path, "SELECT hex(histogram)='0309' FROM function_total"), 1);
	assert_int_equal(db_int(store_path, "SELECT start_ns FROM function_interval"), 5);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM breaker_event"), 1);
	assert_int_equal(db_int(store_path, "SELECT error_code FROM breaker_event"), -EIO);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM clock"), 2);
	assert_int_equal(db_int(store_path, "SELECT count FROM ledger WHERE reason_id=3"), 9);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM unbalanced"), 0);
}

static void runs_follow_each_other_in_one_file(void **state)
{
	struct mon_store_options chosen = store_options();
	struct mon_store_stats stats;

	(void)state;
	for (unsigned run = 0; run < 3; run++) {
		struct mon_store *store = store_open(&chosen);
		struct mon_batch batch;

		mon_store_stats(store, &stats);
		assert_int_equal(stats.earlier_runs, run);
		store_begin(store);
		feed_calls(10);
		batch = feed_batch();
		store_push(store, &batch, 0);
		store_end(store);
	}
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM calls WHERE run_id=3"), 10);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM function"), 9);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM module"), 1);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM task"), 15);
}

static void a_batch_pushed_again_lands_once(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch, longer;

	(void)state;
	feed_calls(60);
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_push(store, &batch, 0);
	/* The next one may store_begin before the mark, too. */
	store_feed.count = 60;
	feed_calls(7);
	longer = feed_batch();
	store_push(store, &longer, 0);
	assert_int_equal(mon_store_credited(store, 0, MON_REASON_STORED) +
				 mon_store_credited(store, 1, MON_REASON_STORED) +
				 mon_store_credited(store, 2, MON_REASON_STORED),
			 67);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 67);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), 67);
}

static void names_of_threads_come_with_their_record(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_task_event task = {.kind = MON_EVENT_TASK,
				      .version = MON_EVENT_VERSION,
				      .born_ns = 5,
				      .pid = 100,
				      .tid = 100,
				      .comm = "sixteen bytes ab"};
	struct mon_batch batch;

	(void)state;
	(void)feed_call(0, 100, 0);
	feed_record(&task, sizeof(task), 0);
	(void)feed_call(0, 100, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM task"), 1);
	assert_int_equal(db_int(store_path, "SELECT comm='sixteen bytes ab' FROM task"), 1);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 2);
}

/* More threads than the table of known ones holds: forgotten and found again, none twice. */
static void more_threads_than_are_remembered(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	for (unsigned round = 0; round < 2; round++)
		for (uint32_t tid = 0; tid < 14000; tid += 1000) {
			struct mon_batch batch;

			for (uint32_t i = 0; i < 1000; i++)
				(void)feed_call(0, tid + i, 0);
			batch = feed_batch();
			store_push(store, &batch, 0);
		}
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM task"), 14000);
	assert_int_equal(db_int(store_path, "SELECT count(DISTINCT tid) FROM calls"), 14000);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM calls"), 28000);
}

static void arguments_and_wide_numbers(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_call_event *call = feed_call(2, 100, 0);
	struct mon_batch batch;

	(void)state;
	call->arg_count = 2;
	call->args[0] = UINT64_MAX;
	call->args[1] = 1ull << 63;
	call->child_ns =
		call->duration_ns + 5; /* another CPU's clock: never a negative self time */
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT arg1 FROM call"), -1);
	assert_int_equal(db_int(store_path, "SELECT arg2 FROM call"), INT64_MIN);
	assert_int_equal(db_int(store_path, "SELECT arg3 IS NULL FROM call"), 1);
	assert_int_equal(db_int(store_path, "SELECT self_ns FROM calls"), 0);
}

static void what_the_ring_refused_is_set_aside(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch;

	(void)state;
	feed_calls(3);
	(void)feed_call(1, 100, 0);
	store_feed.records[3].invalid = EPROTO;
	feed_record(NULL, 0, EBADMSG);
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_SET_ASIDE), 1);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 3);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM set_aside"), 2);
	assert_int_equal(db_int(store_path, "SELECT length(record) FROM set_aside"), 72);
}

static void S17_poison_record_is_found_and_set_aside(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch;

	(void)state;
	store_execute("CREATE TRIGGER poison BEFORE INSERT ON call WHEN new.ret=666 "
		      "BEGIN SELECT RAISE(ABORT,'no'); END");
	feed_calls(1000);
	store_feed.calls[437].ret = 666;
	store_feed.calls[999].ret = 666;
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 998);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM set_aside"), 2);
	assert_int_equal(db_int(store_path, "SELECT position FROM set_aside"), 437 * 80);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), 1000);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_is_written_and_read_back),
		TEST(a_tick_is_written_once_and_may_be_repeated),
		TEST(runs_follow_each_other_in_one_file),
		TEST(a_batch_pushed_again_lands_once),
		TEST(names_of_threads_come_with_their_record),
		TEST(more_threads_than_are_remembered),
		TEST(arguments_and_wide_numbers),
		TEST(what_the_ring_refused_is_set_aside),
		TEST(S17_poison_record_is_found_and_set_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
