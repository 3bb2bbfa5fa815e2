// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kept calls that never returned: a scan of the run's rows, like the other closer looks. How long
 * one was open is known only of those that the end of the run found open; of the others the end of
 * their thread, process image or frame is not recorded. Main thread only.
 */
#include "report/detail.h"

#include "report/captured.h"
#include "report/export.h"

#include <errno.h>
#include <string.h>

#define OPEN_SHOWN 20

/* enum mon_call_flag (bpf/event.h), as docs/schema.md tells it to everybody who reads the file. */
enum { UNRETURNED = 2, UNWOUND = 4, THREAD_EXIT = 8, EXEC = 16, IN_FLIGHT = 32 };

static const char *why(uint64_t flags)
{
	if (flags & IN_FLIGHT)
		return "in flight";
	if (flags & THREAD_EXIT)
		return "thread exit";
	if (flags & EXEC)
		return "exec";
	if (flags & UNWOUND)
		return "unwound";
	return "unreturned";
}

enum {
	START,
	WALL,
	OFFSET,
	AGE,
	WHY,
	NAME,
	CALLER,
	PID,
	TID,
	COMM,
	DEPTH,
	WEIGHT,
	FLAGS,
	ARGS,
	CALL,
	CAPTURED,
	COLUMNS
};

/* Columns of the query that go where they are. */
static const struct {
	size_t column;
	enum mon_cell_kind kind;
} plain[] = {
	{NAME, MON_CELL_TEXT},	  {CALLER, MON_CELL_TEXT},   {PID, MON_CELL_INTEGER},
	{TID, MON_CELL_INTEGER},  {COMM, MON_CELL_TEXT},     {DEPTH, MON_CELL_INTEGER},
	{WEIGHT, MON_CELL_COUNT}, {FLAGS, MON_CELL_INTEGER}, {CALL, MON_CELL_INTEGER},
};

static void fill_row(const struct mon_report *report, sqlite3_stmt *statement,
		     struct mon_table *table)
{
	uint64_t start_ns = mon_query_count(statement, 0);
	uint64_t flags = mon_query_count(statement, 8);
	uint64_t wall_ns = (uint64_t)report->run.started_wall_ns + start_ns;
	char text[160];

	mon_table_row(table);
	mon_table_text(table, START, mon_report_time(text, sizeof(text), (int64_t)wall_ns, true));
	mon_table_number(table, WALL, wall_ns);
	mon_table_number(table, OFFSET, start_ns);
	if ((flags & IN_FLIGHT) && report->run.length_ns > start_ns)
		mon_table_number(table, AGE, report->run.length_ns - start_ns);
	mon_table_text(table, WHY, why(flags));
	for (size_t i = 0; i < MON_ARRAY_COUNT(plain); i++) {
		int column = (int)i + 1;

		if (mon_query_is_null(statement, column))
			continue;
		if (plain[i].kind == MON_CELL_TEXT)
			mon_table_text(table, plain[i].column, mon_query_text(statement, column));
		else
			mon_table_number(table, plain[i].column,
					 mon_query_count(statement, column));
	}
	mon_detail_arguments(statement, 10, text, sizeof(text));
	if (text[0])
		mon_table_text(table, ARGS, text);
}

static int fill_table(struct mon_report *report, bool any, struct mon_table *table,
		      struct mon_error *error)
{
	static const char sql[] =
		"SELECT c.start_ns, f.name, CASE WHEN c.flags & 128 THEN '?' ELSE p.name END,"
		" t.pid, t.tid, t.comm, c.depth, c.weight,"
		" c.flags, c.id, c.arg1, c.arg2, c.arg3, c.arg4, c.arg5, "
		"c.arg6" MON_DETAIL_CALLS_OF_RUN
		" AND c.flags & 62 ORDER BY c.start_ns, c.id LIMIT ?4"; /* but entries only */
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result =
		mon_detail_prepare_calls(report, sql, MON_REPORT_SLOWEST_MAX, 4, &statement, error);

	if (result)
		return result;
	while ((result = mon_query_step(statement, error)) > 0) {
		fill_row(report, statement, table);
		if (any)
			result = mon_captured_fill(report->database,
						   sqlite3_column_int64(statement, 9), table,
						   CAPTURED, error);
		if (result < 0)
			break;
	}
	if (result)
		return result;
	return mon_table_failed(table)
		       ? mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory")
		       : 0;
}

static void print(const struct mon_report *report, const struct mon_table *table)
{
	const struct mon_report_options *options = report->options;
	size_t rows = mon_table_rows(table);

	if (rows)
		mon_table_print(table, options->all ? SIZE_MAX : OPEN_SHOWN, options->wide,
				options->color, report->out);
	else
		(void)fputs("every kept call returned\n", report->out);
	if (!options->all && rows > OPEN_SHOWN)
		(void)fprintf(report->out, "%zu more: --all\n", rows - OPEN_SHOWN);
	if (!report->run.ended)
		(void)fputs("what is open now, a running monitor tells: monbpf status\n",
			    report->out);
}

int mon_detail_open(struct mon_report *report, struct mon_error *error)
{
	struct mon_column columns[] = {
		[START] = {"START (UTC)", NULL, MON_CELL_TEXT, false},
		[WALL] = {NULL, "started_ns", MON_CELL_INTEGER, false},
		[OFFSET] = {NULL, "start_ns", MON_CELL_COUNT, false},
		[AGE] = {"OPEN FOR", "open_ns", MON_CELL_NS, false},
		[WHY] = {"WHY", "why", MON_CELL_TEXT, false},
		[NAME] = {"FUNCTION", "function", MON_CELL_TEXT, false},
		[CALLER] = {"CALLER", "caller", MON_CELL_TEXT, false},
		[PID] = {"PID", "pid", MON_CELL_INTEGER, true},
		[TID] = {"TID", "tid", MON_CELL_INTEGER, false},
		[COMM] = {"THREAD", "comm", MON_CELL_TEXT, false},
		[DEPTH] = {"DEPTH", "depth", MON_CELL_INTEGER, true},
		[WEIGHT] = {"WEIGHT", "weight", MON_CELL_COUNT, true},
		[FLAGS] = {NULL, "flags", MON_CELL_INTEGER, false},
		[ARGS] = {"ARGUMENTS", "arguments", MON_CELL_TEXT, false},
		[CALL] = {NULL, "call_id", MON_CELL_INTEGER, false},
		[CAPTURED] = {NULL, "captured", MON_CELL_TEXT, false},
	};
	const struct mon_report_options *options = report->options;
	MON_TABLE struct mon_table *table = NULL;
	int any = mon_captured_any(report->database, error), result;

	if (any < 0)
		return any;
	if (any)
		columns[CAPTURED].head = "CAPTURED";
	if (options->format == MON_REPORT_JSON)
		columns[CAPTURED].kind = MON_CELL_JSON;
	table = mon_table_new(columns, COLUMNS);
	if (!table)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	result = fill_table(report, any, table, error);
	if (result)
		return result;
	if (options->format == MON_REPORT_CSV)
		mon_export_csv(table, report->out);
	else if (options->format == MON_REPORT_JSON)
		mon_export_json("open", table, false, report->out);
	else
		print(report, table);
	return 0;
}
