// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The child makes the system call as nobody's return trap, and the kernel answers with SIGILL when
 * it comes that far; SIGSYS says that the filter was asked first. Main thread, before anything is
 * attached; nothing is forked for a target without filter and shadow stack.
 */
#include "attach/return_trap.h"

#include "attach/proc.h"
#include "base/cleanup.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
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

static bool has_shadow_stack(pid_t pid)
{
	char text[8192], *line;

	if (mon_proc_read(pid, "status", text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nx86_Thread_features:");
	if (!line)
		return false;
	line[1 + strcspn(line + 1, "\n")] = '\0';
	return strstr(line, "shstk") != NULL;
}

static bool has_filter(pid_t pid)
{
	uint64_t mode;

	return mon_proc_status(pid, "Seccomp", 10, &mode) == 0 && mode != 0;
}

const char *mon_return_trap_hazard(pid_t pid, enum mon_syscall_fate fate)
{
	if ((fate == MON_SYSCALL_FILTERED || fate == MON_SYSCALL_UNKNOWN) && has_filter(pid))
		return "its seccomp filter may kill it for the kernel's return trap";
	if ((fate == MON_SYSCALL_MISSING || fate == MON_SYSCALL_UNKNOWN) && has_shadow_stack(pid))
		return "it has a shadow stack, which this kernel's return probes do not know";
	return NULL;
}

const char *mon_return_trap_check(pid_t pid)
{
	if (!has_filter(pid) && !has_shadow_stack(pid))
		return NULL;
	return mon_return_trap_hazard(pid, mon_syscall_fate(MON_URETPROBE_SYSCALL));
}
