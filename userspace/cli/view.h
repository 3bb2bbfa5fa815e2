/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The live view of `attach`: on a terminal a screen that is drawn again each second, below the
 * lines of the log; elsewhere one line each ten seconds.
 */
#ifndef MON_CLI_VIEW_H
#define MON_CLI_VIEW_H

#include "monitor/monitor.h"

struct mon_live;

/* NULL: no memory; the two below take that. @terminal: as isatty(3) says of stderr. */
struct mon_live *mon_live_new(bool terminal);
/* Leaves the last screen where it is. */
void mon_live_free(struct mon_live *live);
/* For mon_monitor_run(); @context is the struct mon_live. */
void mon_live_show(const struct mon_view *view, void *context);

#endif
