// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a run costs to write and to report does not grow with the runs that are in the file before
 * it: a query without its index is as right on ten rows as on ten million. Each connection that
 * anybody opens counts the steps of SQLite's machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "report/report.h"
#include "tests/harness/database.h"
#include "tests/harness/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EARLIER_ROWS 20000 /* of each table that grows with commits and calls */
#define SLACK_STEPS 1000   /* a few more pages are looked through */

static uint64_t steps;

static int on_statement(unsigned type, void *context, void *statement, void *nanoseconds)
{
	(void)type;
	(void)context;
	(void)nanoseconds;
	steps += (uint64_t)sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
	return 0;
}

static int on_open(sqlite3 *database, char **message, const void *routines)
{
	(void)message;
	(void)routines;
	return sqlite3_trace_v2(database, SQLITE_TRACE_PROFILE, on_statement, NULL);
}

/* What the text of a report cost. */
static uint64_t cost_of(struct mon_report_options options)
{
	struct mon_error error = {0};
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int result;

	assert_non_null(out);
	steps = 0;
	options.path = store_path;
	result = mon_report_print(&options, out, &error);
	(void)fclose(out);
	free(text);
	if (result)
		fail_msg("%s", error.text);
	assert_true(steps > 0);
	return steps;
}

/* A run of a few calls, with everything that the store writes; what it cost. */
static uint64_t write_run(void)
{
	const struct mon_total totals[] = {
		{.function = 0, .wanted_ns = 9, .armed_ns = 4, .calls = 9},
		{.function = 1, .wanted_ns = 9, .armed_ns = 9, .calls = 9}};
	const struct mon_interval interval = {.function = 1, .start_ns = STARTED_NS, .calls = 9};
	const struct mon_coverage coverage = {
		.function = 0, .from_ns = STARTED_NS, .to_ns = STARTED_NS + 4, .why = "w"};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9,
				      .totals = totals,
				      .total_count = 2,
				      .intervals = &interval,
				      .interval_count = 1,
				      .coverage = &coverage,
				      .coverage_count = 1};
	struct mon_store *store;
	struct mon_batch batch;

	steps = 0;
	store = store_begun();
	for (int i = 0; i < 3; i++) {
		feed_calls(30);
		batch = feed_batch();
		batch.tick = &tick;
		store_push(store, &batch, 0);
	}
	store_end(store);
	return steps;
}

/* As if run 1 had been a long one. */
static void let_it_have_been_long(void)
{
	char sql[2048];

	(void)snprintf(
		sql, sizeof(sql),
		"CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 "
		"FROM "
		"n WHERE i<%d) SELECT i FROM n;"
		"INSERT INTO call SELECT "
		"1000+i,i,1,0,1,NULL,1,0,1,0,0,NULL,NULL,NULL,NULL,NULL,NULL"
		" FROM n;"
		"INSERT INTO batch SELECT 1000+i,1,1000+i,1000+i,i,i FROM n;"
		"INSERT INTO call_stack SELECT 1000+i,i FROM n;"
		"INSERT INTO stack SELECT i,1,x'000000000000000000000001' FROM n;"
		"INSERT INTO mapping SELECT 1,i,1,2,0,1 FROM n;"
		"INSERT INTO task SELECT 1000+i,1,i,i,i,NULL FROM n;"
		"INSERT INTO clock SELECT 1,1000+i,i FROM n;"
		"INSERT INTO function SELECT 1000+i,1,1,'f','f',NULL,1000+i,1,1,NULL,'perf',NULL,"
		"NULL,NULL FROM n;"
		"INSERT INTO function_total(function_id,wanted_ns,armed_ns,calls,returns)"
		" SELECT 1000+i,9,9,1,0 FROM n;"
		"INSERT INTO function_interval SELECT 1,1000+i,1,1,1,0,NULL,NULL,NULL,NULL,NULL"
		" FROM n;"
		"INSERT INTO coverage SELECT 1,1000+i,1001+i,'w' FROM n;"
		"INSERT INTO ledger SELECT 1000+i,3,1,1,1 FROM n",
		EARLIER_ROWS);
	store_execute(sql);
}

static const struct mon_report_options forms[] = {
	{.head_only = true},
	{.format = MON_REPORT_JSON},
	{.since_set = true, .since_ns = 5},
	{.function = "first"},
	{.function = "first", .since_set = true, .since_ns = 5},
	{.callers = true},
	{.slowest = 5},
	{.open = true},
	{.stacks = true},
};

static void a_late_run_costs_what_the_first_did(void **state)
{
	uint64_t before[MON_ARRAY_COUNT(forms)], written, now;

	(void)state;
	assert_int_equal(sqlite3_auto_extension((void (*)(void))on_open), SQLITE_OK);
	(void)write_run();
	written = write_run();
	for (size_t i = 0; i < MON_ARRAY_COUNT(forms); i++)
		before[i] = cost_of(forms[i]);
	let_it_have_been_long();
	now = write_run();
	if (now > written + SLACK_STEPS)
		fail_msg("a run: %ju steps, %ju before", (uintmax_t)now, (uintmax_t)written);
	for (size_t i = 0; i < MON_ARRAY_COUNT(forms); i++) {
		now = cost_of(forms[i]);
		if (now > before[i] + SLACK_STEPS)
			fail_msg("report %zu: %ju steps, %ju before", i, (uintmax_t)now,
				 (uintmax_t)before[i]);
	}
	sqlite3_reset_auto_extension();
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_late_run_costs_what_the_first_did),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
