/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Questions to a database that a run left (or is writing). Any error fails the test. */
#ifndef HARNESS_DATABASE_H
#define HARNESS_DATABASE_H

#include <stdint.h>

/* First column of the first row. db_int counts NULL as 0; a query without a row fails. */
int64_t db_int(const char *path, const char *sql);
/* Waits, with a bound, until the answer is at least so much: what a live run writes comes late. */
void db_wait_int(const char *path, const char *sql, int64_t least);
/* The caller frees it. NULL for NULL. */
char *db_text(const char *path, const char *sql);

/* quick_check ok, the last run complete, and every call accounted for. */
void assert_ledger_closed(const char *path);

#endif
