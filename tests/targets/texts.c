/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strings and buffers with known contents; each call says by `number` which one it is, and returns
 * that. Byte k of string n is 'a' + (n + k) % 26, of buffer n it is n * 31 + k.
 *
 * texts strings [R]   TEXTS_STRINGS calls of watched_string, R rounds; a line lets the next begin
 * texts buffers [R]   TEXTS_BUFFERS calls of watched_buffer, likewise
 * texts recursion N   watched_recursion to a depth of N, all with one buffer that each overwrites
 * texts longjmp N     N times watched_jumps, which never returns
 * texts blocks        watched_blocks waits for a line
 * texts large N       N times a string of 80 MB, a buffer of 80 MB, an array of 10 million items
 */
#include "texts.h"

#include <setjmp.h>
#include <sys/mman.h>

#include "target.h"

static jmp_buf back;

/* Overwrites what it was given when @number says so. */
WATCHED int watched_string(char *text, int number)
{
	if (number == TEXTS_CHANGED)
		memset(text, 'Z', strlen(text));
	target_sink += number;
	return number;
}

WATCHED int watched_buffer(char *bytes, size_t length, int number)
{
	if (number == TEXTS_CHANGED)
		memset(bytes, 'Z', length);
	target_sink += number;
	return number;
}

WATCHED int watched_recursion(char *text, int depth)
{
	if (depth > 1) {
		(void)sprintf(text, "depth %d", depth - 1);
		target_sink += watched_recursion(text, depth - 1);
	}
	return depth;
}

WATCHED int watched_jumps(char *text, int number)
{
	text[0] = 'Z';
	target_sink += number;
	longjmp(back, 1);
	return number;
}

WATCHED int watched_blocks(char *text, int number)
{
	char line[64];

	text[0] = 'Z';
	(void)target_line(line, sizeof(line));
	return number;
}

static char *fill_string(char *text, int number, size_t length)
{
	for (size_t k = 0; k < length; k++)
		text[k] = TEXTS_STRING_BYTE(number, k);
	text[length] = '\0';
	return text;
}

static char *fill_buffer(char *bytes, int number, size_t length)
{
	for (size_t k = 0; k < length; k++)
		bytes[k] = TEXTS_BUFFER_BYTE(number, k);
	return bytes;
}

static char *map(size_t bytes)
{
	char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(7);
	return memory;
}

/* The end of a page that no other follows. */
static char *page_end(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *memory = map(2 * page);

	if (munmap(memory + page, page))
		_exit(7);
	return memory + page;
}

static long strings(void)
{
	static char small[256];
	char *large = fill_string(map(TEXTS_LARGE_BYTES + 1), TEXTS_LARGE, TEXTS_LARGE_BYTES);
	char *end = page_end();

	watched_string(NULL, TEXTS_NULL);
	watched_string(strcpy(small, ""), TEXTS_EMPTY);
	watched_string(end, TEXTS_UNMAPPED);
	watched_string(fill_string(small, TEXTS_SHORTER, TEXTS_CAPTURE - 1), TEXTS_SHORTER);
	watched_string(fill_string(small, TEXTS_EXACT, TEXTS_CAPTURE), TEXTS_EXACT);
	watched_string(fill_string(small, TEXTS_LONGER, TEXTS_CAPTURE + 1), TEXTS_LONGER);
	watched_string(large, TEXTS_LARGE);
	watched_string(fill_string(end - 11, TEXTS_PAGE_END, 10), TEXTS_PAGE_END);
	end[-1] = 'x';
	watched_string(end - 10, TEXTS_CUT_OFF);
	watched_string(fill_string(small, TEXTS_CHANGED, 20), TEXTS_CHANGED);
	watched_string(strcpy(small, TEXTS_ESCAPES_BYTES), TEXTS_ESCAPES);
	if (munmap(large, TEXTS_LARGE_BYTES + 1))
		_exit(7);
	return TEXTS_CALLS;
}

static long buffers(void)
{
	static char small[256];
	char *large = fill_buffer(map(TEXTS_LARGE_BYTES), TEXTS_LARGE, TEXTS_LARGE_BYTES);
	char *end = page_end();

	watched_buffer(NULL, 10, TEXTS_NULL);
	watched_buffer(NULL, 0, TEXTS_EMPTY);
	watched_buffer(end, 10, TEXTS_UNMAPPED);
	watched_buffer(fill_buffer(small, TEXTS_SHORTER, TEXTS_CAPTURE - 1), TEXTS_CAPTURE - 1,
		       TEXTS_SHORTER);
	watched_buffer(fill_buffer(small, TEXTS_EXACT, TEXTS_CAPTURE), TEXTS_CAPTURE, TEXTS_EXACT);
	watched_buffer(fill_buffer(small, TEXTS_LONGER, TEXTS_CAPTURE + 1), TEXTS_CAPTURE + 1,
		       TEXTS_LONGER);
	watched_buffer(large, TEXTS_LARGE_BYTES, TEXTS_LARGE);
	watched_buffer(fill_buffer(end - 10, TEXTS_PAGE_END, 10), 10, TEXTS_PAGE_END);
	watched_buffer(end - 10, 11, TEXTS_CUT_OFF);
	watched_buffer(fill_buffer(small, TEXTS_CHANGED, 20), 20, TEXTS_CHANGED);
	watched_buffer(fill_buffer(small, TEXTS_ESCAPES, 256), SIZE_MAX, TEXTS_ESCAPES);
	if (munmap(large, TEXTS_LARGE_BYTES))
		_exit(7);
	return TEXTS_CALLS;
}

static long longjmps(long calls)
{
	char text[64];

	for (volatile long i = 0; i < calls; i++)
		if (setjmp(back) == 0) {
			(void)sprintf(text, "jump %ld", i);
			watched_jumps(text, (int)i);
		}
	return calls;
}

static long large_calls(char *string, char *buffer, int *array, long calls)
{
	for (long i = 0; i < calls; i++) {
		watched_string(string, (int)i + TEXTS_CALLS);
		watched_buffer(buffer, TEXTS_LARGE_BYTES, (int)i + TEXTS_CALLS);
		watched_buffer((char *)array, TEXTS_ITEMS * sizeof(*array), (int)i + TEXTS_CALLS);
	}
	return 3 * calls;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "strings";
	long number = target_number(argc, argv, 2, 1), calls = 0;
	char *string = NULL, *buffer = NULL, text[64];
	int *array = NULL;

	if (strcmp(what, "large") == 0) { /* before it is watched: it takes a while */
		string = fill_string(map(TEXTS_LARGE_BYTES + 1), 0, TEXTS_LARGE_BYTES);
		buffer = fill_buffer(map(TEXTS_LARGE_BYTES), 0, TEXTS_LARGE_BYTES);
		array = (int *)map(TEXTS_ITEMS * sizeof(*array));
		for (int i = 0; i < TEXTS_ITEMS; i++)
			array[i] = i;
	}
	target_ready();
	if (strcmp(what, "recursion") == 0) {
		(void)sprintf(text, "depth %ld", number);
		calls = watched_recursion(text, (int)number);
	} else if (strcmp(what, "longjmp") == 0) {
		calls = longjmps(number);
	} else if (strcmp(what, "blocks") == 0) {
		target_say("blocked\n");
		calls = watched_blocks(strcpy(text, "blocks"), 1);
	} else if (strcmp(what, "large") == 0) {
		calls = large_calls(string, buffer, array, number);
	} else {
		for (long round = 0; round < number; round++) {
			if (round) {
				target_say("round %ld\n", round);
				if (!target_line(text, sizeof(text)))
					return 1;
			}
			calls += strcmp(what, "buffers") == 0 ? buffers() : strings();
		}
	}
	target_end(calls);
	return 0;
}
