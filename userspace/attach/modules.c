// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/modules.h"

#include "attach/elf.h"
#include "attach/proc.h"
#include "attach/target.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MODULES_MAX 4096
#define STEM_BYTES 256

void mon_module_list_clear(struct mon_module_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->modules[i].path);
		free(list->modules[i].open_path);
	}
	free(list->modules);
	*list = (struct mon_module_list){0};
}

static int no_memory(struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "no memory for the mapped files");
}

/* Can it be read, and is it the inode that was mapped (0: any)? Then its identity. */
static bool readable(const char *path, ino_t inode, struct stat *status_out)
{
	MON_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd >= 0 && !fstat(fd, status_out) && S_ISREG(status_out->st_mode) &&
	       (!inode || status_out->st_ino == inode);
}

static int append(struct mon_module_list *list, const char *path, const char *open_path,
		  dev_t device, ino_t inode, struct mon_error *error)
{
	/* A power of two is full: twice the room. */
	if (!(list->count & (list->count - 1))) {
		void *more = realloc(list->modules,
				     (list->count ? list->count * 2 : 1) * sizeof(*list->modules));
		if (!more)
			return no_memory(error);
		list->modules = more;
	}
	struct mon_module module = {
		.path = strdup(path),
		.open_path = strdup(open_path),
		.device = device,
		.inode = inode,
	};

	if (!module.path || !module.open_path) {
		free(module.path);
		free(module.open_path);
		return no_memory(error);
	}
	list->modules[list->count++] = module;
	return 0;
}

static void read_build_ids(struct mon_module_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		struct mon_module *module = &list->modules[i];
		struct mon_elf *elf = NULL;

		if (mon_elf_open(module->open_path, module->path, &elf, NULL))
			continue;
		mon_elf_build_id(elf, module->build_id);
		mon_elf_close(elf);
	}
}

/* One line of /proc/PID/maps, taken apart. */
struct mapping {
	char range[40]; /* as map_files names it */
	char *path;	/* in the line */
	dev_t device;
	ino_t inode;
};

static bool parse_mapping(char *line, struct mapping *mapping_out)
{
	static const char deleted[] = " (deleted)";
	uint64_t start, end, inode;
	unsigned major_number, minor_number;
	char rights[5];
	int path_at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64 " %n", &start, &end,
		   rights, &major_number, &minor_number, &inode, &path_at) != 6 ||
	    !path_at || rights[2] != 'x' || !inode || line[path_at] != '/')
		return false;
	(void)snprintf(mapping_out->range, sizeof(mapping_out->range), "%" PRIx64 "-%" PRIx64,
		       start, end);
	mapping_out->path = line + path_at;
	size_t length = strcspn(mapping_out->path, "\n");

	mapping_out->path[length] = '\0';
	if (length > sizeof(deleted) - 1 &&
	    !strcmp(mapping_out->path + length - (sizeof(deleted) - 1), deleted))
		mapping_out->path[length - (sizeof(deleted) - 1)] = '\0';
	mapping_out->device = makedev(major_number, minor_number);
	mapping_out->inode = (ino_t)inode;
	return true;
}

/*
 * How the inode itself is reached. map_files is the mapping whatever became of the path, but needs
 * CAP_CHECKPOINT_RESTORE; without it the path below the target's root, if it is still that inode.
 */
static void find_open_path(pid_t pid, const struct mapping *mapping, char *open_path, size_t size,
			   struct stat *status)
{
	char name[64];
	char file[MON_PROC_PATH_BYTES];

	(void)snprintf(name, sizeof(name), "map_files/%s", mapping->range);
	(void)snprintf(open_path, size, "%s", mon_proc_path(file, pid, name));
	if (readable(open_path, 0, status))
		return;
	(void)snprintf(open_path, size, "%s%s", mon_proc_path(file, pid, "root"), mapping->path);
	if (readable(open_path, mapping->inode, status))
		return;
	/* Out of reach: the name that tells why when it is opened. */
	(void)snprintf(open_path, size, "%s", mon_proc_path(file, pid, name));
	status->st_dev = mapping->device;
	status->st_ino = mapping->inode;
}

static int read_maps(pid_t pid, FILE *maps, struct mon_module_list *list, struct mon_error *error)
{
	MON_FREE char *line = NULL;
	size_t line_size = 0;
	struct mapping last = {0};

	while (getline(&line, &line_size, maps) >= 0) {
		struct mapping mapping;
		struct stat status = {0};
		char open_path[MON_PROC_PATH_BYTES + PATH_MAX];
		bool known = false;

		if (!parse_mapping(line, &mapping) ||
		    (mapping.inode == last.inode && mapping.device == last.device))
			continue;
		last = mapping;
		find_open_path(pid, &mapping, open_path, sizeof(open_path), &status);
		for (size_t i = 0; i < list->count && !known; i++)
			known = list->modules[i].inode == status.st_ino &&
				list->modules[i].device == status.st_dev;
		if (known)
			continue;
		if (list->count == MODULES_MAX)
			return mon_error_set(error, MON_EXIT_UNAVAILABLE, E2BIG,
					     "process %d has more than %d files mapped; watch a "
					     "file with: -b PATH",
					     pid, MODULES_MAX);
		int result =
			append(list, mapping.path, open_path, status.st_dev, status.st_ino, error);
		if (result)
			return result;
	}
	return 0;
}

int mon_modules_of_process(pid_t pid, struct mon_module_list *list_out, struct mon_error *error)
{
	struct mon_module_list list = {0};
	char file[MON_PROC_PATH_BYTES], exe[PATH_MAX];
	struct stat status;
	int result;

	MON_FCLOSE FILE *maps = fopen(mon_proc_path(file, pid, "maps"), "re");
	ssize_t length = maps ? mon_proc_link(pid, "exe", exe, sizeof(exe)) : -errno;

	(void)mon_proc_path(file, pid, "exe");
	if (length < 0 || !readable(file, 0, &status)) {
		int number = length < 0 ? (int)-length : errno;

		return number == EACCES || number == EPERM
			       ? mon_error_set(error, MON_EXIT_PERMISSION, EPERM,
					       "no right to read what process %d has mapped: run "
					       "as root, or give monbpf CAP_SYS_PTRACE",
					       pid)
			       : mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
					       "process %d has no program mapped: it ended, or is "
					       "a kernel thread; look with: pgrep -l NAME",
					       pid);
	}
	/* The main executable through its own link, which outlives its mappings. */
	length = length > 10 && !strcmp(exe + length - 10, " (deleted)") ? length - 10 : length;
	exe[length] = '\0';
	result = append(&list, exe, file, status.st_dev, status.st_ino, error);
	if (!result)
		result = read_maps(pid, maps, &list, error);
	if (result) {
		mon_module_list_clear(&list);
		return result;
	}
	read_build_ids(&list);
	*list_out = list;
	return 0;
}

int mon_modules_of_file(const char *path, struct mon_module_list *list_out, struct mon_error *error)
{
	struct mon_module_list list = {0};
	struct mon_elf *elf = NULL;
	MON_FREE char *absolute = realpath(path, NULL);
	struct stat status;
	int result = mon_elf_open(absolute ? absolute : path, path, &elf, error);

	if (result)
		return result;
	if (stat(absolute ? absolute : path, &status))
		result = mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				       "%s went away; check the path", MON_ESCAPED(path));
	else
		result = append(&list, absolute ? absolute : path, absolute ? absolute : path,
				status.st_dev, status.st_ino, error);
	if (!result)
		mon_elf_build_id(elf, list.modules[0].build_id);
	mon_elf_close(elf);
	if (result) {
		mon_module_list_clear(&list);
		return result;
	}
	*list_out = list;
	return 0;
}

bool mon_module_same_file(const struct mon_module *module, const struct mon_module *other)
{
	return module->device == other->device && module->inode == other->inode;
}

bool mon_module_is_watched(const struct mon_module *module, const struct mon_function_set *set)
{
	for (size_t i = 0; i < set->module_count; i++)
		if (mon_module_same_file(&set->modules[i], module))
			return true;
	return false;
}

/* 1: it has, 0: it has not or is gone; or -errno. */
static int has_mapped(pid_t pid, const struct mon_module *module)
{
	char file[MON_PROC_PATH_BYTES];
	MON_FCLOSE FILE *maps = fopen(mon_proc_path(file, pid, "maps"), "re");
	MON_FREE char *line = NULL;
	size_t line_size = 0;
	struct mapping last = {0};

	if (!maps)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	while (getline(&line, &line_size, maps) >= 0) {
		char open_path[MON_PROC_PATH_BYTES + PATH_MAX];
		struct mapping mapping;
		struct stat status = {0};

		if (!parse_mapping(line, &mapping) ||
		    (mapping.inode == last.inode && mapping.device == last.device))
			continue;
		last = mapping;
		find_open_path(pid, &mapping, open_path, sizeof(open_path), &status);
		if (status.st_ino == module->inode && status.st_dev == module->device)
			return 1;
	}
	return 0;
}

int mon_module_each_user(const struct mon_module *module, int (*each)(pid_t pid, void *context),
			 void *context, uint32_t *unread_out)
{
	DIR *directory = opendir(mon_target_proc_root());
	const struct dirent *entry;
	uint32_t unread = 0;
	int result = 0;

	if (!directory)
		return -errno;
	while (!result && (entry = readdir(directory))) {
		uint64_t number;
		int mapped;

		if (mon_parse_number(entry->d_name, 1, INT_MAX, &number) ||
		    (pid_t)number == getpid())
			continue;
		mapped = has_mapped((pid_t)number, module);
		unread += mapped < 0;
		if (mapped > 0)
			result = each((pid_t)number, context);
	}
	(void)closedir(directory);
	*unread_out = unread;
	return result;
}

/* "libc.so.6" and "libc-2.31.so" are both "libc". */
bool mon_module_name_match(const char *glob, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	const char *suffix = strstr(base, ".so");
	char stem[STEM_BYTES];

	if (strchr(glob, '/'))
		return mon_glob_match(glob, path);
	if (mon_glob_match(glob, base))
		return true;
	if (!suffix || (size_t)(suffix - base) >= sizeof(stem) || (suffix[3] && suffix[3] != '.'))
		return false;
	memcpy(stem, base, (size_t)(suffix - base));
	stem[suffix - base] = '\0';
	if (mon_glob_match(glob, stem))
		return true;
	for (char *dash = stem; (dash = strchr(dash + 1, '-'));)
		if (dash[1] >= '0' && dash[1] <= '9') {
			*dash = '\0';
			return mon_glob_match(glob, stem);
		}
	return false;
}
