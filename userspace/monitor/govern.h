/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The governor's hands: reads counters and the targets' CPU time for it, and does what it orders:
 * policies, and windows in which a function is armed. Main thread; NULL is a run without a limit.
 */
#ifndef MON_GOVERN_H
#define MON_GOVERN_H

#include "base/types.h"
#include "control/governor.h"

struct mon_monitor;
struct mon_govern;

/* A window: drawn anew each time. */
#define MON_WINDOW_NS_MIN (250 * MON_NS_PER_MS)
#define MON_WINDOW_NS_MAX (500 * MON_NS_PER_MS)

/* After everything is armed, with a ledger. -ENOMEM. */
int mon_govern_new(struct mon_monitor *monitor, const struct mon_trap_cost *cost,
		   struct mon_govern **govern_out);
void mon_govern_free(struct mon_govern *govern);

/* When there is something to do next; UINT64_MAX: never. */
mon_ns mon_govern_next(const struct mon_govern *govern);
void mon_govern_act(struct mon_govern *govern, mon_ns now);
/* How long a function was armed until @now, and what else the ledger wants to know. */
void mon_govern_account(struct mon_govern *govern, uint32_t function, mon_ns now,
			mon_ns *armed_ns_out);
/* After the update. */
void mon_govern_share(struct mon_govern *govern, uint32_t function, mon_ns now);
/* Before the probes go: ends every window. */
void mon_govern_end(struct mon_govern *govern);

/* What it orders for one function's policy. */
void mon_govern_policy(const struct mon_govern *govern, uint32_t function, bool automatic,
		       struct mon_policy *policy);
const struct mon_governor *mon_govern_governor(const struct mon_govern *govern);
void mon_govern_overhead(const struct mon_govern *govern, struct mon_overhead *overhead_out);

#endif
