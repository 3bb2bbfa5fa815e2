// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Programs that we did not write, while they work, watched by bpftrace and by monbpf at once: both
 * armed before a finite piece of work begins. The counts must be equal, and each call a row.
 * bpftrace 0.17 filters a library's probes by pid only when told so in the program.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS 3

struct watchers {
	struct process *bpftrace;
	struct monitor *monitor;
	const char *const *functions;
};

static struct watchers arm(pid_t pid, const char *path, const char *library,
			   const char *const functions[FUNCTIONS])
{
	struct watchers watchers = {.functions = functions};
	char program[2048] = "BEGIN { printf(\"armed\\n\"); } ", number[16];
	char globs[FUNCTIONS][128];
	size_t used = strlen(program);

	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	for (size_t i = 0; i < FUNCTIONS; i++) {
		(void)snprintf(globs[i], sizeof(globs[i]), "%s%s", library, functions[i]);
		used += (size_t)snprintf(program + used, sizeof(program) - used,
					 "uprobe:%s:%s /pid == %d/ { @%s = count(); } ", path,
					 functions[i], (int)pid, functions[i]);
	}
	watchers.bpftrace = process_start((const char *const[]){"bpftrace", "-e", program, NULL});
	(void)process_wait_line(watchers.bpftrace, PROCESS_STDOUT, "armed", PROCESS_TIMEOUT_MS);
	watchers.monitor = monitor_start(
		(const char *const[]){"attach", "-p", number, "-o", database, "--sample", "1",
				      "--max-overhead", "0", globs[0], globs[1], globs[2], NULL});
	(void)monitor_wait_line(watchers.monitor, "watching 3 functions", PROCESS_TIMEOUT_MS);
	return watchers;
}

static void compare(struct watchers watchers)
{
	assert_int_equal(monitor_stop(watchers.monitor), 0);
	assert_null(strstr(monitor_stderr(watchers.monitor), "no return probes"));
	process_signal(watchers.bpftrace, SIGINT);
	assert_int_equal(process_wait(watchers.bpftrace, PROCESS_TIMEOUT_MS), 0);
	assert_ledger_closed(database);
	for (size_t i = 0; i < FUNCTIONS; i++) {
		const char *text = process_text(watchers.bpftrace, PROCESS_STDOUT);
		char key[256], sql[512];
		const char *line;
		int64_t theirs;

		(void)snprintf(key, sizeof(key), "@%s: ", watchers.functions[i]);
		line = strstr(text, key);
		theirs = line ? strtoll(line + strlen(key), NULL, 10) : 0;
		assert_true(theirs > 0);
		(void)snprintf(sql, sizeof(sql), "SELECT calls FROM functions WHERE function='%s'",
			       watchers.functions[i]);
		print_message("%s: %" PRId64 "\n", watchers.functions[i], theirs);
		assert_int_equal(db_int(database, sql), theirs);
		(void)snprintf(sql, sizeof(sql),
			       "SELECT count(*) FROM calls WHERE function='%s' AND duration_ns>0",
			       watchers.functions[i]);
		assert_int_equal(db_int(database, sql), theirs);
	}
	monitor_free(watchers.monitor);
	process_free(watchers.bpftrace);
}

static void redis_under_redis_benchmark(void **state)
{
	static const char *const functions[] = {"call", "lookupKey", "processCommand"};
	const char *const server[] = {"redis-server", "--port", "6399", "--bind",
				      "127.0.0.1",    "--save", "",	NULL};
	const char *const load[] = {"redis-benchmark", "-p", "6399", "-n", "100000", "-t",
				    "set,get",	       "-q", NULL};
	struct process *redis = process_start(server), *benchmark;
	struct watchers watchers;

	(void)state;
	/* Its log names the pid first, so the line is found by what it says in the end. */
	while (!strstr(process_text(redis, PROCESS_STDOUT), "Ready to accept"))
		(void)process_wait_line(redis, PROCESS_STDOUT, "", PROCESS_TIMEOUT_MS);
	watchers = arm(process_pid(redis), "/usr/bin/redis-server", "", functions);
	benchmark = process_start(load);
	assert_int_equal(process_wait(benchmark, 60000), 0);
	compare(watchers);
	assert_true(process_is_running(redis));
	process_free(benchmark);
	process_free(redis);
}

static void python_filling_a_dictionary(void **state)
{
	static const char *const functions[] = {"PyObject_Str", "PyList_New", "PyObject_SetItem"};
	const char *const python[] = {
		"/usr/bin/python3", "-c",
		"import os, sys\nprint('ready', flush=True)\nsys.stdin.readline()\nd = {}\n"
		"for i in range(200000): d[str(i)] = [i]\nprint('done', len(d), flush=True)\n"
		"os.read(0, 1)", /* calls none of the three */
		NULL};
	struct process *process = process_start(python);
	struct watchers watchers;
	char path[64];

	(void)state;
	(void)process_wait_line(process, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)process_pid(process));
	char *exe = realpath(path, NULL);
	assert_non_null(exe);
	watchers = arm(process_pid(process), exe, "", functions);
	free(exe);
	process_say(process, "go\n");
	(void)process_wait_line(process, PROCESS_STDOUT, "done 200000", 60000);
	compare(watchers);
	process_close_stdin(process);
	assert_int_equal(process_wait(process, PROCESS_TIMEOUT_MS), 0);
	process_free(process);
}

static char *mapped(pid_t pid, const char *part)
{
	char path[64], *line = NULL, *found = NULL;
	size_t size = 0;
	FILE *maps;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	assert_non_null(maps);
	while (!found && getline(&line, &size, maps) > 0)
		if (strstr(line, part)) {
			line[strcspn(line, "\n")] = '\0';
			found = strdup(strchr(line, '/'));
		}
	free(line);
	(void)fclose(maps);
	return found;
}

static void sqlite3_inserting_rows(void **state)
{
	static const char *const functions[] = {"sqlite3_step", "sqlite3_prepare_v2",
						"sqlite3_finalize"};
	struct process *process = process_start((const char *const[]){"sqlite3", ":memory:", NULL});
	struct watchers watchers;
	char *library;

	(void)state;
	process_say(process, "SELECT 'ready';\n");
	(void)process_wait_line(process, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
	library = mapped(process_pid(process), "libsqlite3");
	assert_non_null(library);
	watchers = arm(process_pid(process), library, "libsqlite3:", functions);
	for (unsigned i = 0; i < 1000; i++)
		process_say(process, i ? "INSERT INTO t VALUES(1);\n" : "CREATE TABLE t(a);\n");
	process_say(process, "SELECT 'rows '||count(*) FROM t;\n.print end\n");
	(void)process_wait_line(process, PROCESS_STDOUT, "rows 999", PROCESS_TIMEOUT_MS);
	(void)process_wait_line(process, PROCESS_STDOUT, "end", PROCESS_TIMEOUT_MS);
	compare(watchers);
	free(library);
	process_close_stdin(process);
	assert_int_equal(process_wait(process, PROCESS_TIMEOUT_MS), 0);
	process_free(process);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(redis_under_redis_benchmark),
		TEST(python_filling_a_dictionary),
		TEST(sqlite3_inserting_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
