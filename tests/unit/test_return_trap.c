// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a seccomp filter and a shadow stack mean for return probes. The kernel is asked about calls
 * whose fate is known; /proc is a directory of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/return_trap.h"
#include "attach/target.h"
#include "base/cleanup.h"
#include "tests/harness/scratch.h"
#include "tests/harness/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NO_SUCH_CALL 100000

/* Ordinary calls are filtered, one that is not there is missing; the return trap's is one of all.
 */
static void fates(void **state)
{
	(void)state;
	assert_int_equal(mon_syscall_fate(SYS_getppid), MON_SYSCALL_FILTERED);
	assert_int_equal(mon_syscall_fate(NO_SUCH_CALL), MON_SYSCALL_MISSING);
	assert_int_equal(mon_syscall_fate(-1), MON_SYSCALL_MISSING);
	assert_int_not_equal(mon_syscall_fate(MON_URETPROBE_SYSCALL), MON_SYSCALL_UNKNOWN);
}

static const char *with_status(const char *status, enum mon_syscall_fate fate)
{
	char *directory = scratch_new(), *of_process = scratch_path(directory, "77");
	const char *why;

	assert_int_equal(mkdir(of_process, 0755), 0);
	free(tool_write(of_process, "status", status));
	mon_target_set_proc_root(directory);
	why = mon_return_trap_hazard(77, fate);
	mon_target_set_proc_root(NULL);
	free(of_process);
	scratch_remove(directory);
	return why;
}

#define PLAIN "Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\nx86_Thread_features:\t\n"
#define FILTER "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\nx86_Thread_features:\t\n"
#define SHADOW                                                     \
	"Name:\tx\nSeccomp:\t0\nx86_Thread_features:\tshstk wrss " \
	"\nx86_Thread_features_locked:\t\n"
#define LOCKED "Name:\tx\nSeccomp:\t0\nx86_Thread_features:\t\nx86_Thread_features_locked:\tshstk\n"

static void a_filter_matters_where_it_is_asked(void **state)
{
	(void)state;
	assert_non_null(with_status(FILTER, MON_SYSCALL_FILTERED));
	assert_non_null(with_status(FILTER, MON_SYSCALL_UNKNOWN));
	assert_null(with_status(FILTER, MON_SYSCALL_UNFILTERED));
	assert_null(with_status(FILTER, MON_SYSCALL_MISSING));
	assert_null(with_status(PLAIN, MON_SYSCALL_FILTERED));
}

static void a_shadow_stack_matters_where_the_call_is_missing(void **state)
{
	(void)state;
	assert_non_null(with_status(SHADOW, MON_SYSCALL_MISSING));
	assert_null(with_status(SHADOW, MON_SYSCALL_UNFILTERED));
	assert_null(with_status(SHADOW, MON_SYSCALL_FILTERED));
	assert_null(with_status(LOCKED, MON_SYSCALL_MISSING));
	assert_null(with_status("Name:\tx\n", MON_SYSCALL_MISSING));
}

/* A sandbox may shut in one worker thread and leave the others alone. */
static void each_thread_is_looked_at(void **state)
{
	static const struct {
		const char *second;
		enum mon_syscall_fate fate;
		bool hazard;
	} rows[] = {
		{FILTER, MON_SYSCALL_FILTERED, true},
		{SHADOW, MON_SYSCALL_MISSING, true},
		{PLAIN, MON_SYSCALL_FILTERED, false},
		{PLAIN, MON_SYSCALL_MISSING, false},
	};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++) {
		char *directory = scratch_new(), *of_process = scratch_path(directory, "77");
		char *tasks = scratch_path(of_process, "task");
		char *first = scratch_path(tasks, "77"), *second = scratch_path(tasks, "78");

		assert_int_equal(mkdir(of_process, 0755), 0);
		assert_int_equal(mkdir(tasks, 0755), 0);
		assert_int_equal(mkdir(first, 0755), 0);
		assert_int_equal(mkdir(second, 0755), 0);
		free(tool_write(of_process, "status", PLAIN));
		free(tool_write(first, "status", PLAIN));
		free(tool_write(second, "status", rows[i].second));
		mon_target_set_proc_root(directory);
		assert_int_equal(mon_return_trap_hazard(77, rows[i].fate) != NULL, rows[i].hazard);
		mon_target_set_proc_root(NULL);
		free(first);
		free(second);
		free(tasks);
		free(of_process);
		scratch_remove(directory);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fates),
		cmocka_unit_test(a_filter_matters_where_it_is_asked),
		cmocka_unit_test(a_shadow_stack_matters_where_the_call_is_missing),
		cmocka_unit_test(each_thread_is_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
