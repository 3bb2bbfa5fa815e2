// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a probe costs is told by the bytes; objdump tells what the bytes are. Every instruction of
 * some programs is compared, not only those that functions start with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/instruction.h"
#include "tests/harness/process.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void nothing_is_known_of_no_bytes(void **state)
{
	static const uint8_t none[1];

	(void)state;
	assert_int_equal(mon_instruction_cost(none, 0), MON_COST_UNKNOWN);
}

#if defined(__x86_64__)

/* By the mnemonic; -1: one that is passed over (a prefix, whose handling is the kernel's affair).
 */
static int cost_by_name(const char *name, const char *operands, size_t length)
{
	if (!strcmp(name, "push") && *operands == '%')
		return MON_COST_EMULATED;
	if (!strcmp(name, "nop") && !*operands)
		return MON_COST_EMULATED;
	if (!strcmp(name, "pause"))
		return MON_COST_EMULATED;
	if (length == 5 && !strcmp(name, "nopl") && !strcmp(operands, "0x0(%rax,%rax,1)"))
		return MON_COST_UNKNOWN;
	if (!strcmp(name, "jrcxz") || !strcmp(name, "jecxz"))
		return MON_COST_SINGLE_STEP;
	if (!strcmp(name, "call") || name[0] == 'j') /* not through a register or memory */
		return strchr(operands, '*') ? MON_COST_SINGLE_STEP : MON_COST_EMULATED;
	if (!strcmp(name, "bnd") || !strncmp(name, "rep", 3) || !strcmp(name, "data16") ||
	    !strcmp(name, "xchg") || !strcmp(name, "cs") || !strcmp(name, "notrack") ||
	    !strcmp(name, "(bad)") || !strcmp(name, "lock"))
		return -1;
	return MON_COST_SINGLE_STEP;
}

/* "  401136:\t41 57                \tpush   %r15" */
static void same_as_objdump(const char *path, size_t least)
{
	char *text = TOOL("objdump", "-d", "-w", "--section=.text", "--section=.plt", path);
	size_t compared = 0, emulated = 0;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char *bytes_at = strchr(line, '\t'), *name_at, name[32], operands[128] = "";
		uint8_t bytes[MON_INSTRUCTION_BYTES];
		size_t count = 0;
		int expected;

		if (!bytes_at || !(name_at = strchr(bytes_at + 1, '\t')))
			continue;
		for (char *at = bytes_at + 1; at < name_at && count < sizeof(bytes);) {
			char *end;
			unsigned long byte = strtoul(at, &end, 16);

			if (end == at || end > name_at)
				break;
			bytes[count++] = (uint8_t)byte;
			at = end;
		}
		if (sscanf(name_at + 1, "%31s %127s", name, operands) < 1)
			continue;
		expected = cost_by_name(name, operands, count);
		if (expected < 0)
			continue;
		if ((int)mon_instruction_cost(bytes, count) != expected)
			fail_msg("%s: %d, expected %d: %s", path,
				 (int)mon_instruction_cost(bytes, count), expected, line);
		compared++;
		emulated += expected == MON_COST_EMULATED;
	}
	free(text);
	if (compared < least || !emulated)
		fail_msg("%s: only %zu instructions compared, %zu emulated", path, compared,
			 emulated);
}

static void costs_are_those_of_the_instructions(void **state)
{
	char path[PATH_MAX];

	(void)state;
	same_as_objdump(target_path("calls", path, sizeof(path)), 100);
	same_as_objdump(target_path("exception", path, sizeof(path)), 100);
	same_as_objdump(target_path("threads", path, sizeof(path)), 100);
	(void)snprintf(path, sizeof(path), "%s/monbpf", process_build_dir());
	same_as_objdump(path, 10000);
}

/* At the end of a file there may be less than the whole instruction. */
static void cut_off_instructions(void **state)
{
	static const uint8_t upper_push[] = {0x41, 0x57}, near_jump[] = {0x0f, 0x84},
			     nop_5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

	(void)state;
	assert_int_equal(mon_instruction_cost(upper_push, 2), MON_COST_EMULATED);
	assert_int_equal(mon_instruction_cost(upper_push, 1), MON_COST_SINGLE_STEP);
	assert_int_equal(mon_instruction_cost(near_jump, 2), MON_COST_EMULATED);
	assert_int_equal(mon_instruction_cost(near_jump, 1), MON_COST_SINGLE_STEP);
	assert_int_equal(mon_instruction_cost(nop_5, 5), MON_COST_UNKNOWN);
	assert_int_equal(mon_instruction_cost(nop_5, 4), MON_COST_SINGLE_STEP);
}

#else

static void costs_are_those_of_the_instructions(void **state)
{
	static const uint32_t simulated[] = {0x54000040, 0x94000010, 0x14000010, 0x34000040,
					     0x36000040, 0x90000000, 0xd65f03c0, 0x58000040};
	static const uint32_t stepped[] = {0xa9bf7bfd, 0xd503233f, 0x910003fd, 0xf9400000};

	(void)state;
	for (size_t i = 0; i < sizeof(simulated) / sizeof(simulated[0]); i++)
		assert_int_equal(mon_instruction_cost((const uint8_t *)&simulated[i], 4),
				 MON_COST_EMULATED);
	for (size_t i = 0; i < sizeof(stepped) / sizeof(stepped[0]); i++)
		assert_int_equal(mon_instruction_cost((const uint8_t *)&stepped[i], 4),
				 MON_COST_SINGLE_STEP);
}

static void cut_off_instructions(void **state)
{
	static const uint32_t word = 0x94000010;

	(void)state;
	assert_int_equal(mon_instruction_cost((const uint8_t *)&word, 3), MON_COST_UNKNOWN);
}

#endif

#define TEST(function) cmocka_unit_test_teardown(function, process_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_known_of_no_bytes),
		TEST(costs_are_those_of_the_instructions),
		TEST(cut_off_instructions),
	};

	return cmocka_run_group_tests_name("attach/instruction", tests, NULL, NULL);
}
