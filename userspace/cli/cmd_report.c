// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `monbpf report`: option strings become struct mon_report_options, errors become exit codes.
 * Needs no root. Main thread.
 */
#include "cli/cli.h"

#include "attach/symbolize.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/suggestion.h"
#include "report/report.h"

#include <getopt.h>
#include <string.h>

#define SLOWEST_MAX 100000

static const char help[] =
	"usage: monbpf report [-i FILE] [OPTION]...\n"
	"\n"
	"Prints what monbpf attach recorded; works while it is still recording. No root needed.\n"
	"\n"
	"  -i, --input FILE      the database (./monbpf.db)\n"
	"  -r, --run N           run N of the file, not the last one\n"
	"  -f, --function NAME   one function: name, symbol, MODULE:NAME or glob\n"
	"  -c, --callers         who calls whom, from kept calls\n"
	"  -n, --slowest N       the N slowest kept calls, at most 100000\n"
	"  -o, --open            kept calls that never returned, oldest first, and why\n"
	"      --stacks          the ways that kept calls came (attach --stack), by time\n"
	"      --folded          the same for flame graphs, by calls; --folded=time: by their own\n"
	"                        time in ns\n"
	"  -s, --since TIME      only the last 10s, 5m, ... of the run\n"
	"  -a, --all             every function, not the first ten\n"
	"  -w, --wide            more columns: P90 MIN FAILED KEPT MODULE\n"
	"  -j, --json            JSON, raw nanoseconds\n"
	"      --csv             CSV, raw nanoseconds; with --function its histogram\n"
	"  -h, --help            this text\n";

static int usage(const char *what, const char *value)
{
	(void)fprintf(stderr, "monbpf report: %s%s%s; try monbpf report --help\n", what,
		      value ? " " : "", value ? MON_ESCAPED(value) : "");
	return MON_EXIT_USAGE;
}

/* A report without names is still one: no memory for them is no error. */
static const char *name_place(void *context, const char *path, const char *build_id,
			      uint64_t offset)
{
	return context ? mon_symbolizer_name(context, path, build_id, offset) : NULL;
}

int mon_cli_report(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"input", required_argument, NULL, 'i'},
		{"run", required_argument, NULL, 'r'},
		{"function", required_argument, NULL, 'f'},
		{"callers", no_argument, NULL, 'c'},
		{"slowest", required_argument, NULL, 'n'},
		{"open", no_argument, NULL, 'o'},
		{"stacks", no_argument, NULL, 'k'},
		{"folded", optional_argument, NULL, 'l'},
		{"since", required_argument, NULL, 's'},
		{"all", no_argument, NULL, 'a'},
		{"wide", no_argument, NULL, 'w'},
		{"json", no_argument, NULL, 'j'},
		{"csv", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct mon_report_options options = {.path = "./monbpf.db"};
	struct mon_error error = {0};
	bool json = false, csv = false;
	const char *no_color = getenv("NO_COLOR");
	struct mon_symbolizing symbolizing = {.name = name_place};
	uint64_t number;
	int option, result;

	optind = 0; /* GNU: start afresh */
	while ((option = getopt_long(argc, argv, ":i:r:f:cn:os:awjh", long_options, NULL)) != -1) {
		switch (option) {
		case 'i':
			options.path = optarg;
			break;
		case 'r':
			if (mon_parse_number(optarg, 1, UINT32_MAX, &number))
				return usage("--run wants the number of a run, not", optarg);
			options.run = (uint32_t)number;
			break;
		case 'f':
			options.function = optarg;
			break;
		case 'c':
			options.callers = true;
			break;
		case 'n':
			if (mon_parse_number(optarg, 1, SLOWEST_MAX, &number))
				return usage("--slowest wants a number from 1 to 100000, not",
					     optarg);
			options.slowest = (uint32_t)number;
			break;
		case 'o':
			options.open = true;
			break;
		case 'k':
			options.stacks = true;
			break;
		case 'l':
			if (optarg && strcmp(optarg, "calls") != 0 && strcmp(optarg, "time") != 0)
				return usage("--folded is by calls or time, not", optarg);
			options.folded =
				optarg && optarg[0] == 't' ? MON_FOLDED_TIME : MON_FOLDED_CALLS;
			break;
		case 's':
			if (mon_parse_duration(optarg, &options.since_ns) || !options.since_ns)
				return usage("--since wants a time like 500ms, 10s or 5m, not",
					     optarg);
			options.since_set = true;
			break;
		case 'a':
			options.all = true;
			break;
		case 'w':
			options.wide = true;
			break;
		case 'j':
			json = true;
			break;
		case 'v':
			csv = true;
			break;
		case 'h':
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		case ':':
			return usage("a value is missing after", argv[optind - 1]);
		default:
			return mon_cli_no_option("report", argv[optind - 1], long_options);
		}
	}
	if (optind < argc)
		return usage("a file is named with -i, so what is", argv[optind]);
	if (!options.path[0])
		return usage("-i wants a file name", NULL);
	if (json && csv)
		return usage("--json and --csv exclude each other", NULL);
	if (options.callers + (options.slowest > 0) + options.open + options.stacks +
		    (options.folded > 0) >
	    1)
		return usage("--callers, --slowest, --open, --stacks and --folded exclude each "
			     "other",
			     NULL);
	if ((options.stacks || options.folded) && (csv || (options.folded && json)))
		return usage("--stacks goes with --json only, --folded with neither", NULL);
	if (json || csv)
		options.format = json ? MON_REPORT_JSON : MON_REPORT_CSV;
	options.color = isatty(STDOUT_FILENO) && !(no_color && no_color[0]);
	if (options.stacks || options.folded) {
		symbolizing.context = mon_symbolizer_new();
		options.symbolizing = &symbolizing;
	}
	result = mon_report_print(&options, stdout, &error);
	mon_symbolizer_free(symbolizing.context);
	if (result) {
		(void)fprintf(stderr, "monbpf report: %s\n", error.text);
		return error.exit_code ? error.exit_code : MON_EXIT_RUNTIME;
	}
	return MON_EXIT_OK;
}
