// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A program that is started under ptrace(2) and held, so that probes are armed before its first
 * instruction. Main thread: ptrace belongs to the thread that started it. PTRACE_O_EXITKILL: if we
 * die before it is let go, it dies too, instead of staying stopped for ever.
 */
#include "attach/command.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int ended(struct mon_command *command, const char *when, struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH, "the command ended %s (status %d)",
			     when,
			     WIFEXITED(command->status) ? WEXITSTATUS(command->status)
							: 128 + WTERMSIG(command->status));
}

/* To its next stop. -ESRCH: it ended. */
static int wait_stop(struct mon_command *command)
{
	while (waitpid(command->pid, &command->status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFSTOPPED(command->status))
		return 0;
	command->reaped = true;
	command->held = false;
	return -ESRCH;
}

int mon_command_start(char *const argv[], struct mon_command *command_out, struct mon_error *error)
{
	struct mon_command command = {.held = true};
	int report[2], problem = 0;
	ssize_t got;

	if (pipe2(report, O_CLOEXEC))
		return mon_error_set(error, MON_EXIT_RUNTIME, errno, "cannot start %s: %s",
				     MON_ESCAPED(argv[0]), strerror(errno));
	command.pid = fork();
	if (command.pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			(void)execvp(argv[0], argv);
		problem = errno;
		(void)!write(report[1], &problem, sizeof(problem));
		_exit(127);
	}
	(void)close(report[1]);
	if (command.pid < 0) {
		(void)close(report[0]);
		return mon_error_set(error, MON_EXIT_RUNTIME, errno, "cannot start %s: %s",
				     MON_ESCAPED(argv[0]), strerror(errno));
	}
	got = read(report[0], &problem, sizeof(problem)); /* exec closes the other end */
	(void)close(report[0]);
	if (wait_stop(&command) || got > 0) {
		mon_command_kill(&command);
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, problem ? problem : ESRCH,
				     "cannot start %s: %s", MON_ESCAPED(argv[0]),
				     strerror(problem ? problem : ESRCH));
	}
	if (ptrace(PTRACE_SETOPTIONS, command.pid, NULL,
		   (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD))) {
		problem = errno;
		mon_command_kill(&command);
		return mon_error_set(error, MON_EXIT_PERMISSION, problem, "cannot hold %s: %s",
				     MON_ESCAPED(argv[0]), strerror(problem));
	}
	*command_out = command;
	return 0;
}

int mon_command_run_until(struct mon_command *command, bool (*ready)(pid_t pid, void *context),
			  void *context, struct mon_error *error)
{
	uint64_t loader = 0; /* the dynamic loader makes every call until the program's begins */

	while (!ready(command->pid, context)) {
		struct __ptrace_syscall_info info;
		int signal = 0;

		if (WSTOPSIG(command->status) != SIGTRAP &&
		    WSTOPSIG(command->status) != (SIGTRAP | 0x80))
			signal = WSTOPSIG(command->status);
		if (ptrace(PTRACE_SYSCALL, command->pid, NULL, (void *)(long)signal))
			return mon_error_set(error, MON_EXIT_RUNTIME, errno,
					     "cannot step the command: %s", strerror(errno));
		if (wait_stop(command))
			return ended(command, "before the library was mapped", error);
		if (WSTOPSIG(command->status) != (SIGTRAP | 0x80) ||
		    ptrace(PTRACE_GET_SYSCALL_INFO, command->pid, (void *)sizeof(info), &info) <= 0)
			continue;
		/* The loader is far smaller than what lies between it and anything else. */
		if (!loader)
			loader = info.instruction_pointer;
		if (info.instruction_pointer - loader + (1 << 20) > 2 << 20)
			return mon_error_set(
				error, MON_EXIT_NO_MATCH, ENOENT,
				"the command does not map that library when it starts; "
				"attach with -p once it has");
	}
	return 0;
}

int mon_command_release(struct mon_command *command, struct mon_error *error)
{
	if (ptrace(PTRACE_DETACH, command->pid, NULL, NULL))
		return mon_error_set(error, MON_EXIT_RUNTIME, errno,
				     "cannot let the command go: %s", strerror(errno));
	command->held = false;
	return 0;
}

bool mon_command_reap(struct mon_command *command, bool wait, int *status_out)
{
	while (!command->reaped) {
		pid_t pid = waitpid(command->pid, &command->status, wait ? 0 : WNOHANG);

		if (pid == 0 || (pid < 0 && errno != EINTR))
			return false;
		command->reaped = pid > 0 && !WIFSTOPPED(command->status);
	}
	*status_out = command->status;
	return true;
}

void mon_command_kill(struct mon_command *command)
{
	int status;

	if (command->pid <= 0 || command->reaped)
		return;
	(void)kill(command->pid, SIGKILL);
	(void)mon_command_reap(command, true, &status);
	command->held = false;
}
