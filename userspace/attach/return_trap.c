// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The child makes the system call as nobody's return trap, and the kernel answers with SIGILL when
 * it comes that far; SIGSYS says that the filter was asked first. Main thread, before anything is
 * attached; nothing is forked for a target without filter and shadow stack.
 */
#include "attach/return_trap.h"

#include "attach/proc.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_MISSING = 10, CHILD_RETURNED, CHILD_NO_FILTER };

static __attribute__((noreturn)) void make_call(long number, bool filtered)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {MON_ARRAY_COUNT(filter), filter};

	(void)signal(SIGILL, SIG_DFL);
	(void)signal(SIGSYS, SIG_DFL);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no core file */
	if (filtered && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
			 prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)))
		_exit(CHILD_NO_FILTER);
	_exit(syscall(number, 0, 0, 0) == -1 && errno == ENOSYS ? CHILD_MISSING : CHILD_RETURNED);
}

/* The status of a child that made the call; 0 when there was none. */
static int try_call(long number, bool filtered)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		make_call(number, filtered);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return 0;
	return child > 0 ? status : 0;
}

enum mon_syscall_fate mon_syscall_fate(long number)
{
	int filtered, plain;

	if (number < 0)
		return MON_SYSCALL_MISSING;
	filtered = try_call(number, true);
	if (WIFSIGNALED(filtered) && WTERMSIG(filtered) == SIGILL)
		return MON_SYSCALL_UNFILTERED;
	if (!WIFSIGNALED(filtered) || WTERMSIG(filtered) != SIGSYS)
		return MON_SYSCALL_UNKNOWN;
	/* Filters are asked about calls that do not exist, too. */
	plain = try_call(number, false);
	return WIFEXITED(plain) && WEXITSTATUS(plain) == CHILD_MISSING ? MON_SYSCALL_MISSING
								       : MON_SYSCALL_FILTERED;
}

static bool has_shadow_stack(pid_t pid, const char *status)
{
	char text[8192], *line;

	if (mon_proc_read(pid, status, text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nx86_Thread_features:");
	if (!line)
		return false;
	line[1 + strcspn(line + 1, "\n")] = '\0';
	return strstr(line, "shstk") != NULL;
}

static bool has_filter(pid_t pid, const char *status)
{
	char text[8192];
	const char *line;

	if (mon_proc_read(pid, status, text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nSeccomp:");
	return line && strtoul(line + strlen("\nSeccomp:"), NULL, 10) != 0;
}

/* Has the process it, or any of its threads? */
static bool any(pid_t pid, bool (*has)(pid_t pid, const char *status))
{
	char path[MON_PROC_PATH_BYTES], status[32];
	const struct dirent *entry;
	size_t tasks = 0;
	bool found = has(pid, "status");
	DIR *directory = found ? NULL : opendir(mon_proc_path(path, pid, "task"));

	if (!directory)
		return found;
	while (!found && tasks < MON_RETURN_TRAP_TASKS_MAX && (entry = readdir(directory))) {
		long tid = strtol(entry->d_name, NULL, 10);

		if (tid <= 0)
			continue;
		(void)snprintf(status, sizeof(status), "task/%ld/status", tid);
		found = has(pid, status);
		tasks++;
	}
	(void)closedir(directory);
	return found;
}

const char *mon_return_trap_hazard(pid_t pid, enum mon_syscall_fate fate)
{
	if ((fate == MON_SYSCALL_FILTERED || fate == MON_SYSCALL_UNKNOWN) && any(pid, has_filter))
		return "its seccomp filter may kill it for the kernel's return trap";
	if ((fate == MON_SYSCALL_MISSING || fate == MON_SYSCALL_UNKNOWN) &&
	    any(pid, has_shadow_stack))
		return "it has a shadow stack, which this kernel's return probes do not know";
	return NULL;
}

const char *mon_return_trap_check(pid_t pid)
{
	if (!any(pid, has_filter) && !any(pid, has_shadow_stack))
		return NULL;
	return mon_return_trap_hazard(pid, mon_syscall_fate(MON_URETPROBE_SYSCALL));
}
