// SPDX-License-Identifier: GPL-2.0-or-later
/* x86-64 decides, other machines stay at the symbol. Main thread, before anything is attached. */
#include "attach/placement.h"

#include "attach/instruction.h"
#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

int mon_placement_parse(const char *text, enum mon_placement *placement_out)
{
	if (strcmp(text, "auto") != 0 && strcmp(text, "symbol") != 0)
		return -EINVAL;
	*placement_out = *text == 'a' ? MON_PLACEMENT_AUTO : MON_PLACEMENT_SYMBOL;
	return 0;
}

static void stay(struct mon_place *place, const char *why)
{
	place->shift_bytes = 0;
	place->cost = place->cost_at_symbol;
	place->overwritten = 0;
	place->plain = false;
	place->why = why;
}

#if defined(__x86_64__)

#include <Zydis/Zydis.h>

/* Those of plain registers that compilers put before a prologue; the list is meant to be short. */
static bool is_simple(const ZydisDecodedInstruction *instruction)
{
	if (instruction->meta.category == ZYDIS_CATEGORY_CMOV ||
	    instruction->meta.category == ZYDIS_CATEGORY_SETCC)
		return true;
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_NOT:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_CDQE:
	case ZYDIS_MNEMONIC_CDQ:
	case ZYDIS_MNEMONIC_CQO:
	case ZYDIS_MNEMONIC_BSWAP:
		return true;
	default:
		return false;
	}
}

static bool is_stack_pointer(ZydisRegister name)
{
	return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, name) ==
	       ZYDIS_REGISTER_RSP;
}

static bool is_general(ZydisRegister name)
{
	ZydisRegisterClass kind = ZydisRegisterGetClass(name);

	return kind == ZYDIS_REGCLASS_GPR8 || kind == ZYDIS_REGCLASS_GPR16 ||
	       kind == ZYDIS_REGCLASS_GPR32 || kind == ZYDIS_REGCLASS_GPR64;
}

static uint8_t argument_bit(ZydisRegister name)
{
	static const ZydisRegister arguments[] = {ZYDIS_REGISTER_RDI, ZYDIS_REGISTER_RSI,
						  ZYDIS_REGISTER_RDX, ZYDIS_REGISTER_RCX,
						  ZYDIS_REGISTER_R8,  ZYDIS_REGISTER_R9};
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, name);

	for (size_t i = 0; i < MON_ARRAY_COUNT(arguments); i++)
		if (whole == arguments[i])
			return (uint8_t)(1u << i);
	return 0;
}

/* NULL, or why the instruction cannot be stepped over. */
static const char *obstacle(const ZydisDecodedInstruction *instruction,
			    const ZydisDecodedOperand *operands, uint8_t *overwritten)
{
	const bool is_nop = instruction->mnemonic == ZYDIS_MNEMONIC_NOP;

	if (instruction->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
	    instruction->mnemonic == ZYDIS_MNEMONIC_RET)
		return "the first block ends before a cheap instruction";
	for (size_t i = 0; i < instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &operands[i];
		bool writes = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

		if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			if (is_stack_pointer(operand->mem.base) && !is_nop)
				return "the stack is used first";
			if (operand->mem.type != ZYDIS_MEMOP_TYPE_AGEN && !is_nop)
				return "memory is read or written first";
		} else if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			if (is_stack_pointer(operand->reg.value))
				return "the stack is used first";
			if (writes && ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64,
								       operand->reg.value) ==
					      ZYDIS_REGISTER_RBP)
				return "the frame pointer changes first";
			if (!is_general(operand->reg.value) &&
			    operand->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
				return "a special instruction comes first";
			if (writes)
				*overwritten |= argument_bit(operand->reg.value);
		}
	}
	return is_simple(instruction) ? NULL : "a special instruction comes first";
}

static bool is_push(const uint8_t *bytes)
{
	return (bytes[0] & 0xf8) == 0x50 || (bytes[0] == 0x41 && (bytes[1] & 0xf8) == 0x50);
}

void mon_placement_propose(const uint8_t *bytes, size_t length, uint8_t wanted,
			   struct mon_place *place_out)
{
	struct mon_place place = {.cost_at_symbol = mon_instruction_cost(bytes, length)};
	bool only_endbr64 = true;
	ZydisDecoder decoder;
	size_t at = 0;

	stay(&place, "no cheap instruction is near");
	if (place.cost == MON_COST_EMULATED)
		place.why = "the first instruction is cheap";
	(void)ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (int i = 0; place.cost != MON_COST_EMULATED; i++) {
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		ZydisDecodedInstruction instruction;
		uint8_t overwritten = place.overwritten;
		const char *why;

		if (i > MON_PLACEMENT_INSTRUCTIONS_MAX || at > MON_PLACEMENT_SHIFT_BYTES_MAX ||
		    at >= length)
			break;
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes + at, length - at,
							 &instruction, operands))) {
			stay(&place, "it cannot be decoded");
			break;
		}
		if (mon_instruction_cost(bytes + at, instruction.length) == MON_COST_EMULATED) {
			place.shift_bytes = (uint32_t)at;
			place.cost = MON_COST_EMULATED;
			place.plain = only_endbr64 && is_push(bytes + at);
			place.why = only_endbr64
					    ? "steps over endbr64"
					    : "steps over instructions that only set registers";
			break;
		}
		why = obstacle(&instruction, operands, &overwritten);
		if (!why && (overwritten & wanted))
			why = "a wanted argument is overwritten first";
		if (why) {
			stay(&place, why);
			break;
		}
		place.overwritten = overwritten;
		only_endbr64 = only_endbr64 && instruction.mnemonic == ZYDIS_MNEMONIC_ENDBR64;
		at += instruction.length;
	}
	if (!place.shift_bytes)
		place.overwritten = 0;
	*place_out = place;
}

void mon_placement_check(const struct mon_code *code, uint64_t offset, uint64_t size_bytes,
			 struct mon_place *place)
{
	uint64_t probe = offset + place->shift_bytes;

	if (!place->shift_bytes)
		return;
	if (code && mon_code_has_symbol(code, offset, probe))
		stay(place, "another symbol starts in between");
	else if (code && mon_code_has_target(code, offset, probe))
		stay(place, "a branch comes back here");
	else if (size_bytes && place->shift_bytes >= size_bytes)
		stay(place, "it ends before a cheap instruction");
	/*
	 * What cannot be seen could be a jump back behind the symbol. Not to a push right after
	 * endbr64: each pass would take more of the stack, and coming from elsewhere it is a call.
	 */
	else if (place->plain)
		return;
	else if (!code)
		stay(place, "the code of its file is not read");
	else if (!size_bytes)
		stay(place, "its size is not known");
	else if (!mon_code_is_plain(code, offset, size_bytes))
		stay(place, "an indirect jump could come back here");
}

#else

void mon_placement_propose(const uint8_t *bytes, size_t length, uint8_t wanted,
			   struct mon_place *place_out)
{
	*place_out = (struct mon_place){.cost_at_symbol = mon_instruction_cost(bytes, length)};
	(void)wanted;
	stay(place_out, "only on x86-64 is a probe moved");
}

void mon_placement_check(const struct mon_code *code, uint64_t offset, uint64_t size_bytes,
			 struct mon_place *place)
{
	(void)code;
	(void)offset;
	(void)size_bytes;
	(void)place;
}

#endif
