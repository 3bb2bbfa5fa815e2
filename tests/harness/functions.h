/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Function tables of files that the tests trust: what attach/ finds out of hostile ones. A symbol
 * that is not there, or a file that is not ELF, fails the test.
 */
#ifndef HARNESS_FUNCTIONS_H
#define HARNESS_FUNCTIONS_H

#include "base/types.h"

/* Adds the file's functions named in @symbols (ends with NULL), in that order. */
void functions_add(struct mon_function_set *set, const char *path, const char *const symbols[]);
/* Adds, sorted by address, those that start with @prefix; one of each address, @max at most. */
void functions_add_prefix(struct mon_function_set *set, const char *path, const char *prefix,
			  size_t max);

#endif
