/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text for people: numbers with three digits and a unit, sizes and durations in and out, globs,
 * and the escaping that everything from outside (comm, symbols, paths) goes through before it is
 * printed. Pure functions; nothing allocates.
 */
#ifndef MON_TEXT_H
#define MON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Copies @text into @buffer with control bytes, DEL, backslash and invalid UTF-8 written as \xNN
 * (and C1 controls and bidirectional overrides, which are valid UTF-8, too), truncated to fit.
 * Returns @buffer. @size > 0.
 */
char *mon_escape(char *buffer, size_t size, const char *text);

/* As mon_escape() for @length bytes that need not end in NUL; stops at a NUL. */
char *mon_escape_bytes(char *buffer, size_t size, const char *bytes, size_t length);

/*
 * The same for a text that was escaped when it was made and comes from outside all the same: its
 * backslashes stay, whatever else has to be is escaped.
 */
char *mon_escape_again(char *buffer, size_t size, const char *text);

/* A local buffer and the escaping in one: printf("%s", MON_ESCAPED(path)). Truncates at 4 KB. */
#define MON_ESCAPED(text) mon_escape((char[4096]){0}, 4096, (text))
#define MON_ESCAPED_AGAIN(text) mon_escape_again((char[4096]){0}, 4096, (text))

/* "310ns", "4.10us", "22.0us", "1.90ms", "13.1s", "2m05s", "3h10m". Returns @buffer. */
char *mon_format_ns(char *buffer, size_t size, uint64_t ns);
/* "21", "21.0K", "4.00G" with 1024. Returns @buffer. */
char *mon_format_bytes(char *buffer, size_t size, uint64_t bytes);
/* "12,386,470". Returns @buffer. */
char *mon_format_count(char *buffer, size_t size, uint64_t count);

/* "500us", "10ms", "2s", "5m", "1h": 0, -EINVAL (no unit, not a number) or -ERANGE. */
int mon_parse_duration(const char *text, uint64_t *ns_out);
/* "64K", "16M", "1G", "123": 0, -EINVAL or -ERANGE. */
int mon_parse_size(const char *text, uint64_t *bytes_out);
/* A whole decimal number in [min, max]: 0, -EINVAL or -ERANGE. No sign, no blanks. */
int mon_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number_out);

/*
 * Shell glob with * ? and [] on the whole of @text; linear in practice, never exponential.
 * (glibc's fnmatch recurses on hostile patterns and depends on the locale.)
 */
bool mon_glob_match(const char *pattern, const char *text);

/* Edit distance, for "did you mean"; at most @limit + 1 is returned. */
unsigned mon_edit_distance(const char *a, const char *b, unsigned limit);

#endif
