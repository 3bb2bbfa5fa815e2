/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a mistyped word of the command line is answered with: that it is unknown, and its nearest.
 */
#ifndef MON_SUGGESTION_H
#define MON_SUGGESTION_H

#include <getopt.h>

/*
 * Says on stderr that @word, an option that getopt_long() refused, is none of @command's and which
 * of @longs is nearest, when one is near. Returns MON_EXIT_USAGE.
 */
int mon_cli_no_option(const char *command, const char *word, const struct option *longs);

/* The nearest of @names (ends with NULL) to @word; NULL when none is near. */
const char *mon_cli_nearest(const char *word, const char *const names[]);

#endif
