/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/harness/inject.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

struct process *inject_start(pid_t pid, const char *call, const char *fault, const char *database)
{
	char number[16], trace[64], inject[128], wal[PATH_MAX];
	const char *argv[] = {"strace", "-f",	"-o", "/dev/null", "-e", trace, "-e", inject,
			      "-p",	number, "-P", database,	   "-P", wal,	NULL};
	struct process *strace;

	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	(void)snprintf(trace, sizeof(trace), "trace=%s", call);
	(void)snprintf(inject, sizeof(inject), "inject=%s:%s", call, fault);
	(void)snprintf(wal, sizeof(wal), "%s-wal", database ? database : "");
	if (!database)
		argv[10] = NULL;
	strace = process_start(argv);
	(void)process_wait_line(strace, PROCESS_STDERR, "strace: Process", PROCESS_TIMEOUT_MS);
	return strace;
}

void inject_end(struct process *inject)
{
	process_signal(inject, SIGINT);
	(void)process_wait(inject, PROCESS_TIMEOUT_MS);
	process_free(inject);
}
