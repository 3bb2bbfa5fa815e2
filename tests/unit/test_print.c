// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lines of stored calls: what they look like, and what becomes of them when whoever should read
 * them is slow or gone. The reader is the test itself, at the other end of a real pipe.
 */
#include "pipeline/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "pipeline/print_line.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define STARTED_NS (5 * MON_NS_PER_S)
#define PIPE_BYTES 4096
#define SMALL MON_PRINT_BUFFER_BYTES_MIN
#define MANY 4000 /* lines: more than a pipe and the smallest buffer hold */

static struct mon_function functions[] = {
	{.name = (char *)"lookup"},
	{.name = (char *)"evil\033[2J\n"},
};
static const struct mon_function_set set = {.functions = functions,
					    .function_count = MON_ARRAY_COUNT(functions)};
static struct mon_print_names names;

static struct mon_call_event call_of(uint32_t function)
{
	return (struct mon_call_event){
		.kind = MON_EVENT_CALL,
		.version = MON_EVENT_VERSION,
		.function = function,
		.start_ns = STARTED_NS + 1234567890,
		.duration_ns = 310,
		.ret = 7,
		.born_ns = 99,
		.pid = 4242,
		.tid = 4243,
		.caller = MON_FUNCTION_NONE,
		.weight = 1,
	};
}

static void assert_line(const void *data, uint32_t size, const char *expected)
{
	const struct mon_record record = {.data = data, .size_bytes = size};
	char line[MON_PRINT_LINE_BYTES];
	size_t length = mon_print_line(&names, &set, STARTED_NS, &record, line);

	assert_true(length < sizeof(line));
	line[length] = '\0';
	assert_string_equal(line, expected);
}

static void name_thread(const char *comm)
{
	struct mon_task_event task = {
		.kind = MON_EVENT_TASK, .born_ns = 99, .pid = 4242, .tid = 4243};

	memcpy(task.comm, comm, strnlen(comm, sizeof(task.comm)));
	mon_print_names_learn(&names, &task);
}

static int forget_threads(void **state)
{
	(void)state;
	memset(&names, 0, sizeof(names));
	return 0;
}

static void a_call_as_a_line(void **state)
{
	struct mon_call_event call = call_of(0);

	(void)state;
	assert_line(&call, MON_CALL_EVENT_BARE_BYTES,
		    "    1.234567890 4242/4243 -               lookup() = 7 310ns\n");
	name_thread("redis-server");
	call.depth = 2;
	call.weight = 100;
	call.arg_count = 3;
	call.args[0] = (uint64_t)-1;
	call.args[1] = 0x7f0000001000;
	call.args[2] = 42;
	call.ret = 0xffffffff;
	assert_line(&call, sizeof(call),
		    "    1.234567890 4242/4243 redis-server        lookup(-1, 0x7f0000001000, 42)"
		    " = 0xffffffff 310ns x100\n");
}

static void a_thread_of_the_same_number_is_another(void **state)
{
	struct mon_call_event call = call_of(0);

	(void)state;
	name_thread("first");
	call.born_ns = 100;
	assert_line(&call, MON_CALL_EVENT_BARE_BYTES,
		    "    1.234567890 4242/4243 -               lookup() = 7 310ns\n");
}

static void why_a_call_has_no_end(void **state)
{
	static const struct {
		uint16_t flag;
		const char *says;
	} ends[] = {
		{MON_CALL_ENTRY_ONLY, ""},	    {MON_CALL_UNRETURNED, " = ? unreturned"},
		{MON_CALL_UNWOUND, " = ? unwound"}, {MON_CALL_THREAD_EXIT, " = ? thread exit"},
		{MON_CALL_EXEC, " = ? exec"},	    {MON_CALL_IN_FLIGHT, " = ? in flight"},
	};
	struct mon_call_event call = call_of(0);
	char expected[128];

	(void)state;
	call.duration_ns = call.ret = 0;
	for (size_t i = 0; i < MON_ARRAY_COUNT(ends); i++) {
		call.flags = ends[i].flag;
		(void)snprintf(expected, sizeof(expected),
			       "    1.234567890 4242/4243 -               lookup()%s\n",
			       ends[i].says);
		assert_line(&call, MON_CALL_EVENT_BARE_BYTES, expected);
	}
}

/* Nothing that a target chose reaches the terminal as it is. */
static void hostile_names_are_escaped(void **state)
{
	struct mon_call_event call = call_of(1);

	(void)state;
	name_thread("\033]0;x\a\n\xff\"end-of-it"); /* 16 bytes, no NUL among them */
	assert_line(
		&call, MON_CALL_EVENT_BARE_BYTES,
		"    1.234567890 4242/4243 \\x1b]0;x\\x07\\x0a\\xff\"end-of- evil\\x1b[2J\\x0a()"
		" = 7 310ns\n");
}

struct text_call {
	struct mon_call_event call;
	struct mon_text text;
	char bytes[MON_TEXT_ROOM_BYTES(600)];
};

static struct text_call text_of(unsigned slot, const char *bytes, size_t length)
{
	struct text_call with = {.call = call_of(0)};

	with.call.kind = MON_EVENT_CALL_TEXT;
	with.text.slot = (uint8_t)slot;
	with.text.room_bytes = sizeof(with.bytes);
	with.text.stored_bytes = (uint16_t)length;
	with.text.true_bytes = length;
	memcpy(with.bytes, bytes, length);
	return with;
}

#define ASSERT_TEXT(with, expected)        \
	assert_line(&(with), sizeof(with), \
		    "    1.234567890 4242/4243 -               lookup(" expected ") = 7 310ns\n")

static void captured_texts(void **state)
{
	struct text_call with = text_of(1, "say \"hi\"\033\xff\n", 11);
	char expected[1600], all[600];
	size_t used;

	(void)state;
	with.call.arg_count = 2;
	with.call.args[1] = 3;
	ASSERT_TEXT(with, "\"say \\x22hi\\x22\\x1b\\xff\\x0a\", 3");
	with.call.arg_count = 0;
	with.text.slot = 3;
	with.text.flags = MON_TEXT_TRUE_UNKNOWN;
	ASSERT_TEXT(with, "3: \"say \\x22hi\\x22\\x1b\\xff\\x0a\"...");
	with = text_of(1, "a\0b", 3);
	with.text.true_bytes = 70;
	ASSERT_TEXT(with, "1: 0x610062...");
	with = text_of(2, "", 0);
	with.text.flags = MON_TEXT_READ_FAILED;
	ASSERT_TEXT(with, "2: unreadable");
	/* A long one is cut on the line, and says so. */
	memset(all, '\1', sizeof(all));
	with = text_of(1, all, sizeof(all));
	used = (size_t)snprintf(expected, sizeof(expected),
				"    1.234567890 4242/4243 -               lookup(1: \"");
	for (size_t i = 0; i < MON_PRINT_TEXT_BYTES; i++)
		used += (size_t)snprintf(expected + used, sizeof(expected) - used, "\\x01");
	(void)snprintf(expected + used, sizeof(expected) - used, "\"...) = 7 310ns\n");
	assert_line(&with, sizeof(with), expected);
}

/* --- the way out ------------------------------------------------------------------------ */

static int ends[2]; /* of the pipe: reads, writes */
static struct mon_call_event calls[MANY];
static struct mon_record records[MANY];

static struct mon_printer *printer_of(uint64_t mark, uint32_t buffer_bytes)
{
	const struct mon_printer_options options = {
		.fd = ends[1],
		.set = &set,
		.started_ns = STARTED_NS,
		.marks = {mark},
		.path = "m\n.db",
		.buffer_bytes = buffer_bytes,
	};
	struct mon_printer *printer = NULL;

	assert_int_equal(mon_printer_new(&options, &printer), 0);
	return printer;
}

static int make_pipe(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < MANY; i++) {
		calls[i] = call_of(0);
		calls[i].ret = i;
		records[i] = (struct mon_record){.position = 128 * i,
						 .end = 128 * (i + 1),
						 .data = &calls[i],
						 .size_bytes = MON_CALL_EVENT_BARE_BYTES};
	}
	/* Smaller than the printer's buffer: a reader that stops is noticed. */
	return pipe2(ends, O_CLOEXEC) || fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES) < 0;
}

static int close_pipe(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++)
		if (ends[i] >= 0)
			(void)close(ends[i]);
	return 0;
}

static void print(struct mon_printer *printer, size_t from, size_t to)
{
	const struct mon_batch batch = {.records = records + from, .count = to - from};

	mon_printer_print(printer, &batch);
}

static void *read_to_the_end(void *text)
{
	FILE *file = fdopen(ends[0], "re");
	size_t size = 0;

	ends[0] = -1;
	if (!file || getdelim(text, &size, '\0', file) < 0)
		*(char **)text = NULL;
	if (file)
		(void)fclose(file);
	return NULL;
}

/* Reads what comes and finishes; the caller frees it. */
static char *finish_and_read(struct mon_printer *printer, struct mon_printer_stats *stats)
{
	pthread_t reader;
	char *text = NULL;

	assert_int_equal(pthread_create(&reader, NULL, read_to_the_end, &text), 0);
	mon_printer_finish(printer, stats);
	(void)close(ends[1]);
	ends[1] = -1;
	(void)pthread_join(reader, NULL);
	return text;
}

/*
 * Each line is the next call, or a gap that says how many are missing. Returns how many lines of
 * calls there are; *@missing_out: how many the gaps tell of.
 */
static uint64_t read_lines(const char *text, uint64_t *missing_out)
{
	uint64_t next = 0, lines = 0;

	*missing_out = 0;
	for (const char *at = text; at && *at; at = strchr(at, '\n') + 1) {
		unsigned long long number;
		unsigned thousands, rest;

		if (sscanf(at,
			   "... %u,%u lines not printed (stdout is slow); they are in m\\x0a.db",
			   &thousands, &rest) == 2)
			number = 1000ull * thousands + rest;
		else if (sscanf(at, "... %llu lines", &number) != 1) {
			assert_int_equal(sscanf(at,
						" 1.234567890 4242/4243 - lookup() = %llu 310ns\n",
						&number),
					 1);
			assert_int_equal(number, next);
			next++;
			lines++;
			continue;
		}
		*missing_out += number;
		next += number;
	}
	return lines;
}

static void lines_come_in_stored_order_once(void **state)
{
	struct mon_printer *printer = printer_of(0, SMALL);
	struct mon_printer_stats stats;
	uint64_t missing;
	MON_FREE char *text = NULL;

	(void)state;
	print(printer, 0, 100);
	print(printer, 0, 120); /* a COMMIT that seemed to have failed: 20 are new */
	records[130].invalid = EPROTO;
	calls[130].ret = 7777;
	for (size_t i = 131; i < 140; i++)
		calls[i].ret--;
	print(printer, 120, 140);
	text = finish_and_read(printer, &stats);
	mon_printer_free(printer);
	assert_int_equal(read_lines(text, &missing), 139);
	assert_int_equal(missing, 0);
	assert_int_equal(stats.lines, 139);
	assert_int_equal(stats.not_printed, 0);
}

static void what_was_stored_before_is_not_printed(void **state)
{
	struct mon_printer *printer = printer_of(records[9].end, SMALL);
	struct mon_printer_stats stats;
	MON_FREE char *text = NULL;

	(void)state;
	print(printer, 0, 11);
	text = finish_and_read(printer, &stats);
	mon_printer_free(printer);
	assert_int_equal(stats.lines, 1);
	assert_non_null(strstr(text, " = 10 "));
}

/* A position is one of its ring: a batch may mix them. */
static void rings_have_positions_of_their_own(void **state)
{
	struct mon_printer *printer = printer_of(0, SMALL);
	struct mon_printer_stats stats;
	MON_FREE char *text = NULL;

	(void)state;
	print(printer, 10, 20);
	for (size_t i = 0; i < 10; i++)
		records[i].ring = 1;
	print(printer, 0, 20); /* the second half came before */
	for (size_t i = 0; i < 10; i++)
		records[i].ring = 0;
	text = finish_and_read(printer, &stats);
	mon_printer_free(printer);
	assert_int_equal(stats.lines, 20);
}

/* Pipe and buffer fill up, print() returns all the same; the gap is named where it is. */
static void read_slowly(void)
{
	struct mon_printer *printer = printer_of(0, SMALL);
	struct mon_printer_stats stats;
	uint64_t lines, missing;
	MON_FREE char *text = NULL;

	for (size_t i = 0; i < MANY; i += 100)
		print(printer, i, i + 100);
	text = finish_and_read(printer, &stats);
	mon_printer_free(printer);
	lines = read_lines(text, &missing);
	assert_true(lines > 0 && missing > 0);
	assert_int_equal(lines + missing, MANY);
	assert_int_equal(stats.lines, lines);
	assert_int_equal(stats.not_printed, missing);
	assert_false(stats.stuck || stats.closed);
}

static void a_slow_reader_gets_a_gap_with_a_number(void **state)
{
	(void)state;
	read_slowly();
}

static void a_descriptor_that_does_not_block_is_waited_for(void **state)
{
	(void)state;
	assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	read_slowly();
}

/*
 * A little room is not enough to go on: the gap would be told again and again, or lines would
 * follow that nobody could place.
 */
static void after_a_gap_lines_wait_for_room(void **state)
{
	struct mon_printer *printer = printer_of(0, 4 * SMALL);
	struct mon_printer_stats stats;
	uint64_t lines, missing;
	char page[2 * PIPE_BYTES];
	size_t taken = 0;
	MON_FREE char *text = NULL;
	char *whole = NULL;
	int there = 0;

	(void)state;
	print(printer, 0, 2000);
	while (taken < PIPE_BYTES) {
		ssize_t got = read(ends[0], page + taken, PIPE_BYTES);

		assert_true(got > 0);
		taken += (size_t)got;
	}
	while (!there) /* until the next piece is in the pipe: there is room for it */
		assert_int_equal(ioctl(ends[0], FIONREAD, &there), 0);
	print(printer, 2000, 2010);
	text = finish_and_read(printer, &stats);
	mon_printer_free(printer);
	assert_true(asprintf(&whole, "%.*s%s", (int)taken, page, text) > 0);
	lines = read_lines(whole, &missing);
	free(whole);
	assert_int_equal(lines + missing, 2010);
	assert_int_equal(stats.not_printed, missing);
}

static void a_reader_that_stopped_is_given_up(void **state)
{
	struct mon_printer *printer = printer_of(0, SMALL);
	struct mon_printer_stats stats;

	(void)state;
	for (size_t i = 0; i < MANY; i += 100)
		print(printer, i, i + 100);
	mon_printer_finish(printer, &stats);
	mon_printer_free(printer);
	/* Its thread has the descriptor until then: it ends now, and the descriptor stays open. */
	(void)close(ends[0]);
	ends[0] = ends[1] = -1;
	assert_true(stats.stuck);
	assert_true(stats.not_printed > 0);
	assert_int_equal(stats.lines + stats.not_printed, MANY);
}

static void a_reader_that_is_gone_is_counted(void **state)
{
	struct mon_printer *printer = printer_of(0, SMALL);
	struct mon_printer_stats stats;

	(void)state;
	(void)close(ends[0]);
	ends[0] = -1;
	print(printer, 0, 1000);
	mon_printer_finish(printer, &stats);
	mon_printer_free(printer);
	assert_true(stats.closed);
	assert_int_equal(stats.lines, 0);
	assert_int_equal(stats.not_printed, 1000);
}

#define LINE(test) cmocka_unit_test_setup(test, forget_threads)
#define PIPE(test) cmocka_unit_test_setup_teardown(test, make_pipe, close_pipe)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LINE(a_call_as_a_line),
		LINE(a_thread_of_the_same_number_is_another),
		LINE(why_a_call_has_no_end),
		LINE(hostile_names_are_escaped),
		LINE(captured_texts),
		PIPE(lines_come_in_stored_order_once),
		PIPE(what_was_stored_before_is_not_printed),
		PIPE(rings_have_positions_of_their_own),
		PIPE(a_slow_reader_gets_a_gap_with_a_number),
		PIPE(a_descriptor_that_does_not_block_is_waited_for),
		PIPE(after_a_gap_lines_wait_for_room),
		PIPE(a_reader_that_stopped_is_given_up),
		PIPE(a_reader_that_is_gone_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
