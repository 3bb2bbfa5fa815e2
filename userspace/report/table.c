// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Cells keep what the database said; how it looks is decided at print time, so that one filled
 * table serves people and programs. Widths count characters, not bytes: names may be UTF-8. Rows
 * are bounded by what was asked for (functions of a run, --slowest N), text cells by
 * MON_TABLE_TEXT_MAX. Main thread only.
 */
#include "report/table.h"

#include "base/text.h"

#include <inttypes.h>
#include <string.h>

struct mon_table {
	const struct mon_column *columns;
	size_t column_count;
	struct mon_cell *cells; /* rows * column_count */
	size_t rows, rows_max;
	bool failed;
};

struct mon_table *mon_table_new(const struct mon_column *columns, size_t column_count)
{
	struct mon_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = columns;
	table->column_count = column_count;
	return table;
}

void mon_table_free(struct mon_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->rows * table->column_count; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
}

void mon_table_row(struct mon_table *table)
{
	if (table->failed)
		return;
	if (table->rows == table->rows_max) {
		size_t rows_max = table->rows_max ? table->rows_max * 2 : 16;
		struct mon_cell *cells =
			reallocarray(table->cells, rows_max * table->column_count, sizeof(*cells));

		if (!cells) {
			table->failed = true;
			return;
		}
		table->cells = cells;
		table->rows_max = rows_max;
	}
	memset(table->cells + table->rows * table->column_count, 0,
	       table->column_count * sizeof(*table->cells));
	table->rows++;
}

static struct mon_cell *last_row_cell(struct mon_table *table, size_t column)
{
	if (table->failed || !table->rows || column >= table->column_count)
		return NULL;
	return &table->cells[(table->rows - 1) * table->column_count + column];
}

void mon_table_estimate(struct mon_table *table, size_t column, uint64_t number, bool estimate)
{
	struct mon_cell *cell = last_row_cell(table, column);

	if (!cell)
		return;
	cell->set = true;
	cell->estimate = estimate;
	cell->number = number;
}

void mon_table_number(struct mon_table *table, size_t column, uint64_t number)
{
	mon_table_estimate(table, column, number, false);
}

static void set_text(struct mon_table *table, size_t column, const char *text, size_t length_max)
{
	struct mon_cell *cell = last_row_cell(table, column);

	if (!cell || !text)
		return;
	free(cell->text);
	cell->text = strndup(text, length_max);
	cell->set = cell->text != NULL;
	if (!cell->text)
		table->failed = true;
}

void mon_table_text(struct mon_table *table, size_t column, const char *text)
{
	set_text(table, column, text, MON_TABLE_TEXT_MAX);
}

void mon_table_json(struct mon_table *table, size_t column, const char *json)
{
	set_text(table, column, json, MON_TABLE_JSON_MAX);
}

bool mon_table_failed(const struct mon_table *table)
{
	return table->failed;
}

size_t mon_table_rows(const struct mon_table *table)
{
	return table->rows;
}

size_t mon_table_columns(const struct mon_table *table)
{
	return table->column_count;
}

const struct mon_column *mon_table_column(const struct mon_table *table, size_t column)
{
	return &table->columns[column];
}

const struct mon_cell *mon_table_cell(const struct mon_table *table, size_t row, size_t column)
{
	return &table->cells[row * table->column_count + column];
}

static bool starts_character(char byte)
{
	return ((unsigned char)byte & 0xc0) != 0x80;
}

static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += starts_character(*text);
	return width;
}

struct order {
	const struct mon_table *table;
	const size_t *columns;
	size_t column_count;
};

static int compare_rows(const void *left, const void *right, void *context)
{
	const struct order *order = context;

	for (size_t i = 0; i < order->column_count; i++) {
		size_t column = order->columns[i];
		const struct mon_cell *a = (const struct mon_cell *)left + column;
		const struct mon_cell *b = (const struct mon_cell *)right + column;
		int result = 0;

		if (a->set != b->set)
			return a->set ? -1 : 1;
		if (!a->set)
			continue;
		if (order->table->columns[column].kind == MON_CELL_TEXT)
			result = strcmp(a->text, b->text);
		else if (a->number != b->number)
			return a->number > b->number ? -1 : 1;
		if (result)
			return result;
	}
	return 0;
}

void mon_table_sort(struct mon_table *table, const size_t *columns, size_t column_count)
{
	struct order order = {table, columns, column_count};

	if (table->rows)
		qsort_r(table->cells, table->rows, table->column_count * sizeof(*table->cells),
			compare_rows, &order);
}

/* Cuts escaped text to @width characters, the last of them an ellipsis in ASCII. */
static void shorten(char *text, size_t width)
{
	size_t seen = 0;

	if (width_of(text) <= width)
		return;
	for (; *text; text++) {
		if (!starts_character(*text))
			continue;
		if (seen++ == width - 3) {
			memcpy(text, "...", 4);
			return;
		}
	}
}

/* Room for a text cell with every byte escaped. */
#define CELL_BYTES (MON_TABLE_TEXT_MAX * 4 + 8)

static void format_cell(const struct mon_table *table, size_t row, size_t column, bool wide,
			char *buffer)
{
	const struct mon_cell *cell = mon_table_cell(table, row, column);
	char *at = buffer;

	if (!cell->set) {
		memcpy(buffer, "-", 2);
		return;
	}
	if (cell->estimate)
		*at++ = '~';
	switch (table->columns[column].kind) {
	case MON_CELL_TEXT:
	case MON_CELL_JSON:
		(void)mon_escape(at, CELL_BYTES - 1, cell->text);
		if (!wide)
			shorten(at, MON_TABLE_NAME_WIDTH);
		break;
	case MON_CELL_COUNT:
		(void)mon_format_count(at, CELL_BYTES - 1, cell->number);
		break;
	case MON_CELL_NS:
		(void)mon_format_ns(at, CELL_BYTES - 1, cell->number);
		break;
	case MON_CELL_INTEGER:
		(void)snprintf(at, CELL_BYTES - 1, "%" PRId64, (int64_t)cell->number);
		break;
	case MON_CELL_PERCENT:
		(void)snprintf(at, CELL_BYTES - 1, "%.3g %%", (double)cell->number / 10);
		break;
	case MON_CELL_HEX:
		(void)snprintf(at, CELL_BYTES - 1, "0x%" PRIx64, cell->number);
		break;
	case MON_CELL_BOOL:
		(void)snprintf(at, CELL_BYTES - 1, "%s", cell->number ? "yes" : "no");
		break;
	}
}

static bool is_shown(const struct mon_table *table, size_t column, bool wide)
{
	const struct mon_column *shown = &table->columns[column];

	if (!shown->head || (shown->wide && !wide))
		return false;
	for (size_t r = 0; shown->wide == MON_WIDE_IF_SET && r <= table->rows; r++) {
		if (r == table->rows)
			return false;
		if (mon_table_cell(table, r, column)->set)
			break;
	}
	return true;
}

static void print_padded(const char *text, size_t width, bool left, bool last, FILE *out)
{
	size_t have = width_of(text);
	int blanks = have < width ? (int)(width - have) : 0;

	if (left)
		(void)fprintf(out, "%s%*s", text, last ? 0 : blanks, "");
	else
		(void)fprintf(out, "%*s%s", blanks, "", text);
}

void mon_table_print(const struct mon_table *table, size_t limit, bool wide, bool color, FILE *out)
{
	MON_FREE size_t *widths = calloc(table->column_count + 1, sizeof(*widths));
	MON_FREE char *buffer = malloc(CELL_BYTES);
	size_t rows = table->rows < limit ? table->rows : limit;
	size_t last = 0;

	if (!widths || !buffer)
		return;
	for (size_t c = 0; c < table->column_count; c++) {
		if (!is_shown(table, c, wide))
			continue;
		last = c;
		widths[c] = width_of(table->columns[c].head);
		for (size_t r = 0; r < rows; r++) {
			format_cell(table, r, c, wide, buffer);
			if (width_of(buffer) > widths[c])
				widths[c] = width_of(buffer);
		}
	}
	if (color)
		(void)fputs("\033[1m", out);
	for (size_t r = 0; r <= rows; r++) {
		bool first = true;

		for (size_t c = 0; c < table->column_count; c++) {
			const struct mon_column *column = &table->columns[c];

			if (!is_shown(table, c, wide))
				continue;
			if (!first)
				(void)fputs("  ", out);
			first = false;
			if (r > 0)
				format_cell(table, r - 1, c, wide, buffer);
			print_padded(r > 0 ? buffer : column->head, widths[c],
				     column->kind == MON_CELL_TEXT, c == last, out);
		}
		if (r == 0 && color)
			(void)fputs("\033[0m", out);
		(void)fputc('\n', out);
	}
}
