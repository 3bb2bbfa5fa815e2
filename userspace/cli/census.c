// SPDX-License-Identifier: GPL-2.0-or-later
/* `monbpf attach --census`: what full watching would cost, function by function. */
#include "monitor/census.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "report/table.h"

#include <stdio.h>

static void percent(struct mon_table *table, size_t column, double share)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.*f %%", share < 0.1 ? 2 : 1, 100 * share);
	mon_table_text(table, column, text);
}

static struct mon_table *fill(const struct mon_census *census)
{
	static const struct mon_column columns[] = {
		{"FUNCTION", "function", MON_CELL_TEXT, false},
		{"CALLS/s", "calls_per_s", MON_CELL_COUNT, false},
		{"COST", "cost_ns", MON_CELL_NS, false},
		{"OF A CPU", "of_cpu", MON_CELL_TEXT, false},
		{"OF THE TARGET", "of_target", MON_CELL_TEXT, false},
		{"INSTRUCTION", "cost_class", MON_CELL_TEXT, false},
	};
	struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));

	for (size_t i = 0; table && i < census->row_count && census->rows[i].calls; i++) {
		const struct mon_census_row *row = &census->rows[i];

		mon_table_row(table);
		mon_table_text(table, 0, row->name);
		mon_table_number(table, 1,
				 (uint64_t)((double)row->calls * 1e9 / (double)census->length_ns));
		mon_table_number(table, 2, row->call_ns);
		percent(table, 3, row->of_cpu);
		if (census->own_ns)
			percent(table, 4, row->of_target);
		mon_table_text(table, 5, row->stepped ? "single-stepped" : "emulated");
	}
	return table;
}

static void print_sum(const struct mon_census *census, size_t called)
{
	char length[32];

	(void)printf("%s: %zu of %zu functions called in %s; watching them all, %s, would take "
		     "%.1f %% of a CPU",
		     census->watched.title, called, census->row_count,
		     mon_format_ns(length, sizeof(length), census->length_ns),
		     census->returns ? "returns too" : "entries only", 100 * census->sum.of_cpu);
	if (census->own_ns)
		(void)printf(", +%.1f %% of what the target takes now",
			     100 * census->sum.of_target);
	(void)putchar('\n');
}

int mon_cli_census(const struct mon_config *config)
{
	struct mon_census census;
	struct mon_error error = {0};
	size_t called = 0;
	bool failed;

	if (mon_census_take(config, &census, &error)) {
		(void)fprintf(stderr, "monbpf attach: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	{
		MON_TABLE struct mon_table *table = fill(&census);

		failed = !table || mon_table_failed(table);
		if (!failed) {
			called = mon_table_rows(table);
			if (called)
				mon_table_print(table, SIZE_MAX, true, false, stdout);
			print_sum(&census, called);
		}
	}
	mon_census_clear(&census);
	if (failed || fflush(stdout) || ferror(stdout)) {
		(void)fprintf(stderr, "monbpf attach: the table cannot be written\n");
		return MON_EXIT_RUNTIME;
	}
	return MON_EXIT_OK;
}
