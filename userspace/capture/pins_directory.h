/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bpf file system that pins live in, as directories: made, mounted, checked, locked. For
 * pins*.c only. Descriptors that come out are the caller's.
 */
#ifndef MON_PINS_DIRECTORY_H
#define MON_PINS_DIRECTORY_H

#include "capture/pins.h"

/* The mounted root. @make: makes and mounts what is missing; else -ENOENT without a sentence. */
int mon_pins_directory_open(const char *base_dir, bool make, int *fd_out, struct mon_error *error);
/* A new directory of a run, locked. -EEXIST. */
int mon_pins_directory_make(int base_fd, const char *uuid, int *fd_out);
/* One that is there, not locked. */
int mon_pins_directory_enter(int base_fd, const char *uuid, int *fd_out);
/* 0 or -EBUSY. */
int mon_pins_directory_lock(int dir_fd);

/* What is pinned as the identity: 0, -ENOENT, -ENOTSUP (the head holds), -EBADMSG. */
int mon_pins_read_identity(int dir_fd, struct mon_pins_identity *identity_out);

#endif
