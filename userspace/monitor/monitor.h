/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One run, wired: finds what to watch, makes room, opens the database, arms, ticks once a second,
 * and at the end drains, balances the books and closes. Owns every thread.
 *
 * Life: new (nothing is attached when it fails), describe, run (until stopped, the duration is
 * over, or the targets ended), free. stop() may be called from a signal handler.
 */
#ifndef MON_MONITOR_H
#define MON_MONITOR_H

#include "base/error.h"
#include "monitor/config.h"
#include "monitor/look.h"
#include "pipeline/print.h"

struct mon_monitor;

/* For the line that says what is watched; strings belong to the monitor. */
struct mon_description {
	const char *title, *output;
	const char *hazard; /* NULL, or why there are no return probes */
	enum mon_mode mode;
	bool returns; /* durations are known, of sampled calls at least */
	bool adopted; /* the run was begun by an earlier monitor */
	uint32_t function_count, left_out;
	uint32_t unread; /* with --binary: processes that could not be looked at for hazards */
	uint64_t run_id, earlier_runs;
	uint64_t budget_bytes, size_max_bytes;
	double max_overhead; /* 0: no limit */
};

/* What is known at the end. */
struct mon_outcome_of_run {
	struct mon_ledger_sum sum;
	bool complete;
	uint64_t foreign_hits, missed;
	uint64_t foreign_cost_ns; /* of their traps, which is not in the overhead; 0: not known */
	uint64_t waiting;	  /* records that are left in the spool */
	const char *reason;
	int command_status;		  /* wait status, or -1: none, or it still runs */
	struct mon_printer_stats printed; /* with config.print */
	int store_result;		  /* 0, or why the database lacks something */
};

int mon_monitor_new(const struct mon_config *config, struct mon_monitor **monitor_out,
		    struct mon_error *error);
void mon_monitor_free(struct mon_monitor *monitor);
void mon_monitor_describe(const struct mon_monitor *monitor, struct mon_description *out);
int mon_monitor_run(struct mon_monitor *monitor,
		    void (*on_tick)(const struct mon_view *view, void *context), void *context,
		    struct mon_outcome_of_run *outcome_out, struct mon_error *error);
/* The COMMAND's wait status, or -1: there is none or, unless @wait, it still runs. */
int mon_monitor_wait_command(struct mon_monitor *monitor, bool wait);
pid_t mon_monitor_command_pid(const struct mon_monitor *monitor); /* 0: there is none */
void mon_monitor_stop(struct mon_monitor *monitor);

#endif
