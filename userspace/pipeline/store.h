/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The only writer of the database and the only file pair that knows SQLITE_ codes: here a record
 * becomes a row. One connection, used by one thread at a time, does every write and every
 * checkpoint (two connections, one checkpointing, can corrupt: SQLite 3.7.0-3.51.2). A batch, its
 * dictionary rows, its mark and the tick that is due go in one transaction; a row counts as
 * written only after COMMIT said OK.
 *
 * Life: new (opens, locks, checks, creates), begin (run, modules, functions) or resume (a run that
 * an earlier process began), push (a batch or a tick or both) ..., end (totals,
 * journal_mode=DELETE), free.
 */
#ifndef MON_STORE_H
#define MON_STORE_H

#include "base/error.h"
#include "base/mapping.h"
#include "base/types.h"
#include "pipeline/breaker.h"
#include "pipeline/ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_STORE_SIZE_DEFAULT_BYTES (4ull << 30)
#define MON_STORE_SIZE_MIN_BYTES (1ull << 20)
#define MON_STORE_WAL_BYTES (16ull << 20) /* checkpoint when the WAL has grown to this */
#define MON_STORE_WAL_ALARM 4
#define MON_STORE_BATCH_MAX 10000
#define MON_STORE_BUSY_MS 2000

struct mon_budget;
struct mon_store;

enum mon_durability { MON_DURABILITY_NORMAL, MON_DURABILITY_FULL };

struct mon_batch;

struct mon_store_options {
	const char *path;
	enum mon_durability durability;
	uint64_t size_max_bytes; /* 0: default */
	uid_t owner_uid;	 /* a file that is created belongs to these; mode 0600 */
	gid_t owner_gid;
	uint32_t busy_ms;	       /* 0: default */
	struct mon_budget *budget;     /* may be NULL */
	const struct mon_clock *clock; /* NULL: the system's */
	/*
	 * By the thread that pushes, after each COMMIT that was OK: all of @batch that is not
	 * invalid is in the file now, some of it perhaps for longer. May be NULL.
	 */
	void (*on_committed)(void *context, const struct mon_batch *batch);
	void *context;
	/* Of the processes whose stacks come; NULL: what the file knows is all. */
	const struct mon_mapping_source *mappings;
};

/* One transaction's worth. Records of one ring are in its order; @tick may be NULL. */
struct mon_batch {
	const struct mon_record *records;
	size_t count; /* where the last of each ring ends is that ring's mark */
	const struct mon_tick *tick;
	const struct mon_breaker_transition *transitions;
	size_t transition_count;
};

struct mon_store_stats {
	uint64_t rows;	    /* of table call, committed, this run */
	uint64_t set_aside; /* records in table set_aside, this run */
	uint64_t commits, rollbacks, checkpoints;
	uint64_t file_bytes, wal_bytes;
	uint64_t longest_push_ns; /* the longest stall a writer saw */
	uint64_t reopened;	  /* the -wal or -shm had been touched */
	uint64_t earlier_runs;	  /* found in the file when it was opened */
	uint32_t run_id;
	uint32_t part;		 /* more than the first: a new file was begun, see mon_store_push */
	uint32_t damaged_number; /* the part before is in PATH.damaged-N; 0: moved or removed */
	bool wal_alarm;	      /* a reader keeps the WAL over MON_STORE_WAL_ALARM times its bound */
	bool wal_left;	      /* end could not leave WAL mode */
	bool size_reached;    /* --max-size, or the file system's reserve: stop detailed records */
	const char *size_why; /* static text, when size_reached */
	int last_code;	      /* SQLite's extended code of the last failure, for the log */
};

/*
 * Opens or creates @path (never through a symlink), takes the one-monitor lock, checks that the
 * file is ours and of a schema we know. Nothing is half-written on failure.
 */
int mon_store_new(const struct mon_store_options *options, struct mon_store **store_out,
		  struct mon_error *error);
/*
 * Closes; a run that was not ended stays incomplete in the file. A file that new() made goes away
 * again when no run was begun in it.
 */
void mon_store_free(struct mon_store *store);

/*
 * Writes run, modules, functions; all later rows are of this run. The arrays of @functions, and
 * what they point to, must outlive the store: it writes them once more when the file is lost.
 */
int mon_store_begin(struct mon_store *store, const struct mon_run_info *run,
		    const struct mon_function_set *functions, struct mon_error *error);

/* A run as its database has it. Owns all it points to; the arrays of @functions must outlive the
 * store, see begin. */
struct mon_run_resumed {
	struct mon_run_info run; /* of its latest part */
	/*
	 * Index = cookie, as when the run began. Modules have path and build_id only: how the
	 * target's files are reached now, and what could be attached, the database does not know.
	 */
	struct mon_function_set functions;
	struct mon_function_sum *sums; /* [functions.function_count] */
	mon_ns last_interval_end_ns;   /* CLOCK_MONOTONIC; the run's start when there is none */
};
void mon_run_resumed_clear(struct mon_run_resumed *resumed);

/*
 * In place of begin: goes on with the run that has this uuid (its latest part), as if it had never
 * stopped. Marks, credits and known threads are the file's; an end that was written is taken back.
 * -ENOENT: the file has no such run.
 */
int mon_store_resume(struct mon_store *store, const char *uuid, struct mon_run_resumed *resumed_out,
		     struct mon_error *error);
/* After a resume: it has no end any more. 0 or -errno. */
int mon_store_reopen_run(struct mon_store *store);

/*
 * Before a process's first stack: what it has mapped goes into the file, so that its stacks can be
 * told when it is gone and they come late. 0 or -errno; nothing is lost by a failure but that.
 */
int mon_store_map_process(struct mon_store *store, uint32_t pid);

/* Where the records of @ring that are in the file end. */
uint64_t mon_store_mark(const struct mon_store *store, uint32_t ring);

/*
 * One transaction. 0: committed. -errno: push the same again later; records that are in the file
 * already (a COMMIT that reported failure and was not one) are known by the mark and skipped.
 * -EBUSY -ENOSPC -EIO -ENOMEM -EUCLEAN (corrupt) -EROFS -ESTALE (file moved or unlinked) -EPERM
 * -EINTR -ENOTRECOVERABLE (our bug; a debug build aborts). A record that SQLite refuses is found by
 * halving the batch, and set aside.
 *
 * After -ESTALE or -EUCLEAN the next push looks again before it writes. A file that is back, or
 * sound after all, is gone on with. Else a damaged one is renamed to PATH.damaged-N, and the run's
 * next part begins in a new file at the path (stats.part): then mon_ledger_tell_all() is due. Never
 * when something else lies there, or nothing may be made there.
 */
int mon_store_push(struct mon_store *store, const struct mon_batch *batch);

/* What a result of push means to the breaker. A mon_breaker_options.classify; context unused. */
enum mon_outcome mon_store_classify(int result, void *context);

/*
 * Ends the run, then checkpoints and leaves the file in journal_mode=DELETE (a file in WAL mode
 * cannot be opened from a directory that its reader cannot write). Same errors as push; 0 with
 * stats.wal_left when the run is ended but a reader kept the file from leaving WAL mode.
 */
int mon_store_end(struct mon_store *store, const struct mon_run_end *end);

/* Gives caches back. They come again as they are needed. */
void mon_store_trim(struct mon_store *store);

/* Calls credited per reason by what was committed (stored, unwound, …): for the ledger's check. */
uint64_t mon_store_credited(const struct mon_store *store, uint32_t function,
			    enum mon_reason reason);

/* "disk full (database or disk is full)": for one log line. Escaped. Valid until the next call. */
const char *mon_store_error_text(const struct mon_store *store);

void mon_store_stats(const struct mon_store *store, struct mon_store_stats *stats_out);

#endif
