// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The program as its users run it: from the start to the moment every probe is armed, and from
 * Ctrl-C to the end, for 1 and for 1,000 functions; and what it holds in memory (VmHWM, and the
 * BPF memory that VmHWM does not show), idle and while one thread calls as fast as it can and every
 * call is kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/harness/database.h"
#include "tests/harness/functions.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 7
#define RING_BYTES (16u << 20) /* the default */
#define MANY 1000
#define LOAD_S 5
#define MIB (1024.0 * 1024.0)

static char *directory, *database;

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(double values[ROUNDS])
{
	qsort(values, ROUNDS, sizeof(*values), by_size);
	return values[ROUNDS / 2];
}

static double seconds_since(mon_ns from_ns)
{
	return (double)(mon_clock_now(&mon_clock_system) - from_ns) / 1e9;
}

static struct monitor *attach(pid_t pid, const char *glob, mon_ns *from_ns)
{
	char number[16];
	struct monitor *monitor;

	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	*from_ns = mon_clock_now(&mon_clock_system);
	monitor = monitor_start((const char *const[]){"attach", "-p", number, "-o", database,
						      "--sample", "1", "--max-overhead", "0", glob,
						      NULL});
	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	return monitor;
}

static void remove_database(void)
{
	if (unlink(database))
		fail_msg("no database was written");
}

/* What of it is the kernel's verifier, and what the links. */
static void split(const char *target_name, const char *symbol, size_t functions, pid_t pid,
		  struct mon_capture_cost *cost_out)
{
	static struct watch watch;
	struct mon_capture_options options = watch_options(MON_MODE_SESSION);
	char path[4096];

	options.ring_bytes = RING_BYTES;
	if (functions == 1)
		functions_add(&watch.set, target_path(target_name, path, sizeof(path)),
			      (const char *const[]){symbol, NULL});
	else
		functions_add_prefix(&watch.set, target_path(target_name, path, sizeof(path)),
				     symbol, functions);
	watch_open(&watch, &options);
	watch_attach(&watch, pid);
	watch_close_probes(&watch);
	mon_capture_cost(watch.capture, cost_out);
	watch_free(&watch);
}

static void measure_start(const char *glob, const char *symbol, size_t functions, double goal_s)
{
	struct target *target = target_start("many", NULL);
	double start[ROUNDS], end[ROUNDS];
	struct mon_capture_cost cost = {0};

	for (int round = 0; round < ROUNDS; round++) {
		mon_ns from_ns;
		struct monitor *monitor = attach(target_pid(target), glob, &from_ns);

		start[round] = seconds_since(from_ns);
		from_ns = mon_clock_now(&mon_clock_system);
		assert_int_equal(monitor_stop(monitor), 0);
		end[round] = seconds_since(from_ns);
		monitor_free(monitor);
		remove_database();
	}
	split("many", symbol, functions, target_pid(target), &cost);
	(void)printf("%zu function%s\n"
		     "  start to armed          %10.3f s   (goal %.1f)\n"
		     "    of it the verifier    %10.3f s\n"
		     "    of it the links       %10.3f s\n"
		     "  Ctrl-C to the end       %10.3f s, with the closed database and the report\n"
		     "    of it detaching       %10.3f s\n",
		     functions, functions == 1 ? "" : "s", median(start), goal_s,
		     (double)cost.verifier_ns / 1e9, (double)cost.attach_ns / 1e9, median(end),
		     (double)cost.detach_ns / 1e9);
	(void)target_finish(target);
}

static void print_memory(const char *when, pid_t pid, const char *goal)
{
	(void)printf("  %-10s %5.1f MiB   (goal %s): VmHWM %.1f and BPF %.1f, of which %.1f are in "
		     "both\n",
		     when, (double)memory_total_bytes(pid) / MIB, goal,
		     (double)memory_peak_bytes(pid) / MIB, (double)memory_bpf_bytes(pid) / MIB,
		     (double)memory_mapped_bpf_bytes(pid) / MIB);
}

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(pid, sizeof(set), &set);
}

static void measure_memory(void)
{
	struct target *target = target_start("flood", NULL);
	mon_ns from_ns;
	struct monitor *monitor;
	int64_t calls;

	pin(target_pid(target), 0);
	pin(0, 1); /* the monitor inherits it */
	monitor = attach(target_pid(target), "watched_flood", &from_ns);
	(void)sleep(3); /* a few ticks */
	(void)printf("memory, each page once, the ring of %.0f MiB included\n", RING_BYTES / MIB);
	print_memory("idle", monitor_pid(monitor), "24");
	target_go(target);
	(void)sleep(LOAD_S);
	process_say(target_process(target), "stop");
	calls = target_done(target);
	print_memory("full load", monitor_pid(monitor), "64, the budget");
	assert_int_equal(monitor_stop(monitor), 0);
	monitor_free(monitor);
	(void)printf("  meanwhile  %.2f M calls/s kept, %lld of %lld calls are rows\n",
		     (double)calls / 1e6 / LOAD_S,
		     (long long)db_int(database, "SELECT count(*) FROM call"), (long long)calls);
	remove_database();
	(void)target_finish(target);
}

int main(void)
{
	directory = scratch_new();
	database = scratch_path(directory, "bench.db");
	measure_start("many_0000", "many_0000", 1, 0.2);
	measure_start("many_*", "many_", MANY, 0.6);
	measure_memory();
	scratch_remove(directory);
	free(database);
	return 0;
}
