// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What calls do in real programs, in each mode: a table of targets and of what each watched
 * function of theirs must come to. No cell is empty, and in each the sum closes: what was counted
 * is in the ring or in a named column, and no thread was refused its frames.
 */
#include "base/cleanup.h"
#include "tests/harness/functions.h"
#include "tests/harness/target.h"
#include "tests/harness/watch.h"

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define FUNCTIONS_MAX 4

/* How the target is driven once it is armed. */
enum course {
	CALLS_DONE,    /* go, done; disarmed while it lives */
	CALLS_ENDED,   /* go, done, end of stdin; disarmed after its end */
	CALLS_THEN_GO, /* go, done, go, its end */
	CALLS_KILLED,  /* go, blocked, SIGKILL */
	CALLS_EXECED,  /* go, done, go, ready (the new image), go, done */
};

struct expected {
	const char *symbol;
	uint64_t calls, returns;
	uint64_t unreturned, unwound, thread_exit, exec;
};

struct row {
	const char *name;
	const char *target;
	const char *arguments[2];
	bool entries_only; /* no return traps */
	enum course course;
	int status; /* at its end, where that is part of the course */
	uint64_t execs, tasks;
	struct expected functions[FUNCTIONS_MAX];
};

static const struct row rows[] = {
	{.name = "calls",
	 .target = "calls",
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 23, .returns = 23},
		       {.symbol = "watched_inner", .calls = 23, .returns = 23}}},
	{.name = "calls_static",
	 .target = "calls_static",
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 23, .returns = 23},
		       {.symbol = "watched_inner", .calls = 23, .returns = 23}}},
	{.name = "calls_nopie",
	 .target = "calls_nopie",
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 23, .returns = 23},
		       {.symbol = "watched_inner", .calls = 23, .returns = 23}}},
	{.name = "static_calls",
	 .target = "static_calls",
	 .tasks = 1,
	 .functions = {{.symbol = "watched_static", .calls = 23, .returns = 23},
		       {.symbol = "watched_named", .calls = 46, .returns = 46}}},
	/* The kernel follows 64 returns of a thread: the others are kept without a duration. */
	{.name = "K04_recursion",
	 .target = "recursion",
	 .tasks = 1,
	 .functions =
		 {{.symbol = "watched_recursion", .calls = 101, .returns = 64, .unreturned = 37}}},
	{.name = "mutual",
	 .target = "mutual",
	 .tasks = 1,
	 .functions = {{.symbol = "watched_even", .calls = 12, .returns = 12},
		       {.symbol = "watched_odd", .calls = 12, .returns = 12}}},
	{.name = "tail",
	 .target = "tail",
	 .tasks = 1,
	 .functions = {{.symbol = "watched_head", .calls = 23, .returns = 23},
		       {.symbol = "watched_tail", .calls = 23, .returns = 23}}},
	{.name = "K05_longjmp",
	 .target = "longjmp",
	 .tasks = 1,
	 .functions = {{.symbol = "watched_outer", .calls = 23, .returns = 23},
		       {.symbol = "watched_middle", .calls = 23, .unwound = 23},
		       {.symbol = "watched_leaf", .calls = 23, .unwound = 23},
		       {.symbol = "watched_after", .calls = 23, .returns = 23}}},
	/*
	 * With a return trap on a frame that an exception goes through, the target dies in each
	 * mode: the unwinder meets the kernel's trampoline where a return address was, finds the
	 * end of the stack and calls terminate(). So programs that throw are a hazard.
	 */
	{.name = "K05_exception",
	 .target = "exception",
	 .entries_only = true,
	 .tasks = 1,
	 .functions = {{.symbol = "_ZN4demo7Watched7catchesEi", .calls = 23},
		       {.symbol = "_ZN4demo7Watched6throwsEi", .calls = 23},
		       {.symbol = "_Z15watched_betweenIiET_RN4demo7WatchedES0_", .calls = 23}}},
	{.name = "K05_pthread_exit",
	 .target = "pthread_exit_mid",
	 .tasks = 24,
	 .functions = {{.symbol = "watched_exits", .calls = 23, .thread_exit = 23},
		       {.symbol = "watched_leaf", .calls = 23, .thread_exit = 23},
		       {.symbol = "watched_after", .calls = 23, .returns = 23}}},
	{.name = "threads",
	 .target = "threads",
	 .tasks = 64,
	 .functions = {{.symbol = "watched_threaded", .calls = 64 * 23, .returns = 64 * 23}}},
	{.name = "threads_ended",
	 .target = "threads",
	 .course = CALLS_ENDED,
	 .tasks = 64,
	 .functions = {{.symbol = "watched_threaded", .calls = 64 * 23, .returns = 64 * 23}}},
	{.name = "exit_mid_call",
	 .target = "exit_mid_call",
	 .course = CALLS_THEN_GO,
	 .status = 3,
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 23, .returns = 23},
		       {.symbol = "watched_exits", .calls = 1, .thread_exit = 1}}},
	{.name = "exit_at_once",
	 .target = "exit_mid_call",
	 .arguments = {"23", "_exit"},
	 .course = CALLS_THEN_GO,
	 .status = 3,
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 23, .returns = 23},
		       {.symbol = "watched_exits", .calls = 1, .thread_exit = 1}}},
	{.name = "K07_killed",
	 .target = "killed",
	 .course = CALLS_KILLED,
	 .status = 128 + SIGKILL,
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 23, .returns = 23},
		       {.symbol = "watched_blocks", .calls = 1, .thread_exit = 1}}},
	/* The new image has the pid and, mapping the same file, the probes. */
	{.name = "K06_exec",
	 .target = "exec",
	 .course = CALLS_EXECED,
	 .execs = 1,
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 46, .returns = 46},
		       {.symbol = "watched_execs"}}},
	{.name = "K06_exec_mid_call",
	 .target = "exec",
	 .arguments = {"23", "mid"},
	 .course = CALLS_EXECED,
	 .execs = 1,
	 .tasks = 1,
	 .functions = {{.symbol = "watched_call", .calls = 46, .returns = 46},
		       {.symbol = "watched_execs", .calls = 1, .exec = 1}}},
};

struct cell {
	const struct row *row;
	enum mon_mode mode;
};

static struct watch watch;

static int tear_down(void **state)
{
	watch_free(&watch);
	return process_teardown(state);
}

static void run_course(const struct row *row, struct target *target)
{
	target_go(target);
	if (row->course == CALLS_KILLED) {
		(void)target_wait_line(target, "blocked", PROCESS_TIMEOUT_MS);
		process_signal(target_process(target), SIGKILL);
	} else {
		(void)target_done(target);
	}
	if (row->course == CALLS_THEN_GO || row->course == CALLS_EXECED)
		target_go(target);
	if (row->course == CALLS_EXECED) {
		(void)target_wait_line(target, "ready", PROCESS_TIMEOUT_MS);
		target_go(target);
		(void)target_done(target);
	}
	if (row->course == CALLS_ENDED || row->course == CALLS_KILLED ||
	    row->course == CALLS_THEN_GO)
		assert_int_equal(target_finish(target), row->status);
}

static void check_function(const struct row *row, size_t index)
{
	const struct expected *expected = &row->functions[index];
	const struct mon_counters counters = watch_counters(&watch, index);
	const struct watch_records *records = &watch.records[index];
	uint64_t unfinished = expected->unwound + expected->thread_exit + expected->exec;

	if (counters.calls != expected->calls || counters.returns != expected->returns ||
	    counters.unfinished != unfinished || counters.emitted != expected->calls ||
	    records->finished != expected->returns || records->unwound != expected->unwound ||
	    records->unreturned != expected->unreturned ||
	    records->thread_exit != expected->thread_exit || records->exec != expected->exec ||
	    records->in_flight || records->entry_only != (row->entries_only ? expected->calls : 0))
		fail_msg("%s: calls %llu returns %llu unfinished %llu emitted %llu; records: "
			 "finished %lu unreturned %lu unwound %lu thread exit %lu exec %lu in "
			 "flight %lu",
			 expected->symbol, counters.calls, counters.returns, counters.unfinished,
			 counters.emitted, records->finished, records->unreturned, records->unwound,
			 records->thread_exit, records->exec, records->in_flight);
}

static void check_cell(void **state)
{
	const struct cell *cell = *state;
	const struct row *row = cell->row;
	struct mon_capture_options options = watch_options(cell->mode);
	const char *symbols[FUNCTIONS_MAX + 1] = {0};
	struct mon_run_counters run;
	struct target *target;
	char path[PATH_MAX];
	size_t count = 0;

	while (count < FUNCTIONS_MAX && row->functions[count].symbol) {
		symbols[count] = row->functions[count].symbol;
		count++;
	}
	options.returns = !row->entries_only;
	functions_add(&watch.set, target_path(row->target, path, sizeof(path)), symbols);
	target = target_start(row->target, row->arguments[0], row->arguments[1], NULL);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	run_course(row, target);
	watch_close_probes(&watch);
	watch_check(&watch);
	run = watch_run_counters(&watch);
	assert_int_equal(run.threads_refused, 0);
	assert_int_equal(run.orphan_returns, 0);
	assert_int_equal(run.foreign_hits, 0);
	assert_int_equal(run.execs, row->execs);
	assert_int_equal(watch.tasks, row->tasks);
	for (size_t i = 0; i < count; i++)
		check_function(row, i);
}

/*
 * A forked child is not followed. In session and multi mode it keeps the breakpoints but the
 * kernel drops its hits: they are seen when it is told to be foreign, and are counted and nothing
 * else. In perf mode it loses them at its first hit, and must not be made to pay for new ones.
 */
static void K23_fork(void **state)
{
	static const char *const symbols[] = {"watched_forked", NULL};
	const struct mon_capture_options options =
		watch_options(((const struct cell *)*state)->mode);
	struct target *target = target_start("fork", NULL);
	struct mon_run_counters run;
	char path[PATH_MAX];
	const char *line;
	pid_t child;

	functions_add(&watch.set, target_path("fork", path, sizeof(path)), symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	target_go(target);
	line = target_wait_line(target, "child ", PROCESS_TIMEOUT_MS);
	child = (pid_t)strtol(line + 6, NULL, 10);
	assert_int_equal(target_done(target), 23);
	run = watch_run_counters(&watch);
	assert_int_equal(run.forks, 1);
	assert_int_equal(run.fork_pids[0], child);
	assert_int_equal(run.foreign_hits, 0);
	assert_int_equal(watch_counters(&watch, 0).calls, 23);

	assert_int_equal(mon_capture_attach_foreign(watch.capture, &watch.set, child), 0);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	run = watch_run_counters(&watch);
	assert_int_equal(run.foreign_hits, options.mode == MON_MODE_PERF ? 0 : 23);
	assert_int_equal(watch_counters(&watch, 0).calls, 46);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[0].finished, 46);
	assert_int_equal(watch.records[0].pid, target_pid(target));
	assert_int_equal(watch_run_counters(&watch).orphan_returns, 0);
	assert_int_equal(watch_run_counters(&watch).threads_refused, 0);
	assert_int_equal(target_finish(target), 0);
}

/*
 * A process outside of the monitor's pid namespace has no pid there. A link for pid 0 would be one
 * for every process: once it made each call of the target count twice.
 */
static void nobody_is_foreign(void **state)
{
	static const char *const symbols[] = {"watched_call", NULL};
	const struct mon_capture_options options =
		watch_options(((const struct cell *)*state)->mode);
	struct target *target = target_start("calls", NULL);
	char path[PATH_MAX];

	functions_add(&watch.set, target_path("calls", path, sizeof(path)), symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	assert_int_equal(mon_capture_attach_foreign(watch.capture, &watch.set, 0), -ESRCH);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	assert_int_equal(watch_counters(&watch, 0).calls, 23);
	watch_close_probes(&watch);
	assert_int_equal(watch_run_counters(&watch).foreign_hits, 0);
	assert_int_equal(target_finish(target), 0);
}

static pid_t start_child(void)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	return child;
}

/* It has ended, and nobody has waited for it yet. */
static void kill_child(pid_t child)
{
	siginfo_t info;

	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
}

/*
 * Links of children live no longer than they: each is a consumer that every hit of the target
 * walks. So many children have some at once, and a place is free again when one has ended.
 */
static void links_of_children_end_with_them(void **state)
{
	static const char *const symbols[] = {"watched_call", NULL};
	const struct mon_capture_options options =
		watch_options(((const struct cell *)*state)->mode);
	const bool perf = options.mode == MON_MODE_PERF;
	pid_t children[MON_CAPTURE_FOREIGN_MAX + 1];
	struct target *target = target_start("calls", NULL);
	char path[PATH_MAX];
	size_t alone;

	/* Before there is a link that they could hold, too. */
	for (size_t i = 0; i < MON_ARRAY_COUNT(children); i++)
		children[i] = start_child();
	functions_add(&watch.set, target_path("calls", path, sizeof(path)), symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	alone = process_count_links(getpid());
	assert_true(alone > 0);
	for (size_t i = 0; i < MON_ARRAY_COUNT(children); i++)
		assert_int_equal(mon_capture_attach_foreign(watch.capture, &watch.set, children[i]),
				 i < MON_CAPTURE_FOREIGN_MAX || perf ? 0 : -ENOSPC);
	assert_int_equal(process_count_links(getpid()),
			 alone + (perf ? 0 : MON_CAPTURE_FOREIGN_MAX));
	mon_capture_reap_foreign(watch.capture);
	assert_int_equal(process_count_links(getpid()),
			 alone + (perf ? 0 : MON_CAPTURE_FOREIGN_MAX));

	kill_child(children[3]);
	mon_capture_reap_foreign(watch.capture);
	assert_int_equal(mon_capture_attach_foreign(watch.capture, &watch.set, children[3]),
			 perf ? 0 : -ESRCH);
	assert_int_equal(mon_capture_attach_foreign(watch.capture, &watch.set,
						    children[MON_CAPTURE_FOREIGN_MAX]),
			 0);
	for (size_t i = 0; i < MON_ARRAY_COUNT(children); i++)
		kill_child(children[i]);
	mon_capture_reap_foreign(watch.capture);
	process_wait_links(getpid(), alone, PROCESS_TIMEOUT_MS);
	target_go(target);
	assert_int_equal(target_done(target), 23);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[0].finished, 23);
	for (size_t i = 0; i < MON_ARRAY_COUNT(children); i++)
		assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
	assert_int_equal(target_finish(target), 0);
}

/* Two processes of one binary, both attached. */
static void two_processes(void **state)
{
	static const char *const symbols[] = {"watched_call", "watched_inner", NULL};
	const struct mon_capture_options options =
		watch_options(((const struct cell *)*state)->mode);
	struct target *first = target_start("calls", NULL);
	struct target *second = target_start("calls", "7", NULL);
	char path[PATH_MAX];

	functions_add(&watch.set, target_path("calls", path, sizeof(path)), symbols);
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(first));
	watch_attach(&watch, target_pid(second));
	target_go(first);
	assert_int_equal(target_done(first), 23);
	target_go(second);
	assert_int_equal(target_done(second), 7);
	watch_close_probes(&watch);
	watch_check(&watch);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(watch_counters(&watch, i).calls, 30);
		assert_int_equal(watch.records[i].finished, 30);
	}
	assert_int_equal(watch.tasks, 2);
	assert_int_equal(watch_run_counters(&watch).orphan_returns, 0);
	assert_int_equal(target_finish(first), 0);
	assert_int_equal(target_finish(second), 0);
}

int main(int argc, char **argv)
{
	static const enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
	} others[] = {
		{"K23_fork", K23_fork},
		{"two_processes", two_processes},
		{"nobody_is_foreign", nobody_is_foreign},
		{"links_of_children_end_with_them", links_of_children_end_with_them},
	};
	enum {
		ROWS = MON_ARRAY_COUNT(rows),
		CELLS = (ROWS + MON_ARRAY_COUNT(others)) * MON_ARRAY_COUNT(modes)
	};
	static struct CMUnitTest tests[CELLS];
	static struct cell cells[CELLS];
	static char names[CELLS][64];

	for (size_t i = 0; i < CELLS; i++) {
		size_t row = i / MON_ARRAY_COUNT(modes);
		const char *name = row < ROWS ? rows[row].name : others[row - ROWS].name;

		cells[i] = (struct cell){.row = row < ROWS ? &rows[row] : NULL,
					 .mode = modes[i % MON_ARRAY_COUNT(modes)]};
		(void)snprintf(names[i], sizeof(names[i]), "%s_%s", name,
			       mon_mode_name(cells[i].mode));
		tests[i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = row < ROWS ? check_cell : others[row - ROWS].body,
			.teardown_func = tear_down,
			.initial_state = &cells[i],
		};
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("kernel/modes", tests, NULL, NULL);
}
