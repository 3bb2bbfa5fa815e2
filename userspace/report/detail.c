// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls are found by function, not by time: table `call` has no index (writing it would cost a
 * third of the throughput), so these queries scan the rows of the run. `batch` rows bound the
 * scan to the run's own. What is kept in memory is bounded: one row for each pair of functions,
 * or MON_REPORT_SLOWEST_MAX calls. Main thread only.
 */
#include "report/detail.h"

#include "base/text.h"
#include "report/captured.h"
#include "report/estimate.h"
#include "report/export.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MATCHES_LISTED 20
#define HISTOGRAM_LINES_MAX 32
#define HISTOGRAM_BAR_WIDTH 50

static int out_of_memory(struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_alias(const char *aliases, const char *name)
{
	size_t length = strlen(name);

	while (*aliases) {
		size_t part = strcspn(aliases, ",");

		if (part == length && memcmp(aliases, name, length) == 0)
			return true;
		aliases += part;
		aliases += strspn(aliases, ", ");
	}
	return false;
}

static bool matches(const struct mon_function_row *row, const char *wanted, bool glob)
{
	char full[2 * MON_TABLE_TEXT_MAX + 2];

	(void)snprintf(full, sizeof(full), "%s:%s", base_name(row->module), row->name);
	if (glob)
		return mon_glob_match(wanted, row->name) || mon_glob_match(wanted, row->symbol) ||
		       mon_glob_match(wanted, full);
	return strcmp(wanted, row->name) == 0 || strcmp(wanted, row->symbol) == 0 ||
	       strcmp(wanted, full) == 0 || is_alias(row->aliases, wanted);
}

/* One "\n  MODULE:NAME" line more, as long as there is room. */
static void list_add(char *list, size_t size, size_t *used, const struct mon_function_row *row)
{
	char name[128], module[64];

	(void)mon_escape(name, sizeof(name), row->name);
	(void)mon_escape(module, sizeof(module), base_name(row->module));
	if (*used < size - 1)
		*used += (size_t)snprintf(list + *used, size - *used, "\n  %s:%s", module, name);
}

int mon_detail_select(struct mon_report *report, struct mon_error *error)
{
	const char *wanted = report->options->function;
	char list[3000] = "";
	size_t used = 0, found = 0;

	for (int glob = 0; glob < 2 && !found; glob++) {
		for (size_t i = 0; i < report->functions.count; i++) {
			if (!matches(&report->functions.rows[i], wanted, glob))
				continue;
			report->selected = &report->functions.rows[i];
			if (found++ < MATCHES_LISTED)
				list_add(list, sizeof(list), &used, report->selected);
		}
	}
	if (found == 1)
		return 0;
	report->selected = NULL;
	if (found)
		return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT,
				     "%zu functions match %.200s; name one with --function:%s%s",
				     found, MON_ESCAPED(wanted), list,
				     found > MATCHES_LISTED ? "\n  ..." : "");
	for (size_t i = 0; i < report->functions.count && i < MATCHES_LISTED; i++)
		list_add(list, sizeof(list), &used, &report->functions.rows[i]);
	return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT,
			     "run %" PRId64 " has no function %.200s%s%s%s", report->run.id,
			     MON_ESCAPED(wanted),
			     list[0] ? "; the first of those it has:" : " and no other", list,
			     report->functions.count > MATCHES_LISTED ? "\n  ..." : "");
}

int mon_detail_prepare_calls(struct mon_report *report, const char *sql, int64_t last, int values,
			     sqlite3_stmt **statement_out, struct mon_error *error)
{
	int64_t cut = report->options->since_set ? (int64_t)report->cut_ns : INT64_MIN;

	return mon_query_prepare(
		report->database, sql,
		(int64_t[]){report->run.id, report->selected ? report->selected->id : 0, cut, last},
		values, statement_out, error);
}

/* --- callers ---------------------------------------------------------------------------- */

static const struct mon_function_row *find_function(const struct mon_report *report, int64_t id)
{
	for (size_t i = 0; i < report->functions.count; i++)
		if (report->functions.rows[i].id == id)
			return &report->functions.rows[i];
	return NULL;
}

/* Kept calls stand for those of the time that their function was armed; this, for all. */
static uint64_t scaled(const struct mon_function_row *row, sqlite3_stmt *statement, int column)
{
	uint64_t value = mon_query_count(statement, column);

	return row ? mon_estimate_scale(row, value) : value;
}

static int callers_table(struct mon_report *report, struct mon_table **table_out,
			 struct mon_error *error)
{
	static const char sql[] =
		"SELECT CASE WHEN c.flags & 128 THEN '?' ELSE p.name END, f.name, count(*),"
		" sum(c.weight), sum(c.duration_ns * c.weight),"
		" CASE WHEN count(c.child_ns) = count(c.duration_ns) THEN"
		" sum((c.duration_ns - c.child_ns) * c.weight) END, max(c.duration_ns),"
		" c.function_id" MON_DETAIL_CALLS_OF_RUN
		" GROUP BY c.caller_id, c.flags & 128, c.function_id";
	enum { CALLER, FUNCTION, KEPT, CALLS, TOTAL, SELF, MAX };
	static const struct mon_column columns[] = {
		[CALLER] = {"CALLER", "caller", MON_CELL_TEXT, false},
		[FUNCTION] = {"FUNCTION", "function", MON_CELL_TEXT, false},
		[KEPT] = {"KEPT", "kept", MON_CELL_COUNT, true},
		[CALLS] = {"CALLS", "calls_estimated", MON_CELL_COUNT, false},
		[TOTAL] = {"TOTAL", "total_ns_estimated", MON_CELL_NS, false},
		[SELF] = {"SELF", "self_ns_estimated", MON_CELL_NS, false},
		[MAX] = {"MAX", "max_ns_kept", MON_CELL_NS, false},
	};
	static const size_t order[] = {TOTAL, CALLS, CALLER, FUNCTION};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result = table ? mon_detail_prepare_calls(report, sql, 0, 3, &statement, error)
			   : out_of_memory(error);

	if (result)
		return result;
	while ((result = mon_query_step(statement, error)) > 0) {
		const struct mon_function_row *row =
			find_function(report, sqlite3_column_int64(statement, 7));
		bool estimate = mon_query_count(statement, 2) != mon_query_count(statement, 3) ||
				(row && mon_estimate_is_scaled(row));

		mon_table_row(table);
		if (!mon_query_is_null(statement, 0))
			mon_table_text(table, CALLER, mon_query_text(statement, 0));
		mon_table_text(table, FUNCTION, mon_query_text(statement, 1));
		mon_table_number(table, KEPT, mon_query_count(statement, 2));
		mon_table_estimate(table, CALLS, scaled(row, statement, 3), estimate);
		if (!mon_query_is_null(statement, 4)) {
			mon_table_estimate(table, TOTAL, scaled(row, statement, 4), estimate);
			if (!mon_query_is_null(statement, 5))
				mon_table_estimate(table, SELF, scaled(row, statement, 5),
						   estimate);
			mon_table_number(table, MAX, mon_query_count(statement, 6));
		}
	}
	if (result == 0 && mon_table_failed(table))
		result = out_of_memory(error);
	if (result == 0)
		mon_table_sort(table, order, MON_ARRAY_COUNT(order));
	if (result == 0)
		*table_out = TAKE_PTR(table);
	return result;
}

int mon_detail_callers(struct mon_report *report, struct mon_error *error)
{
	const struct mon_report_options *options = report->options;
	MON_TABLE struct mon_table *table = NULL;
	int result = callers_table(report, &table, error);

	if (result)
		return result;
	if (options->format == MON_REPORT_CSV) {
		mon_export_csv(table, report->out);
		return 0;
	}
	if (options->format == MON_REPORT_JSON) {
		mon_export_json("callers", table, false, report->out);
		return 0;
	}
	if (!mon_table_rows(table)) {
		(void)fputs("no kept call: callers are known from kept calls only\n", report->out);
		return 0;
	}
	mon_table_print(table, options->all ? SIZE_MAX : 20, options->wide, options->color,
			report->out);
	if (!options->all && mon_table_rows(table) > 20)
		(void)fprintf(report->out, "%zu more: --all\n", mon_table_rows(table) - 20);
	(void)fputs("caller -: no watched function around it, ?: not known. ~: estimated from "
		    "kept calls\n",
		    report->out);
	return 0;
}

/* --- slowest ---------------------------------------------------------------------------- */

void mon_detail_arguments(sqlite3_stmt *statement, int first, char *buffer, size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (int i = 0; i < 6 && used < size - 1; i++) {
		if (mon_query_is_null(statement, first + i))
			break;
		used += (size_t)snprintf(buffer + used, size - used, "%s0x%" PRIx64, i ? ", " : "",
					 (uint64_t)sqlite3_column_int64(statement, first + i));
	}
}

int mon_detail_slowest(struct mon_report *report, struct mon_error *error)
{
	static const char sql[] =
		"SELECT c.start_ns, c.duration_ns, c.duration_ns - c.child_ns, f.name,"
		" CASE WHEN c.flags & 128 THEN '?' ELSE p.name END,"
		" t.pid, t.tid, t.comm, c.depth, c.weight, c.flags, c.ret,"
		" c.arg1, c.arg2, c.arg3, c.arg4, c.arg5, c.arg6, c.id" MON_DETAIL_CALLS_OF_RUN
		" AND c.duration_ns IS NOT NULL ORDER BY c.duration_ns DESC, c.id LIMIT ?4";
	enum {
		START,
		WALL,
		OFFSET,
		DURATION,
		SELF,
		NAME,
		CALLER,
		PID,
		TID,
		COMM,
		DEPTH,
		WEIGHT,
		FLAGS,
		RET,
		ARGS,
		ARG1,
		CALL = ARG1 + 6,
		CAPTURED
	};
	struct mon_column columns[] = {
		[START] = {"START (UTC)", NULL, MON_CELL_TEXT, false},
		[WALL] = {NULL, "started_ns", MON_CELL_INTEGER, false},
		[OFFSET] = {NULL, "start_ns", MON_CELL_COUNT, false},
		[DURATION] = {"DURATION", "duration_ns", MON_CELL_NS, false},
		[SELF] = {"SELF", "self_ns", MON_CELL_NS, false},
		[NAME] = {"FUNCTION", "function", MON_CELL_TEXT, false},
		[CALLER] = {"CALLER", "caller", MON_CELL_TEXT, false},
		[PID] = {"PID", "pid", MON_CELL_INTEGER, true},
		[TID] = {"TID", "tid", MON_CELL_INTEGER, false},
		[COMM] = {"THREAD", "comm", MON_CELL_TEXT, false},
		[DEPTH] = {"DEPTH", "depth", MON_CELL_COUNT, true},
		[WEIGHT] = {"WEIGHT", "weight", MON_CELL_COUNT, true},
		[FLAGS] = {NULL, "flags", MON_CELL_COUNT, false},
		[RET] = {"RETURNED", "ret", MON_CELL_INTEGER, true},
		[ARGS] = {"ARGUMENTS", NULL, MON_CELL_TEXT, false},
		[ARG1] = {NULL, "arg1", MON_CELL_INTEGER, false},
		[ARG1 + 1] = {NULL, "arg2", MON_CELL_INTEGER, false},
		[ARG1 + 2] = {NULL, "arg3", MON_CELL_INTEGER, false},
		[ARG1 + 3] = {NULL, "arg4", MON_CELL_INTEGER, false},
		[ARG1 + 4] = {NULL, "arg5", MON_CELL_INTEGER, false},
		[ARG1 + 5] = {NULL, "arg6", MON_CELL_INTEGER, false},
		[CALL] = {NULL, "call_id", MON_CELL_INTEGER, false},
		[CAPTURED] = {NULL, "captured", MON_CELL_TEXT, false},
	};
	const struct mon_report_options *options = report->options;
	MON_TABLE struct mon_table *table = NULL;
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int any = mon_captured_any(report->database, error);
	int result = any < 0 ? any
			     : mon_detail_prepare_calls(report, sql, options->slowest, 4,
							&statement, error);

	if (result)
		return result;
	if (any)
		columns[CAPTURED].head = "CAPTURED";
	if (options->format == MON_REPORT_JSON)
		columns[CAPTURED].kind = MON_CELL_JSON;
	table = mon_table_new(columns, MON_ARRAY_COUNT(columns));
	if (!table)
		return out_of_memory(error);
	while ((result = mon_query_step(statement, error)) > 0) {
		/* In query order; START, WALL and OFFSET come from its first column. */
		static const size_t order[] = {OFFSET,	 DURATION, SELF,     NAME,     CALLER,
					       PID,	 TID,	   COMM,     DEPTH,    WEIGHT,
					       FLAGS,	 RET,	   ARG1,     ARG1 + 1, ARG1 + 2,
					       ARG1 + 3, ARG1 + 4, ARG1 + 5, CALL};
		uint64_t start = (uint64_t)report->run.started_wall_ns +
				 (uint64_t)sqlite3_column_int64(statement, 0);
		char text[160];

		mon_table_row(table);
		mon_table_text(table, START,
			       mon_report_time(text, sizeof(text), (int64_t)start, true));
		mon_table_number(table, WALL, start);
		for (size_t i = 0; i < MON_ARRAY_COUNT(order); i++) {
			enum mon_cell_kind kind = columns[order[i]].kind;
			int column = (int)i;

			if (mon_query_is_null(statement, column))
				continue;
			if (kind == MON_CELL_TEXT)
				mon_table_text(table, order[i], mon_query_text(statement, column));
			else if (kind == MON_CELL_INTEGER)
				mon_table_number(table, order[i],
						 (uint64_t)sqlite3_column_int64(statement, column));
			else
				mon_table_number(table, order[i],
						 mon_query_count(statement, column));
		}
		mon_detail_arguments(statement, 12, text, sizeof(text));
		if (text[0])
			mon_table_text(table, ARGS, text);
		if (any)
			result = mon_captured_fill(report->database,
						   sqlite3_column_int64(statement, 18), table,
						   CAPTURED, error);
		if (result < 0)
			return result;
	}
	if (result)
		return result;
	if (mon_table_failed(table))
		return out_of_memory(error);
	if (options->format == MON_REPORT_CSV) {
		mon_export_csv(table, report->out);
	} else if (options->format == MON_REPORT_JSON) {
		mon_export_json("slowest", table, false, report->out);
	} else if (!mon_table_rows(table)) {
		(void)fputs("no kept call with a duration\n", report->out);
	} else {
		mon_table_print(table, SIZE_MAX, options->wide, options->color, report->out);
		(void)fputs(
			"of the kept calls; slower ones that were not kept show as MAX of their "
			"function\n",
			report->out);
	}
	return 0;
}

/* --- one function ----------------------------------------------------------------------- */

static int load_histogram(struct mon_report *report, uint64_t *counts, struct mon_error *error)
{
	static const char total[] = "SELECT histogram FROM function_total WHERE function_id = ?1";
	static const char interval[] = "SELECT histogram FROM function_interval"
				       " WHERE function_id = ?1 AND start_ns + length_ns > ?2";
	bool since = report->options->since_set;
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result = mon_query_prepare(report->database, since ? interval : total,
				       (int64_t[]){report->selected->id, (int64_t)report->cut_ns},
				       since ? 2 : 1, &statement, error);

	if (result)
		return result;
	while ((result = mon_query_step(statement, error)) > 0)
		mon_query_histogram(statement, 0, counts);
	return result;
}

/* Bucket 0 stands alone; the others are drawn @step at a time, so that octaves stay whole. */
static unsigned line_of(unsigned bucket, unsigned step)
{
	return bucket ? 1 + (bucket - 1) / step : 0;
}

static void draw_histogram(const struct mon_report *report, const uint64_t *counts)
{
	const struct mon_function_row *row = report->selected;
	uint64_t lines[MON_HISTOGRAM_BUCKETS] = {0}, most = 1;
	bool estimate = mon_estimate_of_returns(row);
	unsigned first = 0, last = 0, step = 1;
	bool any = false;

	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		if (!counts[i])
			continue;
		first = any ? first : i;
		last = i;
		any = true;
	}
	if (!any)
		return;
	while (step < 8 && line_of(last, step) - line_of(first, step) >= HISTOGRAM_LINES_MAX)
		step *= 2;
	for (unsigned i = first; i <= last; i++)
		lines[line_of(i, step)] += counts[i];
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		most = lines[i] > most ? lines[i] : most;
	(void)fputs("\n   DURATION FROM         CALLS\n", report->out);
	for (unsigned line = line_of(first, step); line <= line_of(last, step); line++) {
		unsigned bucket = line ? 1 + (line - 1) * step : 0;
		double share = (double)lines[line] / (double)most;
		int bar = (int)(share * HISTOGRAM_BAR_WIDTH + 0.5);
		char from[32], count[32];

		count[0] = '~';
		(void)mon_format_count(count + estimate, sizeof(count) - 1,
				       mon_estimate_sum(row, lines[line]));
		if (lines[line] && bar == 0)
			bar = 1;
		(void)fprintf(report->out, "%16s  %12s%s%.*s\n",
			      mon_format_ns(from, sizeof(from), mon_histogram_lower_ns(bucket)),
			      count, bar ? "  " : "", bar,
			      "##################################################");
	}
}

static int print_intervals(struct mon_report *report, struct mon_error *error)
{
	static const char sql[] = "SELECT count(*), min(start_ns), max(start_ns + length_ns)"
				  " FROM function_interval WHERE function_id = ?1"
				  " AND start_ns + length_ns > ?2";
	/* Of one that was armed for a share of the time, the rate while it was; a twentieth of the
	 * interval at least, in less there are too few calls to tell. */
	static const char busiest_sql[] =
		"SELECT start_ns, CAST(calls * 1000000000.0 * ?4 / armed_or_length AS INTEGER)"
		" FROM (SELECT *, max(CASE WHEN ?3 THEN armed_ns ELSE length_ns END, 1)"
		"  AS armed_or_length FROM function_interval WHERE function_id = ?1"
		"  AND start_ns + length_ns > ?2"
		"  AND (NOT ?3 OR armed_ns * 20 >= length_ns)) ORDER BY 2 DESC LIMIT 1";
	const struct mon_function_row *row = report->selected;
	const int64_t cut = report->options->since_set ? (int64_t)report->cut_ns : -1;
	const int64_t values[] = {row->id, cut, mon_estimate_is_scaled(row)};
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	MON_STATEMENT sqlite3_stmt *busiest = NULL;
	char text[4][32];
	int result = mon_query_prepare(report->database, sql, values, 2, &statement, error);

	if (result == 0)
		result = mon_query_prepare(report->database, busiest_sql, values, 3, &busiest,
					   error);
	if (result)
		return result;
	(void)sqlite3_bind_double(busiest, 4, mon_estimate_slowdown(row));
	result = mon_query_step(statement, error);
	if (result < 0 || mon_query_count(statement, 0) == 0)
		return result < 0 ? result : 0;
	result = mon_query_step(busiest, error);
	if (result < 0)
		return result;
	(void)fprintf(report->out, "\nactive in %s intervals between %s and %s",
		      mon_format_count(text[0], 32, mon_query_count(statement, 0)),
		      mon_format_ns(text[1], 32, mon_query_count(statement, 1)),
		      mon_format_ns(text[2], 32, mon_query_count(statement, 2)));
	/* What lies below the mean is no peak: the intervals are not all there. */
	if (result > 0 && mon_query_count(busiest, 1) >= mon_estimate_rate(row))
		(void)fprintf(report->out, "; busiest at %s: %s%s calls/s",
			      mon_format_ns(text[3], 32, mon_query_count(busiest, 0)),
			      mon_estimate_is_scaled(row) ? "~" : "",
			      mon_format_count(text[0], 32, mon_query_count(busiest, 1)));
	(void)fputc('\n', report->out);
	return 0;
}

static int histogram_table(const struct mon_function_row *row, const uint64_t *counts,
			   struct mon_table **table_out, struct mon_error *error)
{
	static const struct mon_column columns[] = {
		{NULL, "from_ns", MON_CELL_COUNT, false},
		{NULL, "to_ns", MON_CELL_COUNT, false}, /* null: no upper bound */
		{NULL, "calls", MON_CELL_COUNT, false},
		{NULL, "calls_estimated", MON_CELL_COUNT, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));

	if (!table)
		return out_of_memory(error);
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		if (!counts[i])
			continue;
		mon_table_row(table);
		mon_table_number(table, 0, mon_histogram_lower_ns(i));
		if (mon_histogram_upper_ns(i) != UINT64_MAX)
			mon_table_number(table, 1, mon_histogram_upper_ns(i));
		mon_table_number(table, 2, counts[i]);
		mon_table_number(table, 3, mon_estimate_sum(row, counts[i]));
	}
	if (mon_table_failed(table))
		return out_of_memory(error);
	*table_out = TAKE_PTR(table);
	return 0;
}

static void print_facts(const struct mon_report *report)
{
	const struct mon_function_row *row = report->selected;
	const char *scaled_mark = mon_estimate_is_scaled(row) ? "~" : "";
	FILE *out = report->out;
	char text[32];

	(void)fprintf(out, "\nfunction  %s\n", MON_ESCAPED(row->name));
	if (strcmp(row->name, row->symbol) != 0)
		(void)fprintf(out, "symbol    %s\n", MON_ESCAPED(row->symbol));
	if (row->aliases[0])
		(void)fprintf(out, "aliases   %s\n", MON_ESCAPED(row->aliases));
	(void)fprintf(out, "module    %s  offset 0x%" PRIx64 "  probe 0x%" PRIx64,
		      MON_ESCAPED(row->module), row->offset, row->probe_offset);
	(void)fprintf(out, row->size_bytes ? "  %s bytes\n" : "\n",
		      mon_format_count(text, sizeof(text), row->size_bytes));
	(void)fprintf(out, "mode      %s\n", MON_ESCAPED(row->mode));
	if (row->note[0])
		(void)fprintf(out, "note      %s\n", MON_ESCAPED(row->note));
	if (mon_estimate_is_blind(row))
		(void)fprintf(out, "calls     - (not armed in %s)",
			      mon_format_ns(text, sizeof(text), row->wanted_ns));
	else
		(void)fprintf(out, "calls     %s%s (%s%s/s)", scaled_mark,
			      mon_format_count(text, sizeof(text), mon_estimate_calls(row)),
			      scaled_mark,
			      mon_format_count((char[32]){0}, 32, mon_estimate_rate(row)));
	if (row->has_failed)
		(void)fprintf(
			out, ", %s%s failed", mon_estimate_of_returns(row) ? "~" : "",
			mon_format_count(text, sizeof(text), mon_estimate_sum(row, row->failed)));
	(void)fprintf(out, ", %s kept", mon_format_count(text, sizeof(text), row->stored));
	(void)fprintf(out, ", %s lost\n", mon_format_count(text, sizeof(text), row->lost));
	if (!row->returns) {
		(void)fputs("time      - (no return was seen)\n", out);
		return;
	}

	const struct {
		const char *name;
		bool known;
		uint64_t ns;
	} times[] = {
		{"total", true, mon_estimate_sum(row, row->total_ns)},
		{"self", !row->self_unknown, mon_estimate_sum(row, row->self_ns)},
		{"mean", true, row->total_ns / row->returns},
		{"min", row->has_min, row->min_ns},
		{"p50", row->has_quantiles, row->p50_ns},
		{"p90", row->has_quantiles, row->p90_ns},
		{"p99", row->has_quantiles, row->p99_ns},
		{"max", true, row->max_ns},
	};

	const char *sums_mark = mon_estimate_of_returns(row) ? "~" : "";

	(void)fputs("time     ", out);
	for (size_t i = 0; i < MON_ARRAY_COUNT(times); i++) {
		if (times[i].known)
			(void)fprintf(out, " %s %s%s", times[i].name,
				      row->estimated || i < 2 ? sums_mark : "",
				      mon_format_ns(text, sizeof(text), times[i].ns));
	}
	(void)fputc('\n', out);
}

int mon_detail_function(struct mon_report *report, struct mon_error *error)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};
	MON_TABLE struct mon_table *histogram = NULL;
	int result = load_histogram(report, counts, error);

	if (result == 0)
		result = histogram_table(report->selected, counts, &histogram, error);
	if (result)
		return result;
	if (report->options->format == MON_REPORT_CSV) {
		mon_export_csv(histogram, report->out);
		return 0;
	}
	if (report->options->format == MON_REPORT_JSON) {
		mon_export_json("histogram", histogram, false, report->out);
		(void)fputs(",\n", report->out);
		return mon_detail_callers(report, error);
	}
	print_facts(report);
	mon_report_print_marks(report);
	draw_histogram(report, counts);
	result = print_intervals(report, error);
	if (result)
		return result;
	(void)fputc('\n', report->out);
	return mon_detail_callers(report, error);
}
