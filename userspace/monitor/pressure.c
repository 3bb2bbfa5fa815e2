// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What counts against a limit includes the page cache, which goes when it has to: it is left out
 * (Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst: inactive_file). Where a file
 * cannot be read there is no pressure to tell.
 *
 * Pages that were swapped out stay there until they are touched, long after memory is back. So it
 * is their growth that tells.
 */
#include "monitor/pressure.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NEAR_LIMIT 0.9
#define FAR_FROM_LIMIT 0.8
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
	struct mon_pressure pressure = {.status_path = "/proc/self/status"};
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

/* Share of the cgroup's limit that is used, the page cache left out. */
static double share_used(const struct mon_pressure *pressure)
{
	uint64_t usage, limit, cache;

	if (!pressure->usage_path[0] || !read_number(pressure->usage_path, &usage) ||
	    !read_number(pressure->limit_path, &limit) || !limit)
		return 0;
	cache = read_field(pressure->stat_path, "inactive_file ");
	usage = usage > cache ? usage - cache : 0;
	return (double)usage / (double)limit;
}

static bool more_is_swapped(struct mon_pressure *pressure)
{
	uint64_t swapped = read_field(pressure->status_path, "VmSwap:") * 1024;
	bool more = swapped >= pressure->swapped_bytes + SWAPPED_BYTES;

	if (more || swapped < pressure->swapped_bytes)
		pressure->swapped_bytes = swapped;
	return more;
}

bool mon_pressure_now(struct mon_pressure *pressure)
{
	double share = share_used(pressure);
	bool more = more_is_swapped(pressure);

	if (more || share >= (pressure->pressed ? FAR_FROM_LIMIT : NEAR_LIMIT)) {
		pressure->pressed = true;
		pressure->calm = 0;
	} else if (pressure->pressed && ++pressure->calm >= MON_PRESSURE_CALM) {
		pressure->pressed = false;
	}
	return pressure->pressed;
}
