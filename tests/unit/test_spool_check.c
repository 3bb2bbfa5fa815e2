// SPDX-License-Identifier: GPL-2.0-or-later
/* `monbpf spool check`: what it prints, and its exit codes. The program itself is run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/process.h"
#include "tests/harness/scratch.h"
#include "tests/harness/spool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_teardown(void **state)
{
	int result = process_teardown(NULL);

	return spool_teardown(state) | result;
}

#define check_test(function) cmocka_unit_test_setup_teardown(function, spool_setup, check_teardown)

/* Its exit status; both outputs stay until the next call. */
static int run(const char *const arguments[4], const char **stdout_out, const char **stderr_out)
{
	MON_FREE char *program = scratch_path(process_build_dir(), "monbpf");
	const char *argv[] = {program, "spool", arguments[0], arguments[1], arguments[2], NULL};
	struct process *process = process_start(argv);
	int status = process_wait(process, PROCESS_TIMEOUT_MS);

	*stdout_out = process_text(process, PROCESS_STDOUT);
	*stderr_out = process_text(process, PROCESS_STDERR);
	return status;
}
#define RUN(...) run((const char *const[4]){__VA_ARGS__}, &output, &complaint)

static void sound(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	const char *output, *complaint;

	assert_int_equal(spool_push(spool, 0, 0, 1234), 1234);
	mon_spool_free(spool);
	assert_int_equal(RUN("check", fixture->directory), 0);
	assert_non_null(strstr(output, SPOOL_TEST_UUID));
	assert_non_null(strstr(output, "1,234"));
	assert_string_equal(complaint, "");
	assert_int_equal(RUN("check", "--json", fixture->directory), 0);
	assert_non_null(strstr(output, "\"records\": 1234"));
	assert_non_null(strstr(output, "\"damaged\": 0"));
	assert_non_null(strstr(output, "\"damaged_file\": null"));
}

/* The first damaged place is named, and what is whole is not called lost. */
static void damaged(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	MON_FREE char *path = spool_segment_path(fixture, 1);
	const char *output, *complaint;
	struct stat before, after;
	int fd;

	assert_int_equal(spool_push(spool, 0, 0, 3000), 3000);
	mon_spool_free(spool);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "!", 1, 80 + 10), 1);
	(void)close(fd);
	assert_int_equal(stat(fixture->directory, &before), 0);
	assert_int_equal(RUN("check", fixture->directory, "--json"), 2);
	assert_non_null(strstr(output, "\"records\": 2999"));
	assert_non_null(strstr(output, "\"damaged\": 1,"));
	assert_non_null(strstr(output, "\"damaged_at\": 80"));
	assert_non_null(strstr(complaint, strrchr(path, '/') + 1));
	assert_non_null(strstr(complaint, "byte 80"));
	assert_int_equal(stat(fixture->directory, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

static void a_header_and_a_link(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	MON_FREE char *first = spool_segment_path(fixture, 0);
	MON_FREE char *link_path = spool_segment_path(fixture, 7);
	const char *output, *complaint;

	assert_int_equal(spool_push(spool, 0, 0, 3000), 3000);
	mon_spool_free(spool);
	assert_int_equal(truncate(first, 40), 0);
	assert_int_equal(symlink("/etc/passwd", link_path), 0);
	assert_int_equal(RUN("check", fixture->directory, "--json"), 2);
	assert_non_null(strstr(output, "\"set_aside\": 2"));
	mon_spool_free(spool_begin(fixture)); /* which sets them aside */
	assert_int_equal(RUN("check", fixture->directory, "--json"), 2);
	assert_non_null(strstr(output, "\"set_aside\": 2"));
	assert_non_null(strstr(complaint, ".seg.bad"));
}

static void nothing_there_and_nonsense(void **state)
{
	struct fixture *fixture = *state;
	const char *output, *complaint;

	assert_int_equal(RUN("check", fixture->directory), 5);
	assert_non_null(strstr(complaint, fixture->directory));
	assert_int_equal(RUN("check", fixture->scratch), 0);
	assert_non_null(strstr(output, "no run left anything"));
	assert_int_equal(RUN("check", "--json", fixture->scratch), 0);
	assert_string_equal(output, "{\"runs\": []}\n");
	assert_int_equal(RUN("check"), 2);
	assert_int_equal(RUN("clean"), 2);
	assert_int_equal(RUN("check", "--yaml"), 2);
	assert_int_equal(RUN("check", "a", "b"), 2);
	assert_int_equal(RUN("--help"), 0);
	assert_non_null(strstr(output, "usage: monbpf spool check DIR"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(sound),
		check_test(damaged),
		check_test(a_header_and_a_link),
		check_test(nothing_there_and_nonsense),
	};

	return cmocka_run_group_tests_name("spool check", tests, NULL, NULL);
}
