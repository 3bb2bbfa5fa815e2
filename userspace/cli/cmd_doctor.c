// SPDX-License-Identifier: GPL-2.0-or-later
/* `monbpf doctor`: what works here, found by making a link of each kind. Main thread. */
#include "cli/cli.h"

#include "base/error.h"
#include "base/text.h"
#include "capture/capture.h"
#include "cli/suggestion.h"
#include "report/export.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"usage: monbpf doctor [--json]\n"
	"\n"
	"Prints what this kernel and this user can do. Attaches to itself only.\n"
	"\n"
	"      --json  for programs\n"
	"  -h, --help  this text\n"
	"\n"
	"Exit: 0 attach would work, 1 only with --max-overhead 0, 4 a right is missing, 6 the "
	"kernel\n"
	"lacks something.\n";

static void add(struct mon_table *table, const char *what, int result, const char *why)
{
	mon_table_row(table);
	mon_table_text(table, 0, what);
	mon_table_number(table, 1, result == 0);
	if (result)
		mon_table_text(table, 2, why ? why : strerror(-result));
}

static struct mon_table *fill(const struct mon_features *features)
{
	static const struct mon_column columns[] = {
		{"FEATURE", "feature", MON_CELL_TEXT, false},
		{"WORKS", "works", MON_CELL_BOOL, false},
		{"WHY NOT", "why_not", MON_CELL_TEXT, false},
	};
	struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));

	if (!table)
		return NULL;
	add(table, "ring buffer", features->ring, features->ring_why);
	add(table, "kernel BTF", features->btf, features->btf_why);
	add(table, "session mode", features->session, features->session_why);
	add(table, "multi mode", features->multi, features->multi_why);
	add(table, "perf mode", features->perf, features->perf_why);
	return table;
}

int mon_cli_doctor(int argc, char **argv)
{
	enum { JSON = 256 };
	static const struct option long_options[] = {
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	MON_TABLE struct mon_table *table = NULL;
	struct mon_features features;
	struct mon_error error = {0};
	struct mon_trap_cost cost;
	enum mon_mode mode;
	bool json = false, measured;
	int option, result;

	optind = 0;
	while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		}
		if (option != JSON)
			return mon_cli_no_option("doctor", argv[optind - 1], long_options);
		json = true;
	}
	if (optind < argc) {
		(void)fprintf(stderr, "monbpf doctor: '%s' is too much; try monbpf doctor --help\n",
			      MON_ESCAPED(argv[optind]));
		return MON_EXIT_USAGE;
	}
	if (mon_features_detect(&features, &error)) {
		(void)fprintf(stderr, "monbpf doctor: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	table = fill(&features);
	if (!table || mon_table_failed(table)) {
		(void)fprintf(stderr, "monbpf doctor: out of memory\n");
		return MON_EXIT_RUNTIME;
	}
	result = mon_features_choose(&features, MON_MODE_AUTO, &mode, &error);
	measured = !result && !mon_capture_measure_mode(mode, &cost, &error);
	if (json) {
		(void)printf("{\"mode\": %s%s%s,\n", result ? "null" : "\"",
			     result ? "" : mon_mode_name(mode), result ? "" : "\"");
		mon_export_json("features", table, false, stdout);
		if (measured)
			(void)printf(",\n\"trap_cost_ns\": {\"emulated\": [%u, %u], "
				     "\"single_stepped\": [%u, %u]}",
				     cost.entry_ns[0], cost.full_ns[0], cost.entry_ns[1],
				     cost.full_ns[1]);
		else
			(void)printf(",\n\"trap_cost_ns\": null");
		(void)puts("}");
	} else {
		mon_table_print(table, SIZE_MAX, true, false, stdout);
		if (!result)
			(void)printf("attach would use %s mode\n", mon_mode_name(mode));
		if (measured)
			(void)printf("a hit costs %u ns, with its return %u ns; where the "
				     "instruction is single-stepped %u and %u ns\n",
				     cost.entry_ns[0], cost.full_ns[0], cost.entry_ns[1],
				     cost.full_ns[1]);
	}
	if (fflush(stdout) || ferror(stdout)) {
		(void)fprintf(stderr, "monbpf doctor: the table cannot be written\n");
		return MON_EXIT_RUNTIME;
	}
	if (measured)
		return MON_EXIT_OK;
	(void)fprintf(stderr, "monbpf doctor: %s\n", error.text);
	return error.exit_code ? (int)error.exit_code : MON_EXIT_KERNEL;
}
