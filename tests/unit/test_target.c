// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char *directory;
static struct mon_target opened = {.pidfd = -1};
static struct mon_error error;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	error = (struct mon_error){0};
	return 0;
}

static int teardown(void **state)
{
	mon_target_set_proc_root(NULL);
	mon_target_close(&opened);
	scratch_remove(directory);
	return process_teardown(state);
}

static void opens(const char *text, const struct target *target)
{
	char path[PATH_MAX];

	if (mon_target_open(text, &opened, &error))
		fail_msg("%s", error.text);
	assert_int_equal(opened.pid, target_pid(target));
	assert_true(opened.pidfd >= 0 && opened.start_ticks > 0);
	assert_int_equal(mon_target_check(&opened), 0);
	assert_non_null(realpath(opened.exe_path, path));
	mon_target_close(&opened);
	assert_int_equal(opened.pidfd, -1);
}

static void refused(const char *text, int number, enum mon_exit exit_code, const char *part)
{
	assert_int_equal(mon_target_open(text, &opened, &error), -number);
	assert_sentence(&error, exit_code, part);
	assert_int_equal(opened.pidfd, -1);
}

static void by_pid_and_by_unique_name(void **state)
{
	char path[PATH_MAX], pid[16];
	char *copy = tool_copy(target_path("calls", path, sizeof(path)), directory, "uniq-name");
	struct process *first = process_start((const char *const[]){copy, NULL});
	struct process *second;

	(void)state;
	(void)process_wait_line(first, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
	opens("uniq-name", (const struct target *)first);
	(void)snprintf(pid, sizeof(pid), "%d", (int)process_pid(first));
	opens(pid, (const struct target *)first);
	second = process_start((const char *const[]){copy, NULL});
	(void)process_wait_line(second, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
	refused("uniq-name", ENOTUNIQ, MON_EXIT_UNAVAILABLE, "2 processes are named uniq-name");
	assert_non_null(strstr(error.text, pid));
	refused("uniq-nam", ESRCH, MON_EXIT_UNAVAILABLE, "did you mean uniq-name?");
	free(copy);
}

static void who_cannot_be_watched(void **state)
{
	(void)state;
	refused("4194305", ESRCH, MON_EXIT_UNAVAILABLE, "no process has pid 4194305");
	refused("no-such-program-runs", ESRCH, MON_EXIT_UNAVAILABLE, "no process is named");
	refused("2", EINVAL, MON_EXIT_UNAVAILABLE, "kernel thread");
	refused("99999999999", EINVAL, MON_EXIT_USAGE, "neither a pid nor a process name");
	refused("", EINVAL, MON_EXIT_USAGE, "neither a pid nor a process name");
	refused("\033]0;x\a", ESRCH, MON_EXIT_UNAVAILABLE, "\\x1b]0;x\\x07"); /* L04 */
	assert_null(strchr(error.text, '\033'));
}

static void a_process_that_ended(void **state)
{
	struct target *target = target_start("calls", NULL);
	char pid[16];

	(void)state;
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	assert_int_equal(mon_target_open(pid, &opened, &error), 0);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(process_wait(target_process(target), PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	assert_int_equal(mon_target_check(&opened), -ESRCH);
	assert_int_equal(mon_target_cpu_ns(&opened), 0);
	process_free(target_process(target));
	mon_target_close(&opened);
	refused(pid, ESRCH, MON_EXIT_UNAVAILABLE, "no process has pid");
}

static void no_right_to_look(void **state)
{
	struct target *target = target_start("calls", NULL);
	char pid[16];
	int status;
	pid_t child;

	(void)state;
	if (getuid() != 0)
		return; /* only root can become someone else */
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int result = 1;

		if (!setgroups(0, NULL) && !setgid(65534) && !setuid(65534))
			result = mon_target_open(pid, &opened, &error) != -EPERM ||
				 error.exit_code != MON_EXIT_PERMISSION ||
				 !strstr(error.text, "CAP_SYS_PTRACE");
		_exit(result);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* A name that would move the cursor is escaped wherever it is told. */
static void L04_escapes_in_comm(void **state)
{
	int ends[2], status;
	char byte, pid[16];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, "\033[31mred");
		(void)!write(ends[1], "x", 1);
		(void)pause();
		_exit(0);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	(void)snprintf(pid, sizeof(pid), "%d", (int)child);
	assert_int_equal(mon_target_open(pid, &opened, &error), 0);
	assert_string_equal(opened.comm, "\\x1b[31mred");
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* --- a /proc that tells what no real one would -------------------------------------------- */

static void write_stat(const char *root, pid_t pid, const char *comm, unsigned long long start)
{
	char path[PATH_MAX];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%d", root, (int)pid);
	(void)mkdir(path, 0700);
	(void)snprintf(path, sizeof(path), "%s/%d/stat", root, (int)pid);
	file = fopen(path, "we");
	assert_non_null(file);
	(void)fprintf(file, "%d (%s) S 1 1 1 0 -1 4194304 0 0 0 0 5 6 0 0 20 0 1 0 %llu 0 0 0\n",
		      (int)pid, comm, start);
	assert_int_equal(fclose(file), 0);
}

static void link_exe(const char *root, pid_t pid, const char *name)
{
	char path[PATH_MAX], target[PATH_MAX], full[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%d/exe", root, (int)pid);
	assert_non_null(realpath(target_path(name, target, sizeof(target)), full));
	assert_int_equal(symlink(full, path), 0);
}

/* The pid is another process's by the time that it is looked at again: never watched. */
static void K09_pid_reused_after_opening(void **state)
{
	struct target *target = target_start("calls", NULL);
	pid_t pid = target_pid(target);
	char number[16];

	(void)state;
	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	write_stat(directory, pid, "calls", 1000);
	link_exe(directory, pid, "calls");
	mon_target_set_proc_root(directory);
	assert_int_equal(mon_target_open(number, &opened, &error), 0);
	assert_int_equal(opened.start_ticks, 1000);
	assert_int_equal(mon_target_check(&opened), 0);
	write_stat(directory, pid, "calls", 1001);
	assert_int_equal(mon_target_check(&opened), -ESRCH);
}

/*
 * It changes while it is opened: `stat` is a FIFO, whose every reading is answered in turn by a
 * child, first with one start time and then with another.
 */
static void K09_pid_reused_while_opening(void **state)
{
	struct target *target = target_start("calls", NULL);
	pid_t pid = target_pid(target), child;
	char number[16], path[PATH_MAX];
	int status;

	(void)state;
	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	(void)snprintf(path, sizeof(path), "%s/%d", directory, (int)pid);
	assert_int_equal(mkdir(path, 0700), 0);
	link_exe(directory, pid, "calls");
	(void)snprintf(path, sizeof(path), "%s/%d/stat", directory, (int)pid);
	assert_int_equal(mkfifo(path, 0600), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned long long start = 1000;; start++) {
			int fd = open(path, O_WRONLY | O_CLOEXEC); /* waits for the reader */

			(void)dprintf(fd,
				      "%d (calls) S 1 1 1 0 -1 4194304 0 0 0 0 5 6 0 0 20 0 1 0 "
				      "%llu 0 0 0\n",
				      (int)pid, start);
			(void)close(fd);
			/* Until the reader has seen the end: else it would read the next answer. */
			while (access(path, F_OK) == 0) {
				fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
				if (fd < 0)
					break;
				(void)close(fd);
			}
		}
	}
	mon_target_set_proc_root(directory);
	refused(number, ESRCH, MON_EXIT_UNAVAILABLE, number);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	/* It did not hurt whoever has the pid now. */
	target_go(target);
	assert_int_equal(target_done(target), 23);
	assert_int_equal(target_finish(target), 0);
}

/* A comm may hold blanks and parentheses; a stat that is no stat is an error, not a crash. */
static void hostile_stat(void **state)
{
	static const char *const broken[] = {"", "1", "1 (", ") (", "1 (x) S 1", "1 (x) S a b c"};
	struct target *target = target_start("calls", NULL);
	pid_t pid = target_pid(target);
	char number[16], path[PATH_MAX];

	(void)state;
	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	write_stat(directory, pid, "a) S 1 (b", 77);
	link_exe(directory, pid, "calls");
	mon_target_set_proc_root(directory);
	assert_int_equal(mon_target_open(number, &opened, &error), 0);
	assert_int_equal(opened.start_ticks, 77);
	assert_string_equal(opened.comm, "a) S 1 (b");
	mon_target_close(&opened);
	(void)snprintf(path, sizeof(path), "%s/%d/stat", directory, (int)pid);
	for (size_t i = 0; i < MON_ARRAY_COUNT(broken); i++) {
		FILE *file = fopen(path, "we");

		assert_non_null(file);
		assert_true(fputs(broken[i], file) >= 0);
		assert_int_equal(fclose(file), 0);
		assert_true(mon_target_open(number, &opened, &error) < 0);
		assert_true(error.text[0]);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(by_pid_and_by_unique_name),    TEST(who_cannot_be_watched),
		TEST(a_process_that_ended),	    TEST(no_right_to_look),
		TEST(L04_escapes_in_comm),	    TEST(K09_pid_reused_after_opening),
		TEST(K09_pid_reused_while_opening), TEST(hostile_stat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
