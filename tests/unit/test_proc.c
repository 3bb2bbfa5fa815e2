// SPDX-License-Identifier: GPL-2.0-or-later
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/proc.h"
#include "attach/target.h"
#include "tests/harness/process.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char *directory;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	mon_target_set_proc_root(NULL);
	scratch_remove(directory);
	return result;
}

static uint64_t boot_ticks(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * (uint64_t)sysconf(_SC_CLK_TCK) +
	       (uint64_t)now.tv_nsec / (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void stat_is_that_of_the_process(void **state)
{
	struct mon_proc_stat stat;
	uint64_t before = boot_ticks(), after;
	struct target *target = target_start("calls", NULL);
	bool seen_state = false;

	(void)state;
	after = boot_ticks();
	assert_int_equal(mon_proc_stat(target_pid(target), &stat), 0);
	assert_string_equal(stat.comm, "calls");
	assert_false(stat.kernel_thread);
	assert_in_range(stat.start_ticks, before - 1, after + 1);
	seen_state = strchr("RSD", stat.state) != NULL;
	assert_true(seen_state);
	process_signal(target_process(target), SIGKILL);
	assert_int_equal(process_wait(target_process(target), PROCESS_TIMEOUT_MS), 128 + SIGKILL);
	assert_int_equal(mon_proc_stat(target_pid(target), &stat), -ENOENT);
}

/* flood makes calls for as long as it is told: here only its CPU time is of interest. */
static void cpu_time_is_told_in_ticks(void **state)
{
	struct mon_proc_stat stat;
	clock_t ours;

	(void)state;
	/* 50 ms of work: five ticks of 100 a second. */
	for (volatile unsigned long i = 0; clock() < CLOCKS_PER_SEC / 20; i++)
		;
	assert_int_equal(mon_proc_stat(getpid(), &stat), 0);
	ours = clock();
	assert_true(stat.cpu_ticks + 2 >= 5);
	assert_true(stat.cpu_ticks <= (uint64_t)ours * 100 / CLOCKS_PER_SEC + 5);
}

static void a_comm_may_hold_anything(void **state)
{
	static const char *const names[] = {") R 1 (", "a b", "((", "))", "\033[31m", ""};
	struct mon_proc_stat stat;
	char before[32];

	(void)state;
	assert_int_equal(prctl(PR_GET_NAME, before), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
		assert_int_equal(mon_proc_stat(getpid(), &stat), 0);
		assert_string_equal(stat.comm, names[i]);
		assert_true(stat.state == 'R');
		assert_true(stat.start_ticks > 0);
	}
	assert_int_equal(prctl(PR_SET_NAME, before), 0);
}

static void kernel_threads_are_told(void **state)
{
	struct mon_proc_stat stat;

	(void)state;
	if (mon_proc_stat(2, &stat) || strcmp(stat.comm, "kthreadd") != 0)
		return; /* a container has a pid 2 of its own */
	assert_true(stat.kernel_thread);
}

static void status_lines(void **state)
{
	struct sigaction action = {.sa_handler = SIG_DFL}, old;
	uint64_t value, caught;

	(void)state;
	assert_int_equal(mon_proc_status(getpid(), "Tgid", 10, &value), 0);
	assert_int_equal(value, getpid());
	assert_int_equal(mon_proc_status(getpid(), "Tg", 10, &value), -ENOENT);
	assert_int_equal(mon_proc_status(getpid(), "Nothing", 10, &value), -ENOENT);
	assert_int_equal(sigaction(SIGUSR2, &action, &old), 0);
	assert_int_equal(mon_proc_status(getpid(), "SigCgt", 16, &caught), 0);
	assert_int_equal(caught & 1u << (SIGUSR2 - 1), 0);
	action.sa_handler = (void (*)(int))(uintptr_t)process_teardown; /* never delivered */
	assert_int_equal(sigaction(SIGUSR2, &action, NULL), 0);
	assert_int_equal(mon_proc_status(getpid(), "SigCgt", 16, &caught), 0);
	assert_int_not_equal(caught & 1u << (SIGUSR2 - 1), 0);
	assert_int_equal(sigaction(SIGUSR2, &old, NULL), 0);
}

static void files_and_links_are_bounded(void **state)
{
	char whole[4096], part[8], exe[PATH_MAX], expected[PATH_MAX];
	ssize_t length = mon_proc_read(getpid(), "status", whole, sizeof(whole));

	(void)state;
	assert_true(length > 8);
	assert_int_equal(strlen(whole), length);
	assert_int_equal(mon_proc_read(getpid(), "status", part, sizeof(part)), 7);
	assert_memory_equal(part, whole, 7);
	assert_int_equal(part[7], '\0');
	assert_int_equal(mon_proc_read(getpid(), "absent", part, sizeof(part)), -ENOENT);
	length = mon_proc_link(getpid(), "exe", exe, sizeof(exe));
	assert_true(length > 0);
	assert_non_null(realpath("/proc/self/exe", expected));
	assert_string_equal(exe, expected);
	assert_int_equal(mon_proc_link(getpid(), "exe", part, sizeof(part)), 7);
	assert_int_equal(part[7], '\0');
	assert_int_equal(mon_proc_link(getpid(), "status", part, sizeof(part)), -EINVAL);
}

/* Another root: what proc(5) does not promise is an error, never a guess. */
static void damaged_stat_files_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"42",
		"42 (name",
		"42 name) S 1",
		"42 )name( S 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 99",
		"42 (name) S",
		"42 (name) S 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0",
		"42 (name) S 1 1 1 0 -1 x 0 0 0 0 1 2 0 0 20 0 1 0 99",
		"42 (0123456789012345678901234567890123456789012345678901234567890123456789) S 1 1 "
		"1 "
		"0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 99",
	};
	char *pid = scratch_path(directory, "42"), path[MON_PROC_PATH_BYTES];
	struct mon_proc_stat stat;
	FILE *file;

	(void)state;
	assert_int_equal(mkdir(pid, 0755), 0);
	mon_target_set_proc_root(directory);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		file = fopen(mon_proc_path(path, 42, "stat"), "we");
		assert_non_null(file);
		assert_true(fputs(texts[i], file) >= 0);
		assert_int_equal(fclose(file), 0);
		if (mon_proc_stat(42, &stat) != -EPROTO)
			fail_msg("not refused: %s", texts[i]);
	}
	file = fopen(mon_proc_path(path, 42, "stat"), "we");
	assert_non_null(file);
	assert_true(fputs("42 (name) S 1 1 1 0 -1 2097152 0 0 0 0 1 2 0 0 20 0 1 0 99", file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(mon_proc_stat(42, &stat), 0);
	assert_string_equal(stat.comm, "name");
	assert_int_equal(stat.cpu_ticks, 3);
	assert_int_equal(stat.start_ticks, 99);
	assert_true(stat.kernel_thread);
	free(pid);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stat_is_that_of_the_process),
		TEST(cpu_time_is_told_in_ticks),
		TEST(a_comm_may_hold_anything),
		TEST(kernel_threads_are_told),
		TEST(status_lines),
		TEST(files_and_links_are_bounded),
		TEST(damaged_stat_files_are_refused),
	};

	return cmocka_run_group_tests_name("attach/proc", tests, NULL, NULL);
}
