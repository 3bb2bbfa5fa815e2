/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The strings and buffers that were captured of one call, as one cell of a table. They come from
 * a watched process: what is shown to people is escaped by the table, as every cell is.
 */
#ifndef MON_REPORT_CAPTURED_H
#define MON_REPORT_CAPTURED_H

#include "report/query.h"
#include "report/table.h"

/* Has any call of the database texts? 1, 0 or -errno with a sentence. */
int mon_captured_any(sqlite3 *database, struct mon_error *error);

/*
 * Fills the cell of the table's last row: `1: "hello", 2: 0x00ff... of 80000000` for a column of
 * MON_CELL_TEXT, an array of {slot, true_bytes, text or hex} for one of MON_CELL_JSON. A call
 * without texts leaves it empty. 0 or -errno with a sentence.
 */
int mon_captured_fill(sqlite3 *database, int64_t call_id, struct mon_table *table, size_t column,
		      struct mon_error *error);

#endif
