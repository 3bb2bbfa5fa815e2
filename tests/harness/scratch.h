/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A directory of its own for a test, below the build. Kept when the test fails, for a look. */
#ifndef HARNESS_SCRATCH_H
#define HARNESS_SCRATCH_H

/* Freed by scratch_remove; an absolute path. */
char *scratch_new(void);
/* dir/name; the caller frees it. */
char *scratch_path(const char *dir, const char *name);
/* Removes everything in it. Takes NULL. */
void scratch_remove(char *dir);

#endif
