// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Length of the valid, printable UTF-8 sequence at @text, or 0: its first byte is escaped. */
static size_t printable_length(const unsigned char *text, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length;
	uint32_t code;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f && text[0] != '\\';
	if ((text[0] & 0xe0) == 0xc0) {
		length = 2;
		code = text[0] & 0x1f;
	} else if ((text[0] & 0xf0) == 0xe0) {
		length = 3;
		code = text[0] & 0x0f;
	} else if ((text[0] & 0xf8) == 0xf0) {
		length = 4;
		code = text[0] & 0x07;
	} else {
		return 0;
	}
	if (length > left)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	/* C1 controls; zero-width and direction marks; line separators; overrides; isolates; BOM.
	 */
	if ((code >= 0x80 && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
	    (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
	    code == 0x061c || code == 0xfeff)
		return 0;
	return length;
}

char *mon_escape_bytes(char *buffer, size_t size, const char *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0, at = 0;

	length = strnlen(bytes, length);
	while (at < length) {
		const unsigned char *here = (const unsigned char *)bytes + at;
		size_t whole = printable_length(here, length - at);

		if (whole) {
			if (used + whole + 1 > size)
				break;
			memcpy(buffer + used, here, whole);
			used += whole;
			at += whole;
		} else {
			if (used + 4 + 1 > size)
				break;
			buffer[used++] = '\\';
			buffer[used++] = 'x';
			buffer[used++] = digits[*here >> 4];
			buffer[used++] = digits[*here & 15];
			at++;
		}
	}
	buffer[used] = '\0';
	return buffer;
}

char *mon_escape(char *buffer, size_t size, const char *text)
{
	return mon_escape_bytes(buffer, size, text, strlen(text));
}

char *mon_escape_again(char *buffer, size_t size, const char *text)
{
	static const char backslash[] = "\\x5c"; /* as mon_escape() writes it */
	char *to = mon_escape(buffer, size, text);

	for (const char *at = buffer; *at; at++) {
		*to++ = *at;
		if (strncmp(at, backslash, sizeof(backslash) - 1) == 0)
			at += sizeof(backslash) - 2;
	}
	*to = '\0';
	return buffer;
}

/*
 * @value / @unit in at most three digits: 4.1, 22, 354. One decimal below ten unless it is zero
 * would lie about the width; the last digit is rounded down, so 999.9 never becomes 1000.
 */
static char *format_scaled(char *buffer, size_t size, uint64_t value, uint64_t unit,
			   const char *suffix)
{
	uint64_t whole = value / unit, rest = value % unit;
	uint64_t hundredths = (uint64_t)((unsigned __int128)rest * 100 / unit);

	if (whole < 10)
		(void)snprintf(buffer, size, "%" PRIu64 ".%02" PRIu64 "%s", whole, hundredths,
			       suffix);
	else if (whole < 100)
		(void)snprintf(buffer, size, "%" PRIu64 ".%" PRIu64 "%s", whole, hundredths / 10,
			       suffix);
	else
		(void)snprintf(buffer, size, "%" PRIu64 "%s", whole, suffix);
	return buffer;
}

char *mon_format_ns(char *buffer, size_t size, uint64_t ns)
{
	uint64_t seconds = ns / 1000000000;

	if (ns < 1000)
		(void)snprintf(buffer, size, "%" PRIu64 "ns", ns);
	else if (ns < 1000000)
		return format_scaled(buffer, size, ns, 1000, "us");
	else if (ns < 1000000000)
		return format_scaled(buffer, size, ns, 1000000, "ms");
	else if (seconds < 60)
		return format_scaled(buffer, size, ns, 1000000000, "s");
	else if (seconds < 3600)
		(void)snprintf(buffer, size, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60,
			       seconds % 60);
	else
		(void)snprintf(buffer, size, "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600,
			       seconds / 60 % 60);
	return buffer;
}

char *mon_format_bytes(char *buffer, size_t size, uint64_t bytes)
{
	static const char *const suffixes[] = {"K", "M", "G", "T", "P", "E"};
	uint64_t unit = 1024;
	size_t step = 0;

	if (bytes < 1024) {
		(void)snprintf(buffer, size, "%" PRIu64, bytes);
		return buffer;
	}
	while (step + 1 < sizeof(suffixes) / sizeof(suffixes[0]) && bytes / unit >= 1024) {
		unit *= 1024;
		step++;
	}
	return format_scaled(buffer, size, bytes, unit, suffixes[step]);
}

char *mon_format_count(char *buffer, size_t size, uint64_t count)
{
	char digits[24], grouped[32];
	size_t length, used = 0;

	length = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count);
	for (size_t i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			grouped[used++] = ',';
		grouped[used++] = digits[i];
	}
	grouped[used] = '\0';
	(void)snprintf(buffer, size, "%s", grouped);
	return buffer;
}

/* Digits at *@text, which moves past them. */
static int parse_digits(const char **text, uint64_t *number_out)
{
	const char *at = *text;
	uint64_t number = 0;

	if (*at < '0' || *at > '9')
		return -EINVAL;
	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(number, 10u, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
			return -ERANGE;
	*text = at;
	*number_out = number;
	return 0;
}

struct unit {
	const char *suffix;
	uint64_t factor;
};

static int parse_with_unit(const char *text, const struct unit *units, size_t count,
			   uint64_t *value_out)
{
	uint64_t number;
	int result = parse_digits(&text, &number);

	if (result)
		return result;
	for (size_t i = 0; i < count; i++)
		if (strcmp(text, units[i].suffix) == 0)
			return __builtin_mul_overflow(number, units[i].factor, value_out) ? -ERANGE
											  : 0;
	return -EINVAL;
}

int mon_parse_duration(const char *text, uint64_t *ns_out)
{
	static const struct unit units[] = {
		{"ns", 1},	   {"us", 1000},	  {"ms", 1000000},
		{"s", 1000000000}, {"m", 60000000000ull}, {"h", 3600000000000ull},
	};
	uint64_t ns;
	int result = parse_with_unit(text, units, sizeof(units) / sizeof(units[0]), &ns);

	if (!result)
		*ns_out = ns;
	return result;
}

int mon_parse_size(const char *text, uint64_t *bytes_out)
{
	static const struct unit units[] = {
		{"", 1}, {"K", 1ull << 10}, {"M", 1ull << 20}, {"G", 1ull << 30}, {"T", 1ull << 40},
	};
	uint64_t bytes;
	int result = parse_with_unit(text, units, sizeof(units) / sizeof(units[0]), &bytes);

	if (!result)
		*bytes_out = bytes;
	return result;
}

int mon_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number_out)
{
	uint64_t number;
	int result = parse_digits(&text, &number);

	if (result)
		return result;
	if (*text)
		return -EINVAL;
	if (number < min || number > max)
		return -ERANGE;
	*number_out = number;
	return 0;
}

/* Does the set at @pattern (just after '[') hold @c? *@end_out: after its ']', or NULL without. */
static bool set_match(const char *pattern, unsigned char c, const char **end_out)
{
	bool negated = *pattern == '!' || *pattern == '^', found = false, first = true;

	if (negated)
		pattern++;
	for (; *pattern && (first || *pattern != ']'); first = false) {
		unsigned char low = (unsigned char)*pattern++, high = low;

		if (pattern[0] == '-' && pattern[1] && pattern[1] != ']') {
			high = (unsigned char)pattern[1];
			pattern += 2;
		}
		if (c >= low && c <= high)
			found = true;
	}
	*end_out = *pattern == ']' ? pattern + 1 : NULL;
	return found != negated;
}

bool mon_glob_match(const char *pattern, const char *text)
{
	const char *star = NULL, *star_text = NULL;

	/* Only the last star is ever retried: quadratic at worst. */
	while (*text) {
		const char *next = NULL;
		bool matched;

		if (*pattern == '*') {
			star = ++pattern;
			star_text = text;
			continue;
		}
		if (*pattern == '[') {
			matched = set_match(pattern + 1, (unsigned char)*text, &next);
			if (!next) { /* no closing bracket: an ordinary character */
				matched = *text == '[';
				next = pattern + 1;
			}
		} else {
			matched = *pattern && (*pattern == '?' || *pattern == *text);
			next = pattern + 1;
		}
		if (matched) {
			pattern = next;
			text++;
		} else if (star) {
			pattern = star;
			text = ++star_text;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

#define DISTANCE_BYTES_MAX 128

unsigned mon_edit_distance(const char *a, const char *b, unsigned limit)
{
	unsigned row[DISTANCE_BYTES_MAX + 1];
	size_t a_length = strnlen(a, DISTANCE_BYTES_MAX + 1);
	size_t b_length = strnlen(b, DISTANCE_BYTES_MAX + 1);

	if (a_length > DISTANCE_BYTES_MAX || b_length > DISTANCE_BYTES_MAX)
		return limit + 1;
	for (size_t j = 0; j <= b_length; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned diagonal = row[0], least = (unsigned)i;

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned cost = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < cost)
				cost = row[j] + 1;
			if (row[j - 1] + 1 < cost)
				cost = row[j - 1] + 1;
			row[j] = cost;
			if (cost < least)
				least = cost;
		}
		if (least > limit)
			return limit + 1;
	}
	return row[b_length] > limit ? limit + 1 : row[b_length];
}
