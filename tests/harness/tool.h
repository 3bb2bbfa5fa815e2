/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Other people's programs, as oracles (nm, objdump, readelf) and to make files that tests need
 * (gcc, strip, objcopy): binutils and gcc are there, they built the test. One that fails, fails the
 * test.
 */
#ifndef HARNESS_TOOL_H
#define HARNESS_TOOL_H

#include "base/error.h"

/* What it said on stdout; the caller frees it. TOOL("nm", path). */
char *tool_output(const char *const argv[]);
#define TOOL(...) tool_output((const char *const[]){__VA_ARGS__, NULL})
/* The same for those that say nothing. */
#define TOOL_RUN(...) free(TOOL(__VA_ARGS__))

/* Room for dir/name is allocated; the caller frees it. */
char *tool_write(const char *dir, const char *name, const char *text);
/* A shared library without libc, linked from assembler text; with a build id. */
char *tool_library(const char *dir, const char *name, const char *assembler);
/* Text for tool_library(): a function that returns at once. */
#define TOOL_FUNCTION(name) \
	".globl " name "\n.type " name ",%function\n" name ":\n\tret\n.size " name ",.-" name "\n"
#define TOOL_STATIC(name) ".type " name ",%function\n" name ":\n\tret\n.size " name ",.-" name "\n"
/* dir/name with the bytes of @path; the caller frees it. */
char *tool_copy(const char *path, const char *dir, const char *name);

/* One sentence: not empty, one line, no full stop, holds @part, ends with @exit_code. */
void assert_sentence(const struct mon_error *error, enum mon_exit exit_code, const char *part);

#endif
