/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From globs to functions: reads .symtab and .dynsym through libelf with every bound checked (the
 * file is hostile input), keeps functions, folds aliases at one address, demangles, and matches.
 */
#ifndef MON_SYMBOLS_H
#define MON_SYMBOLS_H

#include "attach/modules.h"
#include "attach/placement.h"
#include "base/error.h"
#include "base/types.h"

#define MON_SYMBOLS_DEFAULT_MAX 1000 /* without a glob */
#define MON_SYMBOLS_MATCH_MAX 10000  /* with one: more is an error that says how many */

struct mon_symbol_query {
	const char *const *globs; /* "parse_*", "libc:mallo*"; none: all of the main executable */
	size_t glob_count;
	const char *const *excludes; /* same form; matched against symbol and demangled name */
	size_t exclude_count;
	size_t limit; /* of functions; 0: the two above */
	enum mon_placement placement;
	uint8_t arguments; /* that are wanted at the probe; bit 0 is the first */
};

/*
 * Fills @set_out (modules are copied, only those with a match). -ENOENT with the nearest names;
 * -E2BIG with the ten biggest name prefixes and their counts; -ENODATA when a stripped file has no
 * function symbols; -ENOEXEC not an ELF file, truncated, 32-bit or for another machine.
 */
int mon_symbols_find(const struct mon_module_list *modules, const struct mon_symbol_query *query,
		     struct mon_function_set *set_out, struct mon_error *error);

/* Splits "LIB:GLOB"; a C++ "a::b" is not one. Returns the glob, *library_length 0 without LIB. */
const char *mon_symbol_glob_split(const char *text, size_t *library_length_out);

#endif
