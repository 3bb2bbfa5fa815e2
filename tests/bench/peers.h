/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tracers that are compared, as data: how each is asked the same question about the same
 * function of tests/targets/peers.c, and how it is read what it saw.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include <stdbool.h>

enum question {
	COUNTS,
	LATENCY,
	RECORD,
	ENDBR,
	FUNCTIONS,
	THREADS,
	QUESTIONS,
};

/* Those that a goal names, and the others. */
enum peer_id {
	PAIR,
	MON_COUNTS,
	MON_COUNTS_SAMPLED,
	BPFTRACE_COUNT,
	PERF_STAT,
	FUNCCOUNT_BPFCC,
	MON_LATENCY,
	BPFTRACE_HIST,
	FUNCLATENCY,
	FUNCLATENCY_BPFCC,
	MON_RECORD,
	BPFTRACE_PRINTF,
	BPFTRACE_PRINTF_PAIR,
	PERF_RECORD,
	UFTRACE,
	ENDBR_MON_COUNTS,
	ENDBR_BPFTRACE_COUNT,
	ENDBR_MON_LATENCY,
	ENDBR_BPFTRACE_HIST,
	FUNCTIONS_PAIR_1,
	FUNCTIONS_MON_1,
	FUNCTIONS_PAIR_10000,
	FUNCTIONS_MON_10000,
	FUNCTIONS_PAIR_ALL,
	FUNCTIONS_MON_ALL,
	THREADS_PAIR,
	THREADS_MON,
	PEERS,
};

struct peer {
	const char *name;
	enum question question;
	const char *which; /* the target's word */
	unsigned threads;
	unsigned slower; /* so many times fewer calls */
	/*
	 * Empty programs on all functions with this prefix, made by the benchmark itself; or a
	 * command, where %p is the target's pid, %b its file, %d a scratch directory, and what it
	 * prints goes to %d/out. It must become the tool (exec), and end on SIGINT.
	 */
	const char *empty;
	const char *command;
	const char *needs; /* a program, or NULL: monbpf */
	const char *seen;  /* prints how many calls the tool saw; NULL: not asked */
	const char *after; /* what to tidy up */
	bool starts_target;
};

extern const struct peer peers[PEERS];
extern const char *const question_titles[QUESTIONS];

#endif
