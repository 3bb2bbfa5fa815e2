// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `monbpf spool check DIR`: what runs left on disk, and is it whole. `monbpf spool drain DIR`:
 * writes it into their database. Main thread, no root.
 */
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/suggestion.h"
#include "monitor/replay.h"
#include "pipeline/spool.h"
#include "report/export.h"

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define RUNS_MAX 4096
#define EXIT_DAMAGED 2

static const char help[] = "usage: monbpf spool check DIR [--json]\n"
			   "       monbpf spool drain DIR [-o FILE]\n"
			   "\n"
			   "check reads a spool directory (--spool-dir of monbpf attach) without "
			   "changing it, and prints\n"
			   "what each run left there. A monitor may be using it.\n"
			   "drain writes what is there into the runs it belongs to, each call "
			   "once, and removes it. FILE\n"
			   "is their database: by default DIR without its \".spool\". Not while a "
			   "monitor uses either.\n"
			   "\n"
			   "  -o, --output FILE  with drain: the database\n"
			   "      --json         with check: one JSON object\n"
			   "  -h, --help         this text\n"
			   "\n"
			   "Exit: 0 all of it is sound, 2 something is damaged, 5 directory or "
			   "database is out of reach.\n";

static int usage(const char *what, const char *value)
{
	(void)fprintf(stderr, "monbpf spool: %s%s%s; try monbpf spool --help\n", what,
		      value ? " " : "", value ? MON_ESCAPED(value) : "");
	return MON_EXIT_USAGE;
}

static struct mon_table *fill(const struct mon_spool_found *found, size_t count)
{
	static const struct mon_column columns[] = {
		{"RUN", "run", MON_CELL_TEXT, false},
		{"SEGMENTS", "segments", MON_CELL_COUNT, false},
		{"BYTES", "bytes", MON_CELL_COUNT, false},
		{"RECORDS", "records", MON_CELL_COUNT, false},
		{"DAMAGED", "damaged", MON_CELL_COUNT, false},
		{"SET ASIDE", "set_aside", MON_CELL_COUNT, false},
		{NULL, "first_position", MON_CELL_COUNT, false},
		{NULL, "end_position", MON_CELL_COUNT, false},
		{NULL, "damaged_file", MON_CELL_TEXT, false},
		{NULL, "damaged_at", MON_CELL_COUNT, false},
	};
	struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));

	for (size_t i = 0; table && i < count; i++) {
		mon_table_row(table);
		mon_table_text(table, 0, found[i].run_uuid);
		mon_table_number(table, 1, found[i].segments);
		mon_table_number(table, 2, found[i].bytes);
		mon_table_number(table, 3, found[i].records);
		mon_table_number(table, 4, found[i].damaged);
		mon_table_number(table, 5, found[i].set_aside);
		mon_table_number(table, 6, found[i].first_position);
		mon_table_number(table, 7, found[i].end_position);
		if (found[i].damaged_name[0]) {
			mon_table_text(table, 8, found[i].damaged_name);
			mon_table_number(table, 9, found[i].damaged_at);
		}
	}
	return table;
}

static void print(const struct mon_table *table, size_t count, const char *path, bool json)
{
	if (json) {
		(void)putchar('{');
		mon_export_json("runs", table, false, stdout);
		(void)puts("}");
	} else if (!count) {
		(void)printf("no run left anything in %s\n", MON_ESCAPED(path));
	} else {
		mon_table_print(table, SIZE_MAX, false, false, stdout);
	}
}

/* One line for each run on stderr. True: there was something. */
static bool tell_damage(const struct mon_spool_found *found, size_t count, const char *path)
{
	bool damaged = false;

	for (size_t i = 0; i < count; i++) {
		if (!found[i].damaged && !found[i].set_aside)
			continue;
		(void)fprintf(stderr,
			      "monbpf spool: %s/%s is damaged at byte %" PRIu64
			      ", the first place of this run; every whole record is used all the "
			      "same\n",
			      MON_ESCAPED(path), found[i].damaged_name, found[i].damaged_at);
		damaged = true;
	}
	return damaged;
}

static int check(const char *path, bool json)
{
	static struct mon_spool_found found[RUNS_MAX];
	MON_TABLE struct mon_table *table = NULL;
	struct mon_error error = {0};
	size_t count = 0;
	bool damaged;

	if (mon_spool_check(path, found, RUNS_MAX, &count, &error)) {
		(void)fprintf(stderr, "monbpf spool: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	table = fill(found, count);
	if (!table || mon_table_failed(table)) {
		(void)fprintf(stderr, "monbpf spool: out of memory\n");
		return MON_EXIT_RUNTIME;
	}
	print(table, count, path, json);
	damaged = tell_damage(found, count, path);
	if (fflush(stdout) || ferror(stdout)) {
		(void)fprintf(stderr, "monbpf spool: the table cannot be written\n");
		return MON_EXIT_RUNTIME;
	}
	return damaged ? EXIT_DAMAGED : MON_EXIT_OK;
}

struct drained {
	const char *path;
	uint64_t records, left;
	bool damaged;
};

static void tell_drained(const struct mon_replay_run *run, void *context)
{
	struct drained *drained = context;

	if (!run->run_id) {
		drained->left++;
		(void)fprintf(stderr,
			      "monbpf spool: run %s is not in this database, its records stay in "
			      "%s\n",
			      run->uuid, MON_ESCAPED(drained->path));
		return;
	}
	drained->records += run->records;
	drained->damaged |= run->damaged != 0;
	(void)printf("run %" PRIu32 "  %" PRIu64 " calls written, %" PRIu64 " damaged, %s\n",
		     run->run_id, run->records, run->damaged,
		     run->nothing    ? "all of it was there already"
		     : run->complete ? "complete"
		     : run->ended    ? "incomplete"
		     : run->unread   ? "incomplete: its last counts are of another version of "
				       "monbpf"
				   : "incomplete: its monitor was killed before it could tell its "
				     "last counts");
}

static int drain(const char *path, const char *output)
{
	char beside[PATH_MAX];
	size_t length = strlen(path);
	struct mon_replay_options options = {
		.spool_path = path,
		.output = output ? output : "./monbpf.db",
		.owner_uid = mon_cli_owner_uid(),
		.owner_gid = mon_cli_owner_gid(),
	};
	struct drained drained = {.path = path};
	struct mon_error error = {0};

	while (length > 1 && path[length - 1] == '/')
		length--;
	if (!output && length > 6 && length < sizeof(beside) &&
	    memcmp(path + length - 6, ".spool", 6) == 0) {
		(void)snprintf(beside, sizeof(beside), "%.*s", (int)length - 6, path);
		options.output = beside;
	}
	/* A limit of the file's size is an error of the write, not our end. */
	(void)signal(SIGXFSZ, SIG_IGN);
	if (mon_replay(&options, tell_drained, &drained, &error)) {
		(void)fprintf(stderr, "monbpf spool: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	if (!drained.records && !drained.left && !drained.damaged)
		(void)printf("no run left any call in %s\n", MON_ESCAPED(path));
	if (fflush(stdout) || ferror(stdout))
		return MON_EXIT_RUNTIME;
	return drained.damaged ? EXIT_DAMAGED : drained.left ? MON_EXIT_UNAVAILABLE : MON_EXIT_OK;
}

int mon_cli_spool(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"output", required_argument, NULL, 'o'},
		{"json", no_argument, NULL, 0},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *path = NULL, *output = NULL;
	bool json = false, drains;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		}
	if (argc < 2 || (strcmp(argv[1], "check") != 0 && strcmp(argv[1], "drain") != 0))
		return usage("name what to do: check DIR or drain DIR", NULL);
	drains = strcmp(argv[1], "drain") == 0;
	for (int i = 2; i < argc; i++) {
		bool is_output = strcmp(argv[i], "-o") == 0 || strcmp(argv[i], "--output") == 0;

		if (drains && is_output && i + 1 < argc)
			output = argv[++i];
		else if (!drains && strcmp(argv[i], "--json") == 0)
			json = true;
		else if (argv[i][0] == '-')
			return mon_cli_no_option("spool", argv[i], long_options);
		else if (path)
			return usage("one directory at a time, so what is", argv[i]);
		else
			path = argv[i];
	}
	if (!path || !path[0])
		return usage("name a directory: check DIR or drain DIR", NULL);
	return drains ? drain(path, output) : check(path, json);
}
