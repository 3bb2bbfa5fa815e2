/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Closes links on threads of its own: close() waits for grace periods of the kernel (24-87 ms),
 * while the last hit comes 0.01 ms after it began. One thread for each batch, a few at a time in
 * practice; when none can be made, the caller closes.
 */
#ifndef MON_CLOSER_H
#define MON_CLOSER_H

#include "bpf/arming.h"
#include "bpf/setup.h"
#include "capture/state.h"

struct mon_closer;

/* A batch: after @delay_ns, calls of @functions from before @alive_from are cut off. */
struct mon_closing {
	struct mon_probe *probes; /* taken, also when it fails; freed */
	size_t probe_count;
	uint32_t *functions; /* taken and freed, too */
	size_t function_count;
	uint32_t alive_from;
	mon_ns delay_ns;
};

/* Makes that of @capture where it has none yet. 0 or -ENOMEM. */
int mon_capture_need_closer(struct mon_capture *capture);
void mon_closer_close(struct mon_closer *closer, const struct mon_closing *closing);
/* Until all that was given is closed, without further delay. Takes NULL. */
void mon_closer_wait(struct mon_closer *closer);
void mon_closer_free(struct mon_closer *closer);

#endif
