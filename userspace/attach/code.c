// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/code.h"

#if defined(__x86_64__)

#include "base/cleanup.h"

#include <Zydis/Zydis.h>
#include <errno.h>
#include <string.h>

#define WINDOW_BYTES (64u << 10)

struct mon_code {
	uint64_t offset, size_bytes;
	uint8_t *symbols, *targets, *doubts; /* a bit for each byte of code */
};

/* Bytes @from the start of the code; less than @size at its end. */
struct source {
	size_t (*read)(const struct source *source, uint64_t from, void *buffer, size_t size);
	const struct mon_code *code;
	const void *context;
};

static void set_bit(const struct mon_code *code, uint8_t *bits, uint64_t at)
{
	if (at < code->size_bytes)
		bits[at / 8] |= (uint8_t)(1u << (at % 8));
}

/* The first set one of [@from, @end), or @end. */
static uint64_t next_bit(const struct mon_code *code, const uint8_t *bits, uint64_t from,
			 uint64_t end)
{
	if (end > code->size_bytes)
		end = code->size_bytes;
	while (from < end) {
		if (from % 8 == 0 && !bits[from / 8])
			from += 8;
		else if (bits[from / 8] & (1u << (from % 8)))
			return from;
		else
			from++;
	}
	return end;
}

static bool any_bit(const struct mon_code *code, const uint8_t *bits, uint64_t from, uint64_t end)
{
	if (end > code->size_bytes)
		end = code->size_bytes;
	return from < end && next_bit(code, bits, from, end) < end;
}

static int new_code(uint64_t offset, uint64_t size, struct mon_code **code_out)
{
	struct mon_code *code;

	if (size > MON_CODE_BYTES_MAX)
		return -EFBIG;
	code = calloc(1, sizeof(*code));
	if (!code)
		return -ENOMEM;
	code->offset = offset;
	code->size_bytes = size;
	code->symbols = calloc(size / 8 + 1, 3);
	if (!code->symbols) {
		free(code);
		return -ENOMEM;
	}
	code->targets = code->symbols + size / 8 + 1;
	code->doubts = code->targets + size / 8 + 1;
	*code_out = code;
	return 0;
}

void mon_code_free(struct mon_code *code)
{
	if (code)
		free(code->symbols);
	free(code);
}

/*
 * @tracked: the function starts with endbr64. Compilers let its jump tables go past that with a
 * notrack prefix; an indirect jump without one may only end at another endbr64: it is a tail call.
 */
static void look_at(struct mon_code *code, uint64_t at, const ZydisDecodedInstruction *instruction,
		    bool tracked)
{
	uint64_t next = at + instruction->length;
	bool from_here = (instruction->attributes & ZYDIS_ATTRIB_HAS_MODRM) &&
			 instruction->raw.modrm.mod == 0 && instruction->raw.modrm.rm == 5;

	if (instruction->raw.imm[0].is_relative)
		set_bit(code, code->targets, next + (uint64_t)instruction->raw.imm[0].value.s);
	/* An address that is taken may be jumped to. */
	else if (instruction->mnemonic == ZYDIS_MNEMONIC_LEA && from_here)
		set_bit(code, code->targets, next + (uint64_t)instruction->raw.disp.value);
	/* Through the table of imports it leaves the file. */
	else if (instruction->mnemonic == ZYDIS_MNEMONIC_JMP && !from_here &&
		 (!tracked || (instruction->attributes & ZYDIS_ATTRIB_HAS_NOTRACK)))
		set_bit(code, code->doubts, at);
}

static int scan(struct mon_code *code, const struct source *source)
{
	MON_FREE uint8_t *window = malloc(WINDOW_BYTES);
	uint64_t window_at = 0, window_end = 0;
	ZydisDecodedInstruction instruction;
	ZydisDecoder decoder;
	bool tracked = false;

	if (!window)
		return -ENOMEM;
	(void)ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (uint64_t at = 0; at < code->size_bytes;) {
		uint64_t symbol, next;

		if (at + MON_CODE_INSTRUCTION_BYTES_MAX > window_end &&
		    window_end < code->size_bytes) {
			uint64_t left = code->size_bytes - at;
			size_t want = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;

			window_at = at;
			window_end = at + want;
			if (source->read(source, at, window, want) != want)
				return -EIO;
		}
		bool decoded = ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(
			&decoder, NULL, window + (at - window_at), window_end - at, &instruction));

		next = decoded ? at + instruction.length : at + 1;
		symbol = next_bit(code, code->symbols, at + 1, next);
		if (any_bit(code, code->symbols, at, at + 1))
			tracked = decoded && instruction.mnemonic == ZYDIS_MNEMONIC_ENDBR64;
		if (decoded && symbol >= next)
			look_at(code, at, &instruction, tracked);
		else /* what looks like an instruction and lies across a symbol is none */
			set_bit(code, code->doubts, at);
		at = symbol < next ? symbol : next;
	}
	return 0;
}

static size_t read_bytes(const struct source *source, uint64_t from, void *buffer, size_t size)
{
	memcpy(buffer, (const uint8_t *)source->context + from, size);
	return size;
}

int mon_code_of_bytes(const uint8_t *bytes, uint64_t size, uint64_t offset, const uint64_t *symbols,
		      size_t symbol_count, struct mon_code **code_out)
{
	const struct source source = {.read = read_bytes, .context = bytes};
	struct mon_code *code = NULL;
	int result = new_code(offset, size, &code);

	if (result)
		return result;
	for (size_t i = 0; i < symbol_count; i++)
		set_bit(code, code->symbols, symbols[i] - offset);
	result = scan(code, &source);
	if (result)
		mon_code_free(code);
	else
		*code_out = code;
	return result;
}

static size_t read_file(const struct source *source, uint64_t from, void *buffer, size_t size)
{
	return mon_elf_read(source->context, source->code->offset + from, buffer, size);
}

static int add_symbol(const struct mon_elf_symbol *symbol, void *context)
{
	struct mon_code *code = context;

	if (symbol->offset)
		set_bit(code, code->symbols, symbol->offset - code->offset);
	return 0;
}

int mon_code_of_elf(struct mon_elf *elf, struct mon_code **code_out)
{
	struct source source = {.read = read_file, .context = elf};
	struct mon_code *code = NULL;
	uint64_t offset, size;
	int result = mon_elf_code(elf, &offset, &size);

	if (!result)
		result = new_code(offset, size, &code);
	if (result)
		return result;
	source.code = code;
	result = mon_elf_symbols(elf, add_symbol, code, NULL);
	if (!result)
		result = scan(code, &source);
	if (result)
		mon_code_free(code);
	else
		*code_out = code;
	return result;
}

bool mon_code_has_symbol(const struct mon_code *code, uint64_t after, uint64_t last)
{
	return any_bit(code, code->symbols, after + 1 - code->offset, last + 1 - code->offset);
}

bool mon_code_has_target(const struct mon_code *code, uint64_t after, uint64_t last)
{
	return any_bit(code, code->targets, after + 1 - code->offset, last + 1 - code->offset);
}

bool mon_code_is_plain(const struct mon_code *code, uint64_t offset, uint64_t size_bytes)
{
	return !any_bit(code, code->doubts, offset - code->offset,
			offset - code->offset + size_bytes);
}

#endif
