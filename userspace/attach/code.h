/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where execution can come in: of all the code of a file, which addresses a symbol names and which
 * a branch goes to, and where the decoder had to give up. One bit each for every byte of code, so
 * the memory is bounded by the size of the code: MON_CODE_BYTES_MAX gives 24 MiB, for as long as
 * one file is looked at. x86-64 only.
 *
 * Code is decoded one instruction after the other, anew at each symbol, so that data among code
 * spoils at most what lies before the next symbol.
 */
#ifndef MON_CODE_H
#define MON_CODE_H

#include "attach/elf.h"

#define MON_CODE_BYTES_MAX (64u << 20)
#define MON_CODE_INSTRUCTION_BYTES_MAX 15

struct mon_code;

/* -EFBIG; -ENOTSUP with several code segments: the distances between them are not those of the
 * file; -ENOMEM. */
int mon_code_of_elf(struct mon_elf *elf, struct mon_code **code_out);
/* The same for @size bytes at file offset @offset that lie in memory. */
int mon_code_of_bytes(const uint8_t *bytes, uint64_t size, uint64_t offset, const uint64_t *symbols,
		      size_t symbol_count, struct mon_code **code_out);
void mon_code_free(struct mon_code *code);

/* Of the addresses behind @after, up to and with @last. */
bool mon_code_has_symbol(const struct mon_code *code, uint64_t after, uint64_t last);
bool mon_code_has_target(const struct mon_code *code, uint64_t after, uint64_t last);
/* All of it was decoded, and it has no jump through a register or memory that may stay in it. */
bool mon_code_is_plain(const struct mon_code *code, uint64_t offset, uint64_t size_bytes);

#endif
