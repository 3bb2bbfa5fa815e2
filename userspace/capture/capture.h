/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loaded BPF object: programs, maps, links. The only folder that knows libbpf and bpf(2).
 * libbpf gets numbers (inode paths and offsets), never the target's ELF.
 *
 * Life: features (what works here), new (loads), attach (one process or all), read_counters /
 * write_policy / set_gate while it runs, detach (no hit afterwards), flush_open (records of calls
 * still open), free. With pins: new, attach, pin; then, in this process or after adopt in another,
 * detach, flush_open, unpin, free. One thread, but for read_counters, which any one thread may
 * call.
 */
#ifndef MON_CAPTURE_H
#define MON_CAPTURE_H

#include "base/error.h"
#include "base/types.h"
#include "bpf/counters.h"
#include "bpf/policy.h"
#include "bpf/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Found by making a link of each kind on ourselves, never by version (loading proves nothing). */
struct mon_features {
	int session; /* 0: works. Else the -errno, and *_why says what was tried */
	int multi;
	int perf;
	int ring;	      /* ring buffer and attach cookie: without them nothing works */
	int btf;	      /* kernel BTF */
	int multi_pid_filter; /* 0: hits of every thread pass (6.6-6.9 dropped other threads') */
	const char *session_why, *multi_why, *perf_why, *ring_why, *btf_why; /* static; NULL if 0 */
};

/* 0, or -EPERM etc. with a sentence that names the missing capability. */
int mon_features_detect(struct mon_features *features_out, struct mon_error *error);

/* The mode to use; -ENOTSUP with a sentence that says what is missing. */
int mon_features_choose(const struct mon_features *features, enum mon_mode wanted,
			enum mon_mode *mode_out, struct mon_error *error);

struct mon_capture;
struct mon_pins_identity; /* capture/pins.h */

struct mon_capture_options {
	enum mon_mode mode; /* a real one, not AUTO */
	uint32_t function_count;
	uint64_t ring_bytes;  /* of each ring; power of two, >= 4096 */
	uint32_t ring_count;  /* one for each group of CPUs; 0: one */
	uint32_t threads_max; /* threads that may hold frames */
	uint32_t arg_count;   /* 0..6 */
	uint32_t text_count;  /* 0..MON_TEXTS_MAX, of arguments 1..6, each once */
	struct mon_text_choice texts[MON_TEXTS_MAX];
	uint32_t capture_bytes; /* of each text; MON_CAPTURE_BYTES_MAX bounds it */
	uint32_t stack_frames;	/* of each kept call; 0: no stacks. MON_RECORD_FITS() bounds it */
	uint32_t text_calls;	/* open calls that may keep texts; others go without */
	bool returns;		/* false: entries only for everyone (hazard) */
	bool allowance;		/* some function is sampled by `auto` */
	bool movable;		/* functions may be taken off their link: release, window_* */
	uint32_t own_functions; /* MON_TRAP_FUNCTIONS for measure_traps, or 0; behind the others */
	bool may_skip_returns;	/* some policy may have MON_POLICY_NO_RETURN (session mode) */
	bool judge;		/* some policy has slow_ns or failed_if */
	bool caps;		/* some policy has records_per_s, or `records_per_s` below is set */
	uint32_t records_per_s; /* of all functions together; 0: no cap */
	bool all_processes;	/* no pid filter: every process that maps the file */
	/*
	 * Links without a pid filter, the programs alone tell processes apart: for multi mode where
	 * features.multi_pid_filter says that the kernel's filter drops hits.
	 */
	bool wide_links;
	/*
	 * 0: off. Else chosen calls that end later than this after the last mon_capture_heartbeat()
	 * are counted as gate_closed and not emitted: a ring that nobody reads stays as it is.
	 * At most MON_READER_TIMEOUT_MAX_NS.
	 */
	mon_ns reader_timeout_ns;
};

#define MON_TRAP_FUNCTIONS 2

#define MON_READER_TIMEOUT_MAX_NS (24 * 3600 * MON_NS_PER_S)

struct mon_capture_cost {
	mon_ns load_ns, verifier_ns, attach_ns, detach_ns;
	uint64_t bpf_bytes; /* memlock of every map and program (fdinfo) */
};

/* Calls of one function that have begun and not ended. */
struct mon_open_calls {
	uint32_t count;
	pid_t pid, tid;	  /* of the oldest, in our pid namespace */
	mon_ns oldest_ns; /* CLOCK_MONOTONIC; 0: none */
};

/* One of them. */
struct mon_open_call {
	pid_t pid, tid;
	uint32_t function;
	uint32_t caller; /* the watched function around it, or MON_FUNCTION_NONE */
	uint32_t depth;	 /* watched calls around it */
	mon_ns start_ns; /* CLOCK_MONOTONIC */
};

#define MON_OPEN_LISTED_MAX 16

struct mon_open_list {
	size_t count;
	struct mon_open_call calls[MON_OPEN_LISTED_MAX]; /* oldest first */
};

int mon_capture_new(const struct mon_capture_options *options, struct mon_capture **capture_out,
		    struct mon_error *error);
/* Detaches what is attached and not pinned; what is pinned stays, for the next to adopt. */
void mon_capture_free(struct mon_capture *capture);

/*
 * Pins everything below @base_dir (capture/pins.h), so that it outlives this process: programs,
 * maps, links, and @identity, whose first part is the caller's. All or nothing. What is attached
 * later is pinned as it is attached. -EEXIST: there is such a run already.
 */
int mon_capture_pin(struct mon_capture *capture, const char *base_dir,
		    const struct mon_pins_identity *identity, struct mon_error *error);
/* Writes the caller's part of @identity anew (another target, say). 0 or -errno. */
int mon_capture_pin_update(struct mon_capture *capture, const struct mon_pins_identity *identity);
/*
 * Takes over what another process pinned: the capture goes on as if it had been made here, the ring
 * from where it was last acknowledged, counters and policies as they are; the gate too, until the
 * first heartbeat. @identity_out: who it was. When its `detached` is set, its probes are gone, and
 * what is left to do is to read the ring and to end. Attaching another process works; -ENOENT no
 * such run, -EBUSY another monitor has it, -ENOTSUP it is another version's, each with a sentence.
 */
int mon_capture_adopt(const char *base_dir, const char *uuid, struct mon_capture **capture_out,
		      struct mon_pins_identity *identity_out, struct mon_error *error);
/*
 * Removes every pin: from here on the capture ends with this process, like one that was never
 * pinned. The end of a run is detach, flush_open, the ring read and stored, then unpin, then free:
 * whoever is killed before unpin leaves something that the next one can finish. Nothing pinned: 0.
 */
int mon_capture_unpin(struct mon_capture *capture);

/*
 * Arms every function of @set whose attach_error is 0 in process @pid (-1: in all). A symbol that
 * cannot be probed gets its attach_error and the rest is armed. -ENODEV when none could be. May be
 * called for up to MON_TGIDS_MAX (bpf/setup.h) processes. One that ended meanwhile is -ESRCH. When
 * it fails, nothing that this call armed is left.
 */
int mon_capture_attach(struct mon_capture *capture, struct mon_function_set *set, pid_t pid,
		       struct mon_error *error);

#define MON_CAPTURE_FOREIGN_MAX 16

/*
 * Counts, and does nothing else with, hits of this child of a watched process, until it ends: up to
 * MON_CAPTURE_FOREIGN_MAX children at once, the next is -ENOSPC. In perf mode nothing is done: the
 * kernel takes the breakpoints away from a child at its first hit. A pinned capture would leave the
 * links to nobody: -ENOTSUP. -ESRCH: it has ended.
 */
int mon_capture_attach_foreign(struct mon_capture *capture, const struct mon_function_set *set,
			       pid_t pid);
/* Closes the links of those that have ended, on a thread: every hit of the target walks them. */
void mon_capture_reap_foreign(struct mon_capture *capture);

/*
 * What a hit costs here, with these programs and links: probes a child of ours and nobody else, for
 * about 30 ms. Before the first attach, once, in a capture with `own_functions`. 0 or -errno.
 */
int mon_capture_measure_traps(struct mon_capture *capture, struct mon_trap_cost *cost_out);

struct mon_trap_reading {
	bool stepped, with_return;
	uint32_t ns;
};

/*
 * The same again while the run goes on, in a capture with `movable`, whose child stays until
 * detach: ask, and read the answer some ms later. Neither waits. Without its return a hit can be
 * timed where returns may be skipped or are not followed at all (else -EINVAL). -EBUSY: the last
 * answer was not read yet. -EAGAIN: it is not there yet. Anything else: the child is gone, and
 * nobody will answer.
 */
int mon_capture_ask_trap(struct mon_capture *capture, bool stepped, bool with_return);
int mon_capture_read_trap(struct mon_capture *capture, struct mon_trap_reading *reading_out);

/* The same by a capture of its own, with returns, which ends with the call. */
int mon_capture_measure_mode(enum mon_mode mode, struct mon_trap_cost *cost_out,
			     struct mon_error *error);

/*
 * Taking functions off the links that they share, in a capture with `movable` that is not pinned.
 * What a link of the old ones saw begin and not yet return is kept as unreturned once that link is
 * closed: of the functions named, and in session mode of all that shared the link. Old links are
 * closed a quarter of a second later, so that most calls return before, by threads, which detach
 * waits for.
 *
 * release: none of @functions counts from the moment on that is told; the others miss nothing.
 * window_open: one that was released counts again, from *from_ns_out on, by a link of its own.
 * window_close: until *to_ns_out. When release or window_open fail, all is as before.
 */
int mon_capture_release(struct mon_capture *capture, struct mon_function_set *set,
			const uint32_t *functions, size_t count, mon_ns *at_ns_out);
int mon_capture_window_open(struct mon_capture *capture, struct mon_function_set *set,
			    uint32_t function, mon_ns *from_ns_out);
void mon_capture_window_close(struct mon_capture *capture, uint32_t function, mon_ns *to_ns_out);
/* Hits of links that did not count (any more): each cost its thread a trap. */
uint64_t mon_capture_ignored(const struct mon_capture *capture, uint32_t function);

/* Sums over CPUs into @counters_out; takes recent_max_ns. @histogram_out: the live u32 array. */
void mon_capture_read_counters(struct mon_capture *capture, uint32_t function,
			       struct mon_counters *counters_out, const uint32_t **histogram_out);
/* The same of these three only, without taking anything. */
void mon_capture_read_calls(const struct mon_capture *capture, uint32_t function,
			    uint64_t *calls_out, uint64_t *returns_out, uint64_t *emitted_out);
void mon_capture_read_run_counters(const struct mon_capture *capture,
				   struct mon_run_counters *counters_out);
/* Hits that the kernel dropped before a program ran (perf mode, recursion); not by function. */
uint64_t mon_capture_missed(const struct mon_capture *capture);
/* The durations of one function since the start, as they grow: u32 that may wrap. */
const uint32_t *mon_capture_histogram(const struct mon_capture *capture, uint32_t function);
/* False: entries only, so nobody knows what is open. */
bool mon_capture_follows_returns(const struct mon_capture *capture);
/*
 * Calls open now in the watched processes, by function: @open_out[function_count]; the oldest of
 * them one by one in @list_out, which may be NULL. Each thread is read as it is, while it runs.
 * 0 or -errno.
 */
int mon_capture_read_open(struct mon_capture *capture, struct mon_open_calls *open_out,
			  struct mon_open_list *list_out);

/*
 * At any time. MON_POLICY_NO_RETURN is dropped where the capture cannot have it: no session mode,
 * no returns, or not made with `may_skip_returns`.
 */
void mon_capture_write_policy(struct mon_capture *capture, uint32_t function,
			      struct mon_policy policy);
/* 0 opens; else chosen calls are counted under this reason and not emitted. */
void mon_capture_set_gate(struct mon_capture *capture, enum mon_reason closed_reason);
/* The reader lives, says the reader: for options.reader_timeout_ns. Any thread, no system call. */
void mon_capture_heartbeat(struct mon_capture *capture, mon_ns now);

/* Stays capture's; @ring is below the count. */
int mon_capture_ring_fd(const struct mon_capture *capture, uint32_t ring);

/* Removes every probe; when it returns, no program runs and no counter changes any more. */
int mon_capture_detach(struct mon_capture *capture);
/* After detach: a record (MON_CALL_IN_FLIGHT) for each chosen call still open. */
int mon_capture_flush_open(struct mon_capture *capture);

void mon_capture_cost(const struct mon_capture *capture, struct mon_capture_cost *cost_out);

#endif
