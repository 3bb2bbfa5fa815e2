/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One ELF file, read with every bound checked: it is hostile input. libelf reads (ELF_C_READ), it
 * never maps: a file that is truncated while mapped is a SIGBUS. Only 64-bit programs and
 * libraries of the machine we run on are accepted.
 */
#ifndef MON_ELF_H
#define MON_ELF_H

#include "base/error.h"
#include "base/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_ELF_FILE_BYTES_MAX (16ull << 30)
#define MON_ELF_SYMBOLS_MAX (4u << 20)	     /* in one table */
#define MON_ELF_STRINGS_BYTES_MAX (1u << 30) /* of one table */
#define MON_ELF_NAME_BYTES_MAX 4096	     /* a longer name is passed over */

struct mon_elf;

/* A symbol or an import; names live with the file. */
struct mon_elf_symbol {
	const char *name;
	size_t name_length; /* without a version ("@@GLIBC_2.2.5") */
	uint64_t offset;    /* in the file, of code, by whatever it is named; others: 0 */
	uint64_t size_bytes;
	bool function; /* defined, STT_FUNC, inside executable PT_LOAD */
	bool import;   /* undefined here */
	bool global;
	bool weak;
	bool dynamic; /* from .dynsym */
};

/*
 * Reads @open_path and says @shown_path in errors. -ENOEXEC (not ELF, truncated, malformed,
 * 32-bit, other machine, not a program or library), -EISDIR, -EFBIG, or the errno of open(2).
 */
int mon_elf_open(const char *open_path, const char *shown_path, struct mon_elf **elf_out,
		 struct mon_error *error);
void mon_elf_close(struct mon_elf *elf);

/*
 * Calls @each for every symbol of .symtab, then of .dynsym, until it returns other than 0, which
 * is returned. -ENOEXEC when a table is malformed, -EFBIG when it is too large.
 */
int mon_elf_symbols(struct mon_elf *elf,
		    int (*each)(const struct mon_elf_symbol *symbol, void *context), void *context,
		    struct mon_error *error);

/* GNU build id in hex; "" without one. */
void mon_elf_build_id(struct mon_elf *elf, char build_id[MON_BUILD_ID_BYTES]);
/* The Go linker's note or tables. */
bool mon_elf_is_go(struct mon_elf *elf);
bool mon_elf_has_section(struct mon_elf *elf, const char *name);

/* File offset of the program's entry point, 0: none. */
uint64_t mon_elf_entry_offset(const struct mon_elf *elf);
/* Where its code is in the file. -ENOTSUP: in several segments, -ENOENT: in none. */
int mon_elf_code(const struct mon_elf *elf, uint64_t *offset_out, uint64_t *size_out);
/* Bytes read from @offset, less than @size at the end of the file. */
size_t mon_elf_read(const struct mon_elf *elf, uint64_t offset, void *buffer, size_t size);

#endif
