/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a capture consists of; for the files of capture/ only. */
#ifndef MON_CAPTURE_STATE_H
#define MON_CAPTURE_STATE_H

#include "bpf/setup.h"
#include "capture/capture.h"
#include "capture/object.h"

struct mon_probe {
	int fd; /* a link: closing it detaches */
	bool at_return;
};

/* What has become of one function so far. */
enum mon_armed {
	MON_ARMED_SOMEWHERE = 1 << 0, /* in at least one process */
	MON_ARMED_WIDE = 1 << 1,      /* by a link of every process: never again */
	MON_ARMED_UNREACHED = 1 << 2, /* its file could not be opened then; may be tried again */
};

struct mon_capture {
	struct mon_capture_options options;
	struct mon_object object;
	int tracepoints[3]; /* links; gone after flush */

	/* Mapped arrays. */
	struct mon_live *live;
	struct mon_policy *policies;
	struct mon_counters *counters;
	struct mon_histogram *histograms;
	size_t live_bytes, policies_bytes, counters_bytes, histograms_bytes;

	struct mon_probe *probes;
	size_t probe_count, probe_capacity;
	uint8_t *armed; /* [function_count] enum mon_armed */

	mon_ns attach_ns, detach_ns;
};

/* Closes probes from index @from on, entries before returns, several at a time. */
void mon_capture_close_probes(struct mon_capture *capture, size_t from);
void mon_capture_close_tracepoints(struct mon_capture *capture);

#endif
