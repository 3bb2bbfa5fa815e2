// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/cli.h"

int main(int argc, char **argv)
{
	return mon_cli_run(argc, argv);
}
