// SPDX-License-Identifier: GPL-2.0-or-later
/* `monbpf list`: what could be watched, before anything is. Main thread, no root for own files. */
#include "cli/cli.h"

#include "base/text.h"
#include "cli/suggestion.h"
#include "monitor/watched.h"
#include "report/export.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FUNCTIONS_MAX 1000000

enum format { TEXT, JSON, CSV };

static const char help[] =
	"usage: monbpf list -p PID|NAME | -b PATH [GLOB]...\n"
	"\n"
	"Prints the functions that match: name, what a probe costs (emulated, or single-step: ten\n"
	"times as much), how many bytes behind the symbol it goes and why, size, module. Nothing\n"
	"is attached.\n"
	"\n"
	"  -p, --pid PID|NAME   a process\n"
	"  -b, --binary PATH    a file\n"
	"  -x, --exclude GLOB   not these\n"
	"      --placement WHERE auto: on a cheap instruction, if it is safe; symbol: on the "
	"first\n"
	"      --json, --csv     for programs: every column, raw numbers\n"
	"      --wide            long names, aliases and offsets too\n"
	"  -h, --help           this text\n";

static int usage(const char *what, const char *value)
{
	(void)fprintf(stderr, "monbpf list: %s%s%s; try monbpf list --help\n", what,
		      value ? " " : "", value ? MON_ESCAPED(value) : "");
	return MON_EXIT_USAGE;
}

static int fill(const struct mon_function_set *set, struct mon_table **table_out)
{
	enum { FUNCTION, COST, SHIFT, WHY, BYTES, MODULE, OFFSET, ALIASES, SYMBOL, SOURCE, BUILD };
	static const struct mon_column columns[] = {
		{"FUNCTION", "function", MON_CELL_TEXT, false},
		{"COST", "cost", MON_CELL_TEXT, false},
		{"SHIFT", "shift_bytes", MON_CELL_COUNT, false},
		{"WHY", "placement", MON_CELL_TEXT, false},
		{"BYTES", "size_bytes", MON_CELL_COUNT, false},
		{"MODULE", "module", MON_CELL_TEXT, false},
		{"OFFSET", "offset", MON_CELL_HEX, true},
		{"ALIASES", "aliases", MON_CELL_TEXT, true},
		{NULL, "symbol", MON_CELL_TEXT, false},
		{NULL, "source", MON_CELL_TEXT, false},
		{NULL, "build_id", MON_CELL_TEXT, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));

	if (!table)
		return -1;
	for (size_t i = 0; i < set->function_count; i++) {
		const struct mon_function *function = &set->functions[i];
		const struct mon_module *module = &set->modules[function->module];
		const char *cost = mon_cost_class_name(function->cost);

		mon_table_row(table);
		mon_table_text(table, FUNCTION, function->name);
		mon_table_text(table, COST, cost ? cost : "unknown");
		mon_table_number(table, SHIFT, function->probe_offset - function->offset);
		mon_table_text(table, WHY, function->placement);
		if (function->size_bytes)
			mon_table_number(table, BYTES, function->size_bytes);
		mon_table_text(table, MODULE, module->path);
		mon_table_number(table, OFFSET, function->offset);
		mon_table_text(table, ALIASES, function->aliases);
		mon_table_text(table, SYMBOL, function->symbol);
		mon_table_text(table, SOURCE, function->source);
		mon_table_text(table, BUILD, module->build_id);
	}
	if (mon_table_failed(table))
		return -1;
	*table_out = TAKE_PTR(table);
	return 0;
}

static void print(const struct mon_table *table, enum format format, bool wide)
{
	const char *no_color = getenv("NO_COLOR");

	if (format == CSV) {
		mon_export_csv(table, stdout);
	} else if (format == JSON) {
		(void)putchar('{');
		mon_export_json("functions", table, false, stdout);
		(void)puts("}");
	} else {
		mon_table_print(table, SIZE_MAX, wide,
				isatty(STDOUT_FILENO) && !(no_color && no_color[0]), stdout);
	}
}

static int print_all(const struct mon_config *config, enum format format, bool wide)
{
	MON_TABLE struct mon_table *table = NULL;
	struct mon_watched watched;
	struct mon_error error = {0};
	int result;

	if (mon_watched_find(config, &watched, &error)) {
		(void)fprintf(stderr, "monbpf list: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	if (watched.hazard.found)
		(void)fprintf(stderr, "entries only, no durations: %s\n", watched.hazard.why);
	result = fill(&watched.set, &table);
	mon_watched_clear(&watched);
	if (result) {
		(void)fprintf(stderr, "monbpf list: out of memory; name fewer functions\n");
		return MON_EXIT_RUNTIME;
	}
	print(table, format, wide);
	if (fflush(stdout) || ferror(stdout)) {
		(void)fprintf(stderr, "monbpf list: the list cannot be written\n");
		return MON_EXIT_RUNTIME;
	}
	return MON_EXIT_OK;
}

int mon_cli_list(int argc, char **argv)
{
	enum { JSON_OPTION = 256, CSV_OPTION, WIDE_OPTION, PLACEMENT_OPTION };
	static const struct option long_options[] = {
		{"pid", required_argument, NULL, 'p'},
		{"binary", required_argument, NULL, 'b'},
		{"exclude", required_argument, NULL, 'x'},
		{"json", no_argument, NULL, JSON_OPTION},
		{"csv", no_argument, NULL, CSV_OPTION},
		{"wide", no_argument, NULL, WIDE_OPTION},
		{"placement", required_argument, NULL, PLACEMENT_OPTION},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	static const char *excludes[1024];
	static struct mon_config config;
	enum format format = TEXT;
	bool wide = false;
	int option;

	config = (struct mon_config){.excludes = excludes, .functions_max = FUNCTIONS_MAX};
	optind = 0;
	while ((option = getopt_long(argc, argv, ":p:b:x:h", long_options, NULL)) != -1) {
		switch (option) {
		case 'p':
			config.targets[0] = optarg;
			config.target_count = 1;
			break;
		case 'b':
			config.binary = optarg;
			break;
		case 'x':
			if (config.exclude_count == 1024)
				return usage("at most 1024 excludes", NULL);
			excludes[config.exclude_count++] = optarg;
			break;
		case JSON_OPTION:
		case CSV_OPTION:
			if (format != TEXT)
				return usage("--json and --csv exclude each other", NULL);
			format = option == JSON_OPTION ? JSON : CSV;
			break;
		case PLACEMENT_OPTION:
			if (mon_placement_parse(optarg, &config.placement))
				return usage("--placement is auto or symbol, not", optarg);
			break;
		case WIDE_OPTION:
			wide = true;
			break;
		case 'h':
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		case ':':
			return usage("a value is missing after", argv[optind - 1]);
		default:
			return mon_cli_no_option("list", argv[optind - 1], long_options);
		}
	}
	config.globs = (const char *const *)&argv[optind];
	config.glob_count = (size_t)(argc - optind);
	if (!config.target_count == !config.binary)
		return usage("name a process with -p or a file with -b", NULL);
	return print_all(&config, format, wide);
}
