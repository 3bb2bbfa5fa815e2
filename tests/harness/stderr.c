/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/harness/stderr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static char said[1 << 20];
static int kept_stderr = -1;

void listen_to_stderr(void)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC);

	assert_true(fd >= 0);
	kept_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(kept_stderr >= 0);
	/* As a terminal is: each write goes to the end, whoever else writes. */
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	assert_true(dup2(fd, STDERR_FILENO) == STDERR_FILENO);
	(void)close(fd);
}

const char *heard(void)
{
	ssize_t length = pread(STDERR_FILENO, said, sizeof(said) - 1, 0);

	(void)dup2(kept_stderr, STDERR_FILENO);
	(void)close(kept_stderr);
	said[length > 0 ? length : 0] = '\0';
	return said;
}
