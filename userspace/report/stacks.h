/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which ways calls came: `--stacks` for people and as JSON, `--folded` as flamegraph.pl and its
 * like read it, one line for each way, outermost function first.
 */
#ifndef MON_REPORT_STACKS_H
#define MON_REPORT_STACKS_H

#include "report/detail.h"

int mon_stacks_print(struct mon_report *report, struct mon_error *error);

#endif
