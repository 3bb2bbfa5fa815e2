// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * docs/unsupported-patterns.md, tried: what cannot be watched is refused or said, what is around it
 * is counted exactly, what is said to work does, and the target lives to its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/place.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const modes[] = {"session", "multi", "perf"};
static struct monitor *watch(struct target *target, const char *mode, const char *glob)
{
	return monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--mode",
			      mode, glob, NULL);
}

static int64_t calls_of(const char *symbol)
{
	char sql[256];

	(void)snprintf(sql, sizeof(sql), "SELECT sum(calls) FROM functions WHERE function='%s'",
		       symbol);
	return db_int(database, sql);
}

static void end(struct monitor *monitor, struct target *target)
{
	monitor_end(monitor, 0);
	monitor_free(monitor);
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

static void refuses(struct target *target, int expected, const char *part, const char *glob)
{
	char pid[16];
	struct monitor *monitor;

	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	monitor = monitor_start(
		(const char *const[]){"attach", "-p", pid, "-o", database, glob, NULL});
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), expected);
	if (!strstr(monitor_stderr(monitor), part))
		fail_msg("expected \"%s\": %s", part, monitor_stderr(monitor));
	monitor_free(monitor);
	assert_int_equal(access(database, F_OK), -1);
}

/* Whether return probes are let pass by this kernel: with them, does such a target live? */
static bool survives(const char *kind, const char *mode)
{
	struct target *target = target_start("seccomp", kind, NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--force-returns", "--sample", "1",
			       "--max-overhead", "0", "--mode", mode, "watched_*", NULL);
	bool lived;

	target_go(target);
	lived = process_try_line(target_process(target), PROCESS_STDOUT, "done 23",
				 PROCESS_TIMEOUT_MS) != NULL;
	(void)monitor_stop(monitor);
	monitor_free(monitor);
	process_free(target_process(target));
	assert_int_equal(unlink(database), 0);
	return lived;
}

/*
 * The kernel's return trap is a system call since 6.11. Where a filter is asked about it the target
 * would be killed: then there are no return probes. Else each call has its duration.
 */
static void shut_in(const char *kind)
{
	for (size_t i = 0; i < MON_ARRAY_COUNT(modes); i++) {
		const bool returns = survives(kind, modes[i]);
		struct target *target = target_start("seccomp", kind, NULL);
		struct monitor *monitor = watch(target, modes[i], "watched_*");

		assert_int_equal(strstr(monitor_stderr(monitor), "its seccomp filter") == NULL,
				 returns);
		target_go(target);
		assert_int_equal(target_done(target), 23);
		end(monitor, target);
		assert_int_equal(calls_of("watched_shut_in"), 23);
		assert_int_equal(
			db_int(database, "SELECT count(*) FROM calls WHERE duration_ns NOT NULL"),
			returns ? 23 : 0);
		assert_int_equal(unlink(database), 0);
	}
}

/* Every process that maps the file is looked at: one that a return probe would end is enough. */
static void every_user_of_a_file(void **state)
{
	char library[PATH_MAX], process[32];
	const char *const argv[] = {"attach",	"-b", library, "-o", database,
				    "--sample", "1",  "-d",    "1s", NULL};
	struct target *harmless = target_start("dlcalls", "23", NULL), *switches;
	struct monitor *monitor;

	(void)state;
	(void)target_path("libtarget.so", library, sizeof(library));
	monitor = monitor_start(argv);
	(void)monitor_wait_line(monitor, "processes that start later are watched unseen",
				PROCESS_TIMEOUT_MS);
	target_go(harmless);
	assert_int_equal(target_done(harmless), 23);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_null(strstr(monitor_stderr(monitor), "no return probes"));
	assert_int_equal(db_int(database, "SELECT count(*) FROM calls WHERE duration_ns NOT NULL"),
			 46);
	assert_int_equal(unlink(database), 0);

	assert_int_equal(setenv("LD_PRELOAD", library, 1), 0);
	switches = target_start("ucontext", NULL);
	assert_int_equal(unsetenv("LD_PRELOAD"), 0);
	(void)snprintf(process, sizeof(process), "process %d: ", (int)target_pid(switches));
	monitor = monitor_start(argv);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_non_null(strstr(monitor_stderr(monitor), "no return probes"));
	assert_non_null(strstr(monitor_stderr(monitor), process));
	assert_non_null(strstr(monitor_stderr(monitor), "it switches stacks"));
	assert_null(strstr(monitor_stderr(monitor), "watched unseen"));
	target_go(switches);
	(void)target_done(switches);
	assert_int_equal(target_finish(switches), 0);
	assert_int_equal(target_finish(harmless), 0);
}

static void seccomp_filter(void **state)
{
	(void)state;
	shut_in("filter");
}

static void seccomp_strict(void **state)
{
	(void)state;
	shut_in("strict");
}

/* The child borrows the stack of a parent that is in the middle of a watched call. */
static void vfork_child(void **state)
{
	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(modes); i++) {
		struct target *target = target_start("vfork", "5", NULL);
		struct monitor *monitor = watch(target, modes[i], "watched_*");

		target_go(target);
		assert_int_equal(target_done(target), 10);
		end(monitor, target);
		assert_int_equal(calls_of("watched_parent"), 5);
		assert_int_equal(calls_of("watched_both"), 5);
		assert_int_equal(
			db_int(database, "SELECT count(*) FROM calls WHERE duration_ns NOT NULL"),
			10);
		assert_int_equal(unlink(database), 0);
	}
}

static void inlined(void **state)
{
	struct target *target = target_start("inlined", NULL);
	struct monitor *monitor;

	(void)state;
	refuses(target, 3, "no function of", "inlined_everywhere");
	monitor = watch(target, "auto", "inlined_*");
	target_go(target);
	assert_int_equal(target_done(target), 5);
	end(monitor, target);
	assert_int_equal(db_int(database, "SELECT count(*) FROM functions"), 1);
	assert_int_equal(calls_of("inlined_once"), 5); /* its 23 copies are not calls */
}

static void code_made_at_run_time(void **state)
{
	struct target *target = target_start("made_code", NULL);
	struct monitor *monitor;

	(void)state;
	refuses(target, 3, "no function of", "made_at_run_time");
	monitor = watch(target, "auto", "watched_*");
	target_go(target);
	assert_int_equal(target_done(target), 23);
	end(monitor, target);
	assert_int_equal(calls_of("watched_template"), 23);
}

static void stripped_static(void **state)
{
	char path[PATH_MAX];
	char *copy = tool_copy(target_path("calls_static", path, sizeof(path)), directory, "bare");
	struct target *target;

	(void)state;
	TOOL_RUN("strip", copy);
	target = target_start_file(copy, NULL);
	refuses(target, 3, "is stripped", "watched_*");
	target_go(target);
	assert_int_equal(target_done(target), 23);
	assert_int_equal(target_finish(target), 0);
	free(copy);
}

static void kernel_function(void **state)
{
	struct target *target = target_start("calls", "23", NULL);

	(void)state;
	refuses(target, 3, "no function of", "vfs_read");
	target_go(target);
	assert_int_equal(target_done(target), 23);
	assert_int_equal(target_finish(target), 0);
}

/* Says "ready", reads a byte, says "done 0", reads to the end of stdin. */
static const char program_32[] = ".globl _start\n.globl watched_call\n"
				 ".type watched_call, @function\n"
				 "watched_call:\n\tpush %ebp\n\tpop %ebp\n\tret\n"
				 ".size watched_call, . - watched_call\n"
				 "_start:\n"
				 "\tmov $4, %eax\n\tmov $1, %ebx\n\tmov $ready, %ecx\n"
				 "\tmov $6, %edx\n\tint $0x80\n"
				 "\tcall watched_call\n"
				 "more:\n"
				 "\tmov $3, %eax\n\tmov $0, %ebx\n\tmov $byte, %ecx\n"
				 "\tmov $1, %edx\n\tint $0x80\n"
				 "\tcmp $1, %eax\n\tje more\n"
				 "\tmov $1, %eax\n\tmov $0, %ebx\n\tint $0x80\n"
				 ".data\nready: .ascii \"ready\\n\"\nbyte: .byte 0\n";

static void program_of_32_bits(void **state)
{
	char *source = tool_write(directory, "program_32.s", program_32);
	char *object = scratch_path(directory, "program_32.o");
	char *program = scratch_path(directory, "program_32");
	struct target *target;

	(void)state;
	TOOL_RUN("as", "--32", source, "-o", object);
	TOOL_RUN("ld", "-m", "elf_i386", object, "-o", program);
	target = target_start_file(program, NULL);
	refuses(target, 5, "32-bit", "watched_*");
	assert_int_equal(target_finish(target), 0);
	free(source);
	free(object);
	free(program);
}

/* Each call has its duration, in each mode; so many functions, each called so often. */
static void supported(const char *name, const char *glob, int64_t functions, int64_t calls)
{
	for (size_t i = 0; i < MON_ARRAY_COUNT(modes); i++) {
		struct target *target = target_start(name, NULL);
		struct monitor *monitor = watch(target, modes[i], glob);

		target_go(target);
		assert_int_equal(target_done(target), calls);
		end(monitor, target);
		assert_int_equal(db_int(database, "SELECT count(*) FROM functions"), functions);
		assert_int_equal(db_int(database, "SELECT min(calls) FROM functions"), calls);
		assert_int_equal(db_int(database, "SELECT max(calls) FROM functions"), calls);
		assert_int_equal(
			db_int(database, "SELECT count(*) FROM calls WHERE duration_ns NOT NULL"),
			functions * calls);
		assert_int_equal(unlink(database), 0);
	}
}

static void signal_handler(void **state)
{
	(void)state;
	supported("signal", "watched_*", 2, 23);
}

/* A method, a virtual one, two of a template. */
static void methods_and_templates(void **state)
{
	(void)state;
	supported("methods", "*demo::*", 4, 23);
}

static void shared_library(void **state)
{
	(void)state;
	supported("dlcalls", "libtarget:library_*", 2, 23);
}

static void library_loaded_later(void **state)
{
	struct target *target = target_start("dlcalls", "23", "late", NULL);

	(void)state;
	refuses(target, 3, "no mapped file is named", "libtarget:library_*");
	target_go(target);
	assert_int_equal(target_done(target), 23);
	assert_int_equal(target_finish(target), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_user_of_a_file),
		TEST(seccomp_filter),
		TEST(seccomp_strict),
		TEST(vfork_child),
		TEST(inlined),
		TEST(code_made_at_run_time),
		TEST(stripped_static),
		TEST(kernel_function),
		TEST(program_of_32_bits),
		TEST(signal_handler),
		TEST(methods_and_templates),
		TEST(shared_library),
		TEST(library_loaded_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
