/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the kernel gets control when a watched function returns: by a breakpoint, or on x86-64 since
 * 6.11 by a system call (ff474a78cef5) that the return address leads to. A seccomp filter sees that
 * call as the target's own and may kill it, until "seccomp: passthrough uretprobe systemcall
 * without filtering" (6.14, and 6.12.14 and 6.13.3). And before that system call was made, the
 * return address in a shadow stack was not changed with the one on the stack, which ends the target
 * (6.6 to 6.10). What this kernel does is tried in a child, never told from its version.
 */
#ifndef MON_RETURN_TRAP_H
#define MON_RETURN_TRAP_H

#include <sys/types.h>

#ifdef __x86_64__
#define MON_URETPROBE_SYSCALL 335
#else
#define MON_URETPROBE_SYSCALL (-1) /* there is none */
#endif

enum mon_syscall_fate {
	MON_SYSCALL_MISSING,	/* ENOSYS */
	MON_SYSCALL_FILTERED,	/* a seccomp filter decides about it */
	MON_SYSCALL_UNFILTERED, /* no filter is asked */
	MON_SYSCALL_UNKNOWN,	/* could not be tried */
};

/* Forks a child, which makes the call under a filter that forbids it. Main thread. */
enum mon_syscall_fate mon_syscall_fate(long number);

#define MON_RETURN_TRAP_TASKS_MAX 4096

/*
 * Why a return probe could end @pid on a kernel where the return trap's call has that fate, or
 * NULL. Filters and shadow stacks are a thread's own: reads /proc/PID/status and that of up to
 * MON_RETURN_TRAP_TASKS_MAX threads, as they are now. A process that is gone has no hazard.
 */
const char *mon_return_trap_hazard(pid_t pid, enum mon_syscall_fate fate);

/* The same with the fate asked of this kernel, when @pid has a filter or a shadow stack at all. */
const char *mon_return_trap_check(pid_t pid);

#endif
