/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records on disk while the database does not take them: append-only segments of one run in a
 * directory of our own (docs/spool-format.md). No index file: what is read is what SQLite's mark
 * says is not committed yet. FIFO. A record is in the spool once push returned it as taken: it
 * survives the death of this process, and with `sync` the power's, too.
 *
 * Life: new (makes and locks the directory, finds what an earlier monitor of the same run left),
 * push (reader thread) and pop, release (writer thread) side by side, free (what is not released
 * stays on disk). One lock inside, never held while the disk is waited for.
 * Bounded: max_bytes on disk, of which reserve_bytes are taken at the start, so that a full disk
 * leaves room; at most MON_SPOOL_SEGMENTS_MAX segments of segment_bytes each; no memory but two
 * buffers and the table of segments, all at the start.
 */
#ifndef MON_SPOOL_H
#define MON_SPOOL_H

#include "base/error.h"
#include "pipeline/ring.h"

#include <stdbool.h>
#include <sys/types.h>

#define MON_SPOOL_MAX_BYTES_DEFAULT (1ull << 30)
#define MON_SPOOL_MAX_BYTES_MIN (4ull << 20) /* for --spool-max; tests go lower */
#define MON_SPOOL_RESERVE_BYTES_DEFAULT (64ull << 20)
#define MON_SPOOL_SEGMENT_BYTES_DEFAULT (4ull << 20)
#define MON_SPOOL_SEGMENT_BYTES_MIN (64ull << 10)
#define MON_SPOOL_SEGMENTS_MAX 1024 /* beyond, segments get larger */
#define MON_SPOOL_RINGS_MAX MON_RINGS_MAX
#define MON_SPOOL_OPEN_MAX 256 /* segments kept open; at most a quarter of RLIMIT_NOFILE */

struct mon_budget;
struct mon_spool;

struct mon_spool_options {
	const char *path; /* the directory; made, mode 0700, when it is missing */
	const char *run_uuid;
	/*
	 * 0: default; too little: the least. The reserve never takes more than a quarter of what
	 * the file system has free: the database may be beside it.
	 */
	uint64_t max_bytes, reserve_bytes, segment_bytes;
	bool no_reserve; /* reserve_bytes is 0 on purpose */
	bool sync;	 /* fdatasync before push returns */
	uid_t owner_uid; /* what is made belongs to these */
	gid_t owner_gid;
	struct mon_budget *budget; /* may be NULL */
};

struct mon_spool_stats {
	uint64_t pushed, popped, released; /* records, of this process */
	/*
	 * Records pushed or found, and not released. Never too few; those of a batch that is
	 * released in part, and those at or before the mark that pop did not reach yet, are in it.
	 */
	uint64_t waiting;
	uint64_t damaged;  /* records skipped: their CRC or their tail was wrong, or their file gone
			    */
	uint64_t segments; /* that hold records, or the one being written */
	uint64_t segments_set_aside; /* renamed: a bad header, another version, not a file */
	uint64_t remade;	     /* times the directory was gone and was made again */
	uint64_t used_bytes, max_bytes;
	uint64_t reserve_bytes;	   /* as it is now: less than asked for when the disk lacked it */
	uint64_t foreign_segments; /* of other runs, left as they are */
};

#define MON_SPOOL_FOUND_NAME_BYTES 96

/* What one run left in a directory, for `spool check`. */
struct mon_spool_found {
	char run_uuid[37];
	uint64_t segments, bytes, records;
	uint64_t damaged;   /* records, or stretches whose records cannot be told apart */
	uint64_t set_aside; /* segments that were, and that would be at a start */
	uint64_t first_position, end_position;	       /* of ring 0 */
	char damaged_name[MON_SPOOL_FOUND_NAME_BYTES]; /* first damaged file; "": none */
	uint64_t damaged_at;			       /* offset in it */
};

/* -EBUSY: another monitor has the directory. Nothing is left on failure. */
int mon_spool_new(const struct mon_spool_options *options, struct mon_spool **spool_out,
		  struct mon_error *error);
/*
 * Removes the reserve and what was released, and the directory when nothing is left in it. What
 * waits stays, unless its directory was removed. No other thread may be in the spool. Takes NULL.
 */
void mon_spool_free(struct mon_spool *spool);

/*
 * Appends records of @ring, oldest first, as many as there is room for: *taken_out, also when it
 * fails. 0; -ENOSPC (bound, disk, quota, size limit); -EIO and what write(2) says. What was not
 * taken may be pushed again: nothing of it will be read. A record may have no data (broken ones).
 * SIGXFSZ, if a file size limit is set, has to be ignored by the process.
 */
int mon_spool_push(struct mon_spool *spool, uint32_t ring, const struct mon_record *records,
		   size_t count, size_t *taken_out);

/*
 * Copies the oldest records that were not popped yet, of any ring, into @memory (their `data` then
 * point there, each 8-byte aligned; NULL where push had NULL). @memory_bytes is at least
 * MON_SPOOL_POP_BYTES_MIN. Returns how many; 0: none wait, or (when not drained) the disk cannot be
 * read now: try later. What cannot be read after some tries is given up. Damaged ones are skipped
 * and counted; those at or before the mark are skipped.
 */
size_t mon_spool_pop(struct mon_spool *spool, struct mon_record *records, size_t max, void *memory,
		     size_t memory_bytes);
#define MON_SPOOL_POP_BYTES_MIN (MON_RING_READABLE_BYTES + 8)

/*
 * Everything of @ring that ends at or before @mark is committed: its space is given back, segment
 * by segment. Also for what was not popped: it never will be. Called with the database's mark
 * before the first pop, it skips what an earlier monitor had committed.
 */
void mon_spool_release(struct mon_spool *spool, uint32_t ring, uint64_t mark);

/* The same of every ring, to its end: the run is over, and nothing of it is wanted any more. */
void mon_spool_release_all(struct mon_spool *spool);

/* True: nothing waits to be popped. */
bool mon_spool_drained(struct mon_spool *spool);
/* Ring position after the newest record of @ring that is or was in it; 0: there was none. */
uint64_t mon_spool_end(struct mon_spool *spool, uint32_t ring);

void mon_spool_stats(struct mon_spool *spool, struct mon_spool_stats *stats_out);

/*
 * Reads a directory without changing it: what each run left, by UUID. *count_out says how many;
 * -E2BIG: more than @max; else -errno when it cannot be read. Works beside a monitor that uses it:
 * its newest segment may then end in a torn tail.
 */
int mon_spool_check(const char *path, struct mon_spool_found *found_out, size_t max,
		    size_t *count_out, struct mon_error *error);

#endif
