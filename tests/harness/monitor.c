/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs build/monbpf. Colours off, so that expected texts are plain. */
#include "tests/harness/monitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/memory.h"
#include "tests/harness/target.h"

#define ARGUMENTS_MAX 1100
#define BUDGET_DEFAULT_BYTES (64ull << 20)

struct process *monitor_process(struct monitor *monitor)
{
	return (struct process *)monitor;
}

struct monitor *monitor_start(const char *const argv[])
{
	return monitor_start_under((const char *const[]){NULL}, argv);
}

struct monitor *monitor_start_under(const char *const under[], const char *const argv[])
{
	const char *full[ARGUMENTS_MAX + 2];
	char path[PATH_MAX];
	size_t count = 0;

	(void)snprintf(path, sizeof(path), "%s/monbpf", process_build_dir());
	while (*under) {
		assert_true(count < ARGUMENTS_MAX);
		full[count++] = *under++;
	}
	full[count++] = path;
	while (*argv) {
		assert_true(count <= ARGUMENTS_MAX);
		full[count++] = *argv++;
	}
	full[count] = NULL;
	setenv("NO_COLOR", "1", 1);
	return (struct monitor *)process_start(full);
}

struct monitor *monitor_attach(const struct target *target, const char *database, ...)
{
	const char *argv[ARGUMENTS_MAX] = {"attach", "-o", database, "-p"};
	size_t count = 4;
	char pid[16];
	va_list args;

	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	argv[count++] = pid;
	va_start(args, database);
	for (const char *arg = va_arg(args, const char *); arg; arg = va_arg(args, const char *)) {
		assert_true(count < ARGUMENTS_MAX - 1);
		argv[count++] = arg;
	}
	va_end(args);

	struct monitor *monitor = monitor_start(argv);

	(void)monitor_wait_line(monitor, "watching", PROCESS_TIMEOUT_MS);
	return monitor;
}

pid_t monitor_pid(const struct monitor *monitor)
{
	return process_pid((const struct process *)monitor);
}

const char *monitor_wait_line(struct monitor *monitor, const char *prefix, int timeout_ms)
{
	return process_wait_line(monitor_process(monitor), PROCESS_STDERR, prefix, timeout_ms);
}

int monitor_stop(struct monitor *monitor)
{
	process_signal(monitor_process(monitor), SIGINT);
	return monitor_wait(monitor, PROCESS_TIMEOUT_MS);
}

void monitor_assert_within_budget(const struct monitor *monitor)
{
	uint64_t total = memory_total_bytes(monitor_pid(monitor));

	if (total > BUDGET_DEFAULT_BYTES)
		fail_msg("%llu KiB with BPF memory are more than 64 MiB",
			 (unsigned long long)total >> 10);
}

void monitor_end(struct monitor *monitor, int expected)
{
	monitor_assert_within_budget(monitor);

	int status = monitor_stop(monitor);

	if (status != expected)
		fail_msg("exit %d, expected %d: %s", status, expected, monitor_stderr(monitor));
}

size_t monitor_count_lines(struct monitor *monitor, const char *part)
{
	size_t count = 0;

	for (const char *line = monitor_stderr(monitor); *line;) {
		size_t length = strcspn(line, "\n");

		count += memmem(line, length, part, strlen(part)) != NULL;
		line += length + (line[length] == '\n');
	}
	return count;
}

int monitor_wait(struct monitor *monitor, int timeout_ms)
{
	return process_wait(monitor_process(monitor), timeout_ms);
}

const char *monitor_stdout(struct monitor *monitor)
{
	return process_text(monitor_process(monitor), PROCESS_STDOUT);
}

const char *monitor_stderr(struct monitor *monitor)
{
	return process_text(monitor_process(monitor), PROCESS_STDERR);
}

void monitor_free(struct monitor *monitor)
{
	process_free(monitor_process(monitor));
}
