/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where in a function its probe goes: not always on its first instruction. The kernel emulates a
 * few kinds of instructions and single-steps the others (instruction.h), and compilers put one that
 * is single-stepped in front of nearly every function when they build with CET: endbr64. So the
 * probe goes on the first instruction that is emulated, if everything before it can be left out of
 * sight: it touches neither memory nor the stack pointer, ends no block, overwrites no argument
 * that is wanted, and nothing but falling through from the symbol leads behind it. Then a call
 * passes the probe exactly once, with the stack it was entered with, so return probes and frames
 * see what they would see at the symbol. docs/decisions/0005-probe-placement.md has the rules with
 * their reasons.
 *
 * Two steps, because the second needs all code of the file: propose looks at the first bytes of the
 * function, check at what else leads there. On arm64 the probe stays at the symbol: paciasp, the
 * usual first instruction, signs the return address that a return probe replaces.
 */
#ifndef MON_PLACEMENT_H
#define MON_PLACEMENT_H

#include "attach/code.h"
#include "base/types.h"

#define MON_PLACEMENT_SHIFT_BYTES_MAX 64
#define MON_PLACEMENT_INSTRUCTIONS_MAX 16 /* stepped over */
/* Of the function's start; that of the last instruction may be needed whole. */
#define MON_PLACEMENT_BYTES (MON_PLACEMENT_SHIFT_BYTES_MAX + 16)

enum mon_placement {
	MON_PLACEMENT_AUTO,
	MON_PLACEMENT_SYMBOL, /* always on the first instruction */
};

int mon_placement_parse(const char *text, enum mon_placement *placement_out); /* -EINVAL */

struct mon_place {
	uint32_t shift_bytes; /* from the symbol to the probe */
	enum mon_cost_class cost, cost_at_symbol;
	uint8_t overwritten; /* arguments that are gone at the probe; bit 0 is the first */
	bool plain;	     /* only endbr64 is stepped over, onto a push */
	const char *why;     /* static text */
};

/* From the first @length bytes of a function; @wanted: arguments, bit 0 is the first. */
void mon_placement_propose(const uint8_t *bytes, size_t length, uint8_t wanted,
			   struct mon_place *place_out);
/* Takes a proposed shift back when something leads behind the symbol, or may. @code NULL: unknown.
 */
void mon_placement_check(const struct mon_code *code, uint64_t offset, uint64_t size_bytes,
			 struct mon_place *place);

#endif
