/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The closer looks: one function with its histogram, who calls whom, the slowest kept calls. The
 * last two read sampled rows of table `call`, so their cost grows with the database.
 */
#ifndef MON_REPORT_DETAIL_H
#define MON_REPORT_DETAIL_H

#include "report/query.h"
#include "report/report.h"
#include "report/table.h"

/* One report in the making; everything is owned by mon_report_print(). */
struct mon_report {
	const struct mon_report_options *options;
	sqlite3 *database;
	struct mon_run run;
	struct mon_function_rows functions;
	const struct mon_function_row *selected; /* --function, or NULL: all */
	uint64_t cut_ns;			 /* with --since: what ends later counts */
	uint64_t from_ns;			 /* start of the first interval that counts */
	enum mon_lock lock;
	FILE *out;
};

#define MON_REPORT_SLOWEST_MAX 100000

/* report/head.c */
void mon_report_print_head(const struct mon_report *report);
/* Totals are committed each second, kept calls with their batch: these may be there first. */
bool mon_report_has_totals(const struct mon_report *report);

/* Was a function that is shown armed a share of the time? */
bool mon_report_any_scaled(const struct mon_report *report);
/* A line for each reason that something is marked with ~. */
void mon_report_print_marks(const struct mon_report *report);

/* Finds options->function: exact name, symbol or alias, else a glob. -ENOENT lists what there is.
 */
int mon_detail_select(struct mon_report *report, struct mon_error *error);

int mon_detail_function(struct mon_report *report, struct mon_error *error);
int mon_detail_callers(struct mon_report *report, struct mon_error *error);
int mon_detail_slowest(struct mon_report *report, struct mon_error *error);
/* report/open.c: kept calls that never returned. */
int mon_detail_open(struct mon_report *report, struct mon_error *error);

/* The rows of one run: ids between those of its first and last batch. ?1 run, ?2 function or 0. */
#define MON_DETAIL_CALLS_OF_RUN                                                            \
	" FROM call c JOIN function f ON f.id = c.function_id"                             \
	" LEFT JOIN function p ON p.id = c.caller_id LEFT JOIN task t ON t.id = c.task_id" \
	" WHERE c.id >= (SELECT min(first_call) FROM batch WHERE run_id = ?1)"             \
	" AND c.id <= (SELECT max(last_call) FROM batch WHERE run_id = ?1)"                \
	" AND f.run_id = ?1 AND (?2 = 0 OR c.function_id = ?2)"                            \
	" AND c.start_ns + coalesce(c.duration_ns, 0) >= ?3"

/* @sql is of the rows above; ?3 is filled in, ?4 is @last. @values: how many of the four. */
int mon_detail_prepare_calls(struct mon_report *report, const char *sql, int64_t last, int values,
			     sqlite3_stmt **statement_out, struct mon_error *error);
/* "0x1, 0x2" of the six columns from @first on, up to the first NULL. */
void mon_detail_arguments(sqlite3_stmt *statement, int first, char *buffer, size_t size);

/* UTC, "2026-11-23 10:44:02"; with @fraction microseconds too. Returns @buffer. */
char *mon_report_time(char *buffer, size_t size, int64_t wall_ns, bool fraction);

#endif
