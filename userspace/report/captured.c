// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A text is shown as text when it is valid UTF-8 without a NUL (its last character may be cut off),
 * else in hexadecimal. One that is empty and should not be could not be read. Bounded: so many rows
 * of so many bytes, whatever the database holds. Main thread only.
 */
#include "report/captured.h"

#include "report/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_SHOWN_MAX 7 /* the return value and six arguments */
#define BYTES_SHOWN_MAX 2048

struct captured {
	int slot;
	bool known; /* true_bytes is */
	uint64_t true_bytes;
	size_t length;
	char bytes[BYTES_SHOWN_MAX + 1]; /* and a NUL */
};

static int out_of_memory(struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
}

int mon_captured_any(sqlite3 *database, struct mon_error *error)
{
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result = mon_query_prepare(database, "SELECT EXISTS(SELECT 1 FROM call_text)", NULL, 0,
				       &statement, error);

	if (result == 0)
		result = mon_query_step(statement, error);
	if (result < 0)
		return result;
	return mon_query_count(statement, 0) != 0;
}

static void read_row(sqlite3_stmt *statement, struct captured *text)
{
	const void *bytes = sqlite3_column_blob(statement, 2);
	size_t length = bytes ? (size_t)sqlite3_column_bytes(statement, 2) : 0;

	text->slot = sqlite3_column_int(statement, 0);
	text->known = !mon_query_is_null(statement, 1);
	text->true_bytes = (uint64_t)sqlite3_column_int64(statement, 1);
	text->length = length < BYTES_SHOWN_MAX ? length : BYTES_SHOWN_MAX;
	if (text->length)
		memcpy(text->bytes, bytes, text->length);
	text->bytes[text->length] = '\0';
}

static bool is_cut(const struct captured *text)
{
	return !text->known || text->true_bytes > text->length;
}

static bool is_unreadable(const struct captured *text)
{
	return !text->length && is_cut(text);
}

static bool is_text(const struct captured *text)
{
	size_t at = 0;

	while (at < text->length) {
		size_t step = mon_export_utf8_length(text->bytes + at);

		if (!text->bytes[at])
			return false;
		/* The last character of a cut text may lack some of its bytes, three at most. */
		if (!step)
			return is_cut(text) && text->length - at <= 3 &&
			       ((unsigned char)text->bytes[at] & 0xc0) == 0xc0;
		at += step;
	}
	return true;
}

static void print_hex(const struct captured *text, FILE *out)
{
	for (size_t i = 0; i < text->length; i++)
		(void)fprintf(out, "%02x", (unsigned char)text->bytes[i]);
}

static void print_json(const struct captured *text, FILE *out)
{
	(void)fprintf(out, "{\"slot\": %d, \"true_bytes\": ", text->slot);
	if (text->known)
		(void)fprintf(out, "%" PRIu64, text->true_bytes);
	else
		(void)fputs("null", out);
	if (is_unreadable(text)) {
		(void)fputs(", \"text\": null}", out);
	} else if (is_text(text)) {
		(void)fputs(", \"text\": ", out);
		mon_export_json_string(text->bytes, out);
		(void)fputc('}', out);
	} else {
		(void)fputs(", \"hex\": \"", out);
		print_hex(text, out);
		(void)fputs("\"}", out);
	}
}

static void print_text(const struct captured *text, FILE *out)
{
	(void)fprintf(out, "%d: ", text->slot);
	if (is_unreadable(text)) {
		(void)fputs("unreadable", out);
	} else if (is_text(text)) {
		(void)fprintf(out, "\"%s\"", text->bytes);
	} else {
		(void)fputs("0x", out);
		print_hex(text, out);
	}
	if (is_cut(text) && !is_unreadable(text))
		(void)fputs("...", out);
	if (is_cut(text) && text->known)
		(void)fprintf(out, " of %" PRIu64, text->true_bytes);
}

int mon_captured_fill(sqlite3 *database, int64_t call_id, struct mon_table *table, size_t column,
		      struct mon_error *error)
{
	static const char sql[] = "SELECT slot, true_bytes, substr(value, 1, 2048) FROM call_text"
				  " WHERE call_id = ?1 ORDER BY slot LIMIT 7";
	bool json = mon_table_column(table, column)->kind == MON_CELL_JSON;
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result = mon_query_prepare(database, sql, &call_id, 1, &statement, error);
	struct captured text;
	size_t size, count = 0;
	char *cell = NULL;
	FILE *out;

	_Static_assert(BYTES_SHOWN_MAX == 2048 && TEXTS_SHOWN_MAX == 7, "the query");
	if (result)
		return result;
	out = open_memstream(&cell, &size);
	if (!out)
		return out_of_memory(error);
	while ((result = mon_query_step(statement, error)) > 0) {
		read_row(statement, &text);
		(void)fputs(count++ ? ", " : json ? "[" : "", out);
		if (json)
			print_json(&text, out);
		else
			print_text(&text, out);
	}
	if (json && count)
		(void)fputc(']', out);
	if (fclose(out) && !result)
		result = out_of_memory(error);
	if (!result && count && json)
		mon_table_json(table, column, cell);
	else if (!result && count)
		mon_table_text(table, column, cell);
	free(cell);
	return result;
}
