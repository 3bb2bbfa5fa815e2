// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What --max-overhead promises: fixed work of about 30 s, without, with and without again, by wall
 * clock and CPU time. The ratio to the limit is to be 1.2 at most; how far the two runs without are
 * apart says what it is worth. MON_BENCH_QUICK: a tenth of the work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_MS 600000
#define WORK_S 30

struct load {
	const char *mode, *function, *steps, *kind, *limit;
};

static const struct load loads[] = {
	{"session", "watched_busy", "3000", "0", "10%"},
	{"session", "watched_busy", "30000", "0", "5%"},
	{"session", "watched_stepped", "30000", "1", "10%"},
	{"multi", "watched_busy", "3000", "0", "10%"},
	{"perf", "watched_busy", "3000", "0", "10%"},
};

static void took(struct target *target, double *wall_s, double *cpu_s)
{
	unsigned long long wall_ns, cpu_ns;

	assert_int_equal(sscanf(target_wait_line(target, "took", LONG_MS), "took %llu %llu",
				&wall_ns, &cpu_ns),
			 2);
	*wall_s = (double)wall_ns / 1e9;
	*cpu_s = (double)cpu_ns / 1e9;
}

static struct target *start(const struct load *load, long rounds)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%ld", rounds);
	return target_start("busy", text, load->steps, load->kind, NULL);
}

/* So many rounds that they take about so long. */
static long find_rounds(const struct load *load, double seconds)
{
	long rounds = 20000;
	struct target *target = start(load, rounds);
	double wall_s, cpu_s;

	target_go(target);
	took(target, &wall_s, &cpu_s);
	(void)target_done(target);
	(void)target_finish(target);
	return (long)((double)rounds * seconds / cpu_s);
}

static void take_alone(const struct load *load, long rounds, double *wall_s, double *cpu_s)
{
	struct target *target = start(load, rounds);

	target_go(target);
	took(target, wall_s, cpu_s);
	(void)target_done(target);
	(void)target_finish(target);
}

static void measure(const struct load *load, const char *database, double seconds)
{
	long rounds = find_rounds(load, seconds);
	double wall_s[3], cpu_s[3], alone_s, limit = atof(load->limit);
	struct monitor *monitor;
	struct target *target;
	char sql[256];

	take_alone(load, rounds, &wall_s[0], &cpu_s[0]);
	target = start(load, rounds);
	monitor = monitor_attach(target, database, "--mode", load->mode, "--max-overhead",
				 load->limit, load->function, NULL);
	target_go(target);
	took(target, &wall_s[1], &cpu_s[1]);
	(void)target_done(target);
	monitor_end(monitor, 0);
	monitor_free(monitor);
	(void)target_finish(target);
	take_alone(load, rounds, &wall_s[2], &cpu_s[2]);
	alone_s = (wall_s[0] + wall_s[2]) / 2;
	(void)snprintf(sql, sizeof(sql),
		       "SELECT CAST(10000.0*calls_estimated/%ld-10000 AS INTEGER) FROM functions "
		       "ORDER BY run_id DESC LIMIT 1",
		       rounds);
	printf("%-7s %-15s %8.0f calls/s  limit %-4s wall +%.1f %% (%.2f of it), alone %.1f and "
	       "%.1f s  says +%.1f %%  count %+.2f %% off\n",
	       load->mode, load->function, (double)rounds / cpu_s[0], load->limit,
	       100 * (wall_s[1] / alone_s - 1), 100 * (wall_s[1] / alone_s - 1) / limit, wall_s[0],
	       wall_s[2],
	       (double)db_int(database, "SELECT 1000*probe_cost_ns/own_cpu_ns FROM run "
					"ORDER BY id DESC LIMIT 1") /
		       10,
	       (double)db_int(database, sql) / 100);
	(void)fflush(stdout);
}

static void limits(void **state)
{
	double seconds = getenv("MON_BENCH_QUICK") ? WORK_S / 10.0 : WORK_S;
	char *directory = scratch_new();
	MON_FREE char *database = scratch_path(directory, "monbpf.db");

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(loads); i++)
		measure(&loads[i], database, seconds);
	scratch_remove(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(limits, process_teardown)};

	return cmocka_run_group_tests_name("bench/governor", tests, NULL, NULL);
}
