// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/symbols.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static char *directory;
static struct mon_module_list list;
static struct mon_function_set set;
static struct mon_error error;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	error = (struct mon_error){0};
	return 0;
}

static int teardown(void **state)
{
	mon_function_set_clear(&set);
	set = (struct mon_function_set){0};
	mon_module_list_clear(&list);
	list = (struct mon_module_list){0};
	scratch_remove(directory);
	return process_teardown(state);
}

/* More files: as a process that maps them all, the first one its executable. */
static void add_file(const char *path)
{
	struct mon_module_list one;
	struct mon_module *modules;

	if (mon_modules_of_file(path, &one, &error))
		fail_msg("%s", error.text);
	assert_int_equal(one.count, 1);
	modules = reallocarray(list.modules, list.count + 1, sizeof(*modules));
	assert_non_null(modules);
	modules[list.count++] = one.modules[0];
	list.modules = modules;
	free(one.modules);
}

static void add_target(const char *name)
{
	char path[PATH_MAX];

	add_file(target_path(name, path, sizeof(path)));
}

static int find(const char *const globs[], const char *const excludes[])
{
	struct mon_symbol_query query = {.globs = globs, .excludes = excludes};

	mon_function_set_clear(&set);
	set = (struct mon_function_set){0};
	while (globs && globs[query.glob_count])
		query.glob_count++;
	while (excludes && excludes[query.exclude_count])
		query.exclude_count++;
	return mon_symbols_find(&list, &query, &set, &error);
}

#define GLOBS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct mon_function *function(const char *symbol)
{
	for (size_t i = 0; i < set.function_count; i++)
		if (!strcmp(set.functions[i].symbol, symbol))
			return &set.functions[i];
	return NULL;
}

static void found(const char *const globs[], const char *const excludes[], size_t count)
{
	if (find(globs, excludes))
		fail_msg("%s", error.text);
	if (set.function_count != count)
		fail_msg("%zu functions, expected %zu; the first is %s", set.function_count, count,
			 set.functions[0].symbol);
}

static void globs_and_excludes(void **state)
{
	(void)state;
	add_target("calls");
	found(GLOBS("watched_call"), NULL, 1);
	found(GLOBS("watched_*"), NULL, 2);
	found(GLOBS("watched_call", "watched_*"), NULL, 2); /* one address is one function */
	found(GLOBS("watched_?nner", "main"), NULL, 2);
	found(GLOBS("watched_*"), GLOBS("*_inner"), 1);
	assert_non_null(function("watched_call"));
	assert_int_equal(set.module_count, 1);
	assert_string_equal(set.functions[0].source, "symtab");
	assert_true(set.functions[0].size_bytes > 0);
	assert_int_equal(find(GLOBS("watched_*"), GLOBS("*")), -ENOENT);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "--exclude leaves none of the 2");
}

/* Offsets as nm has them: calls_nopie is linked at 0x400000, so file offset = address - that. */
static void offsets_are_those_of_nm(void **state)
{
	unsigned long address;
	char path[PATH_MAX], kind, name[64], *text;
	size_t compared = 0;

	(void)state;
	add_target("calls_nopie");
	found(GLOBS("watched_*"), NULL, 2);
	text = TOOL("nm", target_path("calls_nopie", path, sizeof(path)));
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "%lx %c %63s", &address, &kind, name) == 3 && function(name)) {
			assert_int_equal(function(name)->offset, address - 0x400000);
			assert_int_equal(function(name)->probe_offset, address - 0x400000);
			compared++;
		}
	free(text);
	assert_int_equal(compared, 2);
}

static void static_functions_and_libraries(void **state)
{
	(void)state;
	add_target("static_calls");
	add_target("libtarget.so");
	found(GLOBS("watched_static"), NULL, 1);
	assert_string_equal(set.functions[0].symbol, "watched_static");
	/* A glob without LIB is of the executable; with it, of that library by its stem or name. */
	assert_int_equal(find(GLOBS("library_call"), NULL), -ENOENT);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "write 'libtarget.so:library_call'");
	found(GLOBS("libtarget:library_call"), NULL, 1);
	found(GLOBS("libtarget.so:library_c*", "watched_static"), NULL, 2);
	assert_int_equal(set.module_count, 2);
	found(GLOBS("*:watched_*"), GLOBS("libtarget:*"), 2); /* static, and named by two */
	assert_int_equal(find(GLOBS("libtargit:library_call"), NULL), -ENOENT);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "nearest: libtarget.so");
}

static void aliases_are_one_function(void **state)
{
	char *path = tool_library(directory, "alias.so",
				  ".text\n"
				  ".globl one\n.type one,%function\none:\n"
				  ".globl two\n.type two,%function\ntwo:\n"
				  ".globl __three\n.type __three,%function\n__three:\n"
				  "\tret\n.size one,1\n.size two,1\n.size __three,1\n");

	(void)state;
	add_file(path);
	free(path);
	found(GLOBS("*"), NULL, 1);
	/* Named without underscores; the others are told. */
	assert_string_equal(set.functions[0].name, "one");
	assert_non_null(strstr(set.functions[0].aliases, "two"));
	assert_non_null(strstr(set.functions[0].aliases, "__three"));
	found(GLOBS("two"), NULL, 1); /* what was asked for is the name */
	assert_string_equal(set.functions[0].name, "two");
	/* An exclude of any of its names leaves it out. */
	assert_int_equal(find(GLOBS("two"), GLOBS("__three")), -ENOENT);
}

static void cpp_names_match_as_they_are_written(void **state)
{
	(void)state;
	add_target("exception");
	found(GLOBS("demo::Watched::throws"), NULL, 1);
	assert_string_equal(set.functions[0].symbol, "_ZN4demo7Watched6throwsEi");
	assert_string_equal(set.functions[0].name, "demo::Watched::throws(int)");
	found(GLOBS("demo::Watched::throws(int)"), NULL, 1);
	found(GLOBS("_ZN4demo7Watched6throwsEi"), NULL, 1);
	found(GLOBS("demo::Watched::*"), GLOBS("*::catches"), set.function_count);
	assert_null(function("_ZN4demo7Watched7catchesEi"));
}

static void K11_nothing_matches(void **state)
{
	(void)state;
	add_target("calls");
	assert_int_equal(find(GLOBS("watched_cal"), NULL), -ENOENT);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "nearest: watched_call");
	assert_int_equal(find(GLOBS("watched_call", "zzz\033[2J*"), NULL), -ENOENT);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "zzz\\x1b[2J*"); /* L04 */
	assert_null(strchr(error.text, '\033'));
	assert_int_equal(find(GLOBS("libnone:f"), NULL), -ENOENT);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "no mapped file is named 'libnone'");
	assert_int_equal(set.function_count, 0);
}

static void K11_stripped(void **state)
{
	char path[PATH_MAX], *copy = tool_copy(target_path("calls_nopie", path, sizeof(path)),
					       directory, "calls");

	(void)state;
	/* An executable without dynamic symbols of its own. */
	TOOL_RUN("strip", copy);
	add_file(copy);
	assert_int_equal(find(GLOBS("watched_*"), NULL), -ENODATA);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "is stripped");
	assert_int_equal(find(NULL, NULL), -ENODATA);
	assert_sentence(&error, MON_EXIT_NO_MATCH, "is stripped");
	free(copy);
}

/* A file that cannot be read is not called stripped. */
static void unreadable_is_not_stripped(void **state)
{
	char path[PATH_MAX],
		*copy = tool_copy(target_path("calls", path, sizeof(path)), directory, "calls");

	(void)state;
	add_file(copy);
	assert_int_equal(unlink(copy), 0);
	assert_int_equal(find(GLOBS("watched_*"), NULL), -ENOENT);
	assert_null(strstr(error.text, "stripped"));
	assert_sentence(&error, MON_EXIT_UNAVAILABLE, copy);
	free(copy);
}

static void too_many_without_a_glob(void **state)
{
	(void)state;
	add_target("many_10000");
	assert_int_equal(find(NULL, NULL), -E2BIG);
	assert_int_equal(error.exit_code, MON_EXIT_USAGE);
	assert_non_null(strstr(error.text, "more than the 1,000"));
	if (!strstr(error.text, "many_*"))
		fail_msg("%s", error.text); /* the biggest group, with its count */
	assert_non_null(strstr(error.text, "10,000"));
	add_target("calls");
	found(GLOBS("many_000?"), NULL, 10);
}

/* As many as may be watched are found in bounded time and memory. */
static void K12_ten_thousand_match(void **state)
{
	(void)state;
	add_target("many_10000");
	found(GLOBS("many_*"), NULL, 10000);
	assert_true(set.functions[9999].offset > 0);
}

/* Fifty thousand: refused with what there is, and nothing is kept of them. */
static void fifty_thousand_matches_are_refused(void **state)
{
	struct rusage before, after;
	char *assembler = NULL, *path;
	size_t size;
	FILE *text = open_memstream(&assembler, &size);

	(void)state;
	assert_non_null(text);
	(void)fputs(".text\n", text);
	for (unsigned i = 0; i < 50000; i++) {
		static const char *const groups[] = {"alpha", "beta",  "gamma", "delta",
						     "eps",   "zeta",  "eta",	"theta",
						     "iota",  "kappa", "lambda"};

		(void)fprintf(text, ".globl %s_%u\n.type %s_%u,%%function\n%s_%u:\n\tret\n",
			      groups[i % 11], i, groups[i % 11], i, groups[i % 11], i);
	}
	assert_int_equal(fclose(text), 0);
	path = tool_library(directory, "huge.so", assembler);
	free(assembler);
	add_file(path);
	free(path);
	assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
	assert_int_equal(find(GLOBS("*"), NULL), -E2BIG);
	assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
	assert_int_equal(error.exit_code, MON_EXIT_USAGE);
	assert_non_null(strstr(error.text, "50,000 functions match, more than 10,000"));
	/* Ten groups are told, of eleven. */
	assert_non_null(strstr(error.text, "alpha_*"));
	assert_non_null(strstr(error.text, "4,546"));
	assert_int_equal(set.function_count, 0);
	assert_true(after.ru_maxrss - before.ru_maxrss < 32 << 10); /* KiB */
	found(GLOBS("kappa_*"), NULL, 4545);
}

static void not_found(const char *glob, int number, enum mon_exit exit_code, const char *part)
{
	assert_int_equal(find(GLOBS(glob), NULL), -number);
	assert_sentence(&error, exit_code, part);
	assert_int_equal(set.function_count, 0);
}

/* What starts a program was not called: a return probe there would overwrite argc. */
static void the_entry_point_is_no_function(void **state)
{
	(void)state;
	add_target("calls");
	not_found("_start", ENOENT, MON_EXIT_NO_MATCH, "'_start'");
}

/*
 * GCC keeps what is seldom run of `f` elsewhere, as a function symbol `f.cold` that is jumped to:
 * on its stack lies a variable where the return probe would look for the return address. Such parts
 * used to match `f*` and were given one.
 */
static void cold_parts_are_no_functions(void **state)
{
	char *path =
		tool_library(directory, "libcold.so",
			     TOOL_FUNCTION("part") TOOL_FUNCTION("part.cold")
				     TOOL_STATIC("part.cold.12") TOOL_STATIC("part.0.cold")
					     TOOL_FUNCTION("part.cold.x") TOOL_FUNCTION("scold"));

	(void)state;
	add_file(path);
	found(GLOBS("*"), NULL, 3);
	assert_non_null(function("part"));
	assert_non_null(function("part.cold.x"));
	assert_non_null(function("scold"));
	free(path);
}

/* A damaged library used to be called stripped when a glob of libraries covered it alone. */
static void a_damaged_library_is_not_stripped(void **state)
{
	char *damaged = tool_write(directory, "libdamaged.so", "no ELF");

	(void)state;
	add_target("calls");
	list.modules = reallocarray(list.modules, 2, sizeof(*list.modules));
	assert_non_null(list.modules);
	list.modules[list.count++] =
		(struct mon_module){.path = strdup(damaged), .open_path = strdup(damaged)};
	not_found("*damaged*:f", ENOEXEC, MON_EXIT_UNAVAILABLE, "is not an ELF file");
	not_found("libdamaged:f", ENOEXEC, MON_EXIT_UNAVAILABLE, "is not an ELF file");
	/* Beside one that can be read it does not matter. */
	found(GLOBS("*:watched_*"), NULL, 2);
	mon_function_set_clear(&set);
	set = (struct mon_function_set){0};
	not_found("*:watched_cal", ENOENT, MON_EXIT_NO_MATCH, "nearest: watched_call");
	assert_non_null(strstr(error.text, "no function of calls"));
	free(damaged);
}

static void other_tools_spellings_are_told_in_ours(void **state)
{
	(void)state;
	add_target("calls");
	not_found("uprobe:/usr/lib/libc.so.6:malloc", EINVAL, MON_EXIT_USAGE,
		  "write 'libc.so.6:malloc'");
	not_found("malloc@libc", EINVAL, MON_EXIT_USAGE, "write 'libc:malloc'");
	not_found("malloc@@GLIBC_2.2.5", EINVAL, MON_EXIT_USAGE, "write 'malloc'");
	not_found("libc:", EINVAL, MON_EXIT_USAGE, "names no function");
	not_found("", EINVAL, MON_EXIT_USAGE, "names no function");
}

/* Twelve groups, of which the ten biggest are told, in order. */
static void groups_are_told_by_size(void **state)
{
	char *assembler = NULL, *path, line[64];
	size_t size;
	const char *at;
	FILE *text = open_memstream(&assembler, &size);

	(void)state;
	assert_non_null(text);
	(void)fputs(".text\n", text);
	for (int group = 0; group < 12; group++)
		for (int i = 0; i < 200 - group; i++)
			(void)fprintf(text,
				      ".globl g%c_%d\n.type g%c_%d,%%function\ng%c_%d:\n\tret\n",
				      'a' + group, i, 'a' + group, i, 'a' + group, i);
	assert_int_equal(fclose(text), 0);
	path = tool_library(directory, "groups.so", assembler);
	free(assembler);
	add_file(path);
	free(path);
	assert_int_equal(find(NULL, NULL), -E2BIG);
	assert_int_equal(error.exit_code, MON_EXIT_USAGE);
	assert_non_null(strstr(error.text, "groups.so has 2,334 functions, more than the 1,000"));
	at = error.text;
	for (int group = 0; group < 10; group++) {
		(void)snprintf(line, sizeof(line), "%d  g%c_*", 200 - group, 'a' + group);
		at = strstr(at, line);
		if (!at)
			fail_msg("no \"%s\", or not in its place: %s", line, error.text);
	}
	assert_null(strstr(error.text, "gk_"));
	assert_null(strstr(error.text, "gl_"));
}

static void globs_are_split(void **state)
{
	size_t length;

	(void)state;
	assert_string_equal(mon_symbol_glob_split("libc:mallo*", &length), "mallo*");
	assert_int_equal(length, 4);
	assert_string_equal(mon_symbol_glob_split("malloc", &length), "malloc");
	assert_int_equal(length, 0);
	assert_string_equal(mon_symbol_glob_split("a::b", &length), "a::b");
	assert_int_equal(length, 0);
	assert_string_equal(mon_symbol_glob_split("lib:a::b", &length), "a::b");
	assert_int_equal(length, 3);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(globs_and_excludes),
		TEST(offsets_are_those_of_nm),
		TEST(static_functions_and_libraries),
		TEST(aliases_are_one_function),
		TEST(cpp_names_match_as_they_are_written),
		TEST(K11_nothing_matches),
		TEST(K11_stripped),
		TEST(unreadable_is_not_stripped),
		TEST(too_many_without_a_glob),
		TEST(K12_ten_thousand_match),
		TEST(fifty_thousand_matches_are_refused),
		TEST(the_entry_point_is_no_function),
		TEST(cold_parts_are_no_functions),
		TEST(a_damaged_library_is_not_stripped),
		TEST(other_tools_spellings_are_told_in_ours),
		TEST(groups_are_told_by_size),
		TEST(globs_are_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
