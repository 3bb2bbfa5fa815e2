// SPDX-License-Identifier: GPL-2.0-or-later
/* `monbpf list`: what could be watched, before anything is. Main thread, no root for own files. */
#include "cli/cli.h"

#include "base/text.h"
#include "monitor/watched.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"usage: monbpf list -p PID|NAME | -b PATH [GLOB]...\n"
	"\n"
	"Prints the functions that match: name, what a probe on its first instruction costs\n"
	"(emulated, or single-step: ten times as much), size, module. Nothing is attached.\n"
	"\n"
	"  -p, --pid PID|NAME   a process\n"
	"  -b, --binary PATH    a file\n"
	"  -x, --exclude GLOB   not these\n"
	"  -h, --help           this text\n";

static int usage(const char *what, const char *value)
{
	(void)fprintf(stderr, "monbpf list: %s%s%s; try monbpf list --help\n", what,
		      value ? " " : "", value ? MON_ESCAPED(value) : "");
	return MON_EXIT_USAGE;
}

static int print_all(const struct mon_config *config)
{
	struct mon_watched watched;
	struct mon_error error = {0};

	if (mon_watched_find(config, &watched, &error)) {
		(void)fprintf(stderr, "monbpf list: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	if (watched.hazard.found)
		(void)fprintf(stderr, "entries only, no durations: %s\n", watched.hazard.why);
	(void)printf("%-12s %8s  %-40s %s\n", "COST", "SIZE", "FUNCTION", "MODULE");
	for (size_t i = 0; i < watched.set.function_count; i++) {
		const struct mon_function *function = &watched.set.functions[i];
		const char *cost = mon_cost_class_name(function->cost);

		(void)printf("%-12s %8" PRIu64 "  %-40s %s\n", cost ? cost : "unknown",
			     function->size_bytes, MON_ESCAPED(function->name),
			     MON_ESCAPED(watched.set.modules[function->module].path));
	}
	mon_watched_clear(&watched);
	return fflush(stdout) ? MON_EXIT_UNAVAILABLE : MON_EXIT_OK;
}

int mon_cli_list(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"pid", required_argument, NULL, 'p'},
		{"binary", required_argument, NULL, 'b'},
		{"exclude", required_argument, NULL, 'x'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	static const char *excludes[1024];
	static struct mon_config config;
	int option;

	config = (struct mon_config){.excludes = excludes};
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
		case 'h':
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		case ':':
			return usage("a value is missing after", argv[optind - 1]);
		default:
			return usage("there is no option", argv[optind - 1]);
		}
	}
	config.globs = (const char *const *)&argv[optind];
	config.glob_count = (size_t)(argc - optind);
	if (!config.target_count == !config.binary)
		return usage("name a process with -p or a file with -b", NULL);
	return print_all(&config);
}
