// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/proc.h"

#include "attach/target.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KERNEL_THREAD_FLAG 0x00200000u /* PF_KTHREAD of include/linux/sched.h */

const char *mon_proc_path(char path[MON_PROC_PATH_BYTES], pid_t pid, const char *name)
{
	(void)snprintf(path, MON_PROC_PATH_BYTES, "%s/%d/%s", mon_target_proc_root(), pid, name);
	return path;
}

ssize_t mon_proc_read(pid_t pid, const char *name, char *buffer, size_t size)
{
	char path[MON_PROC_PATH_BYTES];
	MON_CLOSE int fd = open(mon_proc_path(path, pid, name), O_RDONLY | O_CLOEXEC);
	size_t used = 0;

	if (fd < 0)
		return -errno;
	while (used + 1 < size) {
		ssize_t count = read(fd, buffer + used, size - 1 - used);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (!count)
			break;
		used += (size_t)count;
	}
	buffer[used] = '\0';
	return (ssize_t)used;
}

ssize_t mon_proc_link(pid_t pid, const char *name, char *buffer, size_t size)
{
	char path[MON_PROC_PATH_BYTES];
	ssize_t length = readlink(mon_proc_path(path, pid, name), buffer, size - 1);

	if (length < 0)
		return -errno;
	buffer[length] = '\0';
	return length;
}

int mon_proc_stat(pid_t pid, struct mon_proc_stat *stat_out)
{
	char text[2048];
	ssize_t length = mon_proc_read(pid, "stat", text, sizeof(text));
	struct mon_proc_stat stat = {0};
	uint64_t user, system;
	unsigned flags;

	if (length < 0)
		return (int)length;

	/* A comm may hold anything, parentheses too: it ends at the last one. */
	char *open = strchr(text, '('), *close = strrchr(text, ')');

	if (!open || !close || close < open || (size_t)(close - open) > sizeof(stat.comm))
		return -EPROTO;
	memcpy(stat.comm, open + 1, (size_t)(close - open) - 1);
	/* Fields 3, 9, 14, 15 and 22 of proc(5). */
	if (sscanf(close + 1,
		   " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
		   " %*d %*d %*d %*d %*d %*d %" SCNu64,
		   &stat.state, &flags, &user, &system, &stat.start_ticks) != 5)
		return -EPROTO;
	stat.kernel_thread = flags & KERNEL_THREAD_FLAG;
	stat.cpu_ticks = user + system;
	*stat_out = stat;
	return 0;
}

int mon_proc_status(pid_t pid, const char *key, unsigned base, uint64_t *value_out)
{
	char text[8192];
	ssize_t result = mon_proc_read(pid, "status", text, sizeof(text));
	size_t length = strlen(key);

	if (result < 0)
		return (int)result;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, length) && line[length] == ':') {
			*value_out = strtoull(line + length + 1, NULL, (int)base);
			return 0;
		}
	}
	return -ENOENT;
}
