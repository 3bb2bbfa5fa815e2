// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where probes are put in the libraries of this machine, held against objdump, which shares no code
 * with the decoder: what a shift steps over has only registers for operands, nothing that objdump
 * prints as a target lies in what is stepped over, and the probed instruction is a cheap one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/symbols.h"
#include "base/cleanup.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS_MAX 1000000

static char **paths;

#if defined(__x86_64__)

struct line {
	uint64_t address;
	char *text; /* "mov    %rdi,%rax" */
};

struct listing {
	char *text;
	uint64_t bias; /* address - offset in the file */
	struct line *lines;
	size_t line_count;
	uint64_t *targets;
	size_t target_count;
};

static void *grown(void *items, size_t count, size_t size)
{
	if (count & (count - 1))
		return items;
	items = reallocarray(items, count ? count * 2 : 1, size);
	assert_non_null(items);
	return items;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static void add_target(struct listing *listing, const char *text)
{
	char *end;
	uint64_t target = strtoull(text, &end, 16);

	if (end == text)
		return;
	listing->targets = grown(listing->targets, listing->target_count, sizeof(uint64_t));
	listing->targets[listing->target_count++] = target;
}

/* "  LOAD  0x026000 0x0000000000026000 0x… 0x15511d 0x15511d R E 0x1000" */
static uint64_t bias_of(const char *path)
{
	char *text = TOOL("readelf", "-lW", path), *line = text, *next;
	uint64_t offset, address, bias = UINT64_MAX;

	for (; line; line = next) {
		if ((next = strchr(line, '\n')))
			*next++ = '\0';
		if (strstr(line, " R E ") &&
		    sscanf(line, " LOAD %" SCNx64 " %" SCNx64, &offset, &address) == 2)
			bias = address - offset;
	}
	free(text);
	assert_true(bias != UINT64_MAX);
	return bias;
}

/* Through a file: it says more than the harness keeps of a process. */
static char *disassemble(const char *path)
{
	char *directory = scratch_new(), *file = scratch_path(directory, "listing"), *text = NULL;
	size_t size = 0;
	FILE *stream;

	TOOL_RUN("sh", "-c", "exec objdump -d -w --no-show-raw-insn \"$0\" >\"$1\"", path, file);
	stream = fopen(file, "re");
	assert_non_null(stream);
	assert_true(getdelim(&text, &size, '\0', stream) > 0);
	(void)fclose(stream);
	scratch_remove(directory);
	free(file);
	return text;
}

static struct listing list(const char *path)
{
	struct listing listing = {.text = disassemble(path), .bias = bias_of(path)};
	char *line = listing.text, *next;

	for (; line; line = next) {
		char *tab = strchr(line, '\t'), *operand, *comment, *end;
		uint64_t address;

		if ((next = strchr(line, '\n')))
			*next++ = '\0';
		if (!tab || tab > line + strlen(line))
			continue;
		address = strtoull(line, &end, 16);
		if (*end != ':')
			continue;
		listing.lines = grown(listing.lines, listing.line_count, sizeof(struct line));
		listing.lines[listing.line_count++] =
			(struct line){.address = address, .text = tab + 1};
		/* Each word that may be an address: "bnd jmp 26e90 <x+0x10>", "lea …  # 26e90 <x>".
		 */
		comment = strchr(tab, '#');
		operand = strchr(tab, '<');
		if (comment && !strncmp(tab + 1, "lea ", 4))
			add_target(&listing, comment + 2);
		else if (!comment && operand && operand - tab > 2) {
			for (operand -= 2; operand > tab && *operand != ' '; operand--) {
			}
			add_target(&listing, operand + 1);
		}
	}
	qsort(listing.targets, listing.target_count, sizeof(uint64_t), by_value);
	return listing;
}

static void list_free(struct listing *listing)
{
	free(listing->text);
	free(listing->lines);
	free(listing->targets);
}

static const struct line *line_at(const struct listing *listing, uint64_t address)
{
	size_t low = 0, high = listing->line_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (listing->lines[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < listing->line_count && listing->lines[low].address == address
		       ? &listing->lines[low]
		       : NULL;
}

static bool is_target(const struct listing *listing, uint64_t after, uint64_t last)
{
	size_t low = 0, high = listing->target_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (listing->targets[middle] <= after)
			low = middle + 1;
		else
			high = middle;
	}
	return low < listing->target_count && listing->targets[low] <= last;
}

static bool starts_with_any(const char *text, const char *const words[])
{
	for (size_t i = 0; words[i]; i++)
		if (!strncmp(text, words[i], strlen(words[i])))
			return true;
	return false;
}

static bool is_cheap(const char *text)
{
	static const char *const words[] = {"jmp ", "call ", "j", NULL};

	if (!strncmp(text, "push   %", 8))
		return true;
	if (!strcmp(text, "nop") || !strcmp(text, "pause"))
		return true;
	return starts_with_any(text, words) && !strstr(text, " *") && !strstr(text, "cxz");
}

/* Is the last operand, which AT&T writes to, one of the registers of an argument? */
static bool writes_argument(const char *text)
{
	static const char *const names[] = {"di",  "si",  "dx",	 "cx",	"dil", "sil", "dl",
					    "cl",  "dh",  "ch",	 "edi", "esi", "edx", "ecx",
					    "rdi", "rsi", "rdx", "rcx", "r8",  "r8d", "r8w",
					    "r8b", "r9",  "r9d", "r9w", "r9b", NULL};
	static const char *const readers[] = {"test", "cmp", "nop", "endbr64", NULL};
	const char *last = strrchr(text, ',');

	if (!strncmp(text, "cmov", 4))
		last = strrchr(text, ',');
	else if (!strcmp(text, "cqto") || !strcmp(text, "cltd"))
		return true;
	else if (starts_with_any(text, readers))
		return false;
	last = last ? last + 1 : strchr(text, '%');
	if (!last || *last != '%')
		return false;
	for (size_t i = 0; names[i]; i++)
		if (!strncmp(last + 1, names[i], strlen(names[i])) &&
		    !strchr("abcdefghijklmnopqrstuvwxyz0123456789", last[1 + strlen(names[i])]))
			return true;
	return false;
}

static const char *wrong_step(const char *text, bool arguments)
{
	static const char *const names[] = {"mov",  "lea ",   "xor ",	"and ",		  "or ",
					    "not ", "neg ",   "add ",	"sub ",		  "sbb ",
					    "inc ", "dec ",   "imul",	"shl ",		  "shr ",
					    "sar ", "test ",  "cmp ",	"cltq",		  "cltd",
					    "cqto", "bswap",  "set",	"cmov",		  "endbr64",
					    "nop",  "data16", "cs nop", "xchg   %ax,%ax", NULL};
	static const char *const not_names[] = {"movs ",  "movsb",  "movsq", "movsl ",
						"movaps", "movups", "movd",  "movq ",
						"movapd", "movdq",  NULL};
	bool is_nop = strstr(text, "nop") != NULL || !strncmp(text, "xchg   %ax,%ax", 14);

	if (!starts_with_any(text, names) ||
	    (starts_with_any(text, not_names) && !strstr(text, "movslq") && !strstr(text, "movsb")))
		return "no plain instruction";
	if (strstr(text, "%xmm") || strstr(text, "%ymm") || strstr(text, "%mm") ||
	    strstr(text, "%k") || strstr(text, "%st") || strstr(text, "%fs") ||
	    strstr(text, "%gs") || strstr(text, "%cr") || strstr(text, "%dr"))
		return "no general register";
	if (!is_nop && strncmp(text, "lea ", 4) != 0)
		for (const char *at = strchr(text, ' '); at; at = strchr(at + 1, ',')) {
			at += 1 + strspn(at + 1, " ");
			if (*at && *at != '%' && *at != '$')
				return "memory";
		}
	if (strstr(text, "%rsp") || strstr(text, "%esp") || strstr(text, "%sp"))
		return "the stack pointer";
	return arguments && writes_argument(text) ? "an argument is lost" : NULL;
}

struct counts {
	size_t functions, shifted, cheap_before, cheap_after;
};

static void check(const struct listing *listing, const struct mon_function *function,
		  bool arguments, struct counts *counts)
{
	uint64_t symbol = function->offset + listing->bias;
	uint64_t probe = function->probe_offset + listing->bias;
	const struct line *first = line_at(listing, symbol), *line = first;
	size_t steps = 0;

	if (!first)
		return; /* in the middle of what objdump takes for an instruction */
	counts->functions++;
	counts->cheap_before += is_cheap(first->text);
	counts->shifted += probe != symbol;
	for (; line->address < probe; line++, steps++) {
		const char *wrong = wrong_step(line->text, arguments);

		if (wrong)
			fail_msg("%s steps over %s: %s", function->symbol, line->text, wrong);
		if (line + 1 == listing->lines + listing->line_count)
			fail_msg("%s: its probe lies behind the code", function->symbol);
	}
	counts->cheap_after += is_cheap(line->text);
	if (probe == symbol)
		return;
	if (line->address != probe || !is_cheap(line->text))
		fail_msg("%s is probed at 0x%" PRIx64 ": %s", function->symbol, probe, line->text);
	if (steps > MON_PLACEMENT_INSTRUCTIONS_MAX ||
	    probe - symbol > MON_PLACEMENT_SHIFT_BYTES_MAX ||
	    (function->size_bytes && probe - symbol >= function->size_bytes))
		fail_msg("%s: too far", function->symbol);
	if (is_target(listing, symbol, probe))
		fail_msg("%s: something goes to what is stepped over", function->symbol);
}

static void find(const char *path, enum mon_placement placement, uint8_t arguments,
		 struct mon_function_set *set)
{
	static const char *const all[] = {"*:*"};
	const struct mon_symbol_query query = {.globs = all,
					       .glob_count = 1,
					       .limit = FUNCTIONS_MAX,
					       .placement = placement,
					       .arguments = arguments};
	struct mon_module_list modules;
	struct mon_error error = {0};

	if (mon_modules_of_file(path, &modules, &error) ||
	    mon_symbols_find(&modules, &query, set, &error))
		fail_msg("%s", error.text);
	mon_module_list_clear(&modules);
}

static struct counts agree(const char *path, size_t least)
{
	struct listing listing = list(path);
	struct counts counts = {0}, kept = {0};
	struct mon_function_set set = {0};

	find(path, MON_PLACEMENT_AUTO, 0, &set);
	for (size_t i = 0; i < set.function_count; i++)
		check(&listing, &set.functions[i], false, &counts);
	mon_function_set_clear(&set);
	find(path, MON_PLACEMENT_AUTO, 0x3f, &set);
	for (size_t i = 0; i < set.function_count; i++)
		check(&listing, &set.functions[i], true, &kept);
	mon_function_set_clear(&set);
	find(path, MON_PLACEMENT_SYMBOL, 0, &set);
	for (size_t i = 0; i < set.function_count; i++)
		assert_int_equal(set.functions[i].probe_offset, set.functions[i].offset);
	mon_function_set_clear(&set);
	list_free(&listing);
	print_message("%s: %zu functions, %zu shifted (%zu with six arguments wanted), "
		      "cheap %.1f %% -> %.1f %%\n",
		      path, counts.functions, counts.shifted, kept.shifted,
		      100.0 * (double)counts.cheap_before / (double)counts.functions,
		      100.0 * (double)counts.cheap_after / (double)counts.functions);
	assert_true(counts.functions >= least);
	assert_true(counts.shifted > 0 && kept.shifted <= counts.shifted);
	assert_int_equal(counts.cheap_after, counts.cheap_before + counts.shifted);
	return counts;
}

static void agree_on_library(const char *name, size_t least)
{
	char pattern[PATH_MAX];
	glob_t found = {0};

	(void)snprintf(pattern, sizeof(pattern), "/usr/lib/*-linux-gnu/%s", name);
	if (glob(pattern, 0, NULL, &found))
		fail_msg("there is no %s", pattern);
	(void)agree(found.gl_pathv[0], least);
	globfree(&found);
}

static void libc(void **state)
{
	(void)state;
	agree_on_library("libc.so.6", 2000);
}

static void libcrypto(void **state)
{
	(void)state;
	agree_on_library("libcrypto.so.[0-9]*", 3000);
}

static void libsqlite3(void **state)
{
	(void)state;
	agree_on_library("libsqlite3.so.0", 300);
}

/* In the interpreter, or in a library of its own. */
static void python(void **state)
{
	char *path = realpath("/usr/bin/python3", NULL);
	glob_t found = {0};

	(void)state;
	assert_non_null(path);
	if (glob("/usr/lib/*-linux-gnu/libpython3.*.so.1.0", 0, NULL, &found) == 0)
		(void)agree(found.gl_pathv[0], 1000);
	else
		(void)agree(path, 1000);
	globfree(&found);
	free(path);
}

static void files(void **state)
{
	(void)state;
	for (char **path = paths; *path; path++)
		(void)agree(*path, 1);
}

/* The whole program of this build, its own functions and those of static libraries. */
static void programs_of_this_build(void **state)
{
	char path[PATH_MAX];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/monbpf", process_build_dir());
	(void)agree(path, 500);
}

#else

#define NOT_HERE(name)                 \
	static void name(void **state) \
	{                              \
		(void)state;           \
	}
NOT_HERE(libc) /* a probe is never moved */
NOT_HERE(libcrypto)
NOT_HERE(libsqlite3)
NOT_HERE(python)
NOT_HERE(files)
NOT_HERE(programs_of_this_build)

#endif

#define TEST(function) cmocka_unit_test_teardown(function, process_teardown)

/* With files for arguments: those, such as another distribution's. */
int main(int argc, char **argv)
{
	const struct CMUnitTest given[] = {TEST(files)};
	const struct CMUnitTest tests[] = {
		TEST(libc),
		TEST(libcrypto),
		TEST(libsqlite3),
		TEST(python),
		TEST(programs_of_this_build),
	};

	(void)argc;
	paths = argv + 1;
	if (*paths)
		return cmocka_run_group_tests_name("attach/placement of files", given, NULL, NULL);
	return cmocka_run_group_tests_name("attach/placement by objdump", tests, NULL, NULL);
}
