/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scratch directories: build/tests/scratch/PROGRAM.XXXXXX. Never follows a link when removing. */
#include "tests/harness/scratch.h"

#include "tests/harness/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *scratch_path(const char *dir, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		fail_msg("no memory");
	return path;
}

char *scratch_new(void)
{
	char relative[PATH_MAX];
	char *path = NULL;

	(void)snprintf(relative, sizeof(relative), "%s/tests", process_build_dir());
	(void)mkdir(process_build_dir(), 0755);
	(void)mkdir(relative, 0755);
	(void)strncat(relative, "/scratch", sizeof(relative) - strlen(relative) - 1);
	(void)mkdir(relative, 0755);

	char *base = realpath(relative, NULL);

	if (!base)
		fail_msg("%s: %s", relative, strerror(errno));
	if (asprintf(&path, "%s/%s.XXXXXX", base, program_invocation_short_name) < 0)
		fail_msg("no memory");
	free(base);
	if (!mkdtemp(path))
		fail_msg("%s: %s", path, strerror(errno));
	return path;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	(void)remove(path);
	return 0;
}

void scratch_remove(char *dir)
{
	if (!dir)
		return;
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(dir);
}
