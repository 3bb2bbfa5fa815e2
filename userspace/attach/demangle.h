/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * C++ and Rust names as people write them, through libiberty. A mangled name is hostile input: a
 * few dozen bytes can stand for gigabytes of text, so what grows past the bound stays mangled.
 */
#ifndef MON_DEMANGLE_H
#define MON_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

#define MON_DEMANGLED_BYTES_MAX 4096

/* "ns::f(int)", or "ns::f" without @parameters. False: not mangled, or too long. */
bool mon_demangle(const char *symbol, bool parameters, char text[MON_DEMANGLED_BYTES_MAX]);

#endif
