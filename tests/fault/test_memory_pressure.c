// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows M of the fault matrix through the whole program: memory, descriptors or threads run short.
 * Each time the program ends with one sentence or goes on to a closed ledger, the target makes
 * every call that it wanted to make, and no probe stays in its code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/cgroup.h"
#include "tests/harness/code.h"
#include "tests/harness/database.h"
#include "tests/harness/inject.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"
#include "tests/targets/texts.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MALLOC_EACH 40	   /* so many allocations are tried one by one, then in growing steps */
#define MALLOC_STEP 120	   /* at most; a run makes about 12,000 */
#define MALLOC_SECONDS 60  /* and no longer than this; after a third of it in larger steps */
#define DESCRIPTORS_MAX 64 /* enough for any run */
#define ADDRESS_SPACE "--as=104857600"
#define CALLS 10000000l
#define CALLS_TEXT "10000000"
#define LARGE_ROUNDS 1000
#define LARGE_ROUNDS_TEXT "1000"

/* What the queue has without its overflow is 10,000, with it 60,000. */
#define SHORT_CALLS 30000l
#define SHORT_CALLS_TEXT "30000"
#define WARM_CALLS 100000l
#define WARM_CALLS_TEXT "100000"
#define USER_LIMIT_MAX 40 /* what earlier ones left dying counts, too */
#define OTHER_USER 64321
#define OTHER_USER_TEXT "64321"
#define CAPABILITIES "+bpf,+perfmon,+sys_ptrace,+dac_read_search"
#define SWAP_BYTES (128ull << 20)
#define STEP_BYTES (1ull << 20)
#define SWAPPED_KIB 1536 /* what is told from 1 MiB on */
#define SPOOLED 20000l
#define SPOOLED_TEXT "20000"
#define SPOOLED_RECORDS (SPOOLED + 1) /* one names the thread */

/* A sanitizer has an allocator of its own and wants terabytes of address space. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_WHEN_SANITIZED()                                                           \
	do {                                                                            \
		print_message("a sanitizer has its own allocator and address space\n"); \
		skip();                                                                 \
	} while (0)
#else
#define SKIP_WHEN_SANITIZED() (void)0
#endif

static char *directory, *database;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	/* Looking for leaks needs a thread, and no strace; other tests do it. */
	return setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	cgroup_remove();
	swap_off();
	scratch_remove(directory);
	free(database);
	return result;
}

static void remove_outputs(void)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", "-lock"};
	char path[4096];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", database, suffixes[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s.spool", database);
	TOOL_RUN("rm", "-rf", path);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* A short run of a program in which something is missing, from its start to its end. */
static struct monitor *try_under(const char *const under[], struct target *target)
{
	char pid[16];

	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	return monitor_start_under(under, (const char *const[]){"attach", "-p", pid, "-o", database,
								"--max-overhead", "0", "-d",
								"100ms", "watched_*", NULL});
}

/* Either a run with closed books, or one sentence and nothing left of it. */
static bool assert_ended_well(struct monitor *monitor, const struct code *code, const char *what)
{
	int status = monitor_wait(monitor, PROCESS_TIMEOUT_MS);
	bool watched = monitor_count_lines(monitor, "watching") > 0;

	if (status > 7)
		fail_msg("%s: exit %d: %s", what, status, monitor_stderr(monitor));
	code_assert_unchanged(code);
	if (!status) {
		assert_true(watched);
		assert_ledger_closed(database);
		return true;
	}
	if (monitor_count_lines(monitor, "monbpf attach: ") != 1)
		fail_msg("%s: exit %d and not one sentence: %s", what, status,
			 monitor_stderr(monitor));
	/* A start that was refused leaves nothing to drain. */
	if (!watched) {
		char *left = scratch_path(directory, "monbpf.db.spool");

		if (exists(left))
			fail_msg("%s: %s is left", what, left);
		free(left);
	}
	/* A run that had begun may have had more to say, and what it wrote is sound. */
	if (!watched && monitor_count_lines(monitor, "") !=
				1 + monitor_count_lines(monitor, "monbpf: warning: "))
		fail_msg("%s: exit %d: %s", what, status, monitor_stderr(monitor));
	if (watched) {
		char *check = db_text(database, "PRAGMA quick_check");

		assert_string_equal(check, "ok");
		free(check);
	}
	return false;
}

/*
 * Allocation N of the whole process, in libelf, libbpf and SQLite as well, gets no memory: each of
 * the first, then steps of random length, until a run does not come to N any more.
 */
static void fail_each_allocation(void)
{
	struct target *target = target_start("flood", NULL);
	struct code *code = code_read(target_pid(target));
	char preload[4096], at[64], tell[4096], *told = scratch_path(directory, "told");
	const char *const under[] = {"env", preload, at, tell, NULL};
	unsigned points = 0, complete = 0, refused = 0, seed = (unsigned)time(NULL);
	time_t hurry = time(NULL) + MALLOC_SECONDS / 3, end = time(NULL) + MALLOC_SECONDS;
	unsigned step;
	bool reached = true;

	print_message("seed %u\n", seed);
	(void)snprintf(preload, sizeof(preload),
		       "LD_PRELOAD=%s/tests/harness/preload/failing_malloc.so",
		       process_build_dir());
	(void)snprintf(tell, sizeof(tell), "FAILING_MALLOC_TELL=%s", told);
	target_go(target);
	for (unsigned number = 1; reached; points++) {
		(void)snprintf(at, sizeof(at), "FAILING_MALLOC_AT=%u", number);

		struct monitor *monitor = try_under(under, target);
		bool ended_well = assert_ended_well(monitor, code, at);

		reached = exists(told);
		if (reached && ended_well)
			complete++;
		else if (reached)
			refused++;
		else if (!ended_well)
			fail_msg("%s was not reached: %s", at, monitor_stderr(monitor));
		monitor_free(monitor);
		remove_outputs();
		(void)unlink(told);
		step = number < MALLOC_EACH ? 1 : number / 6;
		if (step > MALLOC_STEP && time(NULL) < hurry)
			step = MALLOC_STEP;
		number += 1 + (unsigned)rand_r(&seed) % step;
		if (time(NULL) > end)
			fail_msg("not through after %d s, at %u", MALLOC_SECONDS, number);
	}
	print_message("%u allocations failed: %u runs were refused, %u complete all the same\n",
		      points - 1, refused, complete);
	assert_true(refused > MALLOC_EACH && complete > 0);
	process_say(target_process(target), "stop");
	assert_true(target_done(target) > 0);
	assert_int_equal(target_finish(target), 0);
	code_free(code);
	free(told);
}

static void M01_allocation_fails(void **state)
{
	(void)state;
	SKIP_WHEN_SANITIZED();
	fail_each_allocation();
}

static struct monitor *watch_under(const char *const under[], const char *const argv[])
{
	struct monitor *monitor = monitor_start_under(under, argv);

	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	return monitor;
}

static const char *pid_text(const struct target *target, char text[16])
{
	(void)snprintf(text, 16, "%d", (int)target_pid(target));
	return text;
}

/* Ten million calls, each one a row. What the ring refuses was not accepted, and is counted. */
static void M02_address_space_limit(void **state)
{
	SKIP_WHEN_SANITIZED();

	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct code *code = code_read(target_pid(target));
	char pid[16];
	struct monitor *monitor = watch_under(
		(const char *const[]){"prlimit", ADDRESS_SPACE, NULL},
		(const char *const[]){"attach", "-p", pid_text(target, pid), "-o", database,
				      "--sample", "1", "--max-overhead", "0", "watched_*", NULL});
	int64_t stored, refused;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	monitor_end(monitor, 0);
	code_assert_unchanged(code);
	assert_ledger_closed(database);
	stored = db_int(database, "SELECT stored FROM functions");
	refused = db_int(database, "SELECT coalesce(sum(count),0) FROM losses");
	print_message("%lld calls stored, %lld refused by the ring\n", (long long)stored,
		      (long long)refused);
	assert_int_equal(db_int(database, "SELECT calls FROM functions"), CALLS);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), stored);
	assert_int_equal(stored + refused, CALLS);
	assert_true(stored > CALLS / 2);
	assert_int_equal(db_int(database, "SELECT count(*) FROM losses WHERE reason<>'ring_full'"),
			 0);
	assert_int_equal(target_finish(target), 0);
	code_free(code);
}

/* In one run: huge values, each kept with a bounded prefix, and a flood of which 1 in 100 is kept.
 */
static void watch_huge(const char *option, const char *argument, long calls)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%ld", calls);

	struct target *texts = target_start("texts", "large", LARGE_ROUNDS_TEXT, NULL);
	struct target *sequence = target_start("sequence", text, NULL);
	char of_texts[16], of_sequence[16];
	struct monitor *monitor = watch_under(
		(const char *const[]){"prlimit", ADDRESS_SPACE, NULL},
		(const char *const[]){"attach", "-p", pid_text(texts, of_texts), "-p",
				      pid_text(sequence, of_sequence), "-o", database, "--sample",
				      "1", "--sample", "watched_sequence=1/100", "--max-overhead",
				      "0", option, argument, "sequence:watched_sequence",
				      "texts:watched_string", "texts:watched_buffer", NULL});

	target_go(sequence);
	target_go(texts);
	assert_int_equal(target_done(texts), 3 * LARGE_ROUNDS);
	assert_int_equal(target_done(sequence), calls);
	assert_true(memory_peak_bytes(target_pid(texts)) > 2 * TEXTS_LARGE_BYTES);
	monitor_end(monitor, 0);
	assert_int_equal(target_finish(texts), 0);
	assert_int_equal(target_finish(sequence), 0);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT sum(count) FROM losses"), 0);
	assert_int_equal(
		db_int(database, "SELECT calls FROM functions WHERE function='watched_sequence'"),
		calls);
	assert_int_equal(
		db_int(database, "SELECT stored FROM functions WHERE function='watched_string'"),
		LARGE_ROUNDS);
	assert_int_equal(
		db_int(database, "SELECT stored FROM functions WHERE function='watched_buffer'"),
		2 * LARGE_ROUNDS);
	assert_int_equal(db_int(database, "SELECT max(length(value)) FROM call_text"),
			 TEXTS_CAPTURE);
}

static void M02_huge_arguments(void **state)
{
	SKIP_WHEN_SANITIZED();
	watch_huge("--buffer", "1:2", CALLS);
	assert_int_equal(
		db_int(database, "SELECT count(*) FROM call_text WHERE true_bytes=80000000"),
		LARGE_ROUNDS);
	assert_int_equal(
		db_int(database, "SELECT count(*) FROM call_text WHERE true_bytes=40000000"),
		LARGE_ROUNDS);

	teardown(state);
	setup(state);
	watch_huge("--string", "1", CALLS / 10);
	assert_true(db_int(database, "SELECT count(*) FROM call_text WHERE length(value)=64") >=
		    LARGE_ROUNDS);
}

/* One descriptor more each time, until a run has enough. */
static void M07_descriptor_limit(void **state)
{
	struct target *target = target_start("flood", NULL);
	struct code *code = code_read(target_pid(target));
	unsigned limit = 4, refused = 0;
	bool complete = false;

	(void)state;
	target_go(target);
	for (; !complete && limit < DESCRIPTORS_MAX; limit++) {
		char option[32];
		const char *const under[] = {"prlimit", option, NULL};

		(void)snprintf(option, sizeof(option), "--nofile=%u", limit);

		struct monitor *monitor = try_under(under, target);

		complete = assert_ended_well(monitor, code, option);
		refused += !complete;
		monitor_free(monitor);
		remove_outputs();
	}
	print_message("%u limits were too small, %u descriptors are enough\n", refused, limit - 1);
	assert_true(complete && refused >= 10);
	process_say(target_process(target), "stop");
	assert_true(target_done(target) > 0);
	assert_int_equal(target_finish(target), 0);
	code_free(code);
}

/* Thread k cannot be made, for each k. */
static void M07_thread_limit(void **state)
{
	struct target *target = target_start("flood", NULL);
	struct code *code = code_read(target_pid(target));
	unsigned refused = 0;
	bool complete = false;

	(void)state;
	target_go(target);
	for (unsigned k = 1; !complete; k++) {
		char inject[64];
		const char *const under[] = {"strace", "-f",	       "-qq", "-o",   "/dev/null",
					     "-e",     "trace=clone3", "-e",  inject, NULL};

		(void)snprintf(inject, sizeof(inject), "inject=clone3:error=EAGAIN:when=%u", k);

		struct monitor *monitor = try_under(under, target);

		complete = assert_ended_well(monitor, code, inject);
		refused += !complete;
		monitor_free(monitor);
		remove_outputs();
	}
	assert_int_equal(refused, 2); /* reader, writer */
	process_say(target_process(target), "stop");
	assert_true(target_done(target) > 0);
	assert_int_equal(target_finish(target), 0);
	code_free(code);
}

/* Arguments count up from call to call: none twice, none before its time, none missing. */
static void assert_sequence(pid_t pid, long calls)
{
	char sql[256];

	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM calls WHERE pid=%d", (int)pid);
	assert_int_equal(db_int(database, sql), calls);
	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM (SELECT arg1-lag(arg1) OVER (ORDER BY id) AS step "
		       "FROM calls WHERE pid=%d) WHERE step<>1",
		       (int)pid);
	assert_int_equal(db_int(database, sql), 0);
}

static unsigned long long swapped_kib(const struct monitor *monitor)
{
	unsigned long long kib = 0;
	char path[64], line[256];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)monitor_pid(monitor));
	FILE *status = fopen(path, "re");

	assert_non_null(status);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "VmSwap: %llu", &kib) == 1)
			break;
	(void)fclose(status);
	return kib;
}

/*
 * The cgroup's limit comes down until the process is swapped out. From then on the queue goes
 * without its overflow: with a slow disk calls are spooled that would have had room in it.
 */
static void M05_swapped_out(void **state)
{
	struct target *before = target_start("sequence", WARM_CALLS_TEXT, NULL);
	struct target *target = target_start("sequence", SHORT_CALLS_TEXT, NULL);
	struct monitor *monitor;
	struct process *slow;
	uint64_t limit;
	char pid[16], other[16];

	(void)state;
	swap_on(directory, SWAP_BYTES);
	cgroup_make();
	monitor = watch_under(cgroup_under(),
			      (const char *const[]){"attach", "-p", pid_text(target, pid), "-p",
						    pid_text(before, other), "-o", database,
						    "--sample", "1", "--max-overhead", "0",
						    "--args", "1", "--ring-size", "8M",
						    "--durability", "full", "watched_*", NULL});
	/* So that there is something to swap out. */
	target_go(before);
	assert_int_equal(target_done(before), WARM_CALLS);
	db_wait_int(database, "SELECT count(*) FROM call", WARM_CALLS);
	for (limit = cgroup_usage_bytes(); swapped_kib(monitor) < SWAPPED_KIB;) {
		if (limit <= STEP_BYTES)
			fail_msg("nothing was swapped out: %s", monitor_stderr(monitor));
		limit -= STEP_BYTES;
		cgroup_limit(limit);
	}
	(void)monitor_wait_line(monitor, "monbpf: warning: memory is short", PROCESS_TIMEOUT_MS);
	print_message("short of memory at %llu KiB\n", (unsigned long long)limit >> 10);
	slow = inject_start(monitor_pid(monitor), "fdatasync", "delay_enter=2000000", NULL);
	target_go(target);
	assert_int_equal(target_done(target), SHORT_CALLS);
	(void)monitor_wait_line(monitor, "queue and ring are", PROCESS_TIMEOUT_MS);
	inject_end(slow);
	(void)monitor_wait_line(monitor, "the spool is empty again", PROCESS_TIMEOUT_MS);
	cgroup_limit(0);
	(void)monitor_wait_line(monitor, "there is memory again", PROCESS_TIMEOUT_MS);
	monitor_end(monitor, 0);
	assert_int_equal(monitor_count_lines(monitor, "memory is short"), 1);
	assert_int_equal(monitor_count_lines(monitor, "there is memory again"), 1);
	/* More than once, if the target paused; each time it is told that it was over. */
	assert_int_equal(monitor_count_lines(monitor, "go to the spool"),
			 monitor_count_lines(monitor, "the spool is empty again"));
	assert_true(monitor_count_lines(monitor, "go to the spool") < 5);
	assert_int_equal(cgroup_oom_kills(), 0);
	assert_ledger_closed(database);
	assert_sequence(target_pid(before), WARM_CALLS);
	assert_sequence(target_pid(target), SHORT_CALLS);
	assert_int_equal(target_finish(target), 0);
	assert_int_equal(target_finish(before), 0);
}

/* The same without pressure: the overflow takes it all. Else the test above says nothing. */
static void M05_not_swapped_out(void **state)
{
	struct target *target = target_start("sequence", SHORT_CALLS_TEXT, NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			       "1", "--ring-size", "8M", "--durability", "full", "watched_*", NULL);
	struct process *slow =
		inject_start(monitor_pid(monitor), "fdatasync", "delay_enter=2000000", NULL);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), SHORT_CALLS);
	inject_end(slow);
	monitor_end(monitor, 0);
	assert_int_equal(monitor_count_lines(monitor, "memory is short"), 0);
	assert_int_equal(monitor_count_lines(monitor, "go to the spool"), 0);
	assert_ledger_closed(database);
	assert_sequence(target_pid(target), SHORT_CALLS);
	assert_int_equal(target_finish(target), 0);
}

/* What `spool check` finds: so many records, in sound segments. */
static void assert_spool_holds(long records)
{
	char *spool = scratch_path(directory, "monbpf.db.spool"), text[64];
	struct monitor *check =
		monitor_start((const char *const[]){"spool", "check", spool, "--json", NULL});

	assert_int_equal(monitor_wait(check, PROCESS_TIMEOUT_MS), 0);
	(void)snprintf(text, sizeof(text), "\"records\": %ld,", records);
	if (!strstr(monitor_stdout(check), text))
		fail_msg("not %ld records: %s", records, monitor_stdout(check));
	monitor_free(check);
	free(spool);
}

/* "name": NUMBER of what the running monitor tells. */
static long long status_number(const char *name)
{
	struct monitor *status =
		monitor_start((const char *const[]){"status", "-i", database, "--json", NULL});
	char key[64];
	const char *at;
	long long number;

	assert_int_equal(monitor_wait(status, PROCESS_TIMEOUT_MS), 0);
	(void)snprintf(key, sizeof(key), "\"%s\": ", name);
	at = strstr(monitor_stdout(status), key);
	if (!at)
		fail_msg("no %s: %s", key, monitor_stdout(status));
	number = strtoll(at + strlen(key), NULL, 10);
	monitor_free(status);
	return number;
}

/* The breaker is open and every call of the target is in the spool. */
static void spool_everything(struct monitor *monitor, struct target *target)
{
	(void)inject_start(monitor_pid(monitor), "pwrite64", "error=EIO", database);
	target_go(target);
	assert_int_equal(target_done(target), SPOOLED);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	for (int tries = 0; status_number("spooled") != SPOOLED_RECORDS; tries++) {
		if (tries == 200)
			fail_msg("%lld of %ld records are in the spool", status_number("spooled"),
				 SPOOLED_RECORDS);
		(void)poll(NULL, 0, 10);
	}
}

static const char *const spooling_run[] = {"--sample", "1", "--max-overhead", "0",
					   "--args",   "1", "watched_*",      NULL};

static struct monitor *start_spooling_run(const char *const under[], const struct target *target)
{
	const char *argv[16] = {"attach", "-o", database, "-p"};
	char pid[16];

	argv[4] = pid_text(target, pid);
	for (size_t i = 0; i < sizeof(spooling_run) / sizeof(spooling_run[0]); i++)
		argv[5 + i] = spooling_run[i];
	return watch_under(under, argv);
}

/*
 * Killed while calls wait in the spool: its run says that it has no end, the next one says that
 * something was left and does not take it for its own, and it stays for `spool drain`.
 */
static void assert_next_run_leaves_it_alone(void)
{
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor, *report;

	assert_int_equal(db_int(database, "SELECT complete FROM run WHERE id=1"), 0);
	assert_spool_holds(SPOOLED_RECORDS);
	monitor = start_spooling_run((const char *const[]){NULL}, target);
	assert_int_equal(monitor_count_lines(monitor, "an earlier run left calls in"), 1);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	monitor_end(monitor, 0);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM run"), 2);
	assert_int_equal(db_int(database, "SELECT complete FROM run WHERE id=1"), 0);
	assert_int_equal(db_int(database, "SELECT sum(stored) FROM functions WHERE run_id=2"), 46);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 46);
	assert_spool_holds(SPOOLED_RECORDS);
	report = monitor_start((const char *const[]){"report", "-i", database, "--run", "1", NULL});
	assert_int_equal(monitor_wait(report, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stdout(report), "incomplete: its end was never written"));
	assert_int_equal(target_finish(target), 0);
}

static void M06_killed(void **state)
{
	struct target *target = target_start("sequence", SPOOLED_TEXT, NULL);
	struct code *code = code_read(target_pid(target));
	struct monitor *monitor = start_spooling_run((const char *const[]){NULL}, target);

	(void)state;
	assert_false(code_is_unchanged(code)); /* so that what is asserted below can fail */
	spool_everything(monitor, target);
	process_signal(monitor_process(monitor), SIGKILL);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	code_assert_unchanged(code);
	code_free(code);
	assert_int_equal(target_finish(target), 0);
	assert_next_run_leaves_it_alone();
}

/* Whoever is killed for want of memory, it is this one. */
static void make_first_to_go(const struct monitor *monitor)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)monitor_pid(monitor));
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs("1000", file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* By the kernel, because another process beside it wants more than there is. */
static void M06_out_of_memory(void **state)
{
	struct target *target = target_start("sequence", SPOOLED_TEXT, NULL);
	struct code *code = code_read(target_pid(target));
	const char *const *under;
	const char *argv[8];
	struct monitor *monitor;
	size_t count = 0;

	(void)state;
	cgroup_make();
	under = cgroup_under();
	monitor = start_spooling_run(under, target);
	spool_everything(monitor, target);
	make_first_to_go(monitor);
	cgroup_limit(cgroup_usage_bytes() + STEP_BYTES);
	for (; under[count]; count++)
		argv[count] = under[count];
	argv[count++] = "sh";
	argv[count++] = "-c";
	argv[count++] = "head -c 200M /dev/zero | tail";
	argv[count] = NULL;
	(void)process_start(argv);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	assert_true(cgroup_oom_kills() > 0);
	code_assert_unchanged(code);
	code_free(code);
	assert_int_equal(target_finish(target), 0);
	assert_next_run_leaves_it_alone();
}

static bool user_has_processes(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	assert_non_null(proc);
	while (!found && (entry = readdir(proc))) {
		struct stat status;

		found = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
			fstatat(dirfd(proc), entry->d_name, &status, 0) == 0 &&
			status.st_uid == OTHER_USER;
	}
	(void)closedir(proc);
	return found;
}

/* What a monitor leaves to init to bury counts against the limit until init has done so. */
static void wait_for_the_burials(void)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

	for (unsigned round = 0; user_has_processes(); round++) {
		if (round >= PROCESS_TIMEOUT_MS / 10)
			fail_msg("processes of user %d do not go away", OTHER_USER);
		(void)nanosleep(&pause, NULL);
	}
}

/* A user who may watch, but not have as many threads: one more each time. */
static void M07_user_limit(void **state)
{
	struct target *target = target_start("flood", NULL);
	struct code *code = code_read(target_pid(target));
	unsigned refused = 0;
	bool complete = false;

	(void)state;
	assert_int_equal(chown(directory, OTHER_USER, OTHER_USER), 0);
	target_go(target);
	for (unsigned limit = 1; !complete && limit < USER_LIMIT_MAX; limit++) {
		char option[32];
		const char *const under[] = {"prlimit",
					     option,
					     "setpriv",
					     "--reuid=" OTHER_USER_TEXT,
					     "--regid=" OTHER_USER_TEXT,
					     "--clear-groups",
					     "--inh-caps=" CAPABILITIES,
					     "--ambient-caps=" CAPABILITIES,
					     NULL};

		wait_for_the_burials();
		(void)snprintf(option, sizeof(option), "--nproc=%u", limit);

		struct monitor *monitor = try_under(under, target);

		complete = assert_ended_well(monitor, code, option);
		refused += !complete;
		if (!complete && limit == USER_LIMIT_MAX - 1)
			print_message("still refused: %s\n", monitor_stderr(monitor));
		monitor_free(monitor);
		remove_outputs();
	}
	print_message("%u limits were too small\n", refused);
	assert_true(complete && refused >= 2);
	process_say(target_process(target), "stop");
	assert_true(target_done(target) > 0);
	assert_int_equal(target_finish(target), 0);
	code_free(code);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(M01_allocation_fails), TEST(M02_address_space_limit), TEST(M02_huge_arguments),
		TEST(M05_swapped_out),	    TEST(M05_not_swapped_out),	   TEST(M06_killed),
		TEST(M06_out_of_memory),    TEST(M07_descriptor_limit),	   TEST(M07_thread_limit),
		TEST(M07_user_limit),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("fault/memory_pressure", tests, NULL, NULL);
}
