/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads /proc. The same map may be open twice: counted by its id. */
#include "tests/harness/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define OBJECTS_MAX 512

uint64_t memory_peak_bytes(pid_t pid)
{
	unsigned long long kib = 0;
	char path[64];
	char line[256];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmHWM: %llu", &kib) == 1)
			break;
	}
	if (file)
		(void)fclose(file);
	if (kib == 0)
		fail_msg("%s has no VmHWM", path);
	return kib * 1024;
}

struct object {
	bool is_map;
	unsigned int id;
};

static bool read_object(const char *path, struct object *object, unsigned long long *bytes)
{
	FILE *file = fopen(path, "re");
	bool is_bpf = false;
	char line[256];

	*bytes = 0;
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "map_id: %u", &object->id) == 1) {
			object->is_map = true;
			is_bpf = true;
		} else if (sscanf(line, "prog_id: %u", &object->id) == 1) {
			object->is_map = false;
			is_bpf = true;
		} else {
			(void)sscanf(line, "memlock: %llu", bytes);
		}
	}
	if (file)
		(void)fclose(file);
	return is_bpf && *bytes != 0;
}

uint64_t memory_bpf_bytes(pid_t pid)
{
	struct object seen[OBJECTS_MAX];
	size_t count = 0;
	uint64_t total = 0;
	char path[512];

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	DIR *dir = opendir(path);

	if (!dir)
		fail_msg("cannot open %s", path);
	for (struct dirent *entry; (entry = readdir(dir));) {
		struct object object = {false, 0};
		unsigned long long bytes;
		bool known = false;

		(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, entry->d_name);
		if (!read_object(path, &object, &bytes))
			continue;
		for (size_t i = 0; i < count && !known; i++)
			known = seen[i].is_map == object.is_map && seen[i].id == object.id;
		if (known)
			continue;
		assert_true(count < OBJECTS_MAX);
		seen[count++] = object;
		total += bytes;
	}
	(void)closedir(dir);
	return total;
}

uint64_t memory_mapped_bpf_bytes(pid_t pid)
{
	unsigned long long total = 0, kib;
	bool bpf = false;
	char path[64];
	char line[512];

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	FILE *file = fopen(path, "re");

	if (!file)
		fail_msg("cannot open %s", path);
	while (fgets(line, sizeof(line), file)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			bpf = strstr(line, "anon_inode:bpf-map") != NULL;
		else if (bpf && sscanf(line, "Rss: %llu", &kib) == 1)
			total += kib * 1024;
	}
	(void)fclose(file);
	return total;
}

uint64_t memory_total_bytes(pid_t pid)
{
	return memory_peak_bytes(pid) - memory_mapped_bpf_bytes(pid) + memory_bpf_bytes(pid);
}
