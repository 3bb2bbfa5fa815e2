/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every watched program shares. The protocol: it prints "ready", waits for a line on stdin,
 * makes its calls, prints "done N" with its own count, and waits for the end of stdin before it
 * ends (unless dying is the point). So a test waits for words, never for time.
 */
#ifndef TARGET_H
#define TARGET_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TARGET_CALLS_DEFAULT 23

/* Watched functions stay as written: not inlined, not cloned, not merged with another. */
#define WATCHED __attribute__((noinline, noclone, used))
#define UNUSED __attribute__((unused))

/*
 * First in a watched function that is called millions of times: makes the compiler set up a frame
 * even in a leaf, so that the function starts with `push`, which the kernel emulates. Else a probe
 * costs a single step, ten times as much.
 */
#define STARTS_WITH_PUSH() __asm__ volatile("" : : "r"(__builtin_frame_address(0)))

/* Keeps a watched function from being thought pure. */
static volatile long target_sink UNUSED;

/* One write, so that lines of threads and children do not mix. */
UNUSED __attribute__((format(printf, 1, 2))) static void target_say(const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (length < 0 || write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(9);
}

/* False at the end of stdin. Byte by byte: what follows the line is for the next call. */
UNUSED static bool target_line(char *line, size_t size)
{
	size_t used = 0;
	char byte;

	while (read(STDIN_FILENO, &byte, 1) == 1) {
		if (byte == '\n') {
			line[used] = '\0';
			return true;
		}
		if (used + 1 < size)
			line[used++] = byte;
	}
	return false;
}

UNUSED static void target_ready(void)
{
	char line[64];

	target_say("ready\n");
	if (!target_line(line, sizeof(line)))
		exit(8);
}

UNUSED static void target_end(long calls)
{
	char line[64];

	target_say("done %ld\n", calls);
	while (target_line(line, sizeof(line))) {
	}
}

UNUSED static long target_number(int argc, char **argv, int index, long otherwise)
{
	return argc > index ? strtol(argv[index], NULL, 10) : otherwise;
}

#endif
