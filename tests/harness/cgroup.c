/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/harness/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#include "tests/harness/scratch.h"
#include "tests/harness/tool.h"

#define V1 "/sys/fs/cgroup/memory"
#define V2 "/sys/fs/cgroup"
#define TRIES 500
#define TRY_MS 10

static char path[256], script[512];
static bool v2;
static char *swap_path;

static int write_to(const char *name, const char *text)
{
	char file[512];
	int fd, result;

	(void)snprintf(file, sizeof(file), "%s/%s", path, name);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("%s: %s", file, strerror(errno));
	result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	(void)close(fd);
	return result;
}

/* The number after @key, or the first of the file. */
static uint64_t read_from(const char *name, const char *key)
{
	char file[512], line[256];
	uint64_t number = 0;

	(void)snprintf(file, sizeof(file), "%s/%s", path, name);
	FILE *lines = fopen(file, "re");

	if (!lines)
		fail_msg("%s: %s", file, strerror(errno));
	while (fgets(line, sizeof(line), lines))
		if (!strncmp(line, key, strlen(key))) {
			number = strtoull(line + strlen(key), NULL, 10);
			break;
		}
	(void)fclose(lines);
	return number;
}

void cgroup_make(void)
{
	v2 = access(V1 "/memory.limit_in_bytes", F_OK) != 0;
	(void)snprintf(path, sizeof(path), "%s", V2);
	if (v2) /* in most cases it is so already */
		(void)write_to("cgroup.subtree_control", "+memory");
	(void)snprintf(path, sizeof(path), "%s/monbpf-test-%d", v2 ? V2 : V1, (int)getpid());
	if (mkdir(path, 0700))
		fail_msg("%s: %s", path, strerror(errno));
	(void)snprintf(script, sizeof(script), "echo $$ >%s/cgroup.procs && exec \"$@\"", path);
}

const char *const *cgroup_under(void)
{
	static const char *const argv[] = {"sh", "-c", script, "sh", NULL};

	return argv;
}

uint64_t cgroup_usage_bytes(void)
{
	return read_from(v2 ? "memory.current" : "memory.usage_in_bytes", "");
}

void cgroup_limit(uint64_t bytes)
{
	const char *none = v2 ? "max" : "-1";
	char text[32];

	(void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
	(void)write_to(v2 ? "memory.max" : "memory.limit_in_bytes", bytes ? text : none);
}

uint64_t cgroup_oom_kills(void)
{
	return read_from(v2 ? "memory.events" : "memory.oom_control", "oom_kill ");
}

void cgroup_remove(void)
{
	if (!path[0])
		return;
	for (int tries = 0; rmdir(path); tries++) {
		uint64_t pid = read_from("cgroup.procs", "");

		if (tries == TRIES)
			fail_msg("%s stays: %s", path, strerror(errno));
		if (pid)
			(void)kill((pid_t)pid, SIGKILL);
		(void)poll(NULL, 0, TRY_MS);
	}
	path[0] = '\0';
}

void swap_on(const char *directory, uint64_t bytes)
{
	static const char zeros[1 << 16];
	int fd;

	swap_path = scratch_path(directory, "swap");
	fd = open(swap_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	for (uint64_t done = 0; done < bytes; done += sizeof(zeros)) /* no holes */
		assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
	assert_int_equal(close(fd), 0);
	TOOL_RUN("mkswap", swap_path);
	if (swapon(swap_path, 0))
		fail_msg("swapon %s: %s", swap_path, strerror(errno));
}

void swap_off(void)
{
	if (!swap_path)
		return;
	(void)swapoff(swap_path);
	(void)unlink(swap_path);
	free(swap_path);
	swap_path = NULL;
}
