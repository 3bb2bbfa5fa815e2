/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a place in a file to the function that it is in, long after: files are opened when they are
 * asked for and only believed when they are the ones that ran (build id). One table of functions
 * for each file is kept; MON_SYMBOLIZE_MODULES_MAX files at most, others have no names.
 */
#ifndef MON_SYMBOLIZE_H
#define MON_SYMBOLIZE_H

#include <stdint.h>

#define MON_SYMBOLIZE_MODULES_MAX 1024

struct mon_symbolizer;

/* NULL: no memory. */
struct mon_symbolizer *mon_symbolizer_new(void);
void mon_symbolizer_free(struct mon_symbolizer *symbolizer);

/*
 * The function at the file offset @offset of @path, demangled without its parameters. NULL: there
 * is none, or the file is not to be had, or its build id is not @build_id (both may be ""). Valid
 * until the next call.
 */
const char *mon_symbolizer_name(struct mon_symbolizer *symbolizer, const char *path,
				const char *build_id, uint64_t offset);

#endif
