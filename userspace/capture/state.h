/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a capture consists of; for the files of capture/ only. */
#ifndef MON_CAPTURE_STATE_H
#define MON_CAPTURE_STATE_H

#include "bpf/setup.h"
#include "capture/capture.h"
#include "capture/object.h"
#include "capture/pins.h"

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
	uint32_t skipping; /* functions with MON_POLICY_NO_RETURN now */

	struct mon_probe *probes;
	size_t probe_count, probe_capacity;
	uint8_t *armed; /* [function_count] enum mon_armed */

	mon_ns attach_ns, detach_ns;

	/* NULL: not pinned. */
	struct mon_pins *pins;
	struct mon_pins_identity *identity; /* as it is pinned */
	size_t links_pinned;		    /* names given so far */
};

/* A capture without anything loaded, or NULL. */
struct mon_capture *mon_capture_allocate(const struct mon_capture_options *options);
int mon_capture_map_arrays(struct mon_capture *capture);
/* Takes @fd, also when it fails. */
int mon_capture_keep_probe(struct mon_capture *capture, int fd, bool at_return);

/* Closes probes from index @from on, entries before returns, several at a time. */
void mon_capture_close_probes(struct mon_capture *capture, size_t from);
void mon_capture_close_tracepoints(struct mon_capture *capture);
void mon_probes_close(struct mon_probe *probes, size_t count);
/* Raises the limit of open files so that so many links fit, as far as we may. */
void mon_probes_want_descriptors(size_t links);

/* Names of pins: link-0000-e (entry, or both in one), link-0001-r (return), tracepoint-0. */
#define MON_PIN_LINK "link-"
#define MON_PIN_TRACEPOINT "tracepoint-"
bool mon_probes_is_return(const char *pin_name);

/* What became of probes from index @from on, for a capture that is pinned; else nothing. */
int mon_capture_pin_probes(struct mon_capture *capture, size_t from);
/* Marks the run as detached and unlinks its links, whose descriptors are then the last. */
int mon_capture_unpin_probes(struct mon_capture *capture);
int mon_capture_unpin_tracepoints(struct mon_capture *capture);

#endif
