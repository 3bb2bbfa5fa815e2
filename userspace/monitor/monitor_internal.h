/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a run consists of; for the files of monitor/ that start, run and end it. */
#ifndef MON_MONITOR_INTERNAL_H
#define MON_MONITOR_INTERNAL_H

#include "base/budget.h"
#include "capture/capture.h"
#include "monitor/govern.h"
#include "monitor/monitor.h"
#include "monitor/pressure.h"
#include "monitor/status.h"
#include "monitor/watched.h"
#include "monitor/workers.h"
#include "pipeline/print.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

struct mon_monitor {
	struct mon_config config;
	struct mon_watched watched;
	enum mon_mode mode;
	bool returns;
	bool wide_links; /* capture.h */
	struct mon_budget *budget;
	struct mon_budget_plan plan;
	struct mon_store *store;
	struct mon_capture *capture;
	struct mon_rings *rings;
	struct mon_queue *queue;
	struct mon_spool *spool;     /* NULL: nothing is kept (-c) */
	struct mon_printer *printer; /* NULL: nothing is printed */
	struct mon_ledger *ledger;
	struct mon_workers *workers;
	const struct mon_sample_rule **rules; /* one for each function */
	struct mon_policy *policies;	      /* the same; what does not change of each */
	int stop_fd;
	mon_ns started_ns, armed_ns, ended_ns, last_clock_ns;
	mon_wall_ns started_wall_ns;
	uint64_t forks_seen, bpf_bytes;
	bool size_told, wal_told, printer_told, forks_beyond_told, command;
	bool adopts;		    /* or tries to: its pins are not ours to remove */
	uint32_t part;		    /* of the run, as last told; 0: not yet */
	bool adopted, targets_gone; /* the run was begun by another process; it is over */
	char uuid[MON_UUID_BYTES];
	char database[PATH_MAX]; /* absolute; with --persist only */
	char spool_path[PATH_MAX];
	char pinned_spool[PATH_MAX]; /* of the run that was adopted; "": none */
	pthread_mutex_t gate_lock;   /* of `gates`: closed by writer, reader and main thread */
	unsigned gates;		     /* bit of each enum mon_reason that closes it */
	bool hangs;		     /* the writer, for good: nothing it works with is freed */
	atomic_bool stop_again;	     /* the second signal */
	uint32_t left_out;
	struct mon_look *look;
	struct mon_status_server *status; /* NULL: the socket could not be made */
	struct mon_pressure pressure;
	bool pressed;
	struct mon_trap_cost trap_cost;
	struct mon_govern *govern; /* NULL: no limit */
	uint32_t *one_in;	   /* what each function's policy keeps now */
};

/* The two ways into a run. What fails leaves nothing but what was there. */
int mon_monitor_begin(struct mon_monitor *monitor, struct mon_error *error);
int mon_monitor_adopt(struct mon_monitor *monitor, struct mon_error *error);

/* What both consist of. @adopted: sizes that are given, or NULL. */
int mon_monitor_plan(struct mon_monitor *monitor, const struct mon_capture_options *adopted,
		     struct mon_error *error);
int mon_monitor_make_tables(struct mon_monitor *monitor, struct mon_error *error);
int mon_monitor_open_store(struct mon_monitor *monitor, struct mon_error *error);
int mon_monitor_open_spool(struct mon_monitor *monitor, struct mon_error *error);
int mon_monitor_map_rings(struct mon_monitor *monitor, const struct mon_capture_options *options,
			  struct mon_error *error);
/* What the targets have mapped, for stacks that are written when they are gone. */
void mon_monitor_map_targets(struct mon_monitor *monitor);
void mon_monitor_start_status(struct mon_monitor *monitor);
int mon_monitor_start_workers(struct mon_monitor *monitor, struct mon_error *error);

/* From the rule and the rate of a function; told to the programs. */
void mon_monitor_write_policy(struct mon_monitor *monitor, uint32_t function, uint64_t calls_per_s);
void mon_monitor_read_counters(struct mon_monitor *monitor, mon_ns now);
/* Ends the run; 0, or -errno when the database lacks something. */
int mon_monitor_finish(struct mon_monitor *monitor, struct mon_outcome_of_run *outcome);
/* Why, in words; escaped. */
const char *mon_monitor_why(const struct mon_monitor *monitor);
/* Somebody asks on the status socket. */
void mon_monitor_answer(struct mon_monitor *monitor);
/* Why chosen calls are not kept at the moment, if there is a reason. */
void mon_monitor_set_gate(struct mon_monitor *monitor, enum mon_reason reason, bool closed);

#endif
