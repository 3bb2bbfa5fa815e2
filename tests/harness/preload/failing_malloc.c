/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loaded before libc (LD_PRELOAD): the allocation with number FAILING_MALLOC_AT, counted over all
 * threads, gets no memory; all others do. When it came to that, the file FAILING_MALLOC_TELL is
 * made. A child of the program is left alone. Numbers are read by hand, because this runs before
 * anything else does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What libc's own are called underneath. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

extern char **environ;

static atomic_ulong count;
static atomic_ulong at; /* 0: not read yet, or never */
static pid_t owner;

static const char *variable(const char *name)
{
	size_t length = strlen(name);

	for (char **line = environ; line && *line; line++)
		if (!strncmp(*line, name, length) && (*line)[length] == '=')
			return *line + length + 1;
	return NULL;
}

__attribute__((constructor)) static void begin(void)
{
	const char *text = variable("FAILING_MALLOC_AT");
	unsigned long number = 0;

	while (text && *text >= '0' && *text <= '9')
		number = number * 10 + (unsigned long)(*text++ - '0');
	owner = getpid();
	atomic_store(&at, number);
}

static void tell(void)
{
	const char *path = variable("FAILING_MALLOC_TELL");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd >= 0)
		(void)close(fd);
}

static int fails(void)
{
	unsigned long number = atomic_load(&at);

	if (!number || atomic_fetch_add(&count, 1) + 1 != number || getpid() != owner)
		return 0;
	tell();
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
	return fails() ? NULL : __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size)
{
	return fails() ? NULL : __libc_realloc(memory, size);
}
