// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * P05: the monitor is killed 50 times while its target works, at each named point and at random
 * times, and each next one goes on with the run. In the end every call is a row, once, by the
 * number that it passes as its argument. For the points of spooling the database is locked, so that
 * the breaker opens. Once more, for a shorter time, with two rings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/harness/database.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#define KILLS 50
#define RATE "20000"
#define NOBODY_MS_MAX 1700
#define KILLS_TWO_RINGS 14
#define ARGUMENTS_MAX 40

/*
 * Where a monitor that is built for it dies by itself. In this order: after one that died before
 * anything of its backlog was safe comes one that has time, or the ring would fill, which is a loss
 * that is counted and not what is tested here.
 */
static const struct point {
	const char *name;
	bool locked;   /* passed only while the database is out */
	int count_max; /* dies the first, second, … time it comes by */
	bool at_start;
} points[] = {
	{"adopted", false, 1, true},	{"spooling", true, 4, false},
	{"claimed", false, 20, false},	{"committing", false, 20, false},
	{"spooled", true, 4, false},	{"committed", false, 20, false},
	{"released", false, 20, false}, {"spooled_acknowledged", true, 4, false},
	{"resumed", false, 1, true},
};
#define POINTS (sizeof(points) / sizeof(points[0]))

static char *directory, *database, *pins;
static const char *rings;    /* of the run; adopters are not told */
static int hits[POINTS + 1]; /* the last: killed from outside */

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	pins = scratch_path(directory, "pins");
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);
	struct monitor *detach;

	detach = monitor_start((const char *const[]){"detach", "--pins", pins, NULL});
	(void)monitor_wait(detach, PROCESS_TIMEOUT_MS);
	(void)process_teardown(state);
	/* Removed before the directory it lies in; a monitor that never started made none. */
	(void)umount2(pins, MNT_DETACH);
	scratch_remove(directory);
	free(database);
	free(pins);
	return result;
}

/* The one that dies at points, or the one that is shipped. NULL target: goes on. */
static struct process *start(const struct target *target, bool crashes)
{
	char program[PATH_MAX], pid[16];
	const char *argv[ARGUMENTS_MAX] = {program,	"attach",
					   "--persist", "--pins",
					   pins,	"-o",
					   database,	"--sample",
					   "1",		"--args",
					   "1",		"--breaker-failures",
					   "1",		"--breaker-timeout",
					   "1s",	"--max-overhead",
					   "0"};
	size_t count = 0;
	struct process *process;

	(void)snprintf(program, sizeof(program), "%s/%smonbpf", process_build_dir(),
		       crashes ? "crash/" : "");
	while (argv[count])
		count++;
	if (target) {
		(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
		argv[count++] = "-p";
		argv[count++] = pid;
		argv[count++] = "watched_*";
		argv[count++] = "--rings";
		argv[count++] = rings;
		argv[count++] = "--ring-size"; /* one thread fills one ring: 16M for it each time */
		argv[count++] = strcmp(rings, "1") != 0 ? "32M" : "16M";
	}
	process = process_start(argv);
	return process;
}

static void wait_until_watching(struct process *process)
{
	(void)process_wait_line(process, PROCESS_STDERR, "watching", PROCESS_TIMEOUT_MS);
}

static sqlite3 *lock_database(void)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
	assert_int_equal(sqlite3_busy_timeout(db, 5000), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void unlock_database(sqlite3 *db)
{
	if (db)
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* True: it died by itself within the time. */
static bool dies(struct process *process, int timeout_ms)
{
	for (; timeout_ms > 0 && process_is_running(process); timeout_ms -= 10)
		(void)poll(NULL, 0, 10);
	return !process_is_running(process);
}

static void live_once(const struct target *target, int round, unsigned *seed)
{
	size_t at = (size_t)round % (POINTS + 3); /* a fourth of them at random times */
	const struct point *point = at < POINTS ? &points[at] : NULL;
	struct process *process;
	sqlite3 *lock = NULL;
	char where[64];

	if (point) {
		(void)snprintf(where, sizeof(where), "%s:%d", point->name,
			       1 + rand_r(seed) % point->count_max);
		assert_int_equal(setenv("MON_CRASH", where, 1), 0);
	}
	/* The first has nothing to adopt. */
	process = start(round ? NULL : target, true);
	assert_int_equal(unsetenv("MON_CRASH"), 0);
	/* It may come to its point before it says so: the ring was nearly full when it came. */
	(void)process_try_line(process, PROCESS_STDERR, "watching", PROCESS_TIMEOUT_MS);
	if (point && point->locked && process_is_running(process))
		lock = lock_database();
	if (point && dies(process, point->locked ? 8000 : 2000)) {
		hits[at]++;
	} else {
		(void)dies(process, rand_r(seed) % 700);
		process_signal(process, SIGKILL);
		hits[POINTS]++;
	}
	assert_int_equal(process_wait(process, PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	process_free(process);
	unlock_database(lock);
	/* Nobody is there to read; the target works on. */
	(void)poll(NULL, 0, rand_r(seed) % NOBODY_MS_MAX);
}

/* So that each ring has its share: the target works on another CPU each time. */
static void move_to(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	assert_int_equal(sched_setaffinity(pid, sizeof(set), &set), 0);
}

static void kill_and_go_on(int kills)
{
	struct target *target = target_start("steady", RATE, NULL);
	unsigned seed = (unsigned)mon_clock_now(&mon_clock_system);
	mon_ns started_ns = mon_clock_now(&mon_clock_system);
	struct process *last;
	int64_t calls;
	char *lost;

	memset(hits, 0, sizeof(hits));
	print_message("seed %u\n", seed);
	for (int round = 0; round < kills; round++) {
		if (strcmp(rings, "1") != 0)
			move_to(target_pid(target), round % 2);
		live_once(target, round, &seed);
		if (!round)
			target_go(target);
	}
	print_message("%.0f s of load; killed at:",
		      (double)(mon_clock_now(&mon_clock_system) - started_ns) / 1e9);
	for (size_t i = 0; i <= POINTS; i++)
		print_message(" %s %d", i < POINTS ? points[i].name : "random", hits[i]);
	print_message("\n");
	last = start(NULL, false);
	wait_until_watching(last);
	process_say(target_process(target), "stop");
	calls = target_done(target);
	assert_int_equal(target_finish(target), 0);
	assert_int_equal(process_wait(last, 60000), 0);
	print_message("%lld calls; lost: %s\n", (long long)calls,
		      lost = db_text(database, "SELECT coalesce(group_concat(reason||' '||count),"
					       "'none') FROM losses"));
	free(lost);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM run"), 1);
	assert_int_equal(db_int(database, "SELECT calls FROM functions"), calls);
	assert_int_equal(db_int(database, "SELECT coalesce(sum(count),0) FROM losses"), 0);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), calls);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT arg1) FROM call"), calls);
	assert_int_equal(db_int(database, "SELECT max(arg1) FROM call"), calls - 1);
	assert_int_equal(db_int(database, "SELECT sum(calls) FROM function_interval"), calls);
	assert_int_equal(db_int(database, "SELECT count(*) FROM mark WHERE position > 0"),
			 atoi(rings));
}

static void P05_killed_fifty_times(void **state)
{
	(void)state;
	rings = "1";
	kill_and_go_on(KILLS);
	for (size_t i = 0; i < POINTS; i++)
		assert_true(hits[i] > 0);
	assert_true(hits[POINTS] > 0);
}

static void P05_with_two_rings(void **state)
{
	(void)state;
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		print_message("one CPU has one ring\n");
		skip();
	}
	rings = "2";
	kill_and_go_on(KILLS_TWO_RINGS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(P05_killed_fifty_times, setup, teardown),
		cmocka_unit_test_setup_teardown(P05_with_two_rings, setup, teardown),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
