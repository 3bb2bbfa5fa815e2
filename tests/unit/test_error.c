// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static int refuse(struct mon_error *error, int pid)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH, "no process has pid %d", pid);
}

static void a_failure_is_one_statement(void **state)
{
	struct mon_error error = {0};

	(void)state;
	assert_int_equal(refuse(&error, 4242), -ESRCH);
	assert_int_equal(error.exit_code, MON_EXIT_UNAVAILABLE);
	assert_string_equal(error.text, "no process has pid 4242");
}

static void a_caller_may_not_want_the_sentence(void **state)
{
	(void)state;
	assert_int_equal(refuse(NULL, 1), -ESRCH);
}

static void the_last_one_counts(void **state)
{
	struct mon_error error = {0};

	(void)state;
	assert_int_equal(mon_error_set(&error, MON_EXIT_USAGE, EINVAL, "a longer first sentence"),
			 -EINVAL);
	assert_int_equal(mon_error_set(&error, MON_EXIT_PERMISSION, EPERM, "no"), -EPERM);
	assert_int_equal(error.exit_code, MON_EXIT_PERMISSION);
	assert_string_equal(error.text, "no");
}

static void a_text_too_long_is_cut(void **state)
{
	static char text[3 * MON_ERROR_BYTES];
	struct {
		struct mon_error error;
		char after[16];
	} guarded;

	(void)state;
	memset(&guarded, 'g', sizeof(guarded));
	memset(text, 'x', sizeof(text) - 1);
	assert_int_equal(mon_error_set(&guarded.error, MON_EXIT_RUNTIME, EIO, "%s", text), -EIO);
	assert_int_equal(strlen(guarded.error.text), MON_ERROR_BYTES - 1);
	assert_memory_equal(guarded.after, "gggggggggggggggg", 16);
	/* One that fits to the byte is whole. */
	text[MON_ERROR_BYTES - 1] = '\0';
	text[MON_ERROR_BYTES - 2] = 'e';
	assert_int_equal(mon_error_set(&guarded.error, MON_EXIT_RUNTIME, EIO, "%s", text), -EIO);
	assert_string_equal(guarded.error.text, text);
}

static void outside_text_is_not_a_format(void **state)
{
	struct mon_error error = {0};

	(void)state;
	assert_int_equal(mon_error_set(&error, MON_EXIT_RUNTIME, EIO, "%s", "%n%s%d"), -EIO);
	assert_string_equal(error.text, "%n%s%d");
}

/* errno is what a caller may still want to look at. */
static void errno_is_left_alone(void **state)
{
	struct mon_error error = {0};

	(void)state;
	errno = EXDEV;
	assert_int_equal(refuse(&error, 1), -ESRCH);
	assert_int_equal(errno, EXDEV);
}

/* Scripts rely on these numbers. */
static void exit_codes_are_the_documented_ones(void **state)
{
	(void)state;
	assert_int_equal(MON_EXIT_OK, 0);
	assert_int_equal(MON_EXIT_RUNTIME, 1);
	assert_int_equal(MON_EXIT_USAGE, 2);
	assert_int_equal(MON_EXIT_NO_MATCH, 3);
	assert_int_equal(MON_EXIT_PERMISSION, 4);
	assert_int_equal(MON_EXIT_UNAVAILABLE, 5);
	assert_int_equal(MON_EXIT_KERNEL, 6);
	assert_int_equal(MON_EXIT_LOSS, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_is_one_statement),
		cmocka_unit_test(a_caller_may_not_want_the_sentence),
		cmocka_unit_test(the_last_one_counts),
		cmocka_unit_test(a_text_too_long_is_cut),
		cmocka_unit_test(outside_text_is_not_a_format),
		cmocka_unit_test(errno_is_left_alone),
		cmocka_unit_test(exit_codes_are_the_documented_ones),
	};

	return cmocka_run_group_tests_name("base/error", tests, NULL, NULL);
}
