/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A table in memory: columns that a report declares, rows that it fills. Printed as aligned text
 * for people here, as CSV or JSON by export.h. An allocation that failed is remembered until
 * mon_table_failed() is asked, so that filling a row needs no check for each cell.
 */
#ifndef MON_REPORT_TABLE_H
#define MON_REPORT_TABLE_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum mon_cell_kind {
	MON_CELL_TEXT,
	MON_CELL_COUNT,
	MON_CELL_NS,
	MON_CELL_INTEGER, /* signed, never grouped: ids, return values */
	MON_CELL_PERCENT, /* a tenth of one for each */
	MON_CELL_HEX,	  /* hexadecimal for people, decimal in exports */
	MON_CELL_BOOL,
	MON_CELL_JSON, /* a value of more than one part, as JSON; for no other format */
};

#define MON_WIDE_IF_SET 2

struct mon_column {
	const char *head; /* NULL: exported only */
	const char *key;  /* name in CSV and JSON; NULL: text only */
	enum mon_cell_kind kind;
	uint8_t wide; /* in text only with --wide; or MON_WIDE_IF_SET: only if a cell is set, too */
};

struct mon_cell {
	bool set;
	bool estimate; /* printed with ~ */
	uint64_t number;
	char *text; /* as the database holds it: escaped when printed */
};

#define MON_TABLE_TEXT_MAX 4000	  /* bytes of one cell that are kept */
#define MON_TABLE_JSON_MAX 131072 /* of one of JSON, which must not be cut */
#define MON_TABLE_NAME_WIDTH 48	  /* characters of a text cell without --wide */

struct mon_table;

struct mon_table *mon_table_new(const struct mon_column *columns, size_t column_count);
void mon_table_free(struct mon_table *table);
MON_DEFINE_CLEANUP(table, struct mon_table *, mon_table_free)
#define MON_TABLE MON_CLEANUP(mon_cleanup_table)

/* Starts a row; the three below fill cells of the last one. Not filled: "-", empty, null. */
void mon_table_row(struct mon_table *table);
void mon_table_number(struct mon_table *table, size_t column, uint64_t number);
void mon_table_estimate(struct mon_table *table, size_t column, uint64_t number, bool estimate);
void mon_table_text(struct mon_table *table, size_t column, const char *text);
void mon_table_json(struct mon_table *table, size_t column, const char *json);
bool mon_table_failed(const struct mon_table *table);

size_t mon_table_rows(const struct mon_table *table);
size_t mon_table_columns(const struct mon_table *table);
const struct mon_column *mon_table_column(const struct mon_table *table, size_t column);
const struct mon_cell *mon_table_cell(const struct mon_table *table, size_t row, size_t column);

/* By @columns, first one first: numbers falling, text rising, what is not set last. */
void mon_table_sort(struct mon_table *table, const size_t *columns, size_t column_count);

/* At most @limit rows. Numbers to the right, text to the left. */
void mon_table_print(const struct mon_table *table, size_t limit, bool wide, bool color, FILE *out);

#endif
