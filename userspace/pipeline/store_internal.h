/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the store share; nobody else includes it. store.c holds the life, store_file.c
 * the path and the one-monitor lock, store_path.c the names while a run is on, store_run.c writes a
 * run's first rows, store_resume.c reads back what the file holds, store_write.c turns records into
 * rows, store_stacks.c those of stacks, store_error.c knows what SQLite's codes mean.
 */
#ifndef MON_STORE_INTERNAL_H
#define MON_STORE_INTERNAL_H

#include "pipeline/store.h"

#include <limits.h>
#include <sqlite3.h>

#define MON_STORE_APPLICATION_ID 0x4d6f6e62
#define MON_STORE_USER_VERSION 1
#define MON_STORE_ROWS_PER_STATEMENT 50
#define MON_STORE_RINGS_MAX MON_RINGS_MAX
#define MON_STORE_TASK_SLOTS 16384  /* a power of two; at most 3/4 are used */
#define MON_STORE_STACK_SLOTS 16384 /* likewise */
#define MON_STORE_MAPPINGS_MAX 2048
#define MON_STORE_ASKED_MAX 256 /* processes */
#define MON_STORE_SET_ASIDE_BYTES 256
#define MON_STORE_END_TRIES 5
#define MON_STORE_SUFFIX_BYTES 32    /* of a path: room for ".damaged-1000-journal" */
#define MON_STORE_SET_ASIDE_MAX 1000 /* files that were damaged beside each other */

extern const char mon_store_schema[];

enum mon_store_statement {
	MON_STORE_BEGIN,
	MON_STORE_COMMIT,
	MON_STORE_CALL,
	MON_STORE_CALLS, /* MON_STORE_ROWS_PER_STATEMENT of them */
	MON_STORE_CALL_TEXT,
	MON_STORE_STACK,
	MON_STORE_CALL_STACK,
	MON_STORE_MODULE,
	MON_STORE_MODULE_FIND,
	MON_STORE_MAPPING,
	MON_STORE_MAPPING_GONE,
	MON_STORE_MAPPING_FIND,
	MON_STORE_TASK,
	MON_STORE_TASK_FIND,
	MON_STORE_SET_ASIDE,
	MON_STORE_BATCH,
	MON_STORE_MARK,
	MON_STORE_CLOCK,
	MON_STORE_TOTAL,
	MON_STORE_INTERVAL,
	MON_STORE_LEDGER,
	MON_STORE_COVERAGE,
	MON_STORE_OVERHEAD,
	MON_STORE_WANTED,
	MON_STORE_TRANSITION,
	MON_STORE_RUN_END,
	MON_STORE_STATEMENTS
};

/* The reasons that the store credits by itself; a row of them for each function. */
enum mon_store_credit {
	MON_STORE_CREDIT_STORED,
	MON_STORE_CREDIT_SET_ASIDE,
	MON_STORE_CREDIT_IN_FLIGHT,
	MON_STORE_CREDIT_UNWOUND,
	MON_STORE_CREDIT_UNRETURNED,
	MON_STORE_CREDITS
};
extern const enum mon_reason mon_store_credit_reason[MON_STORE_CREDITS];

/* Which file, and the lock that makes us its only writer. */
struct mon_store_file {
	char path[PATH_MAX]; /* absolute; no symlink in it when it was resolved */
	char lock_path[PATH_MAX];
	int lock_fd;
	bool empty;   /* nothing in it: the schema is to be made */
	bool created; /* by us: taken away again if making it fails */
	dev_t device;
	ino_t inode;
};

/* The -wal and -shm that our connection has open; inode 0: not seen yet. */
struct mon_store_companions {
	ino_t wal, shm;
	uint64_t shm_bytes;
};

enum mon_store_path {
	MON_STORE_PATH_SAME,
	MON_STORE_PATH_GONE,
	MON_STORE_PATH_OTHER, /* something else lies there */
	MON_STORE_PATH_ERROR, /* cannot be told now */
};

/* What the last push left to be cleared up before the next. */
enum mon_store_doubt {
	MON_STORE_SURE,
	MON_STORE_UNSYNCED, /* an fsync failed: what the file reads may be on no disk */
	MON_STORE_MOVED,
	MON_STORE_DAMAGED,
};

/* A row of `task` that is known; id 0: a free slot. */
struct mon_store_task {
	uint64_t born_ns;
	uint32_t pid, tid;
	int64_t id;
};

/* A row of `stack` that is known; id 0: a free slot. */
struct mon_store_stack {
	uint64_t hash; /* of pid and addresses */
	int64_t id;
};

/* A row of `mapping`, or of code that is in no file (module_id 0), which has no row. */
struct mon_store_mapping {
	uint64_t start, end, offset;
	int64_t module_id;
	dev_t device;
	ino_t inode; /* 0: read back from the file */
	uint32_t pid;
};

/* When a process was last read; pid 0: a free slot. */
struct mon_store_asked {
	mon_ns at_ns;
	uint32_t pid;
};

/*
 * What is in the file is the truth: marks and credits here are copies of it, as of the last COMMIT
 * that said OK. After a failure that leaves doubt the connection is closed, and the copies are read
 * again with the next one.
 */
struct mon_store {
	struct mon_store_options options;
	struct mon_store_file file;
	sqlite3 *db; /* NULL: to be opened again by the next push */
	sqlite3_stmt *statements[MON_STORE_STATEMENTS];
	struct mon_store_stats stats;
	char error_text[256];
	bool heap_reserved;

	int64_t run_id; /* 0: not begun */
	/* For a further part. Texts of @run are ours, arrays of @functions the caller's. */
	struct mon_run_info run;
	struct mon_function_set functions;
	uint64_t rows_before, set_aside_before; /* in earlier parts */
	mon_ns started_ns;
	int64_t function_base;
	uint32_t function_count;

	uint64_t *credits; /* [function][credit]: counted up by the transaction that is open */
	uint64_t *credits_written;
	uint64_t credit_bytes; /* of both */

	struct mon_store_task *tasks;
	uint32_t task_count;
	int64_t task_next_id;
	bool tasks_forgotten; /* a miss may be in the file: ask it */

	struct mon_store_stack *stacks; /* made when the first one comes */
	uint32_t stack_count;
	struct mon_store_mapping *mappings;
	uint32_t mapping_count, mapping_oldest;
	struct mon_store_asked asked[MON_STORE_ASKED_MAX];

	enum mon_store_doubt doubt;
	struct mon_store_companions companions;
	unsigned damaged_number; /* what the last part's name ends with; 0: it was not set aside */

	uint64_t marks[MON_STORE_RINGS_MAX]; /* what ends at or before it is in the file */
	uint64_t wal_used_bytes;	     /* as of the last commit */
	uint64_t wal_checkpoint_bytes;	     /* where the next checkpoint is tried */
	uint64_t wal_limit_bytes;
};

/* store_file.c and store_path.c */
int mon_store_file_claim(const struct mon_store_options *options, struct mon_store_file *file,
			 struct mon_error *error);
void mon_store_file_release(struct mon_store_file *file, bool remove_created);
enum mon_store_path mon_store_file_look(const struct mon_store_file *file);
/* Makes an empty file where ours was, under the same lock; -errno, -ESTALE: we may not. */
int mon_store_file_create_again(const struct mon_store_options *options,
				struct mon_store_file *file);
void mon_store_file_remove(struct mon_store_file *file); /* what create_again made */
/* Renames the database and what belongs to it to PATH.damaged-N. Never deletes. -errno. */
int mon_store_file_set_aside(struct mon_store_file *file, unsigned *number_out);
/* What was left beside a name that is free now: empty ones go, frames go to PATH.moved-N. */
int mon_store_file_clear(const struct mon_store_file *file);
bool mon_store_file_is_mounted(const struct mon_store_file *file);
void mon_store_file_sync_directory(const struct mon_store_file *file);
/*
 * Remembers the -wal and -shm; those seen before must still be the same: else false. A -shm that
 * was unlinked is still mapped and whole; one that was cut must not be touched.
 */
bool mon_store_file_companions(const struct mon_store_file *file, uint64_t wal_used_bytes,
			       struct mon_store_companions *companions, bool *shm_cut_out);
/* What a write next to the database gives now: 0 or -errno; -ENOSPC for a quota or a limit too. */
int mon_store_file_probe(const struct mon_store_file *file);
/* Static text when no more detailed rows should come, else NULL. Fills the sizes. */
const char *mon_store_file_full(const struct mon_store_file *file, uint64_t size_max_bytes,
				uint64_t *file_bytes, uint64_t *wal_bytes);

/* store_error.c */
int mon_store_errno(int code);
int mon_store_failed(struct mon_store *store, int code); /* remembers; returns -errno */
int mon_store_failed_errno(struct mon_store *store, int error, const char *text);

/* store.c; SQLite codes */
int mon_store_open(struct mon_store *store); /* connect without a look at what is in it */
int mon_store_connect(struct mon_store *store);
void mon_store_disconnect(struct mon_store *store, bool doubt);
int mon_store_execute(struct mon_store *store, const char *sql);

/* store_run.c */
int mon_store_count_functions(struct mon_store *store, size_t count, struct mon_error *error);
/* SQLite code; in a transaction of the caller's. Sets run_id and function_base. */
int mon_store_write_run(struct mon_store *store, const struct mon_run_info *run,
			const struct mon_function_set *set);
/* The end of a begin or resume that failed; returns -errno. */
int mon_store_refuse_run(struct mon_store *store, int code, struct mon_error *error);

void mon_store_drop_run(struct mon_store *store);
/* Copies the texts; SQLite code. */
int mon_store_keep_run(struct mon_store *store, const struct mon_run_info *run,
		       const struct mon_function_set *set);

/* store_damage.c; SQLite codes */
int mon_store_look(struct mon_store *store);	/* before each push: is all as we left it? */
int mon_store_recover(struct mon_store *store); /* while there is a doubt: instead of a push */
/* @code of a failed push, told apart from lack of space; remembers what is to be cleared up. */
int mon_store_judge(struct mon_store *store, int code);

/* store_resume.c; SQLite code. Marks and credits of this run, from the file. */
int mon_store_read_back(struct mon_store *store);

/* store_stacks.c; SQLite codes */
int mon_store_write_stack(struct mon_store *store, int64_t call_id, uint32_t pid,
			  const struct mon_stack *stack);
void mon_store_forget_stacks(struct mon_store *store);
void mon_store_free_stacks(struct mon_store *store);

/* store_write.c; SQLite codes */
int mon_store_prepare(struct mon_store *store);
/* One integer; a query without a row gives 0. */
int mon_store_ask(struct mon_store *store, const char *sql, int64_t parameter, int64_t *value_out);
/*
 * Binds and runs one statement to its end: i int64_t, u uint64_t, t const char * or NULL, b const
 * void * and size_t, n NULL.
 */
int mon_store_run(struct mon_store *store, enum mon_store_statement statement, const char *types,
		  ...);
void mon_store_forget(struct mon_store *store); /* after a ROLLBACK */
int64_t mon_store_since(const struct mon_store *store, mon_ns at_ns);

#endif
