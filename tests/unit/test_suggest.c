// SPDX-License-Identifier: GPL-2.0-or-later
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/suggest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *nearest(const char *glob, const char *const names[])
{
	static char text[1024];
	struct mon_nearest found;

	mon_nearest_init(&found, glob);
	for (; *names; names++)
		mon_nearest_add(&found, *names);
	return mon_nearest_text(&found, text, sizeof(text));
}

#define NEAREST(glob, ...) nearest(glob, (const char *const[]){__VA_ARGS__, NULL})

static void the_nearest_come_first(void **state)
{
	(void)state;
	assert_string_equal(NEAREST("lookupKye", "lookup", "dbAdd", "lookupKey"),
			    "lookupKey, lookup");
	assert_string_equal(NEAREST("pars", "parse", "pars_", "main"), "parse, pars_");
	assert_string_equal(NEAREST("nothing", "main", "parse"), "");
	assert_string_equal(NEAREST("*", "main", "parse"), ""); /* all are as near */
}

/* A star at the end: what begins alike is near, however long it is. */
static void an_open_end_is_open(void **state)
{
	(void)state;
	assert_string_equal(NEAREST("lokup*", "lookupKeyReadWithFlags"), "lookupKeyReadWithFlags");
	assert_string_equal(NEAREST("lokup", "lookupKeyReadWithFlags"), "");
}

static void five_are_kept_however_many_come(void **state)
{
	(void)state;
	assert_string_equal(NEAREST("aaaaaaaaa", "aaaaaabbb", "aaaaaaabb", "aaaaaabbc", "aaaaaaaab",
				    "aaaaaabbd", "aaaaaabbe", "aaaaaaaaa"),
			    "aaaaaaaaa, aaaaaaaab, aaaaaaabb, aaaaaabbb, aaaaaabbc");
}

static void long_and_hostile_names(void **state)
{
	char name[4 * MON_NEAREST_NAME_BYTES], small[8];
	struct mon_nearest found;

	(void)state;
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	mon_nearest_init(&found, name);
	assert_int_equal(strlen(found.literal), MON_NEAREST_NAME_BYTES - 1);
	for (int i = 0; i < 10; i++)
		mon_nearest_add(&found, name);
	assert_string_equal(NEAREST("evi\033", "evil\033"), "evil\\x1b");
	mon_nearest_init(&found, "watched_cal");
	mon_nearest_add(&found, "watched_call");
	mon_nearest_add(&found, "watched_calls");
	assert_string_equal(mon_nearest_text(&found, small, sizeof(small)), "watched");
}

static struct mon_prefixes *prefixes;

static int setup(void **state)
{
	(void)state;
	prefixes = calloc(1, sizeof(*prefixes));
	return prefixes ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(prefixes);
	return 0;
}

/* The only group there is. */
static void begins(const char *name, const char *expected)
{
	char text[1024], line[MON_PREFIX_BYTES * 4];

	memset(prefixes, 0, sizeof(*prefixes));
	mon_prefixes_add(prefixes, name);
	(void)snprintf(line, sizeof(line), "%12d  %s", 1, expected);
	assert_string_equal(mon_prefixes_text(prefixes, text, sizeof(text)), line);
}

static void names_begin_with_a_word(void **state)
{
	char name[200], expected[MON_PREFIX_BYTES];

	(void)state;
	begins("lookupKeyRead", "lookup*");
	begins("dict_add", "dict_*");
	begins("__libc_start", "__libc_*");
	begins("ns::inner::f(int)", "ns::*");
	begins("f(ns::type)", "f*"); /* not of its parameters */
	begins("f(a_b)", "f*");
	begins("(anonymous namespace)::f(int)", "(anonymous namespace)::*");
	begins("main", "main");
	begins("_", "_");
	begins("", "");
	begins("es\033_cape", "es\\x1b_*");
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	memset(expected, 'n', sizeof(expected));
	expected[sizeof(expected) - 2] = '*';
	expected[sizeof(expected) - 1] = '\0';
	begins(name, expected);
}

static void the_biggest_ten_are_told_by_count(void **state)
{
	char name[64], text[2048];
	const char *at = text;

	(void)state;
	for (int group = 0; group < 12; group++)
		for (int i = 0; i < 1100 + group; i++) {
			(void)snprintf(name, sizeof(name), "g%c_%d", 'a' + group, i);
			mon_prefixes_add(prefixes, name);
		}
	(void)mon_prefixes_text(prefixes, text, sizeof(text));
	for (int group = 11; group >= 2; group--) {
		(void)snprintf(name, sizeof(name), "1,%d  g%c_*", 100 + group, 'a' + group);
		at = strstr(at, name);
		assert_non_null(at);
	}
	assert_null(strstr(text, "ga_"));
	assert_null(strstr(text, "gb_"));
	assert_int_not_equal(text[strlen(text) - 1], '\n');
}

/* More groups than slots: those that were there first are still counted right. */
static void more_prefixes_than_slots(void **state)
{
	char name[32], text[1024];

	(void)state;
	mon_prefixes_add(prefixes, "big_0");
	for (int i = 0; i < 4 * MON_PREFIX_SLOTS; i++) {
		(void)snprintf(name, sizeof(name), "p%d_x", i);
		mon_prefixes_add(prefixes, name);
		mon_prefixes_add(prefixes, "big_1");
	}
	(void)snprintf(name, sizeof(name), "%d,%d  big_*\n", (4 * MON_PREFIX_SLOTS + 1) / 1000,
		       (4 * MON_PREFIX_SLOTS + 1) % 1000);
	assert_non_null(strstr(mon_prefixes_text(prefixes, text, sizeof(text)), name));
	assert_int_equal(strlen(mon_prefixes_text(prefixes, text, 20)), 19);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_nearest_come_first),	       TEST(an_open_end_is_open),
		TEST(five_are_kept_however_many_come), TEST(long_and_hostile_names),
		TEST(names_begin_with_a_word),	       TEST(the_biggest_ten_are_told_by_count),
		TEST(more_prefixes_than_slots),
	};

	return cmocka_run_group_tests_name("attach/suggest", tests, NULL, NULL);
}
