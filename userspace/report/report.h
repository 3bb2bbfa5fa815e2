/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a database back: run, functions, histogram, callers, slowest calls; as a table, JSON or
 * CSV. Opens read-only, works while the file is being written and without root.
 */
#ifndef MON_REPORT_H
#define MON_REPORT_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum mon_report_format { MON_REPORT_TABLE, MON_REPORT_JSON, MON_REPORT_CSV };

/* One line for each way that calls came, for flame graphs. */
enum mon_folded {
	MON_FOLDED_NONE,
	MON_FOLDED_CALLS, /* its number is how many */
	MON_FOLDED_TIME, /* nanoseconds spent in the last function itself and what is not watched */
};

/* Names places in files; report/ knows nothing of those. */
struct mon_symbolizing {
	/* NULL: not known. Valid until the next call. */
	const char *(*name)(void *context, const char *path, const char *build_id, uint64_t offset);
	void *context;
};

struct mon_report_options {
	const char *path;
	uint32_t run;	      /* 0: the last one */
	const char *function; /* NULL, or one function in detail, with its histogram */
	bool callers;
	bool stacks; /* the ways that calls came */
	enum mon_folded folded;
	const struct mon_symbolizing *symbolizing; /* for both; NULL: no names */
	uint32_t slowest;			   /* 0, or how many */
	bool open;				   /* calls that never returned */
	bool since_set;
	uint64_t since_ns; /* only what happened in the last so many ns of the run */
	bool all;	   /* every function, not the first ten */
	bool wide;	   /* more columns */
	bool color;
	bool head_only; /* what `attach` ends with */
	enum mon_report_format format;
};

/* Prints to @out. -errno with a sentence; -EIO when @out could not be written. */
int mon_report_print(const struct mon_report_options *options, FILE *out, struct mon_error *error);

#endif
