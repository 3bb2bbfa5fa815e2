// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/target.h"

#include "attach/elf.h"
#include "attach/proc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PIDS_TOLD_MAX 20
#define NEAR_EDITS_MAX 2

static const char *proc_root = "/proc";

void mon_target_set_proc_root(const char *path)
{
	proc_root = path ? path : "/proc";
}

const char *mon_target_proc_root(void)
{
	return proc_root;
}

static int no_such_pid(pid_t pid, struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
			     "no process has pid %d; find it with: pgrep -l NAME", pid);
}

static int no_right(pid_t pid, const char *comm, struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_PERMISSION, EPERM,
			     "no right to look into process %d (%s): run as root, or give monbpf "
			     "CAP_SYS_PTRACE",
			     pid, MON_ESCAPED(comm));
}

static int replaced(pid_t pid, struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
			     "process %d ended, and its pid may be another's by now; look again "
			     "with: pgrep -l NAME",
			     pid);
}

/* /proc says a file is not there for what has ended, and that we have no right to it. */
static int proc_failed(int result, pid_t pid, const char *comm, struct mon_error *error)
{
	switch (result) {
	case -EACCES:
	case -EPERM:
		return no_right(pid, comm, error);
	case -ENOENT:
	case -ESRCH:
		return no_such_pid(pid, error);
	default:
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "cannot read %s/%d: %s; is /proc mounted?",
				     MON_ESCAPED(proc_root), pid, strerror(-result));
	}
}

static bool pidfd_alive(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 || errno == EPERM;
}

static int refuse_kinds(pid_t pid, const struct mon_proc_stat *stat, struct mon_error *error)
{
	uint64_t group;

	if (stat->kernel_thread)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EINVAL,
				     "pid %d (%s) is a kernel thread, which has no program to "
				     "watch; name a process of user space",
				     pid, MON_ESCAPED(stat->comm));
	if (stat->state == 'Z' || stat->state == 'X')
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
				     "process %d (%s) has ended and waits for its parent to "
				     "collect it; name one that runs",
				     pid, MON_ESCAPED(stat->comm));
	if (!mon_proc_status(pid, "Tgid", 10, &group) && group != (uint64_t)pid)
		return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
				     "%d is a thread of process %d; try: -p %d", pid, (int)group,
				     (int)group);
	return 0;
}

static bool in_other_mount_namespace(pid_t pid)
{
	char theirs[64], ours[64];

	return mon_proc_link(pid, "ns/mnt", theirs, sizeof(theirs)) > 0 &&
	       mon_proc_link(getpid(), "ns/mnt", ours, sizeof(ours)) > 0 &&
	       strcmp(theirs, ours) != 0;
}

static void strip_deleted(char *path)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(path), tail = sizeof(deleted) - 1;

	if (length > tail && !strcmp(path + length - tail, deleted))
		path[length - tail] = '\0';
}

/*
 * The pidfd comes first: while it is alive the pid cannot have become another's, so that all that
 * was read in between belongs to one process. @start_ticks: what a name was matched on, or 0.
 */
static int open_checked(pid_t pid, uint64_t start_ticks, struct mon_target *target_out,
			struct mon_error *error)
{
	struct mon_target target = {.pid = pid, .pidfd = -1};
	struct mon_proc_stat stat, again;
	struct mon_elf *elf = NULL;
	char path[PATH_MAX], file[MON_PROC_PATH_BYTES];
	int result = mon_proc_stat(pid, &stat);

	if (result)
		return proc_failed(result, pid, "", error);
	result = refuse_kinds(pid, &stat, error);
	if (result)
		return result;
	if (start_ticks && stat.start_ticks != start_ticks)
		return replaced(pid, error);

	MON_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0)
		return errno == ESRCH ? replaced(pid, error)
				      : mon_error_set(error, MON_EXIT_RUNTIME, errno,
						      "cannot hold process %d: %s; raise the "
						      "limit of open files (ulimit -n)",
						      pid, strerror(errno));

	ssize_t length = mon_proc_link(pid, "exe", path, sizeof(path));

	if (length < 0)
		return proc_failed((int)length, pid, stat.comm, error);
	strip_deleted(path);
	result = mon_elf_open(mon_proc_path(file, pid, "exe"), path, &elf, error);
	if (result == -EACCES || result == -EPERM)
		return no_right(pid, stat.comm, error);
	if (result == -ENOENT || result == -ESRCH)
		return replaced(pid, error);
	if (result)
		return result;
	mon_elf_close(elf);
	target.other_mount_namespace = in_other_mount_namespace(pid);

	result = mon_proc_stat(pid, &again);
	if (result || again.start_ticks != stat.start_ticks || !pidfd_alive(pidfd))
		return replaced(pid, error);
	target.start_ticks = stat.start_ticks;
	(void)mon_escape(target.comm, sizeof(target.comm), again.comm);
	target.exe_path = strdup(path);
	if (!target.exe_path)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "no memory");
	target.pidfd = TAKE_FD(pidfd);
	*target_out = target;
	return 0;
}

int mon_target_open_pid(pid_t pid, struct mon_target *target_out, struct mon_error *error)
{
	return open_checked(pid, 0, target_out, error);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* comm, the executable's base name, or the base name of argv[0] (up to a blank: titles). */
static bool process_has_name(pid_t pid, const struct mon_proc_stat *stat, const char *name)
{
	char text[PATH_MAX];

	if (!strcmp(stat->comm, name))
		return true;
	if (mon_proc_link(pid, "exe", text, sizeof(text)) > 0) {
		strip_deleted(text);
		if (!strcmp(base_name(text), name))
			return true;
	}
	if (mon_proc_read(pid, "cmdline", text, sizeof(text)) <= 0)
		return false;
	if (!strcmp(base_name(text), name))
		return true;
	text[strcspn(text, " ")] = '\0';
	return !strcmp(base_name(text), name);
}

struct search {
	const char *name;
	size_t count;
	pid_t pids[PIDS_TOLD_MAX];
	uint64_t start_ticks; /* of the first */
	unsigned nearest_edits;
	char nearest[MON_PROC_COMM_BYTES];
};

static int search_processes(struct search *search)
{
	DIR *directory = opendir(proc_root);
	const struct dirent *entry;

	if (!directory)
		return -errno;
	while ((entry = readdir(directory))) {
		struct mon_proc_stat stat;
		uint64_t number;

		if (mon_parse_number(entry->d_name, 1, INT_MAX, &number) ||
		    (pid_t)number == getpid() || mon_proc_stat((pid_t)number, &stat) ||
		    stat.kernel_thread || stat.state == 'Z' || stat.state == 'X')
			continue;
		if (process_has_name((pid_t)number, &stat, search->name)) {
			if (!search->count)
				search->start_ticks = stat.start_ticks;
			if (search->count < PIDS_TOLD_MAX)
				search->pids[search->count] = (pid_t)number;
			search->count++;
			continue;
		}
		unsigned edits = mon_edit_distance(search->name, stat.comm, NEAR_EDITS_MAX);

		if (edits < search->nearest_edits) {
			search->nearest_edits = edits;
			(void)strcpy(search->nearest, stat.comm);
		}
	}
	(void)closedir(directory);
	return 0;
}

static int not_unique(const struct search *search, struct mon_error *error)
{
	char list[PIDS_TOLD_MAX * 12 + 8] = "";
	size_t used = 0;

	for (size_t i = 0; i < search->count && i < PIDS_TOLD_MAX; i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%d", i ? ", " : "",
					 search->pids[i]);
	if (search->count > PIDS_TOLD_MAX)
		(void)snprintf(list + used, sizeof(list) - used, ", …");
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, ENOTUNIQ,
			     "%zu processes are named %s: %s; try: -p %d", search->count,
			     MON_ESCAPED(search->name), list, search->pids[0]);
}

int mon_target_open(const char *text, struct mon_target *target_out, struct mon_error *error)
{
	struct search search = {.name = text, .nearest_edits = NEAR_EDITS_MAX + 1};
	uint64_t number;
	int result = mon_parse_number(text, 1, INT_MAX, &number);

	if (!result)
		return mon_target_open_pid((pid_t)number, target_out, error);
	if (result == -ERANGE || !*text)
		return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
				     "'%s' is neither a pid nor a process name; find one with: "
				     "pgrep -l NAME",
				     MON_ESCAPED(text));
	result = search_processes(&search);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "cannot list %s: %s; is /proc mounted?",
				     MON_ESCAPED(proc_root), strerror(-result));
	if (search.count > 1)
		return not_unique(&search, error);
	if (search.count)
		return open_checked(search.pids[0], search.start_ticks, target_out, error);
	if (search.nearest_edits <= NEAR_EDITS_MAX)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
				     "no process is named %s; did you mean %s?", MON_ESCAPED(text),
				     MON_ESCAPED(search.nearest));
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
			     "no process is named %s; start it, or find its pid with: pgrep -fl %s",
			     MON_ESCAPED(text), MON_ESCAPED(text));
}

void mon_target_close(struct mon_target *target)
{
	if (!target)
		return;
	if (target->pidfd >= 0)
		(void)close(target->pidfd);
	free(target->exe_path);
	*target = (struct mon_target){.pidfd = -1};
}

int mon_target_check(const struct mon_target *target)
{
	struct mon_proc_stat stat;

	if (mon_proc_stat(target->pid, &stat) || stat.start_ticks != target->start_ticks ||
	    stat.state == 'Z' || stat.state == 'X' || !pidfd_alive(target->pidfd))
		return -ESRCH;
	return 0;
}

uint64_t mon_target_cpu_ns(const struct mon_target *target)
{
	struct mon_proc_stat stat;
	struct timespec time;
	clockid_t clock;

	/* The process's CPU clock has nanoseconds; /proc has ticks of 10 ms. */
	if (!clock_getcpuclockid(target->pid, &clock) && !clock_gettime(clock, &time))
		return mon_target_check(target)
			       ? 0
			       : (uint64_t)time.tv_sec * MON_NS_PER_S + (uint64_t)time.tv_nsec;
	if (mon_target_check(target) || mon_proc_stat(target->pid, &stat))
		return 0;
	return stat.cpu_ticks * (MON_NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}
