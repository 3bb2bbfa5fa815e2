// SPDX-License-Identifier: GPL-2.0-or-later
/* `monbpf status`: asks a running monitor over its socket, prints text or JSON. */
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/suggestion.h"
#include "control/governor.h"
#include "control/ledger.h"
#include "monitor/status.h"
#include "report/table.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char help[] = "usage: monbpf status [-i FILE] [--json]\n"
			   "\n"
			   "What the monitor that writes FILE is doing: where the calls are, how "
			   "full ring, queue and\n"
			   "spool are, what the target pays and which functions are armed for a "
			   "share of the\n"
			   "time, the breaker, and memory against its limit.\n"
			   "\n"
			   "  -i, --input FILE  the database it writes (./monbpf.db)\n"
			   "      --json        one JSON object\n"
			   "  -h, --help        this text\n"
			   "\n"
			   "exit: 0 ok, 2 usage, 4 no right to ask, 5 no monitor writes FILE\n";

#define WINDOWED_SHOWN 8

static const char *count(char buffer[32], uint64_t number)
{
	return mon_format_count(buffer, 32, number);
}

static const char *bytes(char buffer[32], uint64_t number)
{
	return mon_format_bytes(buffer, 32, number);
}

static const char *state_name(uint32_t state)
{
	return state < MON_BREAKER_STATES ? mon_breaker_state_name(state) : "?";
}

static const char *gate_name(const struct mon_status *status)
{
	const char *name = status->gate < MON_REASON_COUNT ? mon_reason_name(status->gate) : NULL;

	return name ? name : "open";
}

static void print_ledger(const struct mon_status *status, FILE *out)
{
	char a[32], b[32], c[32], d[32], e[32];

	(void)fprintf(out, "calls    %s = stored %s + set aside %s + spooled %s + on the way %s",
		      count(a, status->calls), count(b, status->stored),
		      count(c, status->set_aside), count(d, status->spooled),
		      count(e, status->on_the_way));
	for (int i = 1; i < MON_REASON_COUNT; i++)
		if (status->counts[i])
			(void)fprintf(out, " + %s %s", mon_reason_name(i),
				      count(a, status->counts[i]));
	if (status->open_known)
		(void)fprintf(out, " + open %s\n", count(a, status->open_calls));
	else
		(void)fprintf(out, " (returns are not followed)\n");
}

static void print_breaker(const struct mon_status *status, FILE *out)
{
	char a[32];

	(void)fprintf(out, "breaker  %s, %" PRIu32 " failures in a row, out for %s in all",
		      state_name(status->breaker_state), status->breaker_failures_in_row,
		      mon_format_ns(a, sizeof(a), status->breaker_open_ns));
	if (status->breaker_next_probe_ns)
		(void)fprintf(out, ", next probe in %s",
			      mon_format_ns(a, sizeof(a), status->breaker_next_probe_ns));
	(void)fputc('\n', out);
	for (int from = 0; from < MON_BREAKER_STATES; from++)
		for (int to = 0; to < MON_BREAKER_STATES; to++)
			if (status->breaker_transitions[from][to])
				(void)fprintf(out, "         %s -> %s %s\n",
					      state_name((uint32_t)from), state_name((uint32_t)to),
					      count(a, status->breaker_transitions[from][to]));
	if (status->last_error[0])
		(void)fprintf(out, "         last error: %s\n", MON_ESCAPED(status->last_error));
}

static void print_open(const struct mon_status *status, FILE *out)
{
	static const struct mon_column columns[] = {
		{"OPEN FOR", NULL, MON_CELL_NS, false},	  {"FUNCTION", NULL, MON_CELL_TEXT, false},
		{"CALLER", NULL, MON_CELL_TEXT, false},	  {"PID", NULL, MON_CELL_INTEGER, false},
		{"TID", NULL, MON_CELL_INTEGER, false},	  {"THREAD", NULL, MON_CELL_TEXT, false},
		{"DEPTH", NULL, MON_CELL_INTEGER, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));
	char a[32];

	if (!table || !status->open_count)
		return;
	for (uint32_t i = 0; i < status->open_count; i++) {
		const struct mon_status_open *open = &status->open[i];

		mon_table_row(table);
		mon_table_number(table, 0, open->age_ns);
		mon_table_text(table, 1, open->function);
		if (open->caller[0])
			mon_table_text(table, 2, open->caller);
		mon_table_number(table, 3, (uint64_t)open->pid);
		mon_table_number(table, 4, (uint64_t)open->tid);
		if (open->comm[0])
			mon_table_text(table, 5, open->comm);
		mon_table_number(table, 6, open->depth);
	}
	(void)fputc('\n', out);
	mon_table_print(table, SIZE_MAX, false, false, out);
	if (status->open_calls > status->open_count)
		(void)fprintf(out, "%s more, younger\n",
			      count(a, status->open_calls - status->open_count));
}

static void print_overhead(const struct mon_status *status, FILE *out)
{
	if (status->overhead_limit <= 0) {
		(void)fputs("target   no limit on what it pays\n", out);
		return;
	}
	(void)fprintf(out, "target   +%.1f %% CPU (limit %.3g), +%.1f %% of the run; step: %s",
		      100 * status->overhead_now, 100 * status->overhead_limit,
		      100 * status->overhead_of_run, mon_governor_step_name(status->step));
	if (status->no_return_functions)
		(void)fprintf(out, ", returns of %" PRIu32 " function%s only where a call is kept",
			      status->no_return_functions,
			      status->no_return_functions == 1 ? "" : "s");
	(void)fputc('\n', out);
	for (uint32_t i = 0; i < status->windowed_listed && i < WINDOWED_SHOWN; i++) {
		if (!i)
			(void)fprintf(out, "         armed %.3g %% of the time: ",
				      100 * status->window_share);
		(void)fprintf(out, "%s%s", i ? ", " : "", MON_ESCAPED(status->windowed[i]));
	}
	if (status->windowed_functions > WINDOWED_SHOWN)
		(void)fprintf(out, ", %" PRIu32 " more",
			      status->windowed_functions - WINDOWED_SHOWN);
	if (status->windowed_listed)
		(void)fputc('\n', out);
}

static void print_text(const struct mon_status *status, FILE *out)
{
	char a[32], b[32], c[32];

	(void)fprintf(out,
		      "run %" PRIu32 "  %s  %s mode, %" PRIu32 " functions, for %s  (monitor %d)\n",
		      status->run_id, MON_ESCAPED_AGAIN(status->title), MON_ESCAPED(status->mode),
		      status->function_count, mon_format_ns(a, sizeof(a), status->elapsed_ns),
		      (int)status->pid);
	print_ledger(status, out);
	print_overhead(status, out);
	(void)fprintf(out, "ring     %s of %s", bytes(a, status->ring_used_bytes),
		      bytes(b, status->ring_size_bytes));
	if (status->rings > 1)
		(void)fprintf(out, ", the fullest of %" PRIu64, status->rings);
	(void)fputc('\n', out);
	(void)fprintf(out, "queue    %s of %s, %s of them in the overflow\n",
		      count(a, status->queue_used), count(b, status->queue_slots),
		      count(c, status->queue_overflow_used));
	if (status->spool_path[0])
		(void)fprintf(out, "spool    %s records%s, %s of %s in %s\n",
			      count(a, status->spooled), status->spooling ? " (spooling)" : "",
			      bytes(b, status->spool_bytes), bytes(c, status->spool_max_bytes),
			      MON_ESCAPED(status->spool_path));
	else
		(void)fprintf(out, "spool    none\n");
	if (status->spool_damaged || status->spool_segments_set_aside)
		(void)fprintf(out, "         damaged %s, segments set aside %s\n",
			      count(a, status->spool_damaged),
			      count(b, status->spool_segments_set_aside));
	(void)fprintf(out, "gate     %s\n", gate_name(status));
	print_breaker(status, out);
	(void)fprintf(out, "db       %s and %s of WAL, %s commits, longest %s\n",
		      bytes(a, status->file_bytes), bytes(b, status->wal_bytes),
		      count(c, status->commits),
		      mon_format_ns((char[32]){0}, 32, status->longest_push_ns));
	(void)fprintf(out, "memory   %s of %s%s:", bytes(a, status->memory_bytes),
		      bytes(b, status->memory_limit_bytes),
		      status->pressed ? ", short of it on this machine" : "");
	for (int part = 0; part < MON_BUDGET_PARTS; part++)
		if (status->part_bytes[part])
			(void)fprintf(out, " %s %s", mon_budget_part_name(part),
				      bytes(a, status->part_bytes[part]));
	(void)fputc('\n', out);
	print_open(status, out);
}

/* What escaping leaves is valid UTF-8 without control characters. */
static void print_string(const char *escaped, FILE *out)
{
	(void)fputc('"', out);
	for (const char *at = escaped; *at; at++) {
		if (*at == '"' || *at == '\\')
			(void)fputc('\\', out);
		(void)fputc(*at, out);
	}
	(void)fputc('"', out);
}

static void print_json_open(const struct mon_status *status, FILE *out)
{
	const char *between = "";

	(void)fputc('[', out);
	for (uint32_t i = 0; i < status->open_count; i++, between = ",") {
		const struct mon_status_open *open = &status->open[i];

		(void)fprintf(out, "%s\n    {\"age_ns\": %" PRIu64 ", \"function\": ", between,
			      open->age_ns);
		print_string(MON_ESCAPED(open->function), out);
		(void)fputs(", \"caller\": ", out);
		if (open->caller[0])
			print_string(MON_ESCAPED(open->caller), out);
		else
			(void)fputs("null", out);
		(void)fprintf(out,
			      ", \"pid\": %d, \"tid\": %d, \"depth\": %" PRIu32 ", \"thread\": ",
			      (int)open->pid, (int)open->tid, open->depth);
		print_string(MON_ESCAPED(open->comm), out);
		(void)fputc('}', out);
	}
	(void)fputs("]", out);
}

/* What it pays is a share here, and a percentage for people. */
static void print_json_overhead(const struct mon_status *status, FILE *out)
{
	const struct {
		const char *name;
		double value;
	} shares[] = {
		{"overhead_limit", status->overhead_limit},
		{"overhead_now", status->overhead_now},
		{"overhead_of_run", status->overhead_of_run},
	};
	bool limited = status->overhead_limit > 0;

	for (size_t i = 0; i < MON_ARRAY_COUNT(shares); i++)
		if (limited && isfinite(shares[i].value))
			(void)fprintf(out, ",\n  \"%s\": %.6f", shares[i].name, shares[i].value);
		else
			(void)fprintf(out, ",\n  \"%s\": null", shares[i].name);
	(void)fprintf(out, ",\n  \"overhead_step\": ");
	if (limited)
		print_string(mon_governor_step_name(status->step), out);
	else
		(void)fputs("null", out);
	(void)fprintf(out, ",\n  \"window_share\": ");
	if (status->windowed_listed && isfinite(status->window_share))
		(void)fprintf(out, "%.6f", status->window_share);
	else
		(void)fputs("null", out);
	(void)fprintf(out, ",\n  \"windowed\": [");
	for (uint32_t i = 0; i < status->windowed_listed; i++) {
		(void)fputs(i ? ", " : "", out);
		print_string(MON_ESCAPED(status->windowed[i]), out);
	}
	(void)fputc(']', out);
}

static void print_json(const struct mon_status *status, FILE *out)
{
	enum { TITLE = 1 };
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{"run", status->run_id},
		{"monitor_pid", (uint64_t)status->pid},
		{"functions", status->function_count},
		{"elapsed_ns", status->elapsed_ns},
		{"calls", status->calls},
		{"emitted", status->emitted},
		{"stored", status->stored},
		{"set_aside", status->set_aside},
		{"spooled", status->spooled},
		{"on_the_way", status->on_the_way},
		{"open_calls", status->open_calls},
		{"ring_used_bytes", status->ring_used_bytes},
		{"ring_size_bytes", status->ring_size_bytes},
		{"rings", status->rings},
		{"queue_used", status->queue_used},
		{"queue_slots", status->queue_slots},
		{"queue_overflow_used", status->queue_overflow_used},
		{"queue_overflow_refused", status->queue_overflow_refused},
		{"spool_bytes", status->spool_bytes},
		{"spool_max_bytes", status->spool_max_bytes},
		{"spool_reserve_bytes", status->spool_reserve_bytes},
		{"spool_pushed", status->spool_pushed},
		{"spool_damaged", status->spool_damaged},
		{"spool_segments_set_aside", status->spool_segments_set_aside},
		{"spool_foreign_segments", status->spool_foreign_segments},
		{"spooling", status->spooling},
		{"breaker_failures_in_row", status->breaker_failures_in_row},
		{"breaker_not_permitted", status->breaker_not_permitted},
		{"breaker_late", status->breaker_late},
		{"breaker_open_ns", status->breaker_open_ns},
		{"breaker_next_probe_ns", status->breaker_next_probe_ns},
		{"file_bytes", status->file_bytes},
		{"wal_bytes", status->wal_bytes},
		{"commits", status->commits},
		{"rollbacks", status->rollbacks},
		{"longest_push_ns", status->longest_push_ns},
		{"memory_bytes", status->memory_bytes},
		{"memory_bpf_bytes", status->bpf_bytes},
		{"memory_limit_bytes", status->memory_limit_bytes},
		{"memory_pressed", status->pressed},
		{"probe_cost_ns", status->cost_ns},
		{"own_cpu_ns", status->own_ns},
		{"no_return_functions", status->no_return_functions},
		{"windowed_functions", status->windowed_functions},
	};
	const struct {
		const char *name, *value;
	} texts[] = {
		{"uuid", status->uuid},
		[TITLE] = {"target", status->title},
		{"mode", status->mode},
		{"spool_path", status->spool_path},
		{"gate", gate_name(status)},
		{"breaker", state_name(status->breaker_state)},
		{"last_error", status->last_error},
	};
	const char *between = "";

	(void)fputc('{', out);
	for (size_t i = 0; i < MON_ARRAY_COUNT(texts); i++, between = ",") {
		(void)fprintf(out, "%s\n  \"%s\": ", between, texts[i].name);
		print_string(i == TITLE ? MON_ESCAPED_AGAIN(status->title)
					: MON_ESCAPED(texts[i].value),
			     out);
	}
	for (size_t i = 0; i < MON_ARRAY_COUNT(numbers); i++)
		(void)fprintf(out, ",\n  \"%s\": %" PRIu64, numbers[i].name, numbers[i].value);
	print_json_overhead(status, out);
	(void)fprintf(out, ",\n  \"counts\": {");
	between = "";
	for (int i = 1; i < MON_REASON_COUNT; i++)
		if (status->counts[i]) {
			(void)fprintf(out, "%s\"%s\": %" PRIu64, between, mon_reason_name(i),
				      status->counts[i]);
			between = ", ";
		}
	(void)fprintf(out, "},\n  \"breaker_transitions\": [");
	between = "";
	for (int from = 0; from < MON_BREAKER_STATES; from++)
		for (int to = 0; to < MON_BREAKER_STATES; to++)
			if (status->breaker_transitions[from][to]) {
				(void)fprintf(out,
					      "%s{\"from\": \"%s\", \"to\": \"%s\", \"count\": "
					      "%" PRIu64 "}",
					      between, state_name((uint32_t)from),
					      state_name((uint32_t)to),
					      status->breaker_transitions[from][to]);
				between = ", ";
			}
	(void)fprintf(out, "],\n  \"memory_parts\": {");
	between = "";
	for (int part = 0; part < MON_BUDGET_PARTS; part++, between = ", ")
		(void)fprintf(out, "%s\"%s\": {\"bytes\": %" PRIu64 ", \"peak\": %" PRIu64 "}",
			      between, mon_budget_part_name(part), status->part_bytes[part],
			      status->part_peak_bytes[part]);
	(void)fprintf(out, "},\n  \"open_known\": %s,\n  \"open\": ",
		      status->open_known ? "true" : "false");
	print_json_open(status, out);
	(void)fprintf(out, "\n}\n");
}

int mon_cli_status(int argc, char **argv)
{
	enum { JSON = 256 };
	static const struct option long_options[] = {
		{"input", required_argument, NULL, 'i'},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *database = "./monbpf.db";
	struct mon_status status;
	struct mon_error error;
	bool json = false;
	int option;

	optind = 0;
	while ((option = getopt_long(argc, argv, ":i:h", long_options, NULL)) != -1) {
		switch (option) {
		case 'i':
			database = optarg;
			break;
		case JSON:
			json = true;
			break;
		case 'h':
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		case ':':
			(void)fprintf(stderr,
				      "monbpf status: a value is missing after %s; try monbpf "
				      "status --help\n",
				      MON_ESCAPED(argv[optind - 1]));
			return MON_EXIT_USAGE;
		default:
			return mon_cli_no_option("status", argv[optind - 1], long_options);
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "monbpf status: '%s' is too much; try monbpf status --help\n",
			      MON_ESCAPED(argv[optind]));
		return MON_EXIT_USAGE;
	}
	if (mon_status_ask(database, &status, &error)) {
		(void)fprintf(stderr, "monbpf status: %s\n", error.text);
		return (int)error.exit_code;
	}
	if (json)
		print_json(&status, stdout);
	else
		print_text(&status, stdout);
	if (fflush(stdout) || ferror(stdout)) {
		(void)fprintf(stderr, "monbpf status: the answer cannot be written\n");
		return MON_EXIT_RUNTIME;
	}
	return MON_EXIT_OK;
}
