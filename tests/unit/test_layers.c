// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The house rules that a compiler does not see: which folder may include what, who may know of
 * SQLite, libbpf and ELF, the licence line, and no file so long that nobody reads it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include <fnmatch.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 800

/* Patterns, separated by blanks, of what a folder may include in quotes. */
struct folder_rule {
	const char *folder, *may_include;
};

static const struct folder_rule folder_rules[] = {
	{"bpf", "bpf/*.h *.bpf.h vmlinux.h"},
	{"userspace/base", "base/* bpf/counters.h"},
	{"userspace/attach", "attach/* base/*"},
	{"userspace/capture", "capture/* base/* bpf/*.h"},
	{"userspace/pipeline", "pipeline/* base/* bpf/event.h"},
	{"userspace/control", "control/* base/* bpf/policy.h bpf/counters.h"},
	{"userspace/monitor",
	 "monitor/* control/* pipeline/* capture/* attach/* base/* bpf/event.h bpf/policy.h "
	 "bpf/counters.h"},
	{"userspace/report", "report/* base/*"},
	{"userspace/cli",
	 "cli/* report/* monitor/* control/* pipeline/* capture/* attach/* base/* bpf/event.h "
	 "bpf/policy.h bpf/counters.h"},
};

/* What is included in angle brackets, and the files that may do so. */
struct library_rule {
	const char *header, *may_use;
};

static const struct library_rule library_rules[] = {
	{"sqlite3.h", "userspace/pipeline/store* userspace/report/*"},
	{"bpf/bpf_*", "bpf/* userspace/capture/*"}, /* for the programs */
	{"bpf/*", "userspace/capture/*"},
	{"libelf.h", "userspace/attach/*"},
	{"gelf.h", "userspace/attach/*"},
	{"elf*", "userspace/attach/*"},
	{"dwarf.h", "userspace/attach/*"},
	{"Zydis/*", "userspace/attach/*"},
	{"*demangle.h", "userspace/attach/*"},
	{"libiberty*", "userspace/attach/*"},
	{"linux/bpf.h", "userspace/capture/* userspace/pipeline/ring.c"},
};

static char root[PATH_MAX];

/* Upwards from this program, so that it may be started from anywhere. */
static int find_root(void **state)
{
	ssize_t length = readlink("/proc/self/exe", root, sizeof(root) - 1);
	char *slash;

	(void)state;
	assert_true(length > 0);
	root[length] = '\0';
	while ((slash = strrchr(root, '/'))) {
		char makefile[PATH_MAX + 16];

		*slash = '\0';
		(void)snprintf(makefile, sizeof(makefile), "%s/Makefile", root);
		if (!access(makefile, R_OK))
			return chdir(root);
	}
	return -1;
}

static bool matches_any(const char *patterns, const char *text)
{
	char copy[512], *rest = copy, *pattern;

	assert_true(strlen(patterns) < sizeof(copy));
	(void)strcpy(copy, patterns);
	while ((pattern = strsep(&rest, " ")))
		if (!fnmatch(pattern, text, 0))
			return true;
	return false;
}

static bool is_in(const char *folder, const char *path)
{
	size_t length = strlen(folder);

	return !strncmp(path, folder, length) && path[length] == '/' &&
	       !strchr(path + length + 1, '/');
}

static bool may_include(const char *path, const char *header)
{
	for (size_t i = 0; i < MON_ARRAY_COUNT(folder_rules); i++)
		if (is_in(folder_rules[i].folder, path))
			return matches_any(folder_rules[i].may_include, header);
	return !strcmp(path, "userspace/main.c"); /* a folder that nobody drew is none of ours */
}

static bool may_use(const char *path, const char *header)
{
	for (size_t i = 0; i < MON_ARRAY_COUNT(library_rules); i++)
		if (!fnmatch(library_rules[i].header, header, 0))
			return matches_any(library_rules[i].may_use, path);
	return true;
}

/* NULL, or what is wrong with the line. */
static const char *judge(const char *path, const char *line)
{
	char header[128];

	if (sscanf(line, " # include \"%127[^\"]\"", header) == 1)
		return may_include(path, header) ? NULL : "this folder may not include that";
	if (sscanf(line, " # include <%127[^>]>", header) == 1)
		return may_use(path, header) ? NULL : "this file may not use that library";
	return NULL;
}

static unsigned complaints;

static void complain(const char *path, unsigned line, const char *what)
{
	print_error("%s:%u: %s\n", path, line, what);
	complaints++;
}

/* Calls @check for each line of each file that matches; returns how many files there were. */
static size_t each_line(const char *pattern,
			void (*check)(const char *path, unsigned number, const char *line))
{
	size_t files;
	glob_t found;

	if (glob(pattern, 0, NULL, &found))
		return 0;
	files = found.gl_pathc;
	for (size_t i = 0; i < files; i++) {
		MON_FCLOSE FILE *file = fopen(found.gl_pathv[i], "re");
		MON_FREE char *line = NULL;
		size_t size = 0;
		unsigned number = 0;

		assert_non_null(file);
		while (getline(&line, &size, file) >= 0)
			check(found.gl_pathv[i], ++number, line);
		if (!number)
			complain(found.gl_pathv[i], 0, "empty");
	}
	globfree(&found);
	return files;
}

static void check_include(const char *path, unsigned number, const char *line)
{
	const char *wrong = judge(path, line);

	if (wrong)
		complain(path, number, wrong);
}

static void check_shape(const char *path, unsigned number, const char *line)
{
	/* A script's first line is its interpreter. */
	static bool script;

	if (number == 1)
		script = !strncmp(line, "#!", 2);
	if (number == 1u + script && !strstr(line, "SPDX-License-Identifier: GPL-2.0-or-later"))
		complain(path, number, "no SPDX line");
	if (number == LINES_MAX + 1)
		complain(path, number, "longer than 800 lines");
}

static void test_includes_follow_the_layers(void **state)
{
	(void)state;
	complaints = 0;
	assert_true(each_line("userspace/*/*.[ch]", check_include) > 10);
	assert_true(each_line("bpf/*.h", check_include) >= 3);
	(void)each_line("bpf/*.c", check_include);
	(void)each_line("userspace/main.c", check_include);
	assert_int_equal(complaints, 0);
}

static void test_licence_and_length(void **state)
{
	static const char *const patterns[] = {
		"userspace/*.[ch]",   "userspace/*/*.[ch]",
		"bpf/*.[ch]",	      "vmlinux/*.h",
		"tests/*/*.[ch]",     "tests/*/*.cc",
		"tests/*.mk",	      "Makefile",
		"tests/run",	      ".ci/run",
		".ci/deps",	      "tests/bench/run",
		"tests/harness/*.sh",
	};

	(void)state;
	complaints = 0;
	for (size_t i = 0; i < MON_ARRAY_COUNT(patterns); i++)
		(void)each_line(patterns[i], check_shape);
	assert_int_equal(complaints, 0);
}

/* The judge itself: a rule that allows everything would pass the tests above. */
static void test_the_rules_bite(void **state)
{
	static const struct {
		const char *path, *line;
		bool fine;
	} cases[] = {
		{"userspace/base/a.c", "#include \"base/b.h\"\n", true},
		{"userspace/base/a.c", "#include \"bpf/counters.h\"\n", true},
		{"userspace/base/a.c", "#include \"bpf/event.h\"\n", false},
		{"userspace/base/a.c", "#  include \"pipeline/ring.h\"\n", false},
		{"userspace/pipeline/ring.c", "#include \"bpf/event.h\"\n", true},
		{"userspace/pipeline/ring.c", "#include \"bpf/policy.h\"\n", false},
		{"userspace/pipeline/ring.c", "#include <sqlite3.h>\n", false},
		{"userspace/pipeline/store_open.c", "#include <sqlite3.h>\n", true},
		{"userspace/report/query.c", "#include <sqlite3.h>\n", true},
		{"userspace/report/query.c", "#include \"pipeline/store.h\"\n", false},
		{"userspace/cli/cli.c", "#include <sqlite3.h>\n", false},
		{"userspace/capture/links.c", "#include <bpf/libbpf.h>\n", true},
		{"userspace/capture/links.c", "#include <bpf/bpf.h>\n", true},
		{"userspace/capture/links.c", "#include \"bpf/capture.skel.h\"\n", true},
		{"userspace/capture/links.c", "#include \"attach/target.h\"\n", false},
		{"userspace/monitor/run.c", "#include <bpf/libbpf.h>\n", false},
		{"userspace/monitor/run.c", "#include \"bpf/capture.skel.h\"\n", false},
		{"userspace/monitor/run.c", "#include \"pipeline/store.h\"\n", true},
		{"userspace/monitor/run.c", "#include \"cli/cli.h\"\n", false},
		{"userspace/control/ledger.c", "#include \"bpf/policy.h\"\n", true},
		{"userspace/control/ledger.c", "#include \"capture/capture.h\"\n", false},
		{"userspace/attach/symbols.c", "#include <gelf.h>\n", true},
		{"userspace/monitor/run.c", "#include <gelf.h>\n", false},
		{"userspace/elsewhere/a.c", "#include \"base/b.h\"\n", false},
		{"bpf/emit.bpf.h", "#include <bpf/bpf_helpers.h>\n", true},
		{"bpf/emit.bpf.h", "#include \"userspace/base/clock.h\"\n", false},
		{"userspace/base/a.c", "/* #include \"x\" */\n", true},
	};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(cases); i++)
		if (!judge(cases[i].path, cases[i].line) != cases[i].fine)
			fail_msg("%s: %s", cases[i].path, cases[i].line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_includes_follow_the_layers),
		cmocka_unit_test(test_licence_and_length),
		cmocka_unit_test(test_the_rules_bite),
	};

	return cmocka_run_group_tests(tests, find_root, NULL);
}
