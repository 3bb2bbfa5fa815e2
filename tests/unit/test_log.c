// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/stderr.h"

#include <pthread.h>
#include <string.h>

static void each_level_has_its_prefix(void **state)
{
	(void)state;
	listen_to_stderr();
	mon_log(MON_LOG_ERROR, "no process has pid %d", 7);
	mon_log(MON_LOG_WARNING, "%s", "late");
	mon_log(MON_LOG_INFO, "watching %u functions", 9u);
	assert_string_equal(heard(), "monbpf: no process has pid 7\n"
				     "monbpf: warning: late\n"
				     "watching 9 functions\n");
}

static void verbose_is_asked_for(void **state)
{
	(void)state;
	listen_to_stderr();
	mon_log(MON_LOG_VERBOSE, "one");
	mon_log_set_verbose(true);
	mon_log(MON_LOG_VERBOSE, "two");
	mon_log_set_verbose(false);
	mon_log(MON_LOG_VERBOSE, "three");
	assert_string_equal(heard(), "two\n");
}

/* An outside string is an argument, never a format. */
static void percent_signs_of_an_argument_are_text(void **state)
{
	(void)state;
	listen_to_stderr();
	mon_log(MON_LOG_INFO, "%s", "100%n %s %d");
	assert_string_equal(heard(), "100%n %s %d\n");
}

static void a_line_too_long_is_cut_and_still_a_line(void **state)
{
	static char long_text[20000];

	const char *said;

	(void)state;
	memset(long_text, 'y', sizeof(long_text) - 1);
	listen_to_stderr();
	mon_log(MON_LOG_ERROR, "%s", long_text);
	mon_log(MON_LOG_INFO, "next");
	said = heard();
	assert_true(strlen(said) > 8000 && strlen(said) < 8300);
	assert_memory_equal(said, "monbpf: yyy", 11);
	assert_string_equal(said + strlen(said) - 7, "y\nnext\n");
	/* The bound is a line's whole length. */
	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 6);
}

static char opening[] = "<";

static void before(void *context)
{
	if (write(STDERR_FILENO, context, strlen(context)) < 0)
		abort();
}

static void after(void *context)
{
	(void)context;
	if (write(STDERR_FILENO, ">", 1) < 0)
		abort();
}

/* The live view clears itself before a line and draws itself again after it. */
static void the_frame_is_around_each_line(void **state)
{
	(void)state;
	listen_to_stderr();
	mon_log_set_frame(before, after, opening);
	mon_log(MON_LOG_INFO, "one");
	mon_log(MON_LOG_VERBOSE, "not shown: no frame either");
	mon_log_redraw();
	mon_log(MON_LOG_INFO, "two");
	mon_log_set_frame(NULL, NULL, NULL);
	mon_log(MON_LOG_INFO, "three");
	assert_string_equal(heard(), "<one\n><><two\n>three\n");
}

#define THREADS 4
#define LINES 125

static void *talk(void *argument)
{
	char text[600];

	memset(text, *(char *)argument, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (unsigned i = 0; i < LINES; i++)
		mon_log(MON_LOG_INFO, "%s", text);
	return NULL;
}

/* Any thread may talk: lines are whole, and each has its frame. */
static void lines_of_threads_do_not_mix(void **state)
{
	char letters[THREADS] = {'a', 'b', 'c', 'd'};
	pthread_t threads[THREADS];
	unsigned lines = 0;

	(void)state;
	listen_to_stderr();
	mon_log_set_frame(before, after, opening);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, talk, &letters[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	mon_log_set_frame(NULL, NULL, NULL);
	for (const char *at = heard(); *at; at += 602, lines++) {
		assert_int_equal(at[0], '<');
		assert_int_equal(strspn(at + 1, (char[2]){at[1], '\0'}), 599);
		assert_memory_equal(at + 600, "\n>", 2);
	}
	assert_int_equal(lines, THREADS * LINES);
}

/* Nowhere to talk to: the monitor goes on. */
static void a_closed_stderr_is_survived(void **state)
{
	(void)state;
	listen_to_stderr();
	(void)close(STDERR_FILENO);
	mon_log(MON_LOG_ERROR, "nobody hears this");
	assert_string_equal(heard(), "");
	listen_to_stderr();
	mon_log(MON_LOG_INFO, "again");
	assert_string_equal(heard(), "again\n");
}

/* It comes and goes each second, then lasts. */
static void a_state_that_flaps_is_told_seldom(void **state)
{
	struct mon_log_state of = {0};
	mon_ns now = 5 * MON_NS_PER_S;
	const mon_ns first = now;
	char text[MON_LOG_TIMES_BYTES];
	uint64_t times = 0;

	(void)state;
	assert_false(mon_log_state_look(&of, false, now, &times));
	assert_true(mon_log_state_look(&of, true, now, &times));
	assert_int_equal(times, 1);
	assert_string_equal(mon_log_times(text, times), "");
	assert_false(mon_log_state_look(&of, true, now, &times));
	assert_true(mon_log_state_look(&of, false, ++now, &times));
	for (int i = 0; i < 10; i++) {
		now += MON_NS_PER_S;
		assert_false(mon_log_state_look(&of, true, now, &times));
		assert_false(mon_log_state_look(&of, false, now, &times));
	}
	/* Now it lasts: told as soon as it may be, and again that it is over. */
	assert_false(mon_log_state_look(&of, true, first + MON_LOG_QUIET_NS - 1, &times));
	assert_true(mon_log_state_look(&of, true, first + MON_LOG_QUIET_NS, &times));
	assert_int_equal(times, 11);
	assert_string_equal(mon_log_times(text, times), " (11 times since that was said)");
	assert_true(mon_log_state_look(&of, false, first + MON_LOG_QUIET_NS, &times));
	assert_int_equal(of.times, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_level_has_its_prefix),
		cmocka_unit_test(verbose_is_asked_for),
		cmocka_unit_test(percent_signs_of_an_argument_are_text),
		cmocka_unit_test(a_line_too_long_is_cut_and_still_a_line),
		cmocka_unit_test(the_frame_is_around_each_line),
		cmocka_unit_test(lines_of_threads_do_not_mix),
		cmocka_unit_test(a_closed_stderr_is_survived),
		cmocka_unit_test(a_state_that_flaps_is_told_seldom),
	};

	return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
