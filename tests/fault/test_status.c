// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `monbpf status` while things go wrong: what it says is held against the target's own count, the
 * database and /proc; who may not ask is not told; a monitor that was killed leaves nothing in the
 * way of the next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/database.h"
#include "tests/harness/inject.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLS 20000l
#define CALLS_TEXT "20000"
#define RECORDS (CALLS + 1) /* one names the thread */
#define TRIES 1000
#define TRY_MS 10
#define PROBE_NS 600000000000ll
#define PROBE_TEXT "10m"

static char *directory, *database, *socket_path;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	socket_path = scratch_path(directory, "monbpf.db.sock");
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	scratch_remove(directory);
	free(database);
	free(socket_path);
	return result;
}

/* What it says, as JSON or text; the caller frees it. */
static char *ask(bool json)
{
	struct monitor *status = monitor_start(
		(const char *const[]){"status", "-i", database, json ? "--json" : NULL, NULL});
	char *text;

	if (monitor_wait(status, PROCESS_TIMEOUT_MS))
		fail_msg("status: %s", monitor_stderr(status));
	text = strdup(monitor_stdout(status));
	assert_non_null(text);
	monitor_free(status);
	return text;
}

static void assert_status(int expected)
{
	struct monitor *status =
		monitor_start((const char *const[]){"status", "-i", database, NULL});
	int is = monitor_wait(status, PROCESS_TIMEOUT_MS);

	if (is != expected)
		fail_msg("exit %d, expected %d: %s", is, expected, monitor_stderr(status));
	assert_int_equal(monitor_count_lines(status, ""), expected ? 1 : 0);
	monitor_free(status);
}

static long long number_in(const char *json, const char *name)
{
	const char *at;
	char key[64];

	(void)snprintf(key, sizeof(key), "\"%s\": ", name);
	at = strstr(json, key);
	if (!at)
		fail_msg("no %s in %s", name, json);
	return strtoll(at + strlen(key), NULL, 10);
}

static double real_in(const char *json, const char *name)
{
	const char *at;
	char key[64];

	(void)snprintf(key, sizeof(key), "\"%s\": ", name);
	at = strstr(json, key);
	if (!at || strncmp(at + strlen(key), "null", 4) == 0)
		fail_msg("no %s in %s", name, json);
	return strtod(at + strlen(key), NULL);
}

static long long ask_number(const char *name)
{
	char *json = ask(true);
	long long number = number_in(json, name);

	free(json);
	return number;
}

static void wait_number(const char *name, long long number)
{
	long long is = -1;

	for (int tries = 0; tries < TRIES; tries++) {
		is = ask_number(name);
		if (is == number)
			return;
		(void)poll(NULL, 0, TRY_MS);
	}
	fail_msg("%s is %lld, not %lld", name, is, number);
}

static void assert_says(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no %s in %s", part, text);
}

static void assert_parses(const char *json)
{
	char *path = tool_write(directory, "status.json", json);

	TOOL_RUN("python3", "-m", "json.tool", path);
	free(path);
}

static void wait_says(const char *part)
{
	char *json = NULL;

	for (int tries = 0; tries < TRIES; tries++) {
		free(json);
		json = ask(true);
		if (strstr(json, part)) {
			free(json);
			return;
		}
		(void)poll(NULL, 0, TRY_MS);
	}
	fail_msg("no %s in %s", part, json);
}

static struct monitor *watch(const struct target *target)
{
	return monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			      "1", "--breaker-timeout", PROBE_TEXT, "watched_*", NULL);
}

static void figures_while_calls_are_stored(void **state)
{
	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct monitor *monitor = watch(target);
	char *json;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	wait_number("stored", CALLS);
	json = ask(true);
	assert_parses(json);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), CALLS);
	assert_int_equal(number_in(json, "calls"), CALLS);
	assert_int_equal(number_in(json, "spooled"), 0);
	assert_int_equal(number_in(json, "on_the_way"), 0);
	assert_int_equal(number_in(json, "open_calls"), 0);
	assert_int_equal(number_in(json, "run"), 1);
	assert_int_equal(number_in(json, "functions"), 1);
	assert_int_equal(number_in(json, "monitor_pid"), monitor_pid(monitor));
	assert_int_equal(number_in(json, "memory_limit_bytes"), 64 << 20);
	assert_int_equal(number_in(json, "memory_pressed"), 0);
	assert_true(number_in(json, "commits") > 0);
	assert_says(json, "\"breaker\": \"closed\"");
	assert_says(json, "\"gate\": \"open\"");
	assert_says(json, "\"overhead_limit\": null,");
	assert_says(json, "\"overhead_step\": null,");
	assert_says(json, "\"windowed\": []");
	assert_says(json, "\"ring\": {\"bytes\": 16777216, \"peak\": 16777216}");
	/* It is what the process and its maps hold, give or take what moved meanwhile. */
	print_message("says %lld KiB, is at most %llu KiB\n", number_in(json, "memory_bytes") >> 10,
		      (unsigned long long)memory_total_bytes(monitor_pid(monitor)) >> 10);
	assert_true((uint64_t)number_in(json, "memory_bytes") <=
		    memory_total_bytes(monitor_pid(monitor)) + (1 << 20));
	assert_true(number_in(json, "memory_bytes") > number_in(json, "memory_bpf_bytes"));
	free(json);
	monitor_end(monitor, 0);
	assert_int_equal(access(socket_path, F_OK), -1);
	assert_status(5);
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

static void figures_while_the_breaker_is_open(void **state)
{
	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct monitor *monitor = watch(target);
	struct process *inject =
		inject_start(monitor_pid(monitor), "pwrite64", "error=EIO", database);
	char *json, *text;
	long long next_ns;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	wait_number("spooled", RECORDS);
	json = ask(true);
	text = ask(false);
	assert_parses(json);
	assert_int_equal(number_in(json, "calls"), CALLS);
	assert_int_equal(number_in(json, "stored"), 0);
	assert_true(number_in(json, "spool_bytes") > 0);
	assert_true(number_in(json, "rollbacks") > 0 || number_in(json, "commits") == 0);
	assert_says(json, "\"breaker\": \"open\"");
	assert_says(json, "\"last_error\": \"Input/output error\"");
	assert_says(json, "{\"from\": \"closed\", \"to\": \"open\", \"count\": 1}");
	next_ns = number_in(json, "breaker_next_probe_ns");
	assert_true(next_ns > 0 && next_ns <= PROBE_NS);
	assert_true(number_in(json, "breaker_next_probe_ns") + number_in(json, "breaker_open_ns") <=
		    PROBE_NS + 1000000000ll);
	assert_says(text, "breaker  open");
	assert_says(text, "next probe in ");
	assert_says(text, "last error: Input/output error");
	assert_says(text, "spool    20,001 records, "); /* one of them names the thread */
	free(json);
	free(text);
	inject_end(inject);
	assert_int_equal(monitor_stop(monitor), 0); /* the end does not wait for the probe */
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), CALLS);
	assert_int_equal(target_finish(target), 0);
}

/* A target that does nothing but call: its function cannot be armed all the time. */
static void what_the_target_pays(void **state)
{
	struct target *target = target_start("busy", "0", "2000", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--max-overhead", "3%",
						 "watched_busy", "watched_stepped", NULL);
	char *json, *text;

	(void)state;
	json = ask(true);
	assert_says(json, "\"overhead_limit\": 0.030000,");
	assert_says(json, "\"overhead_step\": \"none\",");
	assert_says(json, "\"window_share\": null,");
	free(json);
	target_go(target);
	wait_says("\"overhead_step\": \"a share of the time\",");
	json = ask(true);
	text = ask(false);
	assert_parses(json);
	assert_says(json, "\"windowed\": [\"watched_busy\"]");
	assert_int_equal(number_in(json, "windowed_functions"), 1);
	assert_true(real_in(json, "window_share") >= 0 && real_in(json, "window_share") < 1);
	assert_true(real_in(json, "overhead_of_run") > 0);
	assert_true(real_in(json, "overhead_now") >= 0);
	assert_says(text, " % CPU (limit 3), +");
	assert_says(text, "step: a share of the time");
	assert_says(text, " % of the time: watched_busy\n");
	free(json);
	free(text);
	process_say(target_process(target), "");
	(void)target_done(target);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(target), 0);
}

/* By the file's mode; and where that was opened up, by who asks. */
static void another_user_is_refused(void **state)
{
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "watched_*", NULL);
	static const char *const nobody[] = {"setpriv", "--reuid=65534", "--regid=65534",
					     "--clear-groups", NULL};
	const char *const argv[] = {"status", "-i", database, NULL};
	struct monitor *status;
	struct stat file;

	(void)state;
	assert_int_equal(stat(socket_path, &file), 0);
	assert_int_equal(file.st_mode & 07777, 0600);
	status = monitor_start_under(nobody, argv);
	assert_int_equal(monitor_wait(status, PROCESS_TIMEOUT_MS), 4);
	assert_int_equal(monitor_count_lines(status, ""), 1);
	monitor_free(status);

	assert_int_equal(chmod(directory, 0711), 0);
	assert_int_equal(chmod(socket_path, 0666), 0);
	status = monitor_start_under(nobody, argv);
	assert_int_not_equal(monitor_wait(status, PROCESS_TIMEOUT_MS), 0);
	assert_string_equal(monitor_stdout(status), "");
	assert_int_equal(monitor_count_lines(status, ""), 1);
	print_message("%s", monitor_stderr(status));
	monitor_free(status);
	assert_status(0); /* and the monitor goes on to answer others */
	target_go(target);
	assert_int_equal(target_done(target), 23);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(target), 0);
}

static void a_killed_monitor_leaves_a_stale_socket(void **state)
{
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor = watch(target);
	pid_t killed = monitor_pid(monitor);

	(void)state;
	assert_status(0);
	process_signal(monitor_process(monitor), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	assert_int_equal(access(socket_path, F_OK), 0);
	assert_status(5);
	monitor = watch(target);
	assert_int_not_equal(monitor_pid(monitor), killed);
	assert_int_equal(ask_number("monitor_pid"), monitor_pid(monitor));
	assert_int_equal(ask_number("run"), 2);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	monitor_end(monitor, 0);
	assert_int_equal(access(socket_path, F_OK), -1);
	assert_int_equal(target_finish(target), 0);
}

static void nobody_listens(void **state)
{
	char *text;

	(void)state;
	assert_status(5);
	text = tool_write(directory, "monbpf.db.sock", "not a socket");
	assert_status(5);
	assert_int_equal(unlink(text), 0);
	free(text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(figures_while_calls_are_stored),
		TEST(figures_while_the_breaker_is_open),
		TEST(what_the_target_pays),
		TEST(another_user_is_refused),
		TEST(a_killed_monitor_leaves_a_stale_socket),
		TEST(nobody_listens),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("fault/status", tests, NULL, NULL);
}
