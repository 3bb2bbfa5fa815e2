/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `monbpf attach`: option strings become struct mon_config. Nobody behind this sees a string. */
#ifndef MON_ATTACH_OPTIONS_H
#define MON_ATTACH_OPTIONS_H

#include "monitor/config.h"

#include <stdbool.h>

struct mon_attach_options {
	struct mon_config config; /* points into argv and into memory that is never given back */
	bool strict;		  /* loss is an exit code */
	bool census;		  /* count for a second, print what watching would cost, and end */
	bool help;		  /* asked for, and nothing else matters */
};

/* 0, or MON_EXIT_USAGE after one sentence on stderr. Once for a process. */
int mon_attach_options_parse(int argc, char **argv, struct mon_attach_options *options_out);

extern const char mon_attach_help[];

#endif
