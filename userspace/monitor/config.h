/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a run is asked to do: cli/ makes it out of option strings, nobody else sees those. */
#ifndef MON_CONFIG_H
#define MON_CONFIG_H

#include "attach/placement.h"
#include "base/types.h"
#include "bpf/event.h"
#include "control/rules.h"
#include "control/sampler.h"
#include "pipeline/store.h"

#define MON_TARGETS_MAX 64

struct mon_config {
	const char *targets[MON_TARGETS_MAX]; /* pids or names */
	size_t target_count;
	char *const *command; /* started for the run; then no targets. NULL: none */
	const char *binary;   /* every process that maps it; then no targets */
	const char *const *globs, *const *excludes;
	size_t glob_count, exclude_count;
	size_t functions_max; /* 0: as attach/symbols.h says */
	enum mon_placement placement;
	const char *output;
	uint64_t duration_ns; /* 0: until stopped */
	enum mon_mode mode;
	double max_overhead; /* of the targets' own CPU time, 0.1 is 10 %; 0: no limit */
	bool force_returns;
	bool counts_only; /* --stats counts: no return is followed that need not be */
	bool keep_none;	  /* -c: exact statistics, no records */
	uint32_t arg_count;
	uint32_t text_count; /* of arguments 1..6, each once */
	struct mon_text_choice texts[MON_TEXTS_MAX];
	uint32_t capture_bytes; /* of each text, at most; bpf/text.h bounds it */
	uint32_t stack_frames;	/* of each kept call, at most; 0: no stacks */
	struct mon_sample_rule rules[MON_SAMPLE_RULES_MAX];
	size_t rule_count;
	struct mon_rules slow, failed, caps; /* --keep-slow, --failed, --max-records-per-sec */
	bool keep_failed;
	uint32_t records_per_s; /* of all functions together; 0: no cap */
	bool print;					   /* each stored call a line on stdout */
	uint64_t budget_bytes, ring_bytes, size_max_bytes; /* 0: default */
	uint32_t rings;					   /* 0: by the CPUs */
	const char *spool_path;				   /* NULL: beside the output */
	uint64_t spool_max_bytes;			   /* 0: default */
	bool persist;		     /* pinned: another monitor may go on with the run */
	const char *pins_path;	     /* where */
	uint64_t reader_timeout_ns;  /* the gate closes after so long without a reader; 0: never */
	uint32_t breaker_failures;   /* 0: default */
	uint64_t breaker_timeout_ns; /* 0: default */
	enum mon_durability durability;
	uid_t owner_uid;
	gid_t owner_gid;
	const char *command_line;
};

#endif
