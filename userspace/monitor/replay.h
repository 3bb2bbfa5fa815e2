/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes what runs left in a spool into their own runs of a database, and ends those runs if their
 * monitors left the last counts. No capture, no threads: spool to store, oldest first. May be
 * stopped and started again at any time: what is committed is passed over by its mark.
 */
#ifndef MON_REPLAY_H
#define MON_REPLAY_H

#include "base/error.h"
#include "pipeline/store.h"

struct mon_replay_options {
	const char *spool_path, *output;
	enum mon_durability durability;
	uid_t owner_uid;
	gid_t owner_gid;
};

struct mon_replay_run {
	char uuid[MON_UUID_BYTES];
	uint32_t run_id;	   /* 0: the database has no such run; nothing was done */
	uint64_t records, damaged; /* written; lost to damage */
	bool nothing;		   /* all that was there had been written before */
	bool ended;		   /* the last counts were there, the books are closed with them */
	bool complete;		   /* and balance, with nothing damaged */
	bool unread;		   /* they were, by a version that is not known: damaged */
};

/* @told once for each run. 0, or the first failure; runs before it are done. */
int mon_replay(const struct mon_replay_options *options,
	       void (*told)(const struct mon_replay_run *run, void *context), void *context,
	       struct mon_error *error);

#endif
