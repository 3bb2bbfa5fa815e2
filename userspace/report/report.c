// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The report screen: a head, the table of functions, the ledger, what was lost, the breaker. It
 * reads totals only, so it is as quick on ten million kept calls as on ten. Exports of the same
 * are one JSON object, or the table alone as CSV. Its text is in memory until the database is
 * closed. Main thread only.
 */
#include "report/report.h"

#include "base/clock.h"
#include "base/text.h"
#include "report/detail.h"
#include "report/estimate.h"
#include "report/export.h"
#include "report/stacks.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define FUNCTIONS_SHOWN 10
#define ROUGH_SHARE 50 /* armed for less than so many parts of the time */
#define WARNINGS_SHOWN 10

static int out_of_memory(struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
}

char *mon_report_time(char *buffer, size_t size, int64_t wall_ns, bool fraction)
{
	const int64_t second = (int64_t)MON_NS_PER_S;
	int64_t rest_ns = ((wall_ns % second) + second) % second;
	time_t seconds = (time_t)((wall_ns - rest_ns) / second);
	struct tm parts;
	size_t used;

	if (!gmtime_r(&seconds, &parts))
		memset(&parts, 0, sizeof(parts));
	used = strftime(buffer, size, "%Y-%m-%d %H:%M:%S", &parts);
	if (fraction)
		(void)snprintf(buffer + used, size - used, ".%06d", (int)(rest_ns / 1000));
	return buffer;
}

static void warn(const struct mon_report *report, const char *text)
{
	bool color = report->options->color;

	(void)fprintf(report->out, "%s! %s%s\n", color ? "\033[33m" : "", text,
		      color ? "\033[0m" : "");
}

/* --- run ------------------------------------------------------------------------------- */

static int run_table(const struct mon_run *run, struct mon_table **table_out)
{
	static const struct mon_column columns[] = {
		{NULL, "id", MON_CELL_INTEGER, false},
		{NULL, "uuid", MON_CELL_TEXT, false},
		{NULL, "target", MON_CELL_TEXT, false},
		{NULL, "host", MON_CELL_TEXT, false},
		{NULL, "kernel", MON_CELL_TEXT, false},
		{NULL, "version", MON_CELL_TEXT, false},
		{NULL, "command", MON_CELL_TEXT, false},
		{NULL, "options", MON_CELL_TEXT, false},
		{NULL, "started_wall_ns", MON_CELL_INTEGER, false},
		{NULL, "length_ns", MON_CELL_COUNT, false},
		{NULL, "ended", MON_CELL_BOOL, false},
		{NULL, "end_reason", MON_CELL_TEXT, false},
		{NULL, "complete", MON_CELL_BOOL, false},
		{NULL, "probe_cost_ns", MON_CELL_COUNT, false},
		{NULL, "own_cpu_ns", MON_CELL_COUNT, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));

	if (!table)
		return -ENOMEM;
	mon_table_row(table);
	mon_table_number(table, 0, (uint64_t)run->id);
	mon_table_text(table, 1, run->uuid);
	mon_table_text(table, 2, run->target);
	mon_table_text(table, 3, run->host);
	mon_table_text(table, 4, run->kernel);
	mon_table_text(table, 5, run->version);
	mon_table_text(table, 6, run->command);
	mon_table_text(table, 7, run->options);
	mon_table_number(table, 8, (uint64_t)run->started_wall_ns);
	mon_table_number(table, 9, run->length_ns);
	mon_table_number(table, 10, run->ended);
	if (run->end_reason[0])
		mon_table_text(table, 11, run->end_reason);
	mon_table_number(table, 12, run->complete);
	if (run->overhead_limit > 0) {
		mon_table_number(table, 13, run->cost_ns);
		mon_table_number(table, 14, run->own_cpu_ns);
	}
	if (mon_table_failed(table))
		return -ENOMEM;
	*table_out = TAKE_PTR(table);
	return 0;
}

/* --- functions -------------------------------------------------------------------------- */

enum {
	NAME,
	SYMBOL,
	CALLS_SHOWN,
	RATE,
	TOTAL_SHOWN,
	SELF_SHOWN,
	MEAN,
	P50,
	P90,
	P99,
	MAX,
	MIN,
	FAILED,
	KEPT,
	ARMED_SHOWN,
	LOST,
	MODULE,
	OFFSET,
	MODE,
	CALLS,
	ESTIMATED,
	RETURNS,
	WANTED,
	ARMED,
	TOTAL,
	SELF,
	NOTE,
	SAMPLED,
	TOTAL_ESTIMATED
};

static const struct mon_column function_columns[] = {
	[NAME] = {"FUNCTION", "function", MON_CELL_TEXT, false},
	[SYMBOL] = {NULL, "symbol", MON_CELL_TEXT, false},
	[CALLS_SHOWN] = {"CALLS", NULL, MON_CELL_COUNT, false},
	[RATE] = {"CALLS/s", "calls_per_s", MON_CELL_COUNT, false},
	[TOTAL_SHOWN] = {"TOTAL", NULL, MON_CELL_NS, false},
	[SELF_SHOWN] = {"SELF", NULL, MON_CELL_NS, false},
	[MEAN] = {"MEAN", "mean_ns", MON_CELL_NS, false},
	[P50] = {"P50", "p50_ns", MON_CELL_NS, false},
	[P90] = {"P90", "p90_ns", MON_CELL_NS, true},
	[P99] = {"P99", "p99_ns", MON_CELL_NS, false},
	[MAX] = {"MAX", "max_ns", MON_CELL_NS, false},
	[MIN] = {"MIN", "min_ns", MON_CELL_NS, true},
	[FAILED] = {"FAILED", "failed", MON_CELL_COUNT, true},
	[KEPT] = {"KEPT", "stored", MON_CELL_COUNT, true},
	[ARMED_SHOWN] = {"ARMED", NULL, MON_CELL_PERCENT, MON_WIDE_IF_SET},
	[LOST] = {NULL, "lost", MON_CELL_COUNT, false},
	[MODULE] = {"MODULE", "module", MON_CELL_TEXT, true},
	[OFFSET] = {NULL, "offset", MON_CELL_HEX, false},
	[MODE] = {NULL, "mode", MON_CELL_TEXT, false},
	[CALLS] = {NULL, "calls", MON_CELL_COUNT, false},
	[ESTIMATED] = {NULL, "calls_estimated", MON_CELL_COUNT, false},
	[RETURNS] = {NULL, "returns", MON_CELL_COUNT, false},
	[WANTED] = {NULL, "wanted_ns", MON_CELL_COUNT, false},
	[ARMED] = {NULL, "armed_ns", MON_CELL_COUNT, false},
	[TOTAL] = {NULL, "total_ns", MON_CELL_COUNT, false},
	[SELF] = {NULL, "self_ns", MON_CELL_COUNT, false},
	[NOTE] = {NULL, "note", MON_CELL_TEXT, false},
	[SAMPLED] = {NULL, "times_estimated", MON_CELL_BOOL, false},
	[TOTAL_ESTIMATED] = {NULL, "total_ns_estimated", MON_CELL_COUNT, false},
};

static void function_times(struct mon_table *table, const struct mon_function_row *row)
{
	bool sums = mon_estimate_of_returns(row), sampled = row->estimated;
	/* Windows that closed cut off the longest calls rather than others: these are at least so.
	 */
	bool least = sampled || (mon_estimate_is_scaled(row) && row->returns < row->calls);

	mon_table_estimate(table, TOTAL_SHOWN, mon_estimate_sum(row, row->total_ns), sums);
	mon_table_estimate(table, MEAN, row->total_ns / row->returns, least);
	if (row->has_quantiles) {
		mon_table_estimate(table, P50, row->p50_ns, least);
		mon_table_estimate(table, P90, row->p90_ns, least);
		mon_table_estimate(table, P99, row->p99_ns, least);
	}
	mon_table_estimate(table, MAX, row->max_ns, least);
	if (row->has_min)
		mon_table_estimate(table, MIN, row->min_ns, sampled);
	mon_table_number(table, TOTAL, row->total_ns);
	mon_table_number(table, TOTAL_ESTIMATED, mon_estimate_sum(row, row->total_ns));
	if (row->self_unknown)
		return;
	mon_table_estimate(table, SELF_SHOWN, mon_estimate_sum(row, row->self_ns), sums);
	mon_table_number(table, SELF, row->self_ns);
}

/* @armed: say how much of the time it was armed. */
static void function_row(const struct mon_report *report, struct mon_table *table,
			 const struct mon_function_row *row, bool armed)
{
	bool scaled = mon_estimate_is_scaled(row);

	mon_table_row(table);
	mon_table_text(table, NAME, row->name);
	mon_table_text(table, SYMBOL, row->symbol);
	if (row->has_total && !mon_estimate_is_blind(row)) {
		mon_table_estimate(table, CALLS_SHOWN, mon_estimate_calls(row), scaled);
		mon_table_estimate(table, RATE, mon_estimate_rate(row), scaled);
		mon_table_number(table, CALLS, row->calls);
		mon_table_number(table, ESTIMATED, mon_estimate_calls(row));
	}
	if (row->returns)
		function_times(table, row);
	if (row->has_failed)
		mon_table_estimate(table, FAILED, mon_estimate_sum(row, row->failed),
				   mon_estimate_of_returns(row));
	if (!report->options->since_set) { /* the ledger is of the whole run */
		mon_table_number(table, KEPT, row->stored);
		mon_table_number(table, LOST, row->lost);
	}
	if (armed && row->wanted_ns)
		mon_table_number(
			table, ARMED_SHOWN,
			(uint64_t)((unsigned __int128)row->armed_ns * 1000 / row->wanted_ns));
	mon_table_text(table, MODULE, row->module);
	mon_table_number(table, OFFSET, row->offset);
	mon_table_text(table, MODE, row->mode);
	mon_table_number(table, RETURNS, row->returns);
	mon_table_number(table, WANTED, row->wanted_ns);
	mon_table_number(table, ARMED, row->armed_ns);
	if (row->note[0])
		mon_table_text(table, NOTE, row->note);
	mon_table_number(table, SAMPLED, row->estimated);
}

/* Is there one of the functions that are shown for which @holds? */
static bool any_shown(const struct mon_report *report,
		      bool (*holds)(const struct mon_function_row *row))
{
	if (report->selected)
		return holds(report->selected);
	for (size_t i = 0; i < report->functions.count; i++)
		if (holds(&report->functions.rows[i]))
			return true;
	return false;
}

bool mon_report_any_scaled(const struct mon_report *report)
{
	return any_shown(report, mon_estimate_is_scaled);
}

static bool is_sampled(const struct mon_function_row *row)
{
	return row->estimated;
}

void mon_report_print_marks(const struct mon_report *report)
{
	/* Without a limit it was asked for: --stats counts. */
	const char *exact = report->run.overhead_limit > 0 ? "; exact: --max-overhead 0" : "";

	if (mon_report_any_scaled(report))
		(void)fprintf(report->out,
			      "~ estimates: armed a share of the time, scaled to the whole%s\n",
			      exact);
	if (any_shown(report, is_sampled))
		(void)fprintf(report->out,
			      "~ estimates: not every call was followed to its return%s\n", exact);
}

static struct mon_table *functions_table(const struct mon_report *report)
{
	MON_TABLE struct mon_table *table =
		mon_table_new(function_columns, MON_ARRAY_COUNT(function_columns));
	bool armed = mon_report_any_scaled(report);

	if (!table)
		return NULL;
	for (size_t i = 0; i < report->functions.count; i++) {
		const struct mon_function_row *row = &report->functions.rows[i];

		if (!report->selected || report->selected == row)
			function_row(report, table, row, armed);
	}
	return mon_table_failed(table) ? NULL : TAKE_PTR(table);
}

static void print_functions(const struct mon_report *report, const struct mon_table *table)
{
	const struct mon_report_options *options = report->options;
	size_t shown = options->all ? SIZE_MAX : FUNCTIONS_SHOWN;
	size_t noted = 0;
	char text[4200];

	if (!report->functions.count) {
		(void)fputs("\nno function was called\n", report->out);
		return;
	}
	(void)fputc('\n', report->out);
	mon_table_print(table, shown, options->wide, options->color, report->out);
	if (mon_table_rows(table) > shown)
		(void)fprintf(report->out,
			      "%zu more: --all. P90 FAILED KEPT: --wide. One: --function %s\n",
			      mon_table_rows(table) - shown,
			      MON_ESCAPED(report->functions.rows[0].name));
	mon_report_print_marks(report);
	for (size_t i = 0; i < report->functions.count && noted < WARNINGS_SHOWN; i++) {
		const struct mon_function_row *row = &report->functions.rows[i];

		if (!mon_estimate_is_blind(row))
			continue;
		noted++;
		(void)snprintf(
			text, sizeof(text), "%.200s: not armed in %s: its calls are not known",
			MON_ESCAPED(row->name), mon_format_ns((char[32]){0}, 32, row->wanted_ns));
		warn(report, text);
	}
	for (size_t i = 0; i < report->functions.count && noted < WARNINGS_SHOWN; i++) {
		const struct mon_function_row *row = &report->functions.rows[i];

		if (!row->calls || row->armed_ns >= row->wanted_ns / ROUGH_SHARE)
			continue;
		noted++;
		(void)snprintf(
			text, sizeof(text), "%.200s: armed %s of %s only: its figures are rough",
			MON_ESCAPED(row->name), mon_format_ns((char[32]){0}, 32, row->armed_ns),
			mon_format_ns((char[32]){0}, 32, row->wanted_ns));
		warn(report, text);
	}
	for (size_t i = 0; i < report->functions.count && noted < WARNINGS_SHOWN; i++) {
		const struct mon_function_row *row = &report->functions.rows[i];

		if (!row->calls || row->returns)
			continue;
		noted++;
		(void)snprintf(text, sizeof(text), "%.200s: entries only, no durations: %.3000s",
			       MON_ESCAPED(row->name),
			       row->note[0] ? MON_ESCAPED(row->note) : "no return was seen");
		warn(report, text);
	}
}

/* --- ledger, losses, breaker ------------------------------------------------------------ */

/* One row for each reason, or with --json for each function and reason that lost something. */
static int ledger_table(const struct mon_report *report, bool losses, struct mon_table **table_out,
			struct mon_error *error)
{
	static const char sql_ledger[] =
		"SELECT NULL, q.name, q.class, sum(l.count), NULL, NULL FROM ledger l"
		" JOIN function f ON f.id = l.function_id JOIN reason q ON q.id = l.reason_id"
		" WHERE f.run_id = ?1 GROUP BY q.id HAVING sum(l.count) > 0 ORDER BY q.id";
	static const char sql_losses[] =
		"SELECT f.name, q.name, q.class, l.count, l.from_ns, l.to_ns FROM ledger l"
		" JOIN function f ON f.id = l.function_id JOIN reason q ON q.id = l.reason_id"
		" WHERE f.run_id = ?1 AND q.class = 'lost' AND l.count > 0"
		" ORDER BY l.count DESC, f.name, q.id";
	static const struct mon_column columns[] = {
		{"FUNCTION", "function", MON_CELL_TEXT, false},
		{"REASON", "reason", MON_CELL_TEXT, false},
		{"CLASS", "class", MON_CELL_TEXT, false},
		{"COUNT", "count", MON_CELL_COUNT, false},
		{"FROM", "from_ns", MON_CELL_NS, false},
		{"TO", "to_ns", MON_CELL_NS, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result = table ? mon_query_prepare(report->database, losses ? sql_losses : sql_ledger,
					       (int64_t[]){report->run.id}, 1, &statement, error)
			   : out_of_memory(error);

	if (result)
		return result;
	while ((result = mon_query_step(statement, error)) > 0) {
		mon_table_row(table);
		for (int i = 0; i < 6; i++) {
			if (mon_query_is_null(statement, i))
				continue;
			if (i < 3)
				mon_table_text(table, (size_t)i, mon_query_text(statement, i));
			else
				mon_table_number(table, (size_t)i, mon_query_count(statement, i));
		}
	}
	if (result == 0 && mon_table_failed(table))
		result = out_of_memory(error);
	if (result == 0)
		*table_out = TAKE_PTR(table);
	return result;
}

static const char *cell_text(const struct mon_table *table, size_t row, size_t column)
{
	const struct mon_cell *cell = mon_table_cell(table, row, column);

	return cell->set ? cell->text : "";
}

static void print_losses(const struct mon_report *report, const struct mon_table *losses)
{
	size_t rows = mon_table_rows(losses);
	char text[1024], name[256], reason[64], when[80], count[32], from[32], to[32];

	for (size_t i = 0; i < rows && i < WARNINGS_SHOWN; i++) {
		/* When is not known of what was found missing at the end. */
		when[0] = '\0';
		if (mon_table_cell(losses, i, 4)->set)
			(void)snprintf(
				when, sizeof(when), " between %s and %s",
				mon_format_ns(from, 32, mon_table_cell(losses, i, 4)->number),
				mon_format_ns(to, 32, mon_table_cell(losses, i, 5)->number));
		(void)snprintf(text, sizeof(text), "%s: lost %s calls (%s)%s",
			       mon_escape(name, sizeof(name), cell_text(losses, i, 0)),
			       mon_format_count(count, 32, mon_table_cell(losses, i, 3)->number),
			       mon_escape(reason, sizeof(reason), cell_text(losses, i, 1)), when);
		warn(report, text);
	}
	if (rows > WARNINGS_SHOWN) {
		(void)snprintf(text, sizeof(text), "%zu more losses: --json",
			       rows - WARNINGS_SHOWN);
		warn(report, text);
	}
}

static void print_ledger(const struct mon_report *report, const struct mon_table *ledger)
{
	uint64_t calls = 0;
	char text[64];

	for (size_t i = 0; i < report->functions.count; i++)
		calls += report->functions.rows[i].calls;
	/* Rows are committed with their batch, counts each second: only at the end are they one. */
	(void)fprintf(report->out, "\nledger   %s %s",
		      mon_report_has_totals(report) ? mon_format_count(text, sizeof(text), calls)
						    : "-",
		      report->run.complete ? "=" : "~");
	for (size_t i = 0; i < mon_table_rows(ledger); i++) {
		char name[64];

		(void)mon_escape(name, sizeof(name), cell_text(ledger, i, 1));
		for (char *at = name; *at; at++)
			*at = *at == '_' ? ' ' : *at;
		(void)fprintf(
			report->out, "%s %s %s", i ? " +" : "", name,
			mon_format_count(text, sizeof(text), mon_table_cell(ledger, i, 3)->number));
	}
	(void)fputs(mon_table_rows(ledger) ? "\n" : " 0\n", report->out);
}

/* Of the ledger's class `open` those that were written as calls; what is spooled has no row yet. */
static void print_unfinished(const struct mon_report *report, const struct mon_table *ledger)
{
	uint64_t count = 0;
	char text[32];

	for (size_t i = 0; i < mon_table_rows(ledger); i++)
		if (strcmp(cell_text(ledger, i, 2), "open") == 0 &&
		    strcmp(cell_text(ledger, i, 1), "spooled") != 0)
			count += mon_table_cell(ledger, i, 3)->number;
	if (count)
		(void)fprintf(report->out, "open     %s kept call%s never returned: --open\n",
			      mon_format_count(text, sizeof(text), count), count == 1 ? "" : "s");
}

/* While a run lives, records are on their way and the sum may be open; afterwards never. */
static int print_unbalanced(const struct mon_report *report, struct mon_error *error)
{
	static const char sql[] =
		"SELECT f.name, s.calls, coalesce(sum(l.count), 0) FROM function f"
		" JOIN function_total s ON s.function_id = f.id"
		" LEFT JOIN ledger l ON l.function_id = f.id WHERE f.run_id = ?1 GROUP BY f.id"
		" HAVING s.calls <> coalesce(sum(l.count), 0)";
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	char text[640], name[256], calls[32], accounted[32];
	size_t shown = 0;
	int result;

	if (!report->run.ended)
		return 0;
	result = mon_query_prepare(report->database, sql, (int64_t[]){report->run.id}, 1,
				   &statement, error);
	if (result)
		return result;
	while (shown < WARNINGS_SHOWN && (result = mon_query_step(statement, error)) > 0) {
		shown++;
		(void)snprintf(
			text, sizeof(text),
			"the ledger does not close: %s was called %s times, %s are accounted "
			"for",
			mon_escape(name, sizeof(name), mon_query_text(statement, 0)),
			mon_format_count(calls, 32, mon_query_count(statement, 1)),
			mon_format_count(accounted, 32, mon_query_count(statement, 2)));
		warn(report, text);
	}
	return result < 0 ? result : 0;
}

static int breaker_table(const struct mon_report *report, struct mon_table **table_out,
			 struct mon_error *error)
{
	static const struct mon_column columns[] = {
		{NULL, "at_ns", MON_CELL_COUNT, false},
		{NULL, "from_state", MON_CELL_TEXT, false},
		{NULL, "to_state", MON_CELL_TEXT, false},
		{NULL, "cause", MON_CELL_TEXT, false},
		{NULL, "error_code", MON_CELL_INTEGER, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result =
		table ? mon_query_prepare(report->database,
					  "SELECT at_ns, from_state, to_state, cause, error_code"
					  " FROM breaker_event WHERE run_id = ?1 ORDER BY id",
					  (int64_t[]){report->run.id}, 1, &statement, error)
		      : out_of_memory(error);

	if (result)
		return result;
	while ((result = mon_query_step(statement, error)) > 0) {
		mon_table_row(table);
		mon_table_number(table, 0, mon_query_count(statement, 0));
		for (int i = 1; i < 4; i++) {
			if (!mon_query_is_null(statement, i))
				mon_table_text(table, (size_t)i, mon_query_text(statement, i));
		}
		if (!mon_query_is_null(statement, 4))
			mon_table_number(table, 4, (uint64_t)sqlite3_column_int64(statement, 4));
	}
	if (result == 0 && mon_table_failed(table))
		result = out_of_memory(error);
	if (result == 0)
		*table_out = TAKE_PTR(table);
	return result;
}

static void print_overhead(const struct mon_report *report)
{
	const struct mon_run *run = &report->run;

	if (run->overhead_limit <= 0 || !run->own_cpu_ns)
		return;
	(void)fprintf(report->out, "target   +%.1f %% CPU (limit %.3g)\n",
		      100.0 * (double)run->cost_ns / (double)run->own_cpu_ns,
		      100.0 * run->overhead_limit);
}

static void print_breaker(const struct mon_report *report, const struct mon_table *events)
{
	uint64_t opened = 0, open_ns = 0, since_ns = 0;
	bool open = false;
	const char *cause = "";
	char text[32], escaped[256];

	if (!mon_table_rows(events)) {
		(void)fputs(report->run.complete ? "breaker  closed throughout\n"
						 : "breaker  closed as far as was written\n",
			    report->out);
		return;
	}
	for (size_t i = 0; i < mon_table_rows(events); i++) {
		uint64_t at_ns = mon_table_cell(events, i, 0)->number;
		bool closed = strcmp(cell_text(events, i, 2), "closed") == 0;

		if (!open && !closed) {
			opened++;
			since_ns = at_ns;
			cause = cell_text(events, i, 3);
		} else if (open && closed && at_ns > since_ns) {
			open_ns += at_ns - since_ns;
		}
		open = !closed;
	}
	if (open && report->run.length_ns > since_ns)
		open_ns += report->run.length_ns - since_ns;
	(void)fprintf(report->out,
		      "breaker  opened %" PRIu64 " time%s, not closed for %s, now %s%s%s\n", opened,
		      opened == 1 ? "" : "s", mon_format_ns(text, sizeof(text), open_ns),
		      open ? "open" : "closed", cause[0] ? ": " : "",
		      mon_escape(escaped, sizeof(escaped), cause));
}

/* --- the whole -------------------------------------------------------------------------- */

static int print_screen(struct mon_report *report, struct mon_error *error)
{
	const struct mon_report_options *options = report->options;
	MON_TABLE struct mon_table *functions = functions_table(report);
	MON_TABLE struct mon_table *ledger = NULL;
	MON_TABLE struct mon_table *losses = NULL;
	MON_TABLE struct mon_table *breaker = NULL;
	int result = functions ? 0 : out_of_memory(error);

	if (result == 0 && options->format == MON_REPORT_CSV) {
		mon_export_csv(functions, report->out);
		return 0;
	}
	if (result == 0)
		result = ledger_table(report, false, &ledger, error);
	if (result == 0)
		result = ledger_table(report, true, &losses, error);
	if (result == 0)
		result = breaker_table(report, &breaker, error);
	if (result)
		return result;
	if (options->format == MON_REPORT_JSON) {
		mon_export_json("functions", functions, false, report->out);
		(void)fputs(",\n", report->out);
		mon_export_json("ledger", ledger, false, report->out);
		(void)fputs(",\n", report->out);
		mon_export_json("losses", losses, false, report->out);
		(void)fputs(",\n", report->out);
		mon_export_json("breaker", breaker, false, report->out);
		return 0;
	}
	print_functions(report, functions);
	if (!options->since_set) {
		print_ledger(report, ledger);
		print_unfinished(report, ledger);
		result = print_unbalanced(report, error);
		if (result)
			return result;
		print_losses(report, losses);
		print_breaker(report, breaker);
		print_overhead(report);
	}
	if (!options->head_only && report->functions.count)
		(void)fprintf(report->out, "next     --function %s | --callers | --slowest 20\n",
			      MON_ESCAPED(report->functions.rows[0].name));
	return 0;
}

static int print_selected(struct mon_report *report, struct mon_error *error)
{
	const struct mon_report_options *options = report->options;

	if (options->format == MON_REPORT_TABLE &&
	    (options->callers || options->slowest || options->open))
		(void)fputc('\n', report->out);
	if (options->stacks || options->folded)
		return mon_stacks_print(report, error);
	if (options->callers)
		return mon_detail_callers(report, error);
	if (options->slowest)
		return mon_detail_slowest(report, error);
	if (options->open)
		return mon_detail_open(report, error);
	if (!options->function)
		return print_screen(report, error);
	if (options->format == MON_REPORT_JSON) {
		MON_TABLE struct mon_table *one = functions_table(report);

		if (!one)
			return out_of_memory(error);
		mon_export_json("function", one, true, report->out);
		(void)fputs(",\n", report->out);
	}
	return mon_detail_function(report, error);
}

static int print_report(struct mon_report *report, struct mon_error *error)
{
	const struct mon_report_options *options = report->options;
	MON_TABLE struct mon_table *run = NULL;
	int result;

	report->cut_ns = report->run.length_ns > options->since_ns
				 ? report->run.length_ns - options->since_ns
				 : 0;
	result = mon_query_functions(report->database, &report->run, options->since_set,
				     report->cut_ns, &report->from_ns, &report->functions, error);
	if (result == 0 && options->function)
		result = mon_detail_select(report, error);
	if (result)
		return result;
	switch (options->format) {
	case MON_REPORT_TABLE:
		if (!options->folded)
			mon_report_print_head(report);
		break;
	case MON_REPORT_JSON:
		if (run_table(&report->run, &run))
			return out_of_memory(error);
		(void)fputs("{", report->out);
		mon_export_json("run", run, true, report->out);
		(void)fputs(",\n", report->out);
		break;
	case MON_REPORT_CSV:
		break;
	}
	result = print_selected(report, error);
	if (result == 0 && options->format == MON_REPORT_JSON)
		(void)fputs("}\n", report->out);
	return result;
}

/* All of it, to @out, and the database is closed again. */
static int collect(const struct mon_report_options *options, FILE *out, struct mon_error *error)
{
	MON_DATABASE sqlite3 *database = NULL;
	/* The lock first: when it is free, whatever its last holder wrote is there to be read. */
	struct mon_report report = {
		.options = options, .out = out, .lock = mon_query_lock(options->path)};
	int result = mon_query_open(options->path, &database, error);

	if (result)
		return result;
	report.database = database;
	result = mon_query_run(database, options->run, options->path, &report.run, error);
	if (result == 0)
		result = print_report(&report, error);
	mon_function_rows_clear(&report.functions);
	mon_run_clear(&report.run);
	return result;
}

/*
 * A pager may hold up the output for hours. A read transaction that lasted as long would keep all
 * that is written meanwhile in the WAL, until a live run is at its --max-size.
 */
int mon_report_print(const struct mon_report_options *options, FILE *out, struct mon_error *error)
{
	MON_FREE char *text = NULL;
	size_t size = 0;
	FILE *memory = open_memstream(&text, &size);
	int result;

	if (!memory)
		return out_of_memory(error);
	result = collect(options, memory, error);
	if (fclose(memory) && result == 0)
		result = out_of_memory(error);
	if (result)
		return result;
	if (fwrite(text, 1, size, out) != size || fflush(out))
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EIO,
				     "the report could not be written out: is the disk full?");
	return 0;
}
