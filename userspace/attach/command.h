/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `-- COMMAND ARGS…`: started, held by ptrace(2) before its first instruction (or, when library
 * functions are wanted, at the moment the last wanted library was mapped, before any of its code
 * ran), armed, let go. Not one call is missed.
 */
#ifndef MON_COMMAND_H
#define MON_COMMAND_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct mon_command {
	pid_t pid;
	bool held;   /* ptrace-stopped */
	bool reaped; /* wait status taken */
	int status;  /* wait status, when reaped */
};

/* Forks and execs; stopped right after execve(2). The sentence names the command when it fails. */
int mon_command_start(char *const argv[], struct mon_command *command_out, struct mon_error *error);

/*
 * Lets it run, system call by system call, until @ready says that what is wanted is mapped, or the
 * program's own entry point is reached (then -ENOENT: it was never mapped). Stopped again.
 */
int mon_command_run_until(struct mon_command *command, bool (*ready)(pid_t pid, void *context),
			  void *context, struct mon_error *error);

/* Lets it go for good. */
int mon_command_release(struct mon_command *command, struct mon_error *error);

/* Reaps it if it has ended: true, and *status_out its wait status. Never blocks unless @wait. */
bool mon_command_reap(struct mon_command *command, bool wait, int *status_out);

/* On failure before release: kills and reaps, so nothing stays behind. */
void mon_command_kill(struct mon_command *command);

#endif
