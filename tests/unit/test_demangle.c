// SPDX-License-Identifier: GPL-2.0-or-later
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/demangle.h"
#include "tests/harness/process.h"
#include "tests/harness/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GARBAGE 20000
#define SEED 20261124

static char text[MON_DEMANGLED_BYTES_MAX];

static void becomes(const char *symbol, const char *whole, const char *plain)
{
	assert_true(mon_demangle(symbol, true, text));
	assert_string_equal(text, whole);
	assert_true(mon_demangle(symbol, false, text));
	assert_string_equal(text, plain);
}

static void names_as_they_are_written(void **state)
{
	(void)state;
	becomes("_ZN4demo7Watched6throwsEi", "demo::Watched::throws(int)", "demo::Watched::throws");
	becomes("_Z1fv", "f()", "f");
	becomes("_ZN4test1a2bc17h0123456789abcdefE", "test::a::bc", "test::a::bc");
	becomes("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function",
		"foo::example_function");
}

static void the_same_as_c_filt(void **state)
{
	static const char *const symbols[] = {
		"_ZNSt6vectorIiSaIiEE9push_backEOi",
		"_ZNKSt3mapIciSt4lessIcESaISt4pairIKciEEE4findERS3_",
		"_ZTVN10__cxxabiv117__class_type_infoE",
		"_ZGVZ4mainE5guard",
		"_Z15watched_betweenIiET_RN4demo7WatchedES0_",
		"_ZplRK1AS1_",
		"_ZN12_GLOBAL__N_14workEPFvPvES0_",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		char *theirs = TOOL("c++filt", symbols[i]);

		theirs[strcspn(theirs, "\n")] = '\0';
		assert_true(mon_demangle(symbols[i], true, text));
		assert_string_equal(text, theirs);
		free(theirs);
	}
}

static void what_is_not_mangled_stays(void **state)
{
	static const char *const names[] = {"",	      "_",	   "main",
					    "_start", "_Z",	   "_R",
					    "_ZZZZ",  "_Z999999f", "__libc_start_main",
					    "Z1fv",   "_RNvC"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_false(mon_demangle(names[i], true, text));
}

/* Each parameter is a pair of the one before it: 200 bytes for a text of 2^24 ints. */
static void a_name_that_explodes_stays_mangled(void **state)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char symbol[512] = "_Z1fSt4pairIiiE";
	size_t used = strlen(symbol);

	(void)state;
	for (int i = 0; i < 24; i++)
		used += (size_t)snprintf(symbol + used, sizeof(symbol) - used, "S_IS%c_S%c_E",
					 digits[i], digits[i]);
	memset(text, 'g', sizeof(text));
	assert_false(mon_demangle(symbol, true, text));
	assert_true(mon_demangle(symbol, false, text));
	assert_string_equal(text, "f");
	/* The first few are a name like any other. */
	symbol[strlen("_Z1fSt4pairIiiES_IS0_S0_E")] = '\0';
	assert_true(mon_demangle(symbol, true, text));
	assert_non_null(strstr(text, "std::pair<std::pair<int, int>, std::pair<int, int> >"));
}

/* One that fits to the byte is whole, one byte more is not there. */
static void the_bound_is_exact(void **state)
{
	char type[801], name[87], symbol[1024];

	(void)state;
	memset(type, 't', sizeof(type) - 1);
	type[sizeof(type) - 1] = '\0';
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	/* name(type, type, type, type, type) */
	for (int length = 85; length <= 86; length++) {
		(void)snprintf(symbol, sizeof(symbol), "_Z%d%.*s800%sS_S_S_S_", length, length,
			       name, type);
		assert_int_equal(mon_demangle(symbol, true, text), length == 85);
		if (length == 85)
			assert_int_equal(strlen(text), MON_DEMANGLED_BYTES_MAX - 1);
	}
}

static void deep_nesting_ends(void **state)
{
	static char symbol[MON_DEMANGLED_BYTES_MAX];

	(void)state;
	memset(symbol, 'P', sizeof(symbol) - 1);
	memcpy(symbol, "_Z1f", 4);
	symbol[sizeof(symbol) - 2] = 'i';
	symbol[sizeof(symbol) - 1] = '\0';
	(void)mon_demangle(symbol, true, text);
	assert_true(mon_demangle(symbol, false, text) == false || !strcmp(text, "f"));
}

static void garbage_of_a_fixed_seed(void **state)
{
	static const char alphabet[] = "NSTILEXRKPFvicjSt0123456789_Z$abIE";
	unsigned seed = SEED, mangled = 0;
	char symbol[128];

	(void)state;
	print_message("seed %u\n", seed);
	for (int round = 0; round < GARBAGE; round++) {
		size_t length = 3 + (size_t)rand_r(&seed) % (sizeof(symbol) - 4);

		symbol[0] = '_';
		symbol[1] = rand_r(&seed) % 4 ? 'Z' : 'R';
		for (size_t i = 2; i < length; i++)
			symbol[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
		symbol[length] = '\0';
		memset(text, 'g', sizeof(text));
		if (mon_demangle(symbol, round % 2, text)) {
			assert_true(strnlen(text, sizeof(text)) < sizeof(text));
			mangled++;
		}
	}
	assert_true(mangled > 0);
}

#define TEST(function) cmocka_unit_test_teardown(function, process_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(names_as_they_are_written), TEST(the_same_as_c_filt),
		TEST(what_is_not_mangled_stays), TEST(a_name_that_explodes_stays_mangled),
		TEST(the_bound_is_exact),	 TEST(deep_nesting_ends),
		TEST(garbage_of_a_fixed_seed),
	};

	return cmocka_run_group_tests_name("attach/demangle", tests, NULL, NULL);
}
