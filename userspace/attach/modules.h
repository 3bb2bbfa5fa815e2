/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ELF files that a process has mapped executable, each reachable even if it was deleted,
 * replaced or lies in another mount namespace (/proc/PID/map_files, /proc/PID/root).
 */
#ifndef MON_MODULES_H
#define MON_MODULES_H

#include "base/error.h"
#include "base/types.h"

#include <sys/types.h>

struct mon_module_list {
	struct mon_module *modules; /* the main executable first */
	size_t count;
};

/* Of a process. The vdso and anonymous mappings are left out. */
int mon_modules_of_process(pid_t pid, struct mon_module_list *list_out, struct mon_error *error);
/* Of a file (`--binary PATH`): one module. Follows symlinks: it is only read. */
int mon_modules_of_file(const char *path, struct mon_module_list *list_out,
			struct mon_error *error);
void mon_module_list_clear(struct mon_module_list *list);

/* Are they the same file, by device and inode? */
bool mon_module_same_file(const struct mon_module *module, const struct mon_module *other);
/* Does @set have functions of that file? */
bool mon_module_is_watched(const struct mon_module *module, const struct mon_function_set *set);

/*
 * Calls @each for every process but ours that has @module mapped executable now, until it returns
 * other than 0, which is returned; else 0, or -errno when /proc cannot be listed. *unread_out: how
 * many processes could not be asked, for want of a right.
 */
int mon_module_each_user(const struct mon_module *module, int (*each)(pid_t pid, void *context),
			 void *context, uint32_t *unread_out);

/* Is a file whose base name matches @glob mapped (`libc`, `libc.so.6`, `libssl*`)? */
bool mon_module_name_match(const char *glob, const char *path);

#endif
