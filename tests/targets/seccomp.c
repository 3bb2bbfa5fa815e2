/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shuts itself in, as sandboxes do, and then makes its calls: with a filter that allows read, write
 * and the end of a process and kills for anything else; with "strict" by
 * SECCOMP_MODE_STRICT, which leaves read, write and exit.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "target.h"

#define ALLOW(number)                                            \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##number, 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

WATCHED int watched_shut_in(int number)
{
	STARTS_WITH_PUSH();
	target_sink += number;
	return number;
}

static void shut_in(bool strict)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(read),
		ALLOW(write),
		ALLOW(exit),
		ALLOW(exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (strict ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)
		   : prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
			     prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(7);
}

int main(int argc, char **argv)
{
	shut_in(argc > 1 && !strcmp(argv[1], "strict"));
	target_ready();
	for (int i = 0; i < TARGET_CALLS_DEFAULT; i++)
		watched_shut_in(i);
	target_end(TARGET_CALLS_DEFAULT);
	syscall(SYS_exit, 0); /* exit_group is not for everyone here */
	return 0;
}
