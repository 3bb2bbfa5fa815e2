/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a capture consists of; for the files of capture/ only. */
#ifndef MON_CAPTURE_STATE_H
#define MON_CAPTURE_STATE_H

#include "bpf/arming.h"
#include "bpf/setup.h"
#include "capture/capture.h"
#include "capture/object.h"
#include "capture/pins.h"

/* Whose a link is, where it is not one function's. */
#define MON_PROBE_SHARED UINT32_MAX
#define MON_PROBE_NEW (UINT32_MAX - 1)	 /* to become shared */
#define MON_PROBE_METER (UINT32_MAX - 2) /* of the child that times hits */
/* Of a forked child: this plus its place among them. */
#define MON_PROBE_FOREIGN (MON_PROBE_METER - MON_CAPTURE_FOREIGN_MAX)

struct mon_probe {
	int fd; /* a link: closing it detaches */
	bool at_return;
	uint32_t function; /* or one of the above */
};

/* What has become of one function so far. */
enum mon_armed {
	MON_ARMED_SOMEWHERE = 1 << 0, /* in at least one process */
	MON_ARMED_WIDE = 1 << 1,      /* by a link of every process: never again */
	MON_ARMED_ALONE = 1 << 3,     /* released: by links of its own, or by none now */
	MON_ARMED_UNREACHED = 1 << 2, /* its file could not be opened then; may be tried again */
};

struct mon_foreign {
	bool used;
	int pidfd; /* owned */
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

	struct mon_foreign foreign[MON_CAPTURE_FOREIGN_MAX];

	mon_ns attach_ns, detach_ns;

	struct mon_closer *closer;    /* NULL: not needed yet */
	struct mon_trap_meter *meter; /* NULL: none, or it is gone */

	/* With `movable` only. */
	struct mon_arming *armings; /* mapped */
	size_t armings_bytes;
	uint32_t generation; /* the last that was given to a link */
	pid_t link_pids[MON_TGIDS_MAX + 1];
	size_t link_pid_count;

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
/*
 * Arms @count functions for each process that is attached, with @generation in the cookies. -ESRCH:
 * none of them lives. Nothing is left when it fails.
 */
int mon_capture_arm_functions(struct mon_capture *capture, struct mon_function_set *set,
			      const uint32_t *functions, size_t count, uint32_t generation,
			      uint32_t owner);
/* Entries only, for a process that is not watched; of @owner. Nothing is left when it fails. */
int mon_capture_arm_foreign(struct mon_capture *capture, const struct mon_function_set *set,
			    pid_t pid, uint32_t owner);
/* Their links are closed: whose they were is, too. */
void mon_capture_forget_foreign(struct mon_capture *capture);
bool mon_pidfd_has_ended(int pidfd);
/* Moves the probes of @owner out of the capture: *taken_out is a malloc'd array, maybe empty. */
int mon_capture_take_probes(struct mon_capture *capture, uint32_t owner,
			    struct mon_probe **taken_out, size_t *count_out);

/* Its child ends; the links stay the capture's. Takes a capture without one. */
void mon_capture_stop_meter(struct mon_capture *capture);

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
