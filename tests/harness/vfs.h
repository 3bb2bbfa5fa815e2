/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SQLite's own way to the disk, made to fail: a VFS over "unix" that is the default one from
 * vfs_install to vfs_remove. What a fault says is done first or not at all, as each names.
 */
#ifndef HARNESS_VFS_H
#define HARNESS_VFS_H

#include <stdbool.h>

/* The nth from now (1: the next) gives @code, then all that follow when @persistent. 0: off. */
struct vfs_fault {
	long nth;
	int code;
	bool persistent;
	long failed;	    /* how often it did */
	void (*hook)(void); /* called first; with @code SQLITE_OK all goes well afterwards */
};

extern struct vfs_fault vfs_sync, vfs_write, vfs_read;

void vfs_install(void);
void vfs_remove(void); /* also when it is not installed */

#endif
