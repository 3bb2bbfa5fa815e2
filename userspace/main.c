// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/cli.h"

#include <fcntl.h>
#include <unistd.h>

/*
 * Started with stdin, stdout or stderr closed, the first files that are opened would get their
 * numbers, and what is meant for the user would be written into them. A file that can only be read
 * takes the number: writing to it fails, as it does to a closed one.
 */
static int take_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	return fd < 0 ? -1 : close(fd);
}

int main(int argc, char **argv)
{
	/* Without a descriptor, or without /dev/null, the numbers have to be taken already. */
	if (take_standard_descriptors() &&
	    (fcntl(STDIN_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 ||
	     fcntl(STDERR_FILENO, F_GETFD) < 0))
		return 1;
	return mon_cli_run(argc, argv);
}
