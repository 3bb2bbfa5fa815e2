/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starts and drives watched programs. A target is freed with its process, at the teardown at last.
 */
#include "tests/harness/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define ARGUMENTS_MAX 16

/* Nothing but its process: no second owner to free. */
static struct target *of_process(struct process *process)
{
	return (struct target *)process;
}

struct process *target_process(struct target *target)
{
	return (struct process *)target;
}

const char *target_path(const char *name, char *path, size_t size)
{
	int length = snprintf(path, size, "%s/tests/targets/%s", process_build_dir(), name);

	assert_true(length > 0 && (size_t)length < size);
	return path;
}

struct target *target_start(const char *name, ...)
{
	const char *argv[ARGUMENTS_MAX + 2];
	char path[PATH_MAX];
	size_t count = 0;
	va_list args;

	argv[count++] = target_path(name, path, sizeof(path));
	va_start(args, name);
	for (const char *arg = va_arg(args, const char *); arg; arg = va_arg(args, const char *)) {
		assert_true(count <= ARGUMENTS_MAX);
		argv[count++] = arg;
	}
	va_end(args);
	argv[count] = NULL;

	struct process *process = process_start(argv);

	process_wait_line(process, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
	return of_process(process);
}

struct target *target_start_file(const char *path, const char *argument)
{
	struct process *process = process_start((const char *const[]){path, argument, NULL});

	process_wait_line(process, PROCESS_STDOUT, "ready", PROCESS_TIMEOUT_MS);
	return of_process(process);
}

pid_t target_pid(const struct target *target)
{
	return process_pid((const struct process *)target);
}

void target_go(struct target *target)
{
	process_say(target_process(target), "go");
}

const char *target_wait_line(struct target *target, const char *prefix, int timeout_ms)
{
	return process_wait_line(target_process(target), PROCESS_STDOUT, prefix, timeout_ms);
}

long target_done(struct target *target)
{
	const char *line = target_wait_line(target, "done ", 2 * PROCESS_TIMEOUT_MS);

	return strtol(line + 5, NULL, 10);
}

int target_finish(struct target *target)
{
	struct process *process = target_process(target);

	process_close_stdin(process);
	int status = process_wait(process, PROCESS_TIMEOUT_MS);

	process_free(process);
	return status;
}
