// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/suggestion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{"attach", mon_cli_attach, "watch functions of running processes"},
	{"list", mon_cli_list, "what can be watched, and at what cost"},
	{"doctor", mon_cli_doctor, "what this kernel and this user can do"},
	{"detach", mon_cli_detach, "remove what a monitor left pinned"},
	{"report", mon_cli_report, "read a database back: table, JSON or CSV"},
	{"status", mon_cli_status, "what a running monitor is doing"},
	{"spool", mon_cli_spool, "check or drain what waits on disk for the database"},
};

static void print_usage(FILE *out)
{
	(void)fprintf(out, "usage: monbpf COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < MON_ARRAY_COUNT(commands); i++)
		(void)fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].what);
	(void)fprintf(out, "\nmonbpf COMMAND --help tells more. monbpf --version\n");
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);
	uint64_t number;

	return text && !mon_parse_number(text, 0, UINT32_MAX - 1, &number) ? number : otherwise;
}

uid_t mon_cli_owner_uid(void)
{
	return (uid_t)number_of("SUDO_UID", getuid());
}

gid_t mon_cli_owner_gid(void)
{
	return (gid_t)number_of("SUDO_GID", getgid());
}

int mon_cli_run(int argc, char **argv)
{
	const char *names[MON_ARRAY_COUNT(commands) + 1] = {0}, *nearest;

	if (argc < 2) {
		print_usage(stderr);
		return MON_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_usage(stdout);
		return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("monbpf %s\n", MON_VERSION);
		return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
	}
	for (size_t i = 0; i < MON_ARRAY_COUNT(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	for (size_t i = 0; i < MON_ARRAY_COUNT(commands); i++)
		names[i] = commands[i].name;
	nearest = mon_cli_nearest(argv[1], names);
	(void)fprintf(stderr, "monbpf: there is no command '%s'%s%s%s\n", MON_ESCAPED(argv[1]),
		      nearest ? "; did you mean " : "", nearest ? nearest : "",
		      nearest ? "? Try monbpf --help" : ": try monbpf --help");
	return MON_EXIT_USAGE;
}
