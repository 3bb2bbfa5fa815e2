// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Each rule of the placement on its own: a few instructions, and how far the probe moves. What the
 * rules say about real libraries is compared with objdump in test_placement_objdump.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/placement.h"
#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#if defined(__x86_64__)

#define AT 0x1000 /* where the function is */

#define ENDBR64 "\xf3\x0f\x1e\xfa"
#define PUSH_RBX "\x53"
#define PUSH_R15 "\x41\x57"
#define RET "\xc3"
#define SUB_RSP "\x48\x83\xec\x08"
#define MOV_RBX_RDI "\x48\x89\xfb"
#define MOV_EDI_1 "\xbf\x01\x00\x00\x00"
#define MOV_EAX_LOAD "\x8b\x07"
#define XOR_EAX "\x31\xc0"
#define TEST_EDI "\x85\xff"
#define LEA_RIP "\x48\x8d\x05\x10\x00\x00\x00"
#define LEA_RSP "\x4c\x8d\x54\x24\x08"
#define MOV_RBP_RSP "\x48\x89\xe5"
#define MOV_RBP_RAX "\x48\x89\xc5"
#define JMP_RAX "\xff\xe0"
#define NOTRACK "\x3e"
#define JMP_IMPORT "\xff\x25\x00\x10\x00\x00"
#define JMP_NEAR "\xe9\x00\x10\x00\x00"
#define CALL_NEAR "\xe8\x00\x10\x00\x00"
#define CALL_RAX "\xff\xd0"
#define NOP "\x90"
#define NOP_4 "\x0f\x1f\x40\x00"
#define NOP_5 "\x0f\x1f\x44\x00\x00"
#define UNDEFINED "\x06" /* push %es: gone in 64-bit mode */

struct row {
	const char *what, *bytes;
	size_t length;
	uint32_t shift;
	const char *why;
	uint8_t wanted, overwritten;
	bool no_size, no_code;
	uint64_t symbol;     /* another one that starts so many bytes in */
	const char *outside; /* code behind the function */
	size_t outside_length;
};

#define CODE(text) .bytes = text, .length = sizeof(text) - 1
#define ROW(name, code, moved, ...)                                    \
	{                                                              \
		.what = name, code, .shift = moved, .why = __VA_ARGS__ \
	}
#define SIMPLE "steps over instructions that only set registers"

/* clang-format off */
static const struct row rows[] = {
	ROW("push", CODE(PUSH_RBX RET), 0, "the first instruction is cheap"),
	ROW("nop", CODE(NOP RET), 0, "the first instruction is cheap"),
	ROW("jmp", CODE(JMP_NEAR), 0, "the first instruction is cheap"),
	ROW("jcc", CODE("\x74\x01" NOP RET), 0, "the first instruction is cheap"),
	ROW("call", CODE(CALL_NEAR RET), 0, "the first instruction is cheap"),
	ROW("endbr64; push", CODE(ENDBR64 PUSH_RBX RET), 4, "steps over endbr64"),
	ROW("endbr64; push r15", CODE(ENDBR64 PUSH_R15 RET), 4, "steps over endbr64"),
	ROW("endbr64; jmp", CODE(ENDBR64 JMP_NEAR), 4, "steps over endbr64"),
	ROW("endbr64; nop4; push", CODE(ENDBR64 NOP_4 PUSH_RBX RET), 8, SIMPLE),
	ROW("endbr64; nop5; push", CODE(ENDBR64 NOP_5 PUSH_RBX RET), 9, SIMPLE),
	ROW("endbr64; sub rsp", CODE(ENDBR64 SUB_RSP PUSH_RBX RET), 0, "the stack is used first"),
	ROW("lea; mov; push", CODE(LEA_RIP MOV_RBX_RDI PUSH_RBX RET), 10, SIMPLE),
	ROW("lea of the stack", CODE(LEA_RSP PUSH_RBX RET), 0, "the stack is used first"),
	ROW("mov rbp, rsp", CODE(MOV_RBP_RSP PUSH_RBX RET), 0, "the frame pointer changes first"),
	ROW("mov rbp, rax", CODE(MOV_RBP_RAX PUSH_RBX RET), 0, "the frame pointer changes first"),
	ROW("xor; jcc", CODE(XOR_EAX TEST_EDI "\x74\x01" NOP RET), 4, SIMPLE),
	ROW("a load", CODE(MOV_EAX_LOAD PUSH_RBX RET), 0, "memory is read or written first"),
	ROW("ret", CODE(XOR_EAX RET PUSH_RBX), 0, "the first block ends before a cheap instruction"),
	ROW("call of a register", CODE(XOR_EAX CALL_RAX PUSH_RBX RET), 0,
	 "the first block ends before a cheap instruction"),
	ROW("syscall", CODE("\x0f\x05" PUSH_RBX RET), 0, "a special instruction comes first"),
	ROW("cpuid", CODE("\x0f\xa2" PUSH_RBX RET), 0, "a special instruction comes first"),
	ROW("rdtsc", CODE("\x0f\x31" PUSH_RBX RET), 0, "a special instruction comes first"),
	ROW("a vector register", CODE("\x66\x0f\xef\xc0" PUSH_RBX RET), 0,
	 "a special instruction comes first"),
	ROW("a segment register", CODE("\x8c\xe0" PUSH_RBX RET), 0, "a special instruction comes first"),
	ROW("rep movsb", CODE("\xf3\xa4" PUSH_RBX RET), 0, "memory is read or written first"),
	ROW("undefined", CODE(UNDEFINED PUSH_RBX RET), 0, "it cannot be decoded"),
	ROW("cut off", CODE(ENDBR64 "\x48"), 0, "it cannot be decoded"),
	/* Arguments. */
	ROW("edi set, none wanted", CODE(MOV_EDI_1 PUSH_RBX RET), 5, SIMPLE, .overwritten = 1),
	ROW("edi set, second wanted", CODE(MOV_EDI_1 PUSH_RBX RET), 5, SIMPLE, .wanted = 2,
	 .overwritten = 1),
	ROW("edi set, first wanted", CODE(MOV_EDI_1 PUSH_RBX RET), 0,
	 "a wanted argument is overwritten first", .wanted = 1),
	ROW("r9b set, sixth wanted", CODE("\x41\x0f\x94\xc1" PUSH_RBX RET), 0,
	 "a wanted argument is overwritten first", .wanted = 0x20),
	ROW("cqo, third wanted", CODE("\x48\x99" PUSH_RBX RET), 0,
	 "a wanted argument is overwritten first", .wanted = 4),
	ROW("edi read, first wanted", CODE(MOV_RBX_RDI TEST_EDI PUSH_RBX RET), 5, SIMPLE, .wanted = 1),
	/* What comes back. */
	ROW("loop to the second", CODE(XOR_EAX TEST_EDI PUSH_RBX "\xeb\xfb" RET), 0,
	 "a branch comes back here"),
	ROW("loop to the probe", CODE(XOR_EAX TEST_EDI "\x74\xfe" RET), 0, "a branch comes back here"),
	ROW("loop to the symbol", CODE(XOR_EAX TEST_EDI PUSH_RBX "\xeb\xf9" RET), 4, SIMPLE),
	ROW("loop behind the probe", CODE(XOR_EAX PUSH_RBX NOP "\x75\xfd" RET), 2, SIMPLE),
	ROW("near jump to the second", CODE(XOR_EAX TEST_EDI PUSH_RBX "\xe9\xf8\xff\xff\xff" RET), 0,
	 "a branch comes back here"),
	ROW("loop instruction", CODE(XOR_EAX TEST_EDI PUSH_RBX "\xe2\xfb" RET), 0,
	 "a branch comes back here"),
	ROW("jump to endbr64's push", CODE(ENDBR64 PUSH_RBX "\xeb\xfd" RET), 0,
	 "a branch comes back here"),
	ROW("its address is taken", CODE(XOR_EAX TEST_EDI PUSH_RBX "\x48\x8d\x05\xf6\xff\xff\xff" RET), 0,
	 "a branch comes back here"),
	ROW("from another function", CODE(XOR_EAX TEST_EDI PUSH_RBX RET), 0, "a branch comes back here",
	 .outside = "\xeb\xfa", .outside_length = 2),
	ROW("alias in the middle", CODE(XOR_EAX TEST_EDI PUSH_RBX RET), 0,
	 "another symbol starts in between", .symbol = 2),
	ROW("alias at the probe", CODE(ENDBR64 PUSH_RBX RET), 0, "another symbol starts in between",
	 .symbol = 4),
	ROW("alias behind the probe", CODE(XOR_EAX PUSH_RBX NOP RET), 2, SIMPLE, .symbol = 3),
	/* What cannot be seen. */
	ROW("jump table", CODE(XOR_EAX PUSH_RBX JMP_RAX), 0, "an indirect jump could come back here"),
	ROW("jump table, endbr64; push", CODE(ENDBR64 PUSH_RBX NOTRACK JMP_RAX), 4, "steps over endbr64"),
	ROW("jump table, endbr64; jcc", CODE(ENDBR64 "\x74\x01" NOP NOTRACK JMP_RAX), 0,
	 "an indirect jump could come back here"),
	ROW("jump table, endbr64; xor; push", CODE(ENDBR64 XOR_EAX PUSH_RBX NOTRACK JMP_RAX), 0,
	 "an indirect jump could come back here"),
	ROW("jump to a function, endbr64", CODE(ENDBR64 XOR_EAX PUSH_RBX JMP_RAX), 6, SIMPLE),
	ROW("jump to an import", CODE(XOR_EAX PUSH_RBX JMP_IMPORT), 2, SIMPLE),
	ROW("undefined later", CODE(XOR_EAX PUSH_RBX UNDEFINED RET), 0,
	 "an indirect jump could come back here"),
	ROW("no size", CODE(XOR_EAX PUSH_RBX RET), 0, "its size is not known", .no_size = true),
	ROW("no size, endbr64; push", CODE(ENDBR64 PUSH_RBX RET), 4, "steps over endbr64",
	 .no_size = true),
	ROW("no code", CODE(XOR_EAX PUSH_RBX RET), 0, "the code of its file is not read",
	 .no_code = true),
	ROW("no code, endbr64; push", CODE(ENDBR64 PUSH_RBX RET), 4, "steps over endbr64",
	 .no_code = true),
	ROW("64 bytes", CODE(LEA_RIP LEA_RIP LEA_RIP LEA_RIP LEA_RIP LEA_RIP LEA_RIP LEA_RIP LEA_RIP "\xb0"
	 "\x01\x90" RET), 0, "no cheap instruction is near"),
	ROW("16 instructions", CODE(XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX
	 XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX PUSH_RBX RET), 32, SIMPLE),
	ROW("17 instructions", CODE(XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX
	 XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX XOR_EAX PUSH_RBX RET), 0,
	 "no cheap instruction is near"),
};
/* clang-format on */

static void each_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++) {
		const struct row *row = &rows[i];
		const uint64_t symbols[] = {AT, AT + row->length, AT + row->symbol};
		struct mon_code *code = NULL;
		struct mon_place place;
		uint8_t bytes[256];

		memcpy(bytes, row->bytes, row->length);
		if (row->outside)
			memcpy(bytes + row->length, row->outside, row->outside_length);
		if (!row->no_code)
			assert_int_equal(mon_code_of_bytes(bytes, row->length + row->outside_length,
							   AT, symbols, 3, &code),
					 0);
		mon_placement_propose(bytes, row->length, row->wanted, &place);
		mon_placement_check(code, AT, row->no_size ? 0 : row->length, &place);
		mon_code_free(code);
		if (place.shift_bytes != row->shift || strcmp(place.why, row->why) != 0 ||
		    place.overwritten != row->overwritten)
			fail_msg("%s: %u bytes, \"%s\", overwritten 0x%x; expected %u, \"%s\"",
				 row->what, place.shift_bytes, place.why, place.overwritten,
				 row->shift, row->why);
		assert_int_equal(place.cost == MON_COST_EMULATED,
				 row->shift || place.cost_at_symbol == MON_COST_EMULATED);
		assert_true(!place.shift_bytes || place.cost_at_symbol != MON_COST_EMULATED);
	}
}

/* Data among code spoils nothing behind the next symbol; an instruction may lie across windows. */
static void code_is_decoded_anew_at_each_symbol(void **state)
{
	const size_t size = (64u << 10) * 2, jump = (64u << 10) - 2;
	const uint64_t symbols[] = {AT + jump};
	uint8_t *bytes = malloc(size);
	struct mon_code *code;

	(void)state;
	assert_non_null(bytes);
	memset(bytes, 0x90, size);
	bytes[jump - 1] = 0xe8; /* were it code, it would swallow the jump */
	memcpy(bytes + jump, "\xe9\x0b\x00\x00\x00", 5);
	assert_int_equal(mon_code_of_bytes(bytes, size, AT, symbols, 1, &code), 0);
	assert_true(mon_code_has_target(code, AT + jump, AT + jump + 16));
	assert_false(mon_code_has_target(code, AT + jump, AT + jump + 15));
	assert_false(mon_code_has_target(code, AT + jump + 16, AT + size));
	assert_false(mon_code_is_plain(code, AT, size));
	assert_true(mon_code_is_plain(code, AT + jump, size - jump));
	assert_true(mon_code_has_symbol(code, AT, AT + jump));
	assert_false(mon_code_has_symbol(code, AT + jump, AT + size));
	mon_code_free(code);
	assert_int_equal(mon_code_of_bytes(bytes, MON_CODE_BYTES_MAX + 1ull, AT, NULL, 0, &code),
			 -EFBIG);
	free(bytes);
}

#else

static void each_rule(void **state)
{
	static const uint8_t paciasp[] = {0x3f, 0x23, 0x03, 0xd5, 0x00, 0x00, 0x00, 0x14};
	struct mon_place place;

	(void)state;
	mon_placement_propose(paciasp, sizeof(paciasp), 0, &place);
	mon_placement_check(NULL, 0x1000, sizeof(paciasp), &place);
	assert_int_equal(place.shift_bytes, 0);
	assert_int_equal(place.cost, MON_COST_SINGLE_STEP);
}

static void code_is_decoded_anew_at_each_symbol(void **state)
{
	(void)state; /* there is none to decode */
}

#endif

static void placements_have_names(void **state)
{
	enum mon_placement placement = MON_PLACEMENT_AUTO;

	(void)state;
	assert_int_equal(mon_placement_parse("symbol", &placement), 0);
	assert_int_equal(placement, MON_PLACEMENT_SYMBOL);
	assert_int_equal(mon_placement_parse("auto", &placement), 0);
	assert_int_equal(placement, MON_PLACEMENT_AUTO);
	assert_int_equal(mon_placement_parse("push", &placement), -EINVAL);
	assert_int_equal(placement, MON_PLACEMENT_AUTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule),
		cmocka_unit_test(code_is_decoded_anew_at_each_symbol),
		cmocka_unit_test(placements_have_names),
	};

	return cmocka_run_group_tests_name("attach/placement", tests, NULL, NULL);
}
