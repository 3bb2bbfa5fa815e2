// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Text in a database comes from a watched process and may be anything. JSON gets valid UTF-8
 * whatever the bytes are: what is not UTF-8 becomes U+FFFD. CSV has no escapes of its own, and
 * control bytes in it would reach a terminal, so its text is escaped as everywhere else (\xNN) and
 * then quoted where RFC 4180 wants it. Main thread only; nothing is allocated that grows.
 */
#include "report/export.h"

#include "base/text.h"

#include <inttypes.h>
#include <string.h>

static void csv_text(const char *text, FILE *out)
{
	char escaped[MON_TABLE_TEXT_MAX * 4 + 1];

	(void)mon_escape(escaped, sizeof(escaped), text);
	if (!escaped[strcspn(escaped, ",\"\r\n")]) {
		(void)fputs(escaped, out);
		return;
	}
	(void)fputc('"', out);
	for (const char *at = escaped; *at; at++) {
		if (*at == '"')
			(void)fputc('"', out);
		(void)fputc(*at, out);
	}
	(void)fputc('"', out);
}

static void number(const struct mon_column *column, const struct mon_cell *cell, FILE *out)
{
	if (column->kind == MON_CELL_INTEGER)
		(void)fprintf(out, "%" PRId64, (int64_t)cell->number);
	else
		(void)fprintf(out, "%" PRIu64, cell->number);
}

void mon_export_csv(const struct mon_table *table, FILE *out)
{
	for (size_t r = 0; r <= mon_table_rows(table); r++) {
		bool first = true;

		for (size_t c = 0; c < mon_table_columns(table); c++) {
			const struct mon_column *column = mon_table_column(table, c);

			if (!column->key)
				continue;
			if (!first)
				(void)fputc(',', out);
			first = false;
			if (r == 0) {
				(void)fputs(column->key, out);
				continue;
			}

			const struct mon_cell *cell = mon_table_cell(table, r - 1, c);

			if (!cell->set)
				continue;
			if (column->kind == MON_CELL_TEXT)
				csv_text(cell->text, out);
			else
				number(column, cell, out);
		}
		(void)fputc('\n', out);
	}
}

size_t mon_export_utf8_length(const char *string)
{
	const unsigned char *text = (const unsigned char *)string;
	unsigned char low = 0x80, high = 0xbf;
	size_t length;

	if (text[0] < 0x80)
		return 1;
	if (text[0] >= 0xc2 && text[0] <= 0xdf)
		length = 2;
	else if ((text[0] & 0xf0) == 0xe0)
		length = 3;
	else if (text[0] >= 0xf0 && text[0] <= 0xf4)
		length = 4;
	else
		return 0;
	if (text[0] == 0xe0)
		low = 0xa0;
	else if (text[0] == 0xed)
		high = 0x9f;
	else if (text[0] == 0xf0)
		low = 0x90;
	else if (text[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < length; i++) {
		if (text[i] < low || text[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return length;
}

/* Of a valid sequence of two or three bytes; 0 of any other. */
static unsigned code_point(const unsigned char *text, size_t length)
{
	if (length == 2)
		return (text[0] & 0x1fu) << 6 | (text[1] & 0x3fu);
	if (length == 3)
		return (text[0] & 0xfu) << 12 | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
	return 0;
}

/* Valid, but it moves cursors or hides and turns what stands around it; as in base/text.c. */
static bool acts_on_terminals(unsigned code)
{
	return (code >= 0x80 && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
	       (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
	       code == 0x061c || code == 0xfeff;
}

void mon_export_json_string(const char *string, FILE *out)
{
	const unsigned char *at = (const unsigned char *)string;

	(void)fputc('"', out);
	while (*at) {
		size_t length = mon_export_utf8_length((const char *)at);

		if (length == 0) {
			(void)fputs("\\ufffd", out);
			length = 1;
		} else if (*at == '"' || *at == '\\') {
			(void)fprintf(out, "\\%c", *at);
		} else if (*at < 0x20 || *at == 0x7f) {
			(void)fprintf(out, "\\u%04x", *at);
		} else if (acts_on_terminals(code_point(at, length))) {
			(void)fprintf(out, "\\u%04x", code_point(at, length));
		} else {
			(void)fwrite(at, 1, length, out);
		}
		at += length;
	}
	(void)fputc('"', out);
}

static void json_row(const struct mon_table *table, size_t row, FILE *out)
{
	bool first = true;

	(void)fputc('{', out);
	for (size_t c = 0; c < mon_table_columns(table); c++) {
		const struct mon_column *column = mon_table_column(table, c);
		const struct mon_cell *cell = mon_table_cell(table, row, c);

		if (!column->key)
			continue;
		(void)fprintf(out, "%s\"%s\": ", first ? "" : ", ", column->key);
		first = false;
		if (!cell->set)
			(void)fputs("null", out);
		else if (column->kind == MON_CELL_JSON)
			(void)fputs(cell->text, out);
		else if (column->kind == MON_CELL_TEXT)
			mon_export_json_string(cell->text, out);
		else if (column->kind == MON_CELL_BOOL)
			(void)fputs(cell->number ? "true" : "false", out);
		else
			number(column, cell, out);
	}
	(void)fputc('}', out);
}

void mon_export_json(const char *key, const struct mon_table *table, bool single, FILE *out)
{
	(void)fprintf(out, "\"%s\": ", key);
	if (single) {
		if (mon_table_rows(table))
			json_row(table, 0, out);
		else
			(void)fputs("null", out);
		return;
	}
	(void)fputc('[', out);
	for (size_t r = 0; r < mon_table_rows(table); r++) {
		(void)fputs(r ? ",\n  " : "\n  ", out);
		json_row(table, r, out);
	}
	(void)fputc(']', out);
}
