/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the report asks of a database. One read transaction spans a report, so that its numbers
 * agree with each other while another process writes. The default report reads totals only,
 * never table `call`. All reading is by value, with the types that the caller wants: a database
 * that holds other types gives wrong numbers, never a crash.
 */
#ifndef MON_REPORT_QUERY_H
#define MON_REPORT_QUERY_H

#include "base/cleanup.h"
#include "base/error.h"
#include "base/histogram.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#define MON_DATABASE_APPLICATION_ID 0x4d6f6e62
#define MON_DATABASE_VERSION 1

/* --- statements ------------------------------------------------------------------------- */

MON_DEFINE_CLEANUP(statement, sqlite3_stmt *, sqlite3_finalize)
#define MON_STATEMENT MON_CLEANUP(mon_cleanup_statement)

MON_DEFINE_CLEANUP(database, sqlite3 *, sqlite3_close_v2)
#define MON_DATABASE MON_CLEANUP(mon_cleanup_database)

/* Opens read-only, checks whose file it is and begins the read transaction. */
int mon_query_open(const char *path, sqlite3 **database_out, struct mon_error *error);

/* Binds @count numbers. 0 or -errno with a sentence. */
int mon_query_prepare(sqlite3 *database, const char *sql, const int64_t *values, int count,
		      sqlite3_stmt **statement_out, struct mon_error *error);
/* 1: a row, 0: the end, -errno with a sentence. */
int mon_query_step(sqlite3_stmt *statement, struct mon_error *error);

/* Negative numbers, which no column of ours holds, are 0. */
uint64_t mon_query_count(sqlite3_stmt *statement, int column);
const char *mon_query_text(sqlite3_stmt *statement, int column); /* "" for NULL */
bool mon_query_is_null(sqlite3_stmt *statement, int column);
/* Adds the histogram in @column to @counts; a damaged one adds nothing. */
void mon_query_histogram(sqlite3_stmt *statement, int column, uint64_t *counts);

/* --- rows ------------------------------------------------------------------------------- */

struct mon_run {
	int64_t id;
	char *uuid, *target, *host, *kernel, *version, *command, *options, *end_reason;
	char *earlier; /* of a further part: ".damaged-1", or what else became of the file before */
	int64_t part, started_wall_ns;
	uint64_t length_ns;    /* until its end, or the last commit */
	double overhead_limit; /* 0: none, and nothing was measured */
	uint64_t cost_ns, own_cpu_ns;
	uint64_t wanted_ns; /* while it runs: of all functions, as of the last commit; 0: not known
			     */
	bool ended, complete, superseded; /* superseded: another run came after it */
};
void mon_run_clear(struct mon_run *run);

/* @id 0: the last one. -ENOENT when there is none; the sentence lists the runs there are. */
int mon_query_run(sqlite3 *database, uint32_t id, const char *path, struct mon_run *run_out,
		  struct mon_error *error);

/*
 * Does a monitor hold the lock beside the database? Unknown when there is no such file, as after a
 * run's end or beside a copy, or when it may not be opened. Nothing is written.
 */
enum mon_lock { MON_LOCK_UNKNOWN, MON_LOCK_FREE, MON_LOCK_HELD };
enum mon_lock mon_query_lock(const char *path);

struct mon_function_row {
	int64_t id;
	char *name, *symbol, *aliases, *module, *mode, *note;
	uint64_t offset, probe_offset, size_bytes;
	uint64_t wanted_own_ns, armed_own_ns; /* 0: not known */
	uint64_t wanted_ns, armed_ns, calls, returns, failed, total_ns, self_ns, min_ns, max_ns;
	bool has_total, has_failed, has_min, has_quantiles;
	bool estimated;	   /* not every return was followed: times are estimates */
	bool self_unknown; /* of some calls inside nobody knows */
	uint64_t p50_ns, p90_ns, p99_ns;
	uint64_t stored, lost;
	uint64_t selected; /* calls that were to be kept, whatever became of them */
};

struct mon_function_rows {
	struct mon_function_row *rows; /* by what is shown: total time, calls, name */
	size_t count, count_max;
};
void mon_function_rows_clear(struct mon_function_rows *rows);

/*
 * Totals of every function of the run; with @since only intervals that end past @cut_ns, of the
 * functions that were called then or not armed all the time. *@from_ns_out is @cut_ns, or where the
 * first of those intervals starts before it.
 */
int mon_query_functions(sqlite3 *database, const struct mon_run *run, bool since, uint64_t cut_ns,
			uint64_t *from_ns_out, struct mon_function_rows *rows_out,
			struct mon_error *error);

#endif
