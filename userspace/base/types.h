/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rows that travel between folders: what a run is, what it watches, and what is counted. Each
 * maps to a table of the database (userspace/pipeline/schema.sql), which explains the columns.
 */
#ifndef MON_TYPES_H
#define MON_TYPES_H

#include "base/clock.h"
#include "bpf/counters.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MON_BUILD_ID_BYTES 41 /* 20 bytes in hex and a NUL */
#define MON_UUID_BYTES 37

enum mon_mode {
	MON_MODE_AUTO, /* the first of the three below that works here */
	MON_MODE_SESSION,
	MON_MODE_MULTI,
	MON_MODE_PERF,
	MON_MODES
};
const char *mon_mode_name(enum mon_mode mode); /* "auto", "session", "multi", "perf" */

/* What the probed instruction costs, where it is known. */
enum mon_cost_class {
	MON_COST_UNKNOWN,
	MON_COST_EMULATED,
	MON_COST_SINGLE_STEP,
};
const char *mon_cost_class_name(enum mon_cost_class cost); /* NULL, "emulated", "single-step" */

/* What a hit costs the thread that makes it, by the probed instruction. 0: not known. */
struct mon_trap_cost {
	uint32_t entry_ns[2]; /* [0] emulated, [1] single-stepped */
	uint32_t full_ns[2];  /* with the return; the same as above when there are none */
};

/* enum mon_failed_if as it is written: "ret<0", "ret==0", "ret!=0", "ret64<0"; else NULL. */
const char *mon_failed_if_name(unsigned failed_if);

struct mon_module {
	char *path;	 /* as the target sees it */
	char *open_path; /* how the monitor reaches the same inode (/proc/PID/map_files/…) */
	char build_id[MON_BUILD_ID_BYTES]; /* "" when it has none */
	dev_t device;
	ino_t inode;
};

/* One watched address; aliases at one address are one function. Index in its array = cookie. */
struct mon_function {
	uint32_t module;       /* index of its module */
	uint64_t offset;       /* file offset of the symbol */
	uint64_t probe_offset; /* file offset of the probe */
	uint64_t size_bytes;   /* 0: unknown */
	char *symbol;	       /* as in the symbol table */
	char *name;	    /* demangled; same text as symbol when there is nothing to demangle */
	char *aliases;	    /* comma separated, or NULL */
	const char *source; /* static text: "symtab" or "dynsym" */
	enum mon_cost_class cost; /* at the probe */
	const char *placement;	  /* static text: why the probe is where it is, or NULL */
	const char *failed_if;	  /* static text: what counts as a failure; NULL: nothing does */
	bool returns;		  /* a return probe is attached too */
	char *note;		  /* why something about it is special, or NULL */
	int attach_error;	  /* 0, or the errno that attaching it gave: it is not watched */
};

struct mon_function_set {
	struct mon_module *modules;
	size_t module_count;
	struct mon_function *functions;
	size_t function_count;
};
void mon_function_set_clear(struct mon_function_set *set); /* frees what it holds */

/* Row of table `run`. Strings are owned by whoever made it. */
struct mon_run_info {
	char uuid[MON_UUID_BYTES];
	uint32_t part;
	const char *host, *boot_id, *kernel, *version, *command, *options, *target;
	mon_ns started_ns; /* CLOCK_MONOTONIC: zero of every *_ns in the database */
	mon_wall_ns started_wall_ns;
	enum mon_mode mode;
};

struct mon_run_end {
	mon_ns ended_ns;
	const char *reason; /* "interrupted", "duration", "target exited", … */
	int target_status;  /* wait status of our COMMAND, or -1 */
	bool complete;	    /* every accepted record is stored and the ledger closes */
};

/* Kernel counters of one function, all CPUs, widened: a row of `function_total`. */
struct mon_total {
	uint32_t function;
	mon_ns wanted_ns; /* how long it should have been watched */
	mon_ns armed_ns;  /* how long it was */
	/* The targets' own CPU time (without probes) in the two. 0: not known, no share of the
	 * time. */
	uint64_t wanted_own_ns, armed_own_ns;
	uint64_t calls, returns, failed, total_ns, self_ns, min_ns, max_ns;
	const uint8_t *histogram; /* BLOB (base/histogram.h). NULL: no memory; keep the old */
	size_t histogram_bytes;
	uint32_t marks; /* enum mon_mark */
};

/* The difference between two totals: a row of `function_interval`. */
struct mon_interval {
	uint32_t function;
	mon_ns start_ns, length_ns, armed_ns; /* start: CLOCK_MONOTONIC */
	uint64_t calls, returns, failed, total_ns, self_ns, max_ns;
	const uint8_t *histogram; /* NULL: its durations are in a later interval's */
	size_t histogram_bytes;
	uint32_t marks; /* enum mon_mark, of the run so far */
};

/* What the intervals of a run add up to for one function, as its database has it. */
struct mon_function_sum {
	uint64_t calls, returns, failed, total_ns, self_ns;
	mon_ns armed_ns;
	uint64_t by_reason[MON_REASON_COUNT]; /* counts in `ledger` */
	uint8_t *histogram;		      /* BLOB (base/histogram.h); NULL when empty */
	size_t histogram_bytes;
};

/* A row of `ledger`: what the kernel counted under a reason, cumulative. */
struct mon_ledger_entry {
	uint32_t function;
	enum mon_reason reason;
	uint64_t count;
	mon_ns from_ns, to_ns; /* CLOCK_MONOTONIC: first and last tick that saw it grow */
};

/* A row of `coverage`: a function that is not armed all the time was, from then to then. */
struct mon_coverage {
	uint32_t function;
	mon_ns from_ns, to_ns; /* CLOCK_MONOTONIC */
	const char *why;       /* static text */
};

/* What the probes cost the targets so far: columns of `run`. */
struct mon_overhead {
	uint64_t cost_ns, own_ns; /* CPU time that hits took, and that the targets took beside it */
	double limit;		  /* of cost / own; 0: none, and nothing was measured */
};

/*
 * All that one tick has to write. The arrays and BLOBs belong to the ledger and do not change until
 * it is told that the tick was committed or given back; so another thread may read them.
 */
struct mon_tick {
	mon_ns at_ns;
	mon_wall_ns wall_ns;
	bool clock_row;	  /* write a `clock` row */
	mon_ns wanted_ns; /* how long functions should have been watched; 0: not told */
	const struct mon_total *totals;
	size_t total_count;
	const struct mon_interval *intervals;
	size_t interval_count;
	const struct mon_ledger_entry *entries;
	size_t entry_count;
	const struct mon_coverage *coverage;
	size_t coverage_count;
	struct mon_overhead overhead; /* limit 0: no columns */
};

#endif
