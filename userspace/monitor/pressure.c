// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What counts against a limit includes the page cache, which goes when it has to: it is left out
 * (Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst: inactive_file). Where a file
 * cannot be read there is no pressure to tell.
 */
#include "monitor/pressure.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NEAR_LIMIT 0.9
#define SWAPPED_BYTES (1ull << 20) /* less happens to any idle process */

static bool read_number(const char *path, uint64_t *number_out)
{
	MON_FCLOSE FILE *file = fopen(path, "re");

	/* "max" of v2 is no number: no limit. */
	return file && fscanf(file, "%" SCNu64, number_out) == 1;
}

/* "KEY NUMBER" or "KEY: NUMBER kB" in a file of such lines. */
static uint64_t read_field(const char *path, const char *key)
{
	MON_FCLOSE FILE *file = fopen(path, "re");
	size_t length = strlen(key);
	char line[256];
	uint64_t number = 0;

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, length) && sscanf(line + length, "%" SCNu64, &number) == 1)
			return number;
	return 0;
}

/* The path of our cgroup that has @controller in its list ("" is v2's). */
static bool own_cgroup(const char *controller, char *path, size_t size)
{
	MON_FCLOSE FILE *file = fopen("/proc/self/cgroup", "re");
	char line[4096 + 256];

	while (file && fgets(line, sizeof(line), file)) {
		char *list = strchr(line, ':'), *at = list ? strchr(list + 1, ':') : NULL;

		if (!at)
			continue;
		*at = '\0';
		at[1 + strcspn(at + 1, "\n")] = '\0';
		if (strcmp(list + 1, controller) != 0)
			continue;
		return (size_t)snprintf(path, size, "%s", at + 1) < size;
	}
	return false;
}

void mon_pressure_find(struct mon_pressure *pressure_out)
{
	static const struct {
		const char *controller, *root, *usage, *limit;
	} versions[] = {
		{"memory", "/sys/fs/cgroup/memory", "memory.usage_in_bytes",
		 "memory.limit_in_bytes"},
		{"", "/sys/fs/cgroup", "memory.current", "memory.max"},
	};
	struct mon_pressure pressure = {0};
	char path[2048];

	for (size_t i = 0; i < MON_ARRAY_COUNT(versions) && !pressure.usage_path[0]; i++) {
		uint64_t usage;

		if (!own_cgroup(versions[i].controller, path, sizeof(path)))
			continue;
		(void)snprintf(pressure.usage_path, sizeof(pressure.usage_path), "%s%s/%s",
			       versions[i].root, path, versions[i].usage);
		(void)snprintf(pressure.limit_path, sizeof(pressure.limit_path), "%s%s/%s",
			       versions[i].root, path, versions[i].limit);
		(void)snprintf(pressure.stat_path, sizeof(pressure.stat_path), "%s%s/memory.stat",
			       versions[i].root, path);
		if (!read_number(pressure.usage_path, &usage))
			pressure.usage_path[0] = '\0';
	}
	*pressure_out = pressure;
}

bool mon_pressure_now(const struct mon_pressure *pressure)
{
	uint64_t usage, limit, cache;

	if (read_field("/proc/self/status", "VmSwap:") * 1024 >= SWAPPED_BYTES)
		return true;
	if (!pressure->usage_path[0] || !read_number(pressure->usage_path, &usage) ||
	    !read_number(pressure->limit_path, &limit))
		return false;
	cache = read_field(pressure->stat_path, "inactive_file ");
	usage = usage > cache ? usage - cache : 0;
	return (double)usage >= NEAR_LIMIT * (double)limit;
}
