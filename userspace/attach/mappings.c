// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/mappings.h"

#include "attach/elf.h"
#include "attach/proc.h"
#include "base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

/* Only what can be run; "[vdso]" and the like are no files. @line is changed. */
static bool parse(char *line, struct mon_mapping *mapping)
{
	static const char deleted[] = " (deleted)";
	unsigned major_number, minor_number;
	uint64_t inode;
	char rights[5], *path;
	int path_at = 0;
	size_t length;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
		   &mapping->start, &mapping->end, rights, &mapping->offset, &major_number,
		   &minor_number, &inode, &path_at) != 7 ||
	    !path_at || rights[2] != 'x' || mapping->end <= mapping->start)
		return false;
	mapping->device = makedev(major_number, minor_number);
	mapping->inode = (ino_t)inode;
	mapping->path = NULL;
	path = line + path_at;
	if (!inode || *path != '/')
		return true;
	length = strcspn(path, "\n");
	path[length] = '\0';
	if (length > sizeof(deleted) - 1 && !strcmp(path + length - (sizeof(deleted) - 1), deleted))
		path[length - (sizeof(deleted) - 1)] = '\0';
	mapping->path = path;
	return true;
}

static int read_mappings(uint32_t pid,
			 int (*each)(const struct mon_mapping *mapping, void *context),
			 void *context)
{
	char file[MON_PROC_PATH_BYTES];
	MON_FCLOSE FILE *maps = fopen(mon_proc_path(file, (pid_t)pid, "maps"), "re");
	MON_FREE char *line = NULL;
	size_t size = 0;
	int result = maps ? 0 : -errno;

	while (!result && getline(&line, &size, maps) >= 0) {
		struct mon_mapping mapping = {0};

		if (parse(line, &mapping))
			result = each(&mapping, context);
	}
	return result;
}

static void identify(uint32_t pid, const struct mon_mapping *mapping,
		     char build_id[MON_BUILD_ID_BYTES])
{
	char name[64], file[MON_PROC_PATH_BYTES];
	struct mon_elf *elf = NULL;

	build_id[0] = '\0';
	(void)snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, mapping->start,
		       mapping->end);
	if (mon_elf_open(mon_proc_path(file, (pid_t)pid, name), mapping->path, &elf, NULL))
		return;
	mon_elf_build_id(elf, build_id);
	mon_elf_close(elf);
}

const struct mon_mapping_source mon_process_mappings = {
	.read = read_mappings,
	.identify = identify,
};
