// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/cli.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

int mon_cli_run(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		(void)printf("monbpf %s\n", MON_VERSION);
		return MON_EXIT_OK;
	}
	(void)fprintf(stderr, "usage: monbpf attach|list|report|doctor [OPTION]...\n");
	return MON_EXIT_USAGE;
}
