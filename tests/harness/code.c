/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads /proc/PID/mem where /proc/PID/maps says that the program's own file is executable. */
#include "tests/harness/code.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 10
#define WAIT_TRIES 2000

struct code {
	pid_t pid;
	unsigned long start;
	size_t bytes;
	char *now; /* room for another look */
	char was[];
};

static void find(pid_t pid, unsigned long *start, unsigned long *end)
{
	char path[64], program[PATH_MAX], line[PATH_MAX + 128], rights[8];

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	ssize_t length = readlink(path, program, sizeof(program) - 1);

	assert_true(length > 0);
	program[length] = '\0';
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", start, end, rights) == 3 && rights[2] == 'x' &&
		    strstr(line, program)) {
			(void)fclose(maps);
			return;
		}
	fail_msg("pid %d has no code of %s", (int)pid, program);
}

static void look(pid_t pid, unsigned long start, char *bytes, size_t size)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, size, (off_t)start), size);
	(void)close(fd);
}

struct code *code_read(pid_t pid)
{
	unsigned long start = 0, end = 0;

	find(pid, &start, &end);

	struct code *code = calloc(1, sizeof(*code) + (end - start));

	assert_non_null(code);
	*code = (struct code){.pid = pid, .start = start, .bytes = end - start};
	code->now = calloc(1, code->bytes);
	assert_non_null(code->now);
	look(pid, start, code->was, code->bytes);
	return code;
}

int code_is_unchanged(const struct code *code)
{
	look(code->pid, code->start, code->now, code->bytes);
	return memcmp(code->now, code->was, code->bytes) == 0;
}

void code_assert_unchanged(const struct code *code)
{
	for (int tries = 0; !code_is_unchanged(code); tries++) {
		if (tries == WAIT_TRIES)
			fail_msg("a probe is left in pid %d", (int)code->pid);
		(void)poll(NULL, 0, WAIT_MS);
	}
}

void code_free(struct code *code)
{
	if (code)
		free(code->now);
	free(code);
}
