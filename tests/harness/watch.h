/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A capture and its ring as a test uses them: watch_open, watch_attach, let the target work,
 * watch_close_probes (detach, flush, read), look, watch_free. watch_check holds every function's
 * counters against its records: no call may be missing.
 */
#ifndef HARNESS_WATCH_H
#define HARNESS_WATCH_H

#include "bpf/event.h"
#include "capture/capture.h"
#include "pipeline/rings.h"

#define WATCH_RING_BYTES (4u << 20)

/* Records of one function, by how the call ended. */
struct watch_records {
	uint64_t all, finished, entry_only, unreturned, unwound, thread_exit, exec, in_flight;
	uint64_t weight;
	uint32_t pid;		    /* of the last one */
	struct mon_call_event last; /* of the last one; arguments beyond its own are 0 */
};

struct watch {
	struct mon_capture_options options;
	struct mon_capture *capture;
	struct mon_rings *rings;
	struct mon_ring *ring; /* the first of them */
	struct mon_function_set set;
	struct watch_records *records; /* by function */
	uint64_t tasks;
	void (*on_record)(const struct mon_record *record); /* each call's, or NULL */
};

/* What most tests want: every call with its return, as many threads as they like. */
struct mon_capture_options watch_options(enum mon_mode mode);
/* @watch->set is filled; function_count is taken from it. */
void watch_open(struct watch *watch, const struct mon_capture_options *options);
/* Of a capture that was made (or adopted) by the test; watch_open does. */
void watch_map_rings(struct watch *watch);
void watch_attach(struct watch *watch, pid_t pid);
/* Reads what is in the ring and gives its space back. */
void watch_read(struct watch *watch);
void watch_close_probes(struct watch *watch);
struct mon_counters watch_counters(struct watch *watch, size_t function);
struct mon_run_counters watch_run_counters(const struct watch *watch);
void watch_check(struct watch *watch);
/* Takes a watch that is half open, too. */
void watch_free(struct watch *watch);

#endif
