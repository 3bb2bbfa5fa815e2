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

#define ARGUMENTS_MAX 64

struct process *monitor_process(struct monitor *monitor)
{
	return (struct process *)monitor;
}

struct monitor *monitor_start(const char *const argv[])
{
	const char *full[ARGUMENTS_MAX + 2];
	char path[PATH_MAX];
	size_t count = 0;

	(void)snprintf(path, sizeof(path), "%s/monbpf", process_build_dir());
	full[count++] = path;
	while (*argv) {
		assert_true(count <= ARGUMENTS_MAX);
		full[count++] = *argv++;
	}
	full[count] = NULL;
	setenv("NO_COLOR", "1", 1);
	return (struct monitor *)process_start(full);
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
