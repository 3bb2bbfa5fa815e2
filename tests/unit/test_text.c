// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void escapes_what_a_terminal_would_obey(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"plain name", "plain name"},
		{"\x1b[31mred", "\\x1b[31mred"},
		{"a\nb\tc\x7f", "a\\x0ab\\x09c\\x7f"},
		{"back\\slash", "back\\x5cslash"},
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\xc2\x9b", "\\xc2\\x9b"},		      /* C1: CSI in one character */
		{"\xe2\x80\xae", "\\xe2\\x80\\xae"},	      /* right-to-left override */
		{"\xc0\xaf", "\\xc0\\xaf"},		      /* overlong */
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"},	      /* surrogate */
		{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* past Unicode */
		{"\xe2\x82", "\\xe2\\x82"},		      /* cut */
	};
	char buffer[128];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(mon_escape(buffer, sizeof(buffer), cases[i].text),
				    cases[i].expected);
	assert_string_equal(mon_escape(buffer, 6, "abcdefgh"), "abcde");
	assert_string_equal(mon_escape(buffer, 6, "ab\x01zz"), "ab"); /* never half an escape */
	assert_string_equal(mon_escape(buffer, 1, "a"), "");
	assert_string_equal(mon_escape_bytes(buffer, sizeof(buffer), "abcdef", 3), "abc");
	assert_string_equal(mon_escape_bytes(buffer, sizeof(buffer), "ab\0def", 6), "ab");
}

/* What was escaped once stays as it is; a forged one is no way round. */
static void escapes_again_without_doubling(void **state)
{
	char once[64], again[64];

	(void)state;
	mon_escape(once, sizeof(once), "a\\b\n\033[1m");
	assert_string_equal(mon_escape_again(again, sizeof(again), once), once);
	assert_string_equal(mon_escape_again(again, sizeof(again), "x\n\\x0a"), "x\\x0a\\x0a");
	assert_string_equal(mon_escape_again(again, 1, "a"), "");
}

static void times_have_three_digits_and_a_unit(void **state)
{
	static const struct {
		uint64_t ns;
		const char *expected;
	} cases[] = {
		{0, "0ns"},
		{310, "310ns"},
		{999, "999ns"},
		{1000, "1.00us"},
		{4100, "4.10us"},
		{22000, "22.0us"},
		{999999, "999us"},
		{1900000, "1.90ms"},
		{343000000, "343ms"},
		{2140000000, "2.14s"},
		{13100000000, "13.1s"},
		{59999999999, "59.9s"},
		{125000000000, "2m05s"},
		{3600000000000, "1h00m"},
	};
	char buffer[32];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(mon_format_ns(buffer, sizeof(buffer), cases[i].ns),
				    cases[i].expected);
}

static void sizes_and_counts(void **state)
{
	char buffer[32];

	(void)state;
	assert_string_equal(mon_format_bytes(buffer, sizeof(buffer), 21), "21");
	assert_string_equal(mon_format_bytes(buffer, sizeof(buffer), 21 << 10), "21.0K");
	assert_string_equal(mon_format_bytes(buffer, sizeof(buffer), 4ull << 30), "4.00G");
	assert_string_equal(mon_format_bytes(buffer, sizeof(buffer), UINT64_MAX), "15.9E");
	assert_string_equal(mon_format_count(buffer, sizeof(buffer), 0), "0");
	assert_string_equal(mon_format_count(buffer, sizeof(buffer), 999), "999");
	assert_string_equal(mon_format_count(buffer, sizeof(buffer), 12386470), "12,386,470");
	assert_string_equal(mon_format_count(buffer, sizeof(buffer), UINT64_MAX),
			    "18,446,744,073,709,551,615");
}

static void parsing_is_strict(void **state)
{
	uint64_t value = 7;

	(void)state;
	assert_int_equal(mon_parse_duration("500us", &value), 0);
	assert_int_equal(value, 500000);
	assert_int_equal(mon_parse_duration("5m", &value), 0);
	assert_int_equal(value, 300000000000ull);
	assert_int_equal(mon_parse_size("16M", &value), 0);
	assert_int_equal(value, 16 << 20);
	assert_int_equal(mon_parse_number("42", 1, 42, &value), 0);
	assert_int_equal(value, 42);

	/* A refusal leaves the result alone. */
	assert_int_equal(mon_parse_duration("5", &value), -EINVAL);
	assert_int_equal(mon_parse_duration("-5s", &value), -EINVAL);
	assert_int_equal(mon_parse_duration("5s ", &value), -EINVAL);
	assert_int_equal(mon_parse_duration("1.5s", &value), -EINVAL);
	assert_int_equal(mon_parse_duration("", &value), -EINVAL);
	assert_int_equal(mon_parse_duration("999999999999999h", &value), -ERANGE);
	assert_int_equal(mon_parse_size("99999999999999999999", &value), -ERANGE);
	assert_int_equal(mon_parse_size("16MB", &value), -EINVAL);
	assert_int_equal(mon_parse_number("0", 1, 42, &value), -ERANGE);
	assert_int_equal(mon_parse_number("43", 1, 42, &value), -ERANGE);
	assert_int_equal(mon_parse_number("4x", 1, 42, &value), -EINVAL);
	assert_int_equal(value, 42);
}

static void globs(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool expected;
	} cases[] = {
		{"parse_*", "parse_line", true},
		{"parse_*", "reparse_line", false},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"[a-c]x", "bx", true},
		{"[!a-c]x", "bx", false},
		{"[^a-c]x", "dx", true},
		{"[]]", "]", true},
		{"[a", "[a", true},
		{"[a-]", "-", true},
		{"*a*b*c", "xxaxxbxxc", true},
		{"*a*b*c", "xxaxxbxx", false},
		{"operator()(*", "operator()(int)", true},
		{"a*", "b", false},
		{"**b", "ab", true},
	};
	char many[201];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (mon_glob_match(cases[i].pattern, cases[i].text) != cases[i].expected)
			fail_msg("'%s' on '%s'", cases[i].pattern, cases[i].text);
	/* What takes a recursive matcher for ever: this one answers at once, or the suite hangs. */
	memset(many, 'a', 200);
	many[200] = '\0';
	assert_false(mon_glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", many));
}

static void distances(void **state)
{
	char longer[300];

	(void)state;
	assert_int_equal(mon_edit_distance("kitten", "sitting", 9), 3);
	assert_int_equal(mon_edit_distance("same", "same", 9), 0);
	assert_int_equal(mon_edit_distance("", "abc", 9), 3);
	assert_int_equal(mon_edit_distance("abcdef", "uvwxyz", 2), 3);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(mon_edit_distance(longer, "x", 4), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes_what_a_terminal_would_obey),
		cmocka_unit_test(escapes_again_without_doubling),
		cmocka_unit_test(times_have_three_digits_and_a_unit),
		cmocka_unit_test(sizes_and_counts),
		cmocka_unit_test(parsing_is_strict),
		cmocka_unit_test(globs),
		cmocka_unit_test(distances),
	};

	return cmocka_run_group_tests_name("base/text", tests, NULL, NULL);
}
