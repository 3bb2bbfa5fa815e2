// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Records and ticks become rows, once each. What must be in the file is asked by a connection of
 * our own.
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

/* What is estimated or not known is not told as if it were; what fails is told where asked for. */
static void marks_and_failures_of_totals(void **state)
{
	struct mon_store *store = store_begun();
	const struct mon_total totals[] = {
		{.function = 0,
		 .calls = 9,
		 .returns = 9,
		 .failed = 2,
		 .total_ns = 90,
		 .self_ns = 80},
		{.function = 1, .calls = 9, .marks = MON_MARK_ESTIMATED, .failed = 2},
		{.function = 2,
		 .calls = 9,
		 .returns = 10,
		 .total_ns = 90,
		 .self_ns = 80,
		 .marks = MON_MARK_ESTIMATED | MON_MARK_SELF_UNKNOWN},
	};
	const struct mon_interval intervals[] = {
		{.function = 0, .start_ns = STARTED_NS, .calls = 9, .returns = 9, .self_ns = 80},
		{.function = 2,
		 .start_ns = STARTED_NS,
		 .calls = 9,
		 .returns = 9,
		 .self_ns = 80,
		 .max_ns = 7,
		 .marks = MON_MARK_SELF_UNKNOWN},
	};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9,
				      .totals = totals,
				      .total_count = 3,
				      .intervals = intervals,
				      .interval_count = 2};
	const struct mon_batch batch = {.tick = &tick};

	(void)state;
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM function_total WHERE failed IS "
					    "NULL"),
			 3);
	assert_int_equal(
		db_int(store_path,
		       "SELECT count(*) FROM functions WHERE (id=1 AND estimated=0 AND self_ns=80) "
		       "OR (id=2 AND estimated=1 AND self_ns IS NULL) OR (id=3 AND estimated=1 "
		       "AND self_ns IS NULL AND total_ns=90)"),
		3);
	assert_int_equal(db_int(store_path, "SELECT sum(self_ns) FROM function_interval"), 80);
	assert_int_equal(db_int(store_path, "SELECT max(max_ns) FROM function_interval"), 7);
}

/* A file of minor 0, with a run in it: a new run gives it the columns, and the old rows stay. */
static void columns_are_appended_to_a_file_of_before(void **state)
{
	const struct mon_total total = {.function = 0, .calls = 9, .marks = MON_MARK_ESTIMATED};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9, .totals = &total, .total_count = 1};
	const struct mon_batch batch = {.tick = &tick};
	struct mon_store *store = store_begun();

	(void)state;
	store_push(store, &batch, 0);
	store_end(store);
	store_execute("DROP VIEW functions; DROP VIEW unbalanced;"
		      "ALTER TABLE function_total DROP COLUMN estimated;"
		      "ALTER TABLE function_total DROP COLUMN wanted_own_ns;"
		      "ALTER TABLE function_total DROP COLUMN armed_own_ns;"
		      "ALTER TABLE run DROP COLUMN overhead_limit;"
		      "ALTER TABLE run DROP COLUMN probe_cost_ns;"
		      "ALTER TABLE run DROP COLUMN own_cpu_ns;"
		      "ALTER TABLE run DROP COLUMN wanted_ns;"
		      "UPDATE meta SET value=0 WHERE key='minor'");
	for (int i = 0; i < 2; i++) {
		store = store_begun();
		store_push(store, &batch, 0);
		store_end(store);
	}
	assert_int_equal(db_int(store_path, "SELECT value FROM meta WHERE key='minor'"), 3);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM function_total WHERE estimated"),
			 2);
	assert_int_equal(db_int(store_path,
				"SELECT count(*) FROM function_total WHERE estimated IS "
				"NULL AND calls=9"),
			 1);
}

/* 7 calls in 40 of 100 ns, of which 30 of 90 were the target's own. */
static const struct mon_total part_time = {.function = 1,
					   .wanted_ns = 100,
					   .armed_ns = 40,
					   .wanted_own_ns = 90,
					   .armed_own_ns = 30,
					   .calls = 7};

/* A function that was armed for a share of the time: its rows, and what its calls are scaled by. */
static void shares_of_the_time_and_what_they_cost(void **state)
{
	const struct mon_coverage coverage[] = {
		{.function = 1, .from_ns = STARTED_NS, .to_ns = STARTED_NS + 30, .why = "always"},
		{.function = 1, .from_ns = STARTED_NS + 50, .to_ns = STARTED_NS + 60, .why = "w"},
	};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 100,
				      .totals = &part_time,
				      .total_count = 1,
				      .coverage = coverage,
				      .coverage_count = 2,
				      .overhead = {.limit = 0.05, .cost_ns = 4, .own_ns = 96}};
	const struct mon_batch batch = {.tick = &tick};
	struct mon_store *store = store_begun();

	(void)state;
	store_push(store, &batch, 0);
	store_push(store, &batch, 0); /* a tick may come again */
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM coverage"), 2);
	assert_int_equal(db_int(store_path, "SELECT sum(to_ns-from_ns) FROM coverage"), 40);
	/* 7 calls in 30 of 90: the target's own time counts, not 40 of 100. */
	assert_int_equal(db_int(store_path, "SELECT calls_estimated FROM functions WHERE calls=7"),
			 21);
	assert_int_equal(db_int(store_path, "SELECT overhead_limit=0.05 AND probe_cost_ns=4 AND "
					    "own_cpu_ns=96 FROM run"),
			 1);
}

/* Files of minor 2 are about whose view `functions` was never told of own time. */
static void views_of_before_are_made_anew(void **state)
{
	const struct mon_tick tick = {
		.at_ns = STARTED_NS + 100, .totals = &part_time, .total_count = 1};
	const struct mon_batch batch = {.tick = &tick};
	struct mon_store *store = store_begun();

	(void)state;
	store_push(store, &batch, 0);
	store_end(store);
	store_execute("DROP VIEW functions; CREATE VIEW functions AS SELECT f.run_id, s.calls,"
		      " s.calls*s.wanted_ns/s.armed_ns AS calls_estimated FROM function f"
		      " JOIN function_total s ON s.function_id=f.id;"
		      "ALTER TABLE run DROP COLUMN wanted_ns;"
		      "UPDATE meta SET value=2 WHERE key='minor'");
	assert_int_equal(db_int(store_path, "SELECT calls_estimated FROM functions"), 17);
	store_end(store_begun());
	assert_int_equal(db_int(store_path, "SELECT calls_estimated FROM functions"), 21);
	assert_int_equal(db_int(store_path, "SELECT count(total_ns_estimated) FROM functions"), 0);
	assert_int_equal(db_int(store_path, "SELECT value FROM meta WHERE key='minor'"), 3);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM sqlite_schema WHERE type='view'"),
			 4);
}

/* What a later monbpf appended to every table is left alone, and so are its views. */
static void a_file_of_a_later_minor_is_appended_to(void **state)
{
	static const char *const tables[] = {
		"meta",	    "run",    "clock",	   "module",	    "function",
		"task",	    "call",   "call_text", "call_stack",    "stack",
		"mapping",  "batch",  "mark",	   "set_aside",	    "function_total",
		"coverage", "reason", "ledger",	   "breaker_event", "function_interval",
	};
	const struct mon_total total = {.function = 0, .calls = 3};
	const struct mon_interval interval = {.function = 0, .start_ns = STARTED_NS, .calls = 3};
	const struct mon_coverage coverage = {.function = 0, .from_ns = STARTED_NS, .why = "w"};
	const struct mon_breaker_transition transition = {
		STARTED_NS + 3, MON_BREAKER_CLOSED, MON_BREAKER_OPEN, "5 failures in a row", -EIO};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9,
				      .clock_row = true,
				      .totals = &total,
				      .total_count = 1,
				      .intervals = &interval,
				      .interval_count = 1,
				      .coverage = &coverage,
				      .coverage_count = 1};
	struct mon_batch batch;
	struct mon_store *store;

	(void)state;
	store_end(store_begun());
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM sqlite_schema"
					    " WHERE type='table'"),
			 MON_ARRAY_COUNT(tables));
	for (size_t i = 0; i < MON_ARRAY_COUNT(tables); i++) {
		char sql[128];

		(void)snprintf(sql, sizeof(sql),
			       "ALTER TABLE %s ADD COLUMN later INTEGER NOT NULL DEFAULT 7",
			       tables[i]);
		store_execute(sql);
	}
	store_execute("DROP VIEW functions; CREATE VIEW functions AS SELECT 8 AS later;"
		      "UPDATE meta SET value=99 WHERE key='minor'");
	store = store_begun();
	feed_calls(9);
	batch = feed_batch();
	batch.tick = &tick;
	batch.transitions = &transition;
	batch.transition_count = 1;
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT sum(later) FROM call"), 9 * 7);
	assert_int_equal(db_int(store_path, "SELECT sum(later) FROM function_interval"), 7);
	assert_int_equal(db_int(store_path, "SELECT later FROM functions"), 8);
	assert_int_equal(db_int(store_path, "SELECT value FROM meta WHERE key='minor'"), 99);
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
				      .wanted_ns = 8,
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
	assert_int_equal(db_int(store_path, "SELECT wanted_ns FROM run"), 8);
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

#define TEXT_RECORDS 1000
#define CAPTURE 20u
#define STRIDE MON_TEXT_STRIDE_BYTES(CAPTURE)

struct text_record {
	struct mon_call_event call;
	char texts[2 * STRIDE];
};
static struct text_record text_records[TEXT_RECORDS];

/* The text in place @which of record @index, empty. */
static struct mon_text *text_of(size_t index, unsigned which)
{
	return (struct mon_text *)(text_records[index].texts + which * STRIDE);
}

/* Feeds a call with two texts, of arguments 3 and 1, and what @index makes of them. */
static void feed_texts(size_t index, uint64_t random)
{
	struct text_record *record = &text_records[index];

	(void)feed_call(index % 3, 100, 0);
	*record = (struct text_record){.call = store_feed.calls[--store_feed.count]};
	store_feed.position = store_feed.records[store_feed.count].position;
	record->call.kind = MON_EVENT_CALL_TEXT;
	record->call.ret = index;
	for (unsigned which = 0; which < 2; which++, random >>= 32) {
		struct mon_text *text = text_of(index, which);

		text->slot = which ? 1 : 3;
		text->flags = random & MON_TEXT_TRUE_UNKNOWN;
		text->room_bytes = MON_TEXT_ROOM_BYTES(CAPTURE);
		text->stored_bytes = (random >> 1) % (CAPTURE + 1);
		text->true_bytes = text->flags ? 0 : text->stored_bytes + (random >> 8 & 1);
		for (uint16_t i = 0; i < text->stored_bytes; i++)
			text->bytes[i] = (uint8_t)(random * 7 + i);
	}
	feed_record(record, sizeof(*record), 0);
}

static void assert_text(sqlite3_stmt *statement, size_t index, unsigned which)
{
	const struct mon_text *text = text_of(index, which);

	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int64(statement, 0), index);
	assert_int_equal(sqlite3_column_int(statement, 1), text->slot);
	assert_int_equal(sqlite3_column_type(statement, 2) == SQLITE_NULL, text->flags);
	assert_int_equal(sqlite3_column_int64(statement, 2), text->true_bytes);
	assert_int_equal(sqlite3_column_bytes(statement, 3), text->stored_bytes);
	if (text->stored_bytes)
		assert_memory_equal(sqlite3_column_blob(statement, 3), text->bytes,
				    text->stored_bytes);
}

/* Any mixture of calls with texts and without, pushed in any portions, the last of them twice. */
static void texts_lie_by_their_calls(void **state)
{
	struct mon_store *store = store_begun();
	uint64_t random = (uint64_t)time(NULL) | 1;
	bool has_texts[TEXT_RECORDS];
	sqlite3_stmt *statement;
	struct mon_batch batch;
	sqlite3 *db;

	(void)state;
	print_message("seed %" PRIu64 "\n", random);
	for (size_t i = 0; i < TEXT_RECORDS; i++) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		has_texts[i] = random >> 60 & 1 || i % 200 < 100;
		if (has_texts[i])
			feed_texts(i, random);
		else
			feed_call(0, 100, 0)->ret = i;
		if ((random >> 50) % 100 == 0 || i == TEXT_RECORDS - 1) {
			batch = feed_batch();
			store_push(store, &batch, 0);
		}
	}
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), TEXT_RECORDS);
	assert_int_equal(sqlite3_open(store_path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db,
					    "SELECT c.ret,t.slot,t.true_bytes,t.value FROM "
					    "call_text t JOIN call c ON c.id=t.call_id "
					    "ORDER BY c.ret,t.slot",
					    -1, &statement, NULL),
			 SQLITE_OK);
	for (size_t i = 0; i < TEXT_RECORDS; i++)
		for (unsigned which = 2; has_texts[i] && which-- > 0;)
			assert_text(statement, i, which);
	assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

/* A text that SQLite refuses, and one that claims more room than its record has. */
static void S17_poison_texts_are_set_aside_with_their_calls(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch;

	(void)state;
	store_execute("CREATE TRIGGER poison BEFORE INSERT ON call_text WHEN new.true_bytes=666 "
		      "BEGIN SELECT RAISE(ABORT,'no'); END");
	for (size_t i = 0; i < 200; i++)
		feed_texts(i, i);
	text_of(77, 1)->flags = 0;
	text_of(77, 1)->true_bytes = 666;
	text_of(130, 0)->room_bytes = 60000;
	text_of(140, 1)->room_bytes += 8;
	text_of(150, 1)->stored_bytes = 60000;
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(mon_store_credited(store, 77 % 3, MON_REASON_SET_ASIDE), 2);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 196);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call_text"), 2 * 196);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM set_aside"), 4);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), 200);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call_text t WHERE NOT EXISTS "
					    "(SELECT 1 FROM call c WHERE c.id=t.call_id)"),
			 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_is_written_and_read_back),
		TEST(a_tick_is_written_once_and_may_be_repeated),
		TEST(marks_and_failures_of_totals),
		TEST(columns_are_appended_to_a_file_of_before),
		TEST(views_of_before_are_made_anew),
		TEST(a_file_of_a_later_minor_is_appended_to),
		TEST(shares_of_the_time_and_what_they_cost),
		TEST(runs_follow_each_other_in_one_file),
		TEST(a_batch_pushed_again_lands_once),
		TEST(names_of_threads_come_with_their_record),
		TEST(more_threads_than_are_remembered),
		TEST(arguments_and_wide_numbers),
		TEST(what_the_ring_refused_is_set_aside),
		TEST(S17_poison_record_is_found_and_set_aside),
		TEST(texts_lie_by_their_calls),
		TEST(S17_poison_texts_are_set_aside_with_their_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
