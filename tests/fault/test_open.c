// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls that are open: how long, held against the test's own clock around the moment the target
 * said that it is inside; and what is written of those that never return, however their thread,
 * process or run ended. Each is told by `status` or by `report --open`, as their users ask.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What `status` or `report` says; the caller frees it. */
static char *ask(const char *command, const char *option, const char *more)
{
	struct monitor *asked =
		monitor_start((const char *const[]){command, "-i", database, option, more, NULL});
	char *text;

	if (monitor_wait(asked, PROCESS_TIMEOUT_MS))
		fail_msg("%s: %s", command, monitor_stderr(asked));
	text = strdup(monitor_stdout(asked));
	assert_non_null(text);
	monitor_free(asked);
	return text;
}

static void assert_says(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no %s in %s", part, text);
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

static struct monitor *watch(const struct target *target, const char *more)
{
	return monitor_attach(target, database, "--sample", "1", "watched_*", more, NULL);
}

/* Is inside watched_blocks, entered between the two times. */
static void block(struct target *target, mon_ns *from_ns, mon_ns *to_ns)
{
	*from_ns = mon_clock_now(&mon_clock_system);
	target_go(target);
	(void)target_wait_line(target, "blocked", PROCESS_TIMEOUT_MS);
	*to_ns = mon_clock_now(&mon_clock_system);
}

static long long assert_age(mon_ns from_ns, mon_ns to_ns)
{
	mon_ns asked_ns = mon_clock_now(&mon_clock_system);
	char *json = ask("status", "--json", NULL), *path;
	mon_ns answered_ns = mon_clock_now(&mon_clock_system);
	long long age_ns = number_in(json, "age_ns");

	assert_int_equal(number_in(json, "open_calls"), 1);
	assert_says(json, "\"open_known\": true");
	assert_says(json, "\"function\": \"watched_blocks\"");
	assert_says(json, "\"thread\": \"killed\"");
	assert_in_range(age_ns, asked_ns - to_ns, answered_ns - from_ns);
	path = tool_write(directory, "status.json", json);
	TOOL_RUN("python3", "-m", "json.tool", path);
	free(path);
	free(json);
	return age_ns;
}

static void the_age_of_an_open_call_grows(void **state)
{
	struct target *target = target_start("killed", NULL);
	struct monitor *monitor = watch(target, NULL);
	mon_ns from_ns, to_ns, end_ns;
	long long first_ns, second_ns;
	char line[128], *text;

	(void)state;
	text = ask("status", "--json", NULL);
	assert_says(text, "\"open\": []");
	free(text);
	block(target, &from_ns, &to_ns);
	first_ns = assert_age(from_ns, to_ns);
	second_ns = assert_age(from_ns, to_ns);
	assert_true(second_ns > first_ns);

	/* The view tells of it once it is open for a second. */
	(void)monitor_wait_line(monitor, "! watched_blocks: 1 call open for ", PROCESS_TIMEOUT_MS);
	(void)snprintf(line, sizeof(line), " in tid %d (killed)", (int)target_pid(target));
	assert_true(monitor_count_lines(monitor, line) > 0);
	text = ask("status", NULL, NULL);
	assert_says(text, "OPEN FOR  FUNCTION");
	assert_says(text, "watched_blocks");
	free(text);

	end_ns = mon_clock_now(&mon_clock_system);
	monitor_end(monitor, 0);
	assert_says(monitor_stdout(monitor), "+ in flight 1\n");
	assert_says(monitor_stdout(monitor), "open     1 kept call never returned: --open\n");
	assert_ledger_closed(database);
	text = ask("report", "--open", "--json");
	assert_says(text, "\"why\": \"in flight\"");
	assert_says(text, "\"function\": \"watched_blocks\"");
	assert_in_range(number_in(text, "open_ns"), end_ns - to_ns,
			mon_clock_now(&mon_clock_system) - from_ns);
	assert_int_equal(number_in(text, "tid"), target_pid(target));
	free(text);
	text = ask("report", "--open", NULL);
	assert_says(text, "OPEN FOR  WHY        FUNCTION        CALLER");
	free(text);
	assert_int_equal(target_finish(target), 0);
}

/* Without return probes nothing is said to be open, and nothing to be closed. */
static void entries_only_do_not_tell(void **state)
{
	struct target *target = target_start("killed", NULL);
	struct monitor *monitor = monitor_attach(target, database, "--sample", "1", "--stats",
						 "counts", "--mode", "multi", "watched_*", NULL);
	mon_ns from_ns, to_ns;
	char *text;

	(void)state;
	block(target, &from_ns, &to_ns);
	text = ask("status", "--json", NULL);
	assert_says(text, "\"open_known\": false");
	assert_says(text, "\"open\": []");
	free(text);
	text = ask("status", NULL, NULL);
	assert_says(text, "(returns are not followed)\n");
	free(text);
	monitor_end(monitor, 0);
	text = ask("report", "--open", NULL);
	assert_says(text, "every kept call returned");
	free(text);
	assert_int_equal(target_finish(target), 0);
}

/* The callers of an open call are open, too. */
static void calls_inside_each_other(void **state)
{
	struct target *target = target_start("nested", NULL);
	struct monitor *monitor = watch(target, NULL);
	mon_ns from_ns, to_ns;
	char *json;

	(void)state;
	block(target, &from_ns, &to_ns);
	json = ask("status", "--json", NULL);
	assert_int_equal(number_in(json, "open_calls"), 18);
	/* The oldest first, as many as are told. */
	assert_says(json, "\"function\": \"watched_outer\", \"caller\": null");
	assert_says(json, "\"function\": \"watched_inner\", \"caller\": \"watched_outer\"");
	assert_says(json, "\"depth\": 15");
	assert_null(strstr(json, "\"depth\": 16"));
	free(json);
	json = ask("status", NULL, NULL);
	assert_says(json, "2 more, younger\n");
	free(json);
	process_say(target_process(target), "go on");
	assert_int_equal(target_done(target), 18);
	monitor_end(monitor, 0);
	json = ask("report", "--open", NULL);
	assert_says(json, "every kept call returned");
	free(json);
	assert_int_equal(target_finish(target), 0);
}

/* Of two targets both are asked, and no other process. */
static void each_watched_process_is_asked(void **state)
{
	struct target *one = target_start("killed", NULL), *two = target_start("killed", NULL);
	struct target *foreign = target_start("killed", NULL);
	struct monitor *monitor;
	mon_ns from_ns, to_ns;
	char pid[2][32], *json;

	(void)state;
	(void)snprintf(pid[0], sizeof(pid[0]), "%d", (int)target_pid(one));
	(void)snprintf(pid[1], sizeof(pid[1]), "%d", (int)target_pid(two));
	monitor = monitor_attach(one, database, "-p", pid[1], "--sample", "1", "watched_*", NULL);
	block(foreign, &from_ns, &to_ns);
	block(one, &from_ns, &to_ns);
	block(two, &from_ns, &to_ns);
	json = ask("status", "--json", NULL);
	assert_int_equal(number_in(json, "open_calls"), 2);
	(void)snprintf(pid[0], sizeof(pid[0]), "\"tid\": %d,", (int)target_pid(one));
	(void)snprintf(pid[1], sizeof(pid[1]), "\"tid\": %d,", (int)target_pid(two));
	assert_says(json, pid[0]);
	assert_says(json, pid[1]);
	free(json);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(one), 0);
	assert_int_equal(target_finish(two), 0);
	assert_int_equal(target_finish(foreign), 0);
}

/* How the run's only unfinished call is told once the run is over. */
static void assert_unfinished(struct monitor *monitor, const char *printed, const char *why,
			      const char *function)
{
	char part[128], *text = ask("report", "--open", "--json");

	(void)snprintf(part, sizeof(part), "\"why\": \"%s\"", why);
	assert_says(text, part);
	(void)snprintf(part, sizeof(part), "\"function\": \"%s\"", function);
	assert_says(text, part);
	free(text);
	assert_says(monitor_stdout(monitor), printed);
	assert_ledger_closed(database);
}

static void a_process_that_is_killed_inside(void **state)
{
	struct target *target = target_start("killed", NULL);
	struct monitor *monitor = watch(target, "--print");
	mon_ns from_ns, to_ns;

	(void)state;
	block(target, &from_ns, &to_ns);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_unfinished(monitor, "watched_blocks() = ? thread exit\n", "thread exit",
			  "watched_blocks");
	assert_int_equal(db_int(database, "SELECT count(*) FROM call WHERE duration_ns IS NULL"),
			 1);
	assert_int_equal(target_finish(target), 128 + SIGKILL);
}

static void threads_that_end_inside(void **state)
{
	struct target *target = target_start("pthread_exit_mid", "3", NULL);
	struct monitor *monitor = watch(target, "--print");

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), 3);
	monitor_end(monitor, 0);
	assert_unfinished(monitor, "watched_exits() = ? thread exit\n", "thread exit",
			  "watched_leaf");
	assert_int_equal(db_int(database, "SELECT count(*) FROM call WHERE duration_ns IS NULL"),
			 6);
	assert_int_equal(target_finish(target), 0);
}

static void a_process_that_execs_inside(void **state)
{
	struct target *target = target_start("exec", "3", "mid", NULL);
	struct monitor *monitor = watch(target, "--print");

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), 3);
	process_say(target_process(target), "exec");
	(void)target_wait_line(target, "ready", PROCESS_TIMEOUT_MS);
	monitor_end(monitor, 0);
	assert_unfinished(monitor, "watched_execs() = ? exec\n", "exec", "watched_execs");
	target_go(target);
	assert_int_equal(target_done(target), 3);
	assert_int_equal(target_finish(target), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, place_setup, place_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(the_age_of_an_open_call_grows),   TEST(entries_only_do_not_tell),
		TEST(calls_inside_each_other),	       TEST(each_watched_process_is_asked),
		TEST(a_process_that_is_killed_inside), TEST(threads_that_end_inside),
		TEST(a_process_that_execs_inside),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("fault/open", tests, NULL, NULL);
}
