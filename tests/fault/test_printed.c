// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `attach --print` on real calls: what is on stdout is held against the rows of the database, which
 * SQLite itself formats; and whatever becomes of stdout, every call is stored.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/database.h"
#include "tests/harness/inject.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLS 1000l /* of a recursion: 50 times 20 deep */
#define MANY 20000l /* lines: more than pipe and buffer hold */
#define MANY_TEXT "20000"

/* Each row as its line begins: all but the duration, whose rounding is ours. */
#define LINES                                                                                  \
	"SELECT group_concat(line, char(10)) FROM (SELECT printf('%5d.%09d %d/%d %-15s ',"     \
	" c.start_ns / 1000000000, c.start_ns % 1000000000, t.pid, t.tid, t.comm)"             \
	" || substr('                                                ', 1, 2 * c.depth)"       \
	" || f.name || '(' || c.arg1 || ')' || CASE c.flags WHEN 0 THEN ' = ' || c.ret"        \
	" || ' ' WHEN 8 THEN ' = ? thread exit' WHEN 16 THEN ' = ? exec'"                      \
	" WHEN 32 THEN ' = ? in flight' END AS line"                                           \
	" FROM call c JOIN task t ON t.id = c.task_id JOIN function f ON f.id = c.function_id" \
	" ORDER BY c.id)"

/* Line by line and none more. Returns how many. */
static long assert_printed(struct monitor *monitor)
{
	char *expected = db_text(database, LINES), *rest = expected, *wanted;
	const char *line = monitor_stdout(monitor);
	long lines = 0;

	assert_non_null(expected);
	while ((wanted = strsep(&rest, "\n"))) {
		size_t length = strlen(wanted), whole = strcspn(line, "\n");

		if (strncmp(line, wanted, length) || line[whole] != '\n')
			fail_msg("line %ld: \"%.*s\", stored: \"%s\"", lines + 1, (int)whole, line,
				 wanted);
		line += whole + 1;
		lines++;
	}
	if (*line)
		fail_msg("more than is stored: %.200s", line);
	free(expected);
	return lines;
}

static struct monitor *watch(const struct target *target)
{
	return monitor_attach(target, database, "--print", "--sample", "1", "--args", "1",
			      "--breaker-timeout", "1s", "watched_*", NULL);
}

static void what_is_printed_is_what_is_stored(void **state)
{
	struct target *target = target_start("recursion", "20", "50", NULL);
	struct monitor *monitor = watch(target);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	monitor_end(monitor, 0);
	assert_int_equal(assert_printed(monitor), CALLS);
	assert_int_equal(monitor_count_lines(monitor, "not printed"), 0);
	assert_int_equal(monitor_count_lines(monitor, "1,000 calls counted"), 1); /* the report */
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

/* Sampled calls stand for others, and say so. */
static void a_sampled_call_says_its_weight(void **state)
{
	struct target *target = target_start("sequence", MANY_TEXT, NULL);
	struct monitor *monitor = monitor_attach(target, database, "--print", "--sample", "1/100",
						 "--args", "1", "watched_*", NULL);
	long lines;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), MANY);
	monitor_end(monitor, 0);
	lines = assert_printed(monitor);
	assert_int_equal(lines, db_int(database, "SELECT count(*) FROM call WHERE weight = 100"));
	for (const char *at = monitor_stdout(monitor); (at = strstr(at, " x100\n")); at++)
		lines--;
	assert_int_equal(lines, 0);
	assert_int_equal(target_finish(target), 0);
}

/* While the database is out nothing is stored and nothing printed; then all of it, in order. */
static void spooled_calls_are_printed_when_they_are_stored(void **state)
{
	struct target *target = target_start("recursion", "20", "50", NULL);
	struct monitor *monitor = watch(target);
	struct process *inject =
		inject_start(monitor_pid(monitor), "pwrite64", "error=EIO", database);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	assert_string_equal(monitor_stdout(monitor), "");
	inject_end(inject);
	db_wait_int(database, "SELECT count(*) FROM call", CALLS);
	monitor_end(monitor, 0);
	assert_int_equal(assert_printed(monitor), CALLS);
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

/* `attach --print` with stdout as a shell's redirection makes it. Returns once it watches. */
static struct monitor *watch_into(const struct target *target, const char *redirection)
{
	char script[512], pid[16];
	const char *const under[] = {"sh", "-c", script, "sh", NULL};
	const char *const argv[] = {"attach",	"-o", database, "-p", pid,	   "--print",
				    "--sample", "1",  "--args", "1",  "watched_*", NULL};
	struct monitor *monitor;

	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	(void)snprintf(script, sizeof(script), "exec \"$@\" %s", redirection);
	monitor = monitor_start_under(under, argv);
	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	return monitor;
}

/* Everything is stored, and what was not printed is said. */
static void assert_stored_unprinted(struct monitor *monitor, struct target *target, const char *why)
{
	target_go(target);
	assert_int_equal(target_done(target), MANY);
	db_wait_int(database, "SELECT count(*) FROM call", MANY);
	monitor_end(monitor, 0);
	assert_int_equal(monitor_count_lines(monitor, why), 1);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), MANY);
	assert_int_equal(db_int(database, "SELECT coalesce(sum(count), 0) FROM losses"), 0);
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

static char *make_fifo(char redirection[512], int *end_out)
{
	char *path = scratch_path(directory, "lines");

	assert_int_equal(mkfifo(path, 0600), 0);
	*end_out = open(path, O_RDWR | O_CLOEXEC);
	assert_true(*end_out >= 0);
	(void)snprintf(redirection, 512, ">%s", path);
	return path;
}

static void a_reader_that_stops_does_not_stop_the_store(void **state)
{
	struct target *target = target_start("sequence", MANY_TEXT, NULL);
	char redirection[512], *path;
	int end;

	(void)state;
	path = make_fifo(redirection, &end);
	assert_stored_unprinted(watch_into(target, redirection), target,
				"lines were not printed (stdout is slow)");
	(void)close(end);
	free(path);
}

static void a_reader_that_goes_does_not_stop_the_store(void **state)
{
	struct target *target = target_start("sequence", MANY_TEXT, NULL);
	struct monitor *monitor;
	char redirection[512], *path;
	int end;

	(void)state;
	path = make_fifo(redirection, &end);
	monitor = watch_into(target, redirection);
	(void)close(end); /* the last reader */
	assert_stored_unprinted(monitor, target,
				"20000 lines were not printed (stdout was closed)");
	free(path);
}

static void no_stdout_at_all(void **state)
{
	struct target *target = target_start("sequence", MANY_TEXT, NULL);

	(void)state;
	assert_stored_unprinted(watch_into(target, ">&-"), target, "20000 lines were not printed");
}

/* Comm and string are the target's own choice. */
static void nothing_of_a_target_reaches_the_terminal_as_it_is(void **state)
{
	struct target *target = target_start("texts", "hostile", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--print", "--sample", "1",
						 "--string", "1", "watched_*", NULL);
	const char *text;

	(void)state;
	target_go(target);
	assert_true(target_done(target) > 0);
	monitor_end(monitor, 0);
	text = monitor_stdout(monitor);
	assert_non_null(strstr(text, "watched_string"));
	assert_non_null(strstr(text, "\\x1b"));
	for (const char *at = text; *at; at++)
		assert_true(*at == '\n' || (unsigned char)*at >= 0x20);
	assert_int_equal(target_finish(target), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, place_setup, place_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_printed_is_what_is_stored),
		TEST(a_sampled_call_says_its_weight),
		TEST(spooled_calls_are_printed_when_they_are_stored),
		TEST(a_reader_that_stops_does_not_stop_the_store),
		TEST(a_reader_that_goes_does_not_stop_the_store),
		TEST(no_stdout_at_all),
		TEST(nothing_of_a_target_reaches_the_terminal_as_it_is),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("fault/printed", tests, NULL, NULL);
}
