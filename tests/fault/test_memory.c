// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows M of the fault matrix through the whole program: what a target passes around may be huge,
 * what is kept of it is not. And L04 for what arguments point to: it is a target's own bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/database.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/target.h"
#include "tests/targets/texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_ROUNDS 2000
#define LARGE_ROUNDS_TEXT "2000"
/* What a run of any calls grows by: a ring of 1 MiB, SQLite's cache, a batch. One value is ten. */
#define FLAT_BYTES (8ull << 20)

/* Rows of call_text whose value starts with @bytes, is of TEXTS_CAPTURE bytes and was of @true. */
static int64_t count_texts(const char *bytes, size_t length, const char *true_bytes)
{
	char sql[512], hex[TEXTS_CAPTURE * 2 + 1] = "";

	for (size_t i = 0; i < length; i++)
		(void)snprintf(hex + 2 * i, 3, "%02X", (unsigned char)bytes[i]);
	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM call_text WHERE true_bytes IS %s AND slot=1 AND "
		       "length(value)=%d AND substr(value,1,%zu)=x'%s'",
		       true_bytes, TEXTS_CAPTURE, length, hex);
	return db_int(database, sql);
}

/* The target holds 200 MB; the monitor's stays where it was. */
static void watch_large(const char *option, const char *argument, const char *function)
{
	struct target *target = target_start("texts", "large", LARGE_ROUNDS_TEXT, NULL);
	struct monitor *monitor = monitor_attach(target, database, "--sample", "1", "--ring-size",
						 "1M", option, argument, function, NULL);
	uint64_t before = memory_peak_bytes(monitor_pid(monitor)), after;

	target_go(target);
	assert_int_equal(target_done(target), 3 * LARGE_ROUNDS);
	db_wait_int(database, "SELECT count(*) FROM call", LARGE_ROUNDS);
	after = memory_peak_bytes(monitor_pid(monitor));
	monitor_end(monitor, 0); /* and within the budget, with all that BPF holds */
	print_message("%s %s: peak %.1f MiB, %.1f MiB before; the target's %.0f MiB\n", option,
		      argument, (double)after / (1 << 20), (double)before / (1 << 20),
		      (double)memory_peak_bytes(target_pid(target)) / (1 << 20));
	assert_true(after < before + FLAT_BYTES);
	assert_true(memory_peak_bytes(target_pid(target)) > 2 * TEXTS_LARGE_BYTES);
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

static void M03_large_values(void **state)
{
	int array[TEXTS_CAPTURE / sizeof(int)];
	char bytes[TEXTS_CAPTURE];

	(void)state;
	watch_large("--string", "1", "watched_string");
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = TEXTS_STRING_BYTE(0, i);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call_text"), LARGE_ROUNDS);
	assert_int_equal(count_texts(bytes, sizeof(bytes), "NULL"), LARGE_ROUNDS);

	place_teardown(state);
	place_setup(state);
	watch_large("--buffer", "1:2", "watched_buffer");
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = TEXTS_BUFFER_BYTE(0, i);
	for (size_t i = 0; i < sizeof(array) / sizeof(array[0]); i++)
		array[i] = (int)i;
	assert_int_equal(db_int(database, "SELECT count(*) FROM call_text"), 2 * LARGE_ROUNDS);
	assert_int_equal(count_texts(bytes, sizeof(bytes), "80000000"), LARGE_ROUNDS);
	assert_int_equal(count_texts((const char *)array, sizeof(array), "40000000"), LARGE_ROUNDS);
}

static void L04_escapes_in_an_argument(void **state)
{
	static const char *const formats[] = {NULL, "--csv", "--json"};
	static const char *const expected[] = {"\\x1b[31mred\\x1b[0m\\x0a", "\\x1b[31mred",
					       "\\u001b[31mred\\u001b[0m\\u000a"};
	struct target *target = target_start("texts", "strings", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--sample", "1", "--string", "1",
						 "watched_string", NULL);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), TEXTS_CALLS);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(target), 0);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call_text WHERE value="
					  "CAST(char(27)||'[31mred'||char(27)||'[0m'||char(10) AS "
					  "BLOB)"),
			 1);
	for (size_t i = 0; i < 3; i++) {
		const char *const argv[] = {"report", "-i",	database,   "--slowest",
					    "20",     "--wide", formats[i], NULL};
		struct monitor *report = monitor_start(argv);

		assert_int_equal(monitor_wait(report, PROCESS_TIMEOUT_MS), 0);
		assert_null(strchr(monitor_stdout(report), '\033'));
		assert_non_null(strstr(monitor_stdout(report), expected[i]));
		monitor_free(report);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, place_setup, place_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(M03_large_values),
		TEST(L04_escapes_in_an_argument),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("fault/memory", tests, NULL, NULL);
}
