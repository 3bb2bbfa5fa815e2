/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process has mapped executable: how an address of it becomes a place in a file. The store
 * asks when it meets an address that it does not know; attach/ answers from /proc.
 */
#ifndef MON_MAPPING_H
#define MON_MAPPING_H

#include "base/types.h"

struct mon_mapping {
	uint64_t start, end; /* addresses */
	uint64_t offset;     /* in the file, of `start` */
	const char *path;    /* as the process sees it; NULL: no file (made at run time) */
	dev_t device;
	ino_t inode;
};

struct mon_mapping_source {
	/* All that @pid has now, by address. Ends early when @each returns other than 0, which is
	 * returned; else 0 or -errno. */
	int (*read)(uint32_t pid, int (*each)(const struct mon_mapping *mapping, void *context),
		    void *context);
	/* The file's GNU build id, "" when it has none or cannot be read (any more). */
	void (*identify)(uint32_t pid, const struct mon_mapping *mapping,
			 char build_id[MON_BUILD_ID_BYTES]);
};

#endif
