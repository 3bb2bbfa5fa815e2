// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `monbpf detach`: removes what persistent runs left pinned and nobody goes on with. A run whose
 * monitor lives is that monitor's. Main thread.
 */
#include "cli/cli.h"

#include "base/text.h"
#include "capture/pins.h"
#include "cli/suggestion.h"
#include "report/export.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"usage: monbpf detach [--run UUID] [--json]\n"
	"\n"
	"Removes the probes that runs with --persist left in the kernel, and everything else that\n"
	"is pinned of them. Calls that were not read yet are lost: to keep them, go on with the\n"
	"run instead (attach to the same database) and end it.\n"
	"\n"
	"      --run UUID       this run only\n"
	"      --pins DIR       where the pins are (" MON_PINS_DIRECTORY ")\n"
	"      --json           for programs\n"
	"  -h, --help           this text\n"
	"\n"
	"Exit: 0 nothing is left, 3 there is no such run, 4 a right is missing, 5 a monitor still\n"
	"runs.\n";

struct arguments {
	const char *run, *pins;
	bool json;
};

/* Exit code, or -1: go on. */
static int parse(int argc, char **argv, struct arguments *arguments)
{
	enum { RUN = 256, PINS, AS_JSON };
	static const struct option options[] = {
		{"run", required_argument, NULL, RUN},
		{"pins", required_argument, NULL, PINS},
		{"json", no_argument, NULL, AS_JSON},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
		switch (option) {
		case RUN:
			arguments->run = optarg;
			break;
		case PINS:
			arguments->pins = optarg;
			break;
		case AS_JSON:
			arguments->json = true;
			break;
		case 'h':
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		default:
			if (option != ':')
				return mon_cli_no_option("detach", argv[optind - 1], options);
			(void)fprintf(stderr,
				      "monbpf detach: a value is missing after %s; try monbpf "
				      "detach --help\n",
				      MON_ESCAPED(argv[optind - 1]));
			return MON_EXIT_USAGE;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr,
			      "monbpf detach: %s is not understood; try monbpf detach --help\n",
			      MON_ESCAPED(argv[optind]));
		return MON_EXIT_USAGE;
	}
	if (arguments->run && !mon_pins_is_uuid(arguments->run)) {
		(void)fprintf(stderr, "monbpf detach: %s is not the UUID of a run\n",
			      MON_ESCAPED(arguments->run));
		return MON_EXIT_USAGE;
	}
	return -1;
}

static const char *database_of(const struct mon_pins_run *run)
{
	return run->state == -ENOENT ? NULL : run->identity.head.database;
}

static void tell(const struct mon_pins_run *run, const struct mon_pins_removed *removed)
{
	const char *database = database_of(run);
	char probes[32], others[32];

	(void)printf("removed run %s: %s %s, %s other pins%s%s\n", run->uuid,
		     mon_format_count(probes, sizeof(probes), removed->probes),
		     removed->probes == 1 ? "link" : "links",
		     mon_format_count(others, sizeof(others), removed->others),
		     database ? ", of " : " (left by a crash)",
		     database ? MON_ESCAPED(database) : "");
}

static void add(struct mon_table *table, const struct mon_pins_run *run,
		const struct mon_pins_removed *removed)
{
	mon_table_row(table);
	mon_table_text(table, 0, run->uuid);
	mon_table_text(table, 1, database_of(run));
	mon_table_number(table, 2, removed->probes);
	mon_table_number(table, 3, removed->others);
}

/* The worst of what happened; each failure is said as it happens, the others are removed. */
static int remove_runs(const struct arguments *arguments, const struct mon_pins_run *runs,
		       size_t count, struct mon_table *table)
{
	int exit_code = MON_EXIT_OK;
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		struct mon_pins_removed removed;
		struct mon_error error = {0};
		int result;

		if (arguments->run && strcmp(arguments->run, runs[i].uuid) != 0)
			continue;
		found++;
		result = mon_pins_remove(arguments->pins, runs[i].uuid, &removed, &error);
		if (result == -ENOENT) /* somebody else did */
			continue;
		if (result) {
			(void)fprintf(stderr, "monbpf detach: %s\n", error.text);
			exit_code = error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
			continue;
		}
		add(table, &runs[i], &removed);
		if (!arguments->json)
			tell(&runs[i], &removed);
	}
	if (found)
		return exit_code;
	if (arguments->run) {
		(void)fprintf(stderr, "monbpf detach: no run %s is pinned in %s\n", arguments->run,
			      MON_ESCAPED(arguments->pins));
		return MON_EXIT_NO_MATCH;
	}
	if (!arguments->json)
		(void)printf("nothing is pinned in %s\n", MON_ESCAPED(arguments->pins));
	return MON_EXIT_OK;
}

int mon_cli_detach(int argc, char **argv)
{
	static const struct mon_column columns[] = {
		{"RUN", "uuid", MON_CELL_TEXT, false},
		{"DATABASE", "database", MON_CELL_TEXT, false},
		{"LINKS", "links", MON_CELL_COUNT, false},
		{"OTHERS", "others", MON_CELL_COUNT, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));
	MON_FREE struct mon_pins_run *runs = NULL;
	struct arguments arguments = {.pins = MON_PINS_DIRECTORY};
	struct mon_error error = {0};
	size_t count = 0;
	int result = parse(argc, argv, &arguments);

	if (result >= 0)
		return result;
	if (!table) {
		(void)fprintf(stderr, "monbpf detach: out of memory\n");
		return MON_EXIT_RUNTIME;
	}
	if (mon_pins_list(arguments.pins, &runs, &count, &error)) {
		(void)fprintf(stderr, "monbpf detach: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	result = remove_runs(&arguments, runs, count, table);
	if (mon_table_failed(table)) {
		(void)fprintf(stderr, "monbpf detach: out of memory\n");
		return MON_EXIT_RUNTIME;
	}
	if (arguments.json) {
		(void)putchar('{');
		mon_export_json("runs", table, false, stdout);
		(void)puts("}");
	}
	if (fflush(stdout) || ferror(stdout))
		return MON_EXIT_RUNTIME;
	return result;
}
