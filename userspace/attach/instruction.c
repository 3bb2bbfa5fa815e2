// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/instruction.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)

/* push_setup_xol_ops() and branch_setup_xol_ops() of arch/x86/kernel/uprobes.c. */
enum mon_cost_class mon_instruction_cost(const uint8_t *bytes, size_t length)
{
	static const uint8_t nop_5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	static const uint8_t pause[] = {0xf3, 0x90};

	if (!length)
		return MON_COST_UNKNOWN;
	/* Emulated or even optimised since 6.18, single-stepped before. */
	if (length >= sizeof(nop_5) && !memcmp(bytes, nop_5, sizeof(nop_5)))
		return MON_COST_UNKNOWN;
	if (length >= sizeof(pause) && !memcmp(bytes, pause, sizeof(pause)))
		return MON_COST_EMULATED;
	/* push, of the upper registers too; nop; jmp; call; short and near jcc. */
	if (bytes[0] == 0x41 && length > 1)
		return bytes[1] >= 0x50 && bytes[1] <= 0x57 ? MON_COST_EMULATED
							    : MON_COST_SINGLE_STEP;
	if ((bytes[0] >= 0x50 && bytes[0] <= 0x57) || bytes[0] == 0x90 || bytes[0] == 0xe8 ||
	    bytes[0] == 0xe9 || bytes[0] == 0xeb || (bytes[0] & 0xf0) == 0x70)
		return MON_COST_EMULATED;
	if (bytes[0] == 0x0f && length > 1 && (bytes[1] & 0xf0) == 0x80)
		return MON_COST_EMULATED;
	return MON_COST_SINGLE_STEP;
}

#else

/* aarch64_insn tables of arch/arm64/kernel/probes/decode-insn.c: branches and literal loads. */
enum mon_cost_class mon_instruction_cost(const uint8_t *bytes, size_t length)
{
	static const struct {
		uint32_t mask, value;
	} simulated[] = {
		{0xff000010, 0x54000000}, /* b.cond */
		{0x7c000000, 0x14000000}, /* b, bl */
		{0x7e000000, 0x34000000}, /* cbz, cbnz */
		{0x7e000000, 0x36000000}, /* tbz, tbnz */
		{0x1f000000, 0x10000000}, /* adr, adrp */
		{0xff9ffc1f, 0xd61f0000}, /* br, blr, ret */
		{0xbf000000, 0x18000000}, /* ldr literal */
		{0xff000000, 0x98000000}, /* ldrsw literal */
	};
	uint32_t word;

	if (length < sizeof(word))
		return MON_COST_UNKNOWN;
	memcpy(&word, bytes, sizeof(word));
	for (size_t i = 0; i < sizeof(simulated) / sizeof(simulated[0]); i++)
		if ((word & simulated[i].mask) == simulated[i].value)
			return MON_COST_EMULATED;
	return MON_COST_SINGLE_STEP;
}

#endif
