/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables for programs: CSV (RFC 4180, header row, LF line ends) and JSON. Raw nanoseconds, every
 * column, no grouping, no colour. What the database lacks is an empty field or null.
 */
#ifndef MON_REPORT_EXPORT_H
#define MON_REPORT_EXPORT_H

#include "report/table.h"

void mon_export_csv(const struct mon_table *table, FILE *out);

/* `"key": [{...}, ...]`; with @single the first row alone: `"key": {...}`, or null. */
void mon_export_json(const char *key, const struct mon_table *table, bool single, FILE *out);

/* One string, quoted; what is not UTF-8 becomes U+FFFD. */
void mon_export_json_string(const char *string, FILE *out);
/* Length of the valid UTF-8 sequence at @string (Unicode table 3-7), or 0. Stops at a NUL. */
size_t mon_export_utf8_length(const char *string);

#endif
