/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a tick sees: rates since the last one, quantiles of the run so far, calls that are open, and
 * the memory that is held. Only looks: nothing that is counted depends on it. Main thread.
 */
#ifndef MON_LOOK_H
#define MON_LOOK_H

#include "capture/capture.h"
#include "control/ledger.h"
#include "pipeline/breaker.h"

#define MON_VIEW_ROWS_MAX 40
#define MON_VIEW_OPEN_MAX 3	      /* functions whose oldest open call is told */
#define MON_VIEW_OPEN_NS MON_NS_PER_S /* once it is open for longer */
#define MON_LOOK_COMM_BYTES 16

struct mon_view_row {
	const char *name;
	uint32_t function, one_in;	 /* kept: 1 in so many; 0: none */
	double calls_per_s, self_per_s;	 /* self: ns a second */
	uint64_t p50_ns, p99_ns, max_ns; /* of the run so far; 0 until a call returned */
	uint32_t marks;			 /* enum mon_mark: what of it is estimated or unknown */
	struct mon_open_calls open;
};

/* The oldest open call of a function. */
struct mon_view_open {
	const struct mon_view_row *row;
	char comm[MON_LOOK_COMM_BYTES]; /* raw; "": the thread is gone */
};

struct mon_view {
	mon_ns at_ns;
	uint64_t elapsed_ns;
	double calls_per_s, kept_per_s;
	uint64_t lost, rows, file_bytes, spooled; /* spooled: records that wait there */
	enum mon_breaker_state breaker;
	double ring_used, queue_used; /* 0..1; the fullest ring */
	uint64_t memory_bytes, memory_limit_bytes;
	struct mon_overhead overhead;	       /* of the run; limit 0: not measured */
	double overhead_now;		       /* of about the last second: 0.06 is 6 % */
	const struct mon_view_row *rows_shown; /* busiest first */
	size_t row_count, function_count;
	bool open_known;			      /* else returns are not followed */
	struct mon_view_open open[MON_VIEW_OPEN_MAX]; /* open for long; oldest first */
	size_t open_count;
};

struct mon_look;

/* @set outlives it. */
int mon_look_new(const struct mon_function_set *set, mon_ns now, struct mon_look **look_out);
void mon_look_free(struct mon_look *look);

/*
 * Fills what is known from counters; @one_in has the sampling of each function. The rows stay until
 * the next call.
 */
void mon_look_at(struct mon_look *look, struct mon_capture *capture,
		 const struct mon_ledger *ledger, const uint32_t *one_in, mon_ns now,
		 struct mon_view *view_out);
/* Of this process, BPF memory included, each page once. @bpf_bytes: as mon_capture_cost() says. */
uint64_t mon_look_at_memory(uint64_t bpf_bytes, uint64_t ring_bytes);
/* Calls that are open now, of all functions; the oldest of them in @list_out. */
uint64_t mon_look_open_calls(struct mon_look *look, struct mon_capture *capture,
			     struct mon_open_list *list_out);
/* What a thread is called now; "" when it is gone. */
void mon_look_comm(pid_t pid, pid_t tid, char comm[MON_LOOK_COMM_BYTES]);
/* Calls a second of one function at the last look. */
double mon_look_rate(const struct mon_look *look, uint32_t function);

#endif
