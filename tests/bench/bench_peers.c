// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The same questions to monbpf and to the tracers that the distribution packages, about the same
 * function, in one run. The target has one CPU, the tool the other. A round asks everyone once,
 * each with a fresh target; what is printed is the median of the rounds, and each ratio the median
 * of the ratios within a round. When a tool has armed is seen from the target: a call suddenly
 * costs what only a probe costs. A goal that is not met is printed and changes no exit code.
 * MON_BENCH_QUICK=1: one short round, to see that it works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/link.h"
#include "tests/bench/empty.skel.h"
#include "tests/bench/peers.h"
#include "tests/harness/functions.h"
#include "tests/harness/memory.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS_MAX 3
#define CALLS 100000u /* in one measurement; the median of TIMINGS counts */
#define CALLS_QUICK 5000u
#define TIMINGS 3
#define WARM_CALLS 10000u
#define ARM_TIMEOUT_MS 20000
#define SETTLE_MS 300 /* after the first event: the return probe comes second */
#define END_TIMEOUT_MS 20000
#define DRAIN_MS 500	       /* for the tool to read what is in its buffers */
#define ATTACH_TYPE_SESSION 57 /* BPF_TRACE_UPROBE_SESSION, d920179b3d4c */
#define MIB (1024.0 * 1024.0)

struct result {
	double ns[ROUNDS_MAX]; /* added to a call */
	double start_s[ROUNDS_MAX], cpu_start_s[ROUNDS_MAX], cpu_calls_us[ROUNDS_MAX];
	double memory_mib;
	uint64_t made, seen; /* all rounds together */
	char why_not[200];
};

static struct result results[PEERS];
static struct empty_bpf *empty;
static char *directory;
static char binary[PATH_MAX], monbpf[PATH_MAX];
static int rounds = ROUNDS_MAX;
static unsigned calls_each = CALLS;
static double unwatched_ns[ROUNDS_MAX];

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (cpu < 0 || i == cpu)
			CPU_SET(i, &set);
	(void)sched_setaffinity(pid, sizeof(set), &set);
}

static double seconds_since(mon_ns from_ns)
{
	return (double)(mon_clock_now(&mon_clock_system) - from_ns) / 1e9;
}

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(const double *values, int count)
{
	double sorted[ROUNDS_MAX > TIMINGS ? ROUNDS_MAX : TIMINGS];

	memcpy(sorted, values, (size_t)count * sizeof(*values));
	qsort(sorted, (size_t)count, sizeof(*sorted), by_size);
	return sorted[count / 2];
}

/* A command with its % words replaced. */
static void expand(const char *pattern, pid_t pid, char *text, size_t size)
{
	size_t used = 0;

	for (const char *at = pattern; *at && used + 1 < size; at++) {
		char number[16];
		const char *word = NULL;

		(void)snprintf(number, sizeof(number), "%d", (int)pid);
		if (at[0] == '%')
			word = at[1] == 'p'   ? number
			       : at[1] == 'b' ? binary
			       : at[1] == 'm' ? monbpf
			       : at[1] == 'd' ? directory
			       : at[1] == '%' ? "%"
					      : NULL;
		if (word) {
			used += (size_t)snprintf(text + used, size - used, "%s", word);
			at++;
		} else {
			text[used++] = *at;
		}
	}
	if (used >= size)
		fail_msg("a command is too long: %s", pattern);
	text[used] = '\0';
}

/* A number that a command prints; 0 when it prints none. */
static uint64_t ask(const char *pattern)
{
	char command[2 * PATH_MAX];
	unsigned long long number = 0;
	FILE *pipe;

	expand(pattern, 0, command, sizeof(command));
	pipe = popen(command, "re");
	assert_non_null(pipe);
	if (fscanf(pipe, "%llu", &number) != 1)
		number = 0;
	(void)pclose(pipe);
	return number;
}

static bool is_installed(const char *program)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
	return system(command) == 0;
}

/* The user and system time of a process and the children that it waited for. */
static double cpu_s(pid_t pid)
{
	unsigned long long user = 0, system = 0, user_children = 0, system_children = 0;
	char path[64];
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file,
		   "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
		   &user, &system, &user_children, &system_children) != 4)
		user = 0;
	(void)fclose(file);
	return (double)(user + system + user_children + system_children) /
	       (double)sysconf(_SC_CLK_TCK);
}

static const char *which_of(const struct peer *peer)
{
	return peer->which ? peer->which : "push";
}

static double time_calls(struct target *target, const struct peer *peer, unsigned calls)
{
	unsigned threads = peer->threads ? peer->threads : 1;
	unsigned long long took_ns;
	char line[64];

	(void)snprintf(line, sizeof(line), "call %s %u %u", which_of(peer), calls, threads);
	process_say(target_process(target), line);
	if (sscanf(target_wait_line(target, "took", PROCESS_TIMEOUT_MS), "took %llu", &took_ns) !=
	    1)
		fail_msg("the target does not tell its time");
	return (double)took_ns / calls; /* of one thread */
}

static double time_median(struct target *target, const struct peer *peer, uint64_t *made)
{
	unsigned calls = calls_each / (peer->slower ? peer->slower : 1);
	unsigned threads = peer->threads ? peer->threads : 1;
	double ns[TIMINGS];

	(void)time_calls(target, peer, WARM_CALLS);
	for (int i = 0; i < TIMINGS; i++)
		ns[i] = time_calls(target, peer, calls);
	*made += ((uint64_t)TIMINGS * calls + WARM_CALLS) * threads;
	return median(ns, TIMINGS);
}

static struct target *start_target(const struct peer *peer)
{
	struct target *target = target_start("peers", NULL);

	pin(target_pid(target), peer->threads > 1 ? -1 : 0);
	return target;
}

static void measure_empty(const struct peer *peer, struct result *result, int round)
{
	struct target *target = start_target(peer);
	struct mon_function_set set = {0};
	uint64_t *offsets, *cookies;
	uint64_t made = 0;
	MON_CLOSE int link = -1;

	if (strcmp(peer->empty, "many_") == 0)
		functions_add_prefix(&set, binary, peer->empty, 10000);
	else
		functions_add(&set, binary, (const char *const[]){peer->empty, NULL});
	offsets = calloc(set.function_count, sizeof(*offsets));
	cookies = calloc(set.function_count, sizeof(*cookies));
	assert_non_null(offsets);
	assert_non_null(cookies);
	for (size_t i = 0; i < set.function_count; i++)
		offsets[i] = set.functions[i].probe_offset;
	link = mon_link_multi(bpf_program__fd(empty->progs.empty_session), MON_LINK_SESSION, binary,
			      offsets, cookies, (uint32_t)set.function_count, target_pid(target));
	if (link < 0)
		fail_msg("no session link: %s", strerror(-link));
	result->ns[round] = time_median(target, peer, &made) - unwatched_ns[round];
	free(offsets);
	free(cookies);
	mon_function_set_clear(&set);
	(void)target_finish(target);
}

/* The line that says why, of what a tool printed. */
static void tell_why(struct result *result)
{
	char path[PATH_MAX], line[sizeof(result->why_not)];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/out", directory);
	file = fopen(path, "re");
	(void)snprintf(result->why_not, sizeof(result->why_not), "ended without a word");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0])
			memcpy(result->why_not, line, sizeof(line));
	}
	if (file)
		(void)fclose(file);
}

static struct process *start_tool(const struct peer *peer, pid_t pid)
{
	char command[2 * PATH_MAX], expanded[4 * PATH_MAX];

	expand(peer->command, pid, command, sizeof(command));
	/* Before it execs: what it prints goes to a file, a pipe would be too slow to read. */
	(void)snprintf(expanded, sizeof(expanded), "%s%s%s%s", peer->starts_target ? "" : "exec >",
		       peer->starts_target ? "" : directory,
		       peer->starts_target ? "" : "/out 2>&1; ", command);
	return process_start((const char *const[]){"sh", "-c", expanded, NULL});
}

/* A tool that does not end is left out and killed by whoever frees it. */
static void wait_end(struct process *tool, struct result *result)
{
	for (int waited_ms = 0; waited_ms < END_TIMEOUT_MS; waited_ms += 10) {
		if (!process_is_running(tool))
			return;
		/* bpftrace 0.17 does not always hear the first one. */
		if (waited_ms % 2000 == 1990)
			process_signal(tool, SIGINT);
		(void)usleep(10000);
	}
	(void)snprintf(result->why_not, sizeof(result->why_not),
		       "had not ended %d s after it was asked to", END_TIMEOUT_MS / 1000);
}

static bool wait_armed(struct target *target, struct process *tool, uint64_t *made)
{
	for (int waited_ms = 0; waited_ms < ARM_TIMEOUT_MS; waited_ms += 10) {
		const char *line =
			process_try_line(target_process(target), PROCESS_STDOUT, "armed", 10);

		if (line) {
			*made += strtoull(line + 6, NULL, 10);
			return true;
		}
		if (!process_is_running(tool))
			return false;
	}
	return false;
}

static void measure_calls(const struct peer *peer, struct result *result, int round,
			  struct target *target, struct process *tool, uint64_t *made)
{
	pid_t pid = process_pid(tool);
	uint64_t before = *made;
	double cpu_before_s;

	(void)usleep(SETTLE_MS * 1000);
	cpu_before_s = cpu_s(pid);
	result->cpu_start_s[round] = cpu_before_s;
	result->ns[round] = time_median(target, peer, made) - unwatched_ns[round];
	(void)usleep(DRAIN_MS * 1000);
	result->cpu_calls_us[round] = (cpu_s(pid) - cpu_before_s) * 1e6 / (double)(*made - before);
	result->memory_mib = (double)memory_total_bytes(pid) / MIB;
}

static void end_round(const struct peer *peer, struct result *result, uint64_t made)
{
	char command[2 * PATH_MAX];

	if (peer->seen && !result->why_not[0]) {
		result->made += made;
		result->seen += ask(peer->seen);
	}
	if (peer->after) {
		expand(peer->after, 0, command, sizeof(command));
		(void)!system(command);
	}
}

static void measure_tool(const struct peer *peer, struct result *result, int round)
{
	mon_ns from_ns;
	struct target *target = NULL;
	struct process *tool;
	char arm[32];
	uint64_t made = 0;

	if (peer->starts_target) {
		from_ns = mon_clock_now(&mon_clock_system);
		tool = start_tool(peer, 0);
		target = (struct target *)tool;
		(void)target_wait_line(target, "ready", PROCESS_TIMEOUT_MS);
		result->start_s[round] = seconds_since(from_ns);
		measure_calls(peer, result, round, target, tool, &made);
		process_close_stdin(tool);
		wait_end(tool, result);
		process_free(tool);
		end_round(peer, result, made);
		return;
	}
	target = start_target(peer);
	(void)snprintf(arm, sizeof(arm), "arm %s", which_of(peer));
	process_say(target_process(target), arm);
	from_ns = mon_clock_now(&mon_clock_system);
	tool = start_tool(peer, target_pid(target));
	if (wait_armed(target, tool, &made)) {
		result->start_s[round] = seconds_since(from_ns);
		measure_calls(peer, result, round, target, tool, &made);
		process_signal(tool, SIGINT);
		wait_end(tool, result);
	} else {
		tell_why(result);
	}
	process_free(tool);
	end_round(peer, result, made);
	process_free(target_process(target));
}

static void measure(enum peer_id id, int round)
{
	const struct peer *peer = &peers[id];
	struct result *result = &results[id];

	if (result->why_not[0])
		return;
	if (peer->needs && !is_installed(peer->needs)) {
		(void)snprintf(result->why_not, sizeof(result->why_not), "not installed");
		return;
	}
	if (!peer->empty) {
		scratch_remove(directory);
		directory = scratch_new();
		measure_tool(peer, result, round);
	} else {
		measure_empty(peer, result, round);
	}
}

static void measure_unwatched(int round)
{
	const struct peer plain = {.which = "push"};
	struct target *target = start_target(&plain);
	uint64_t made = 0;

	unwatched_ns[round] = time_median(target, &plain, &made);
	(void)target_finish(target);
}

static void print_peer(enum peer_id id)
{
	const struct peer *peer = &peers[id];
	const struct result *result = &results[id];

	if (result->why_not[0]) {
		(void)printf("  %-42s left out: %s\n", peer->name, result->why_not);
		return;
	}
	(void)printf("  %-42s %8.0f", peer->name, median(result->ns, rounds));
	if (peer->empty) {
		(void)printf("\n");
		return;
	}
	if (result->seen < result->made)
		(void)printf(" %7.2f%%",
			     100.0 * (double)(result->made - result->seen) / (double)result->made);
	else
		(void)printf(" %8s", "0");
	(void)printf(" %8.1f %9.2f %8.2f %8.3f\n", result->memory_mib,
		     median(result->cpu_start_s, rounds), median(result->cpu_calls_us, rounds),
		     median(result->start_s, rounds));
}

static void print_tables(void)
{
	for (enum question question = 0; question < QUESTIONS; question++) {
		(void)printf("\n%s\n  %-42s %8s %8s %8s %9s %8s %8s\n", question_titles[question],
			     "", "ns", "lost", "MiB", "CPU s", "CPU us", "start s");
		for (enum peer_id id = 0; id < PEERS; id++)
			if (peers[id].question == question)
				print_peer(id);
	}
	(void)printf(
		"\nns: added to a call (not watched: %.1f). lost: calls made less calls seen. MiB: "
		"VmHWM and BPF\nmemory, each page once. CPU s: the tool's until it has armed; CPU "
		"us: "
		"for each call after.\nstart s: to the first event.\n",
		median(unwatched_ns, rounds));
}

static void print_ratio(const char *what, enum peer_id above, enum peer_id below, double goal,
			bool at_least)
{
	double ratio[ROUNDS_MAX], value;
	bool met;

	if (results[above].why_not[0] || results[below].why_not[0]) {
		(void)printf("  %-66s not measured\n", what);
		return;
	}
	for (int round = 0; round < rounds; round++)
		ratio[round] = results[above].ns[round] / results[below].ns[round];
	value = median(ratio, rounds);
	met = at_least ? value >= goal : value <= goal;
	(void)printf("  %-66s goal %s %.2f: %.2f %s\n", what, at_least ? ">=" : "<=", goal, value,
		     met ? "met" : "NOT met");
}

/* How much more @above gains than its own base does, in the same round. */
static void print_growth(const char *what, enum peer_id above, enum peer_id above_base,
			 enum peer_id below, enum peer_id below_base, double goal)
{
	double ratio[ROUNDS_MAX], value;

	for (int round = 0; round < rounds; round++)
		ratio[round] = results[above].ns[round] / results[above_base].ns[round] /
			       (results[below].ns[round] / results[below_base].ns[round]);
	value = median(ratio, rounds);
	(void)printf("  %-66s goal <= %.2f: %.2f %s\n", what, goal, value,
		     value <= goal ? "met" : "NOT met");
}

static void print_lost(enum peer_id id)
{
	const struct result *result = &results[id];

	if (!result->why_not[0])
		(void)printf("  %-66s goal 0: %lld %s\n",
			     "every call recorded: calls lost by monbpf",
			     (long long)(result->made - result->seen),
			     result->made == result->seen ? "met" : "NOT met");
}

static void print_goals(void)
{
	(void)printf("\ngoals, as ratios of the added ns\n");
	print_ratio("every call recorded, against the empty pair", MON_RECORD, PAIR, 1.30, false);
	print_ratio("--stats counts -c, against the empty pair", MON_COUNTS, PAIR, 0.70, false);
	print_ratio("unsampled call, --stats counts --sample 1/1000000, against the pair",
		    MON_COUNTS_SAMPLED, PAIR, 0.70, false);
	print_ratio("latency histogram, against bpftrace's", MON_LATENCY, BPFTRACE_HIST, 0.65,
		    false);
	print_ratio("every call recorded, against bpftrace's printf at entry", MON_RECORD,
		    BPFTRACE_PRINTF, 0.75, false);
	print_ratio("every call recorded, against bpftrace's printf at return", MON_RECORD,
		    BPFTRACE_PRINTF_PAIR, 0.75, false);
	print_lost(MON_RECORD);
	print_ratio("endbr64; push: bpftrace's count, against --stats counts", ENDBR_BPFTRACE_COUNT,
		    ENDBR_MON_COUNTS, 5, true);
	print_ratio("endbr64; push: bpftrace's histogram, against -c", ENDBR_BPFTRACE_HIST,
		    ENDBR_MON_LATENCY, 5, true);
	print_ratio("-c on 10,000 functions, one is called, against -c on 1", FUNCTIONS_MON_10000,
		    FUNCTIONS_MON_1, 1.10, false);
	/* Cold caches and the kernel's search for the probe are in both. */
	print_growth("-c: 10,000 called in turn against 1; over the same of the pair",
		     FUNCTIONS_MON_ALL, FUNCTIONS_MON_1, FUNCTIONS_PAIR_ALL, FUNCTIONS_PAIR_1,
		     1.10);
	print_growth("-c: two threads against one; over the same of the pair", THREADS_MON,
		     MON_LATENCY, THREADS_PAIR, PAIR, 1.05);
}

int main(void)
{
	mon_ns from_ns = mon_clock_now(&mon_clock_system);

	if (getenv("MON_BENCH_QUICK")) {
		rounds = 1;
		calls_each = CALLS_QUICK;
	}
	(void)signal(SIGINT,
		     SIG_DFL); /* a shell's background job ignores it, and so would the tools */
	empty = empty_bpf__open();
	if (!empty ||
	    bpf_program__set_expected_attach_type(empty->progs.empty_session,
						  ATTACH_TYPE_SESSION) ||
	    empty_bpf__load(empty)) {
		(void)fprintf(stderr, "bench_peers: the empty programs do not load\n");
		return 1;
	}
	if (!realpath(target_path("peers", monbpf, sizeof(monbpf)), binary)) {
		(void)fprintf(stderr, "bench_peers: no target: make tests\n");
		return 1;
	}
	(void)snprintf(monbpf, sizeof(monbpf), "%s/monbpf", process_build_dir());
	directory = scratch_new();
	pin(0, 1); /* the tools inherit it */
	for (int round = 0; round < rounds; round++) {
		measure_unwatched(round);
		for (enum peer_id id = 0; id < PEERS; id++)
			measure(id, round);
	}
	(void)printf(
		"monbpf and its peers, %d round%s of %d times %u calls, each tool with a fresh "
		"target\n",
		rounds, rounds == 1 ? "" : "s", TIMINGS, calls_each);
	print_tables();
	print_goals();
	(void)printf("took %.0f s\n", seconds_since(from_ns));
	scratch_remove(directory);
	empty_bpf__destroy(empty);
	return 0;
}
