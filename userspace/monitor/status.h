/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a running monitor tells of itself: one fixed struct over a Unix socket beside the database
 * (FILE.sock, mode 0600, the peer's uid checked). Both ends are the same program: another version's
 * struct is refused by its size. Who connects is served at once by the main thread and never
 * waited for.
 */
#ifndef MON_STATUS_H
#define MON_STATUS_H

#include "base/budget.h"
#include "base/error.h"
#include "base/types.h"
#include "control/governor.h"
#include "pipeline/breaker.h"

#include <sys/types.h>

#define MON_STATUS_MAGIC 0x6d6f6e73u
#define MON_STATUS_TEXT_BYTES 256

#define MON_STATUS_OPEN_MAX 16
#define MON_STATUS_NAME_BYTES 96

/* A call that is open. Names as they come, cut, with a NUL. */
struct mon_status_open {
	int32_t pid, tid;
	uint32_t depth, reserved;
	uint64_t age_ns;
	char function[MON_STATUS_NAME_BYTES], caller[MON_STATUS_NAME_BYTES]; /* caller "": none */
	char comm[16];							     /* "": it is gone */
};

struct mon_status {
	uint32_t magic, size_bytes;
	int32_t pid; /* of the monitor */
	uint32_t run_id, function_count;
	char uuid[40];
	char title[MON_STATUS_TEXT_BYTES];
	char mode[16];
	uint64_t elapsed_ns;

	uint64_t calls;			   /* as the kernel counts them */
	uint64_t counts[MON_REASON_COUNT]; /* what the kernel refused, by reason */
	uint64_t emitted;		   /* records that entered the ring */
	uint64_t stored, set_aside, spooled;
	uint64_t on_the_way; /* in ring, queue and the writer's hand */
	uint64_t open_calls;
	uint32_t open_known, open_count;		  /* known: returns are followed */
	struct mon_status_open open[MON_STATUS_OPEN_MAX]; /* oldest first */

	uint64_t ring_used_bytes, ring_size_bytes; /* of the fullest */
	uint64_t rings;
	uint64_t queue_used, queue_slots, queue_overflow_used, queue_overflow_refused;

	char spool_path[MON_STATUS_TEXT_BYTES]; /* "": none */
	uint64_t spool_bytes, spool_max_bytes, spool_reserve_bytes, spool_damaged;
	uint64_t spool_pushed, spool_segments_set_aside, spool_foreign_segments;
	uint32_t spooling, gate; /* gate: enum mon_reason that closes it, or 0 */

	uint32_t breaker_state, breaker_failures_in_row;
	uint64_t breaker_transitions[MON_BREAKER_STATES][MON_BREAKER_STATES];
	uint64_t breaker_outcomes[MON_OUTCOMES];
	uint64_t breaker_not_permitted, breaker_late, breaker_open_ns;
	uint64_t breaker_next_probe_ns; /* from now; 0: none is due */
	char last_error[MON_STATUS_TEXT_BYTES];

	uint64_t file_bytes, wal_bytes, commits, rollbacks, longest_push_ns;

	uint64_t memory_bytes, bpf_bytes, memory_limit_bytes;
	uint64_t part_bytes[MON_BUDGET_PARTS], part_peak_bytes[MON_BUDGET_PARTS];
	uint32_t pressed, reserved;

	double overhead_limit; /* 0: none, and then nothing of what follows */
	double overhead_now, overhead_of_run;
	uint64_t cost_ns, own_ns;
	uint32_t step; /* enum mon_governor_step */
	uint32_t no_return_functions, windowed_functions;
	uint32_t windowed_listed;
	double window_share; /* of the time that each of them is armed; 0: not at all for now */
	char windowed[MON_GOVERNOR_WINDOWED_MAX][MON_STATUS_NAME_BYTES];
};

struct mon_status_server;

/* Listens beside @database. A stale socket of a dead monitor goes: the database's lock is held. */
int mon_status_listen(const char *database, uid_t owner_uid, gid_t owner_gid,
		      struct mon_status_server **server_out);
/* Removes the socket. Takes NULL. */
void mon_status_close(struct mon_status_server *server);
int mon_status_fd(const struct mon_status_server *server); /* readable: somebody asks */
/* Answers whoever asks now. */
void mon_status_serve(struct mon_status_server *server, const struct mon_status *status);

/* Asks the monitor of @database. -ENOENT or -ECONNREFUSED with a sentence: none runs. */
int mon_status_ask(const char *database, struct mon_status *status_out, struct mon_error *error);

#endif
