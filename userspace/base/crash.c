// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/crash.h"

#ifdef MON_CRASH_POINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void mon_crash_point(const char *name)
{
	static atomic_long passed;
	const char *wanted = getenv("MON_CRASH");
	size_t length = strlen(name);

	if (!wanted || strncmp(wanted, name, length) != 0 || wanted[length] != ':')
		return;
	if (atomic_fetch_add(&passed, 1) + 1 == strtol(wanted + length + 1, NULL, 10))
		(void)kill(getpid(), SIGKILL);
}

#else

typedef int mon_crash_nothing; /* a translation unit may not be empty */

#endif
