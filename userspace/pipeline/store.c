// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of the database file: opened and checked, given its schema, its run begun and ended,
 * closed. Used by one thread at a time. Nothing is held open that is not needed again: after a
 * failure that leaves doubt about the file the connection is closed and the next push opens it.
 */
#include "pipeline/store_internal.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int on_wal_commit(void *context, sqlite3 *db, const char *name, int pages)
{
	struct mon_store *store = context;

	(void)db;
	(void)name;
	/* A frame is a page and a header of 24 bytes (https://www.sqlite.org/walformat.html). */
	store->wal_used_bytes = pages * (8192ull + 24) + 32;
	return SQLITE_OK;
}

int mon_store_execute(struct mon_store *store, const char *sql)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}

/*
 * The schema goes in as one transaction in rollback mode, so that a file has all of it or is empty
 * and counts as new the next time.
 */
static int create_schema(struct mon_store *store)
{
	static const char written_by[] =
		"INSERT INTO meta(key,value) VALUES('written_by','monbpf " MON_VERSION "')";
	int code = mon_store_execute(store, "PRAGMA page_size=8192; BEGIN EXCLUSIVE");

	if (code == SQLITE_OK)
		code = mon_store_execute(store, mon_store_schema);
	if (code == SQLITE_OK)
		code = mon_store_execute(store, written_by);
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "COMMIT");
	if (code == SQLITE_OK)
		store->file.empty = false;
	return code;
}

/*
 * What a file of an earlier minor lacks, in one transaction with the number: element i makes minor
 * i + 1 of minor i. A view is nothing but its query: all are made anew, as schema.sql ends with
 * them. A file of a later minor is left as it is.
 */
static int raise_minor(struct mon_store *store)
{
	static const char *const minors[] = {
		"ALTER TABLE function_total ADD COLUMN estimated INTEGER",
		"ALTER TABLE function_total ADD COLUMN wanted_own_ns INTEGER;"
		"ALTER TABLE function_total ADD COLUMN armed_own_ns INTEGER;"
		"ALTER TABLE run ADD COLUMN overhead_limit REAL;"
		"ALTER TABLE run ADD COLUMN probe_cost_ns INTEGER;"
		"ALTER TABLE run ADD COLUMN own_cpu_ns INTEGER",
		/* Files of minor 2 may have views of before, too. */
		"ALTER TABLE run ADD COLUMN wanted_ns INTEGER",
	};
	const int64_t ours = (int64_t)MON_ARRAY_COUNT(minors);
	int64_t minor = 0;
	int code = mon_store_ask(store, "SELECT value FROM meta WHERE key='minor'", 0, &minor);

	if (code != SQLITE_OK || minor < 0 || minor >= ours)
		return code;
	code = mon_store_execute(store, "BEGIN EXCLUSIVE");
	for (; code == SQLITE_OK && minor < ours; minor++)
		code = mon_store_execute(store, minors[minor]);
	if (code == SQLITE_OK)
		code = mon_store_execute(
			store, "DROP VIEW IF EXISTS calls; DROP VIEW IF EXISTS functions;"
			       "DROP VIEW IF EXISTS losses; DROP VIEW IF EXISTS unbalanced");
	if (code == SQLITE_OK)
		code = mon_store_execute(store, strstr(mon_store_schema, "CREATE VIEW "));
	if (code == SQLITE_OK)
		code = mon_store_ask(store, "UPDATE meta SET value=?1 WHERE key='minor'", ours,
				     &minor);
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "COMMIT");
	return code;
}

int mon_store_open(struct mon_store *store)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX;
	uint32_t busy_ms = store->options.busy_ms ? store->options.busy_ms : MON_STORE_BUSY_MS;
	int code = sqlite3_open_v2(store->file.path, &store->db, flags, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_extended_result_codes(store->db, 1);
	if (code == SQLITE_OK)
		code = sqlite3_busy_timeout(store->db, (int)busy_ms);
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "PRAGMA temp_store=MEMORY;"
						"PRAGMA mmap_size=0; PRAGMA foreign_keys=OFF;"
						"PRAGMA trusted_schema=OFF");
	return code;
}

/* The WAL is cut back to this when it starts again after it had grown beyond. */
static int limit_wal(struct mon_store *store)
{
	char sql[64];

	(void)sqlite3_snprintf(sizeof(sql), sql, "PRAGMA journal_size_limit=%llu",
			       2 * store->wal_limit_bytes);
	return mon_store_execute(store, sql);
}

/* A table that a file of minor 0 lacks. No index: to sort for one takes more than our heap has. */
static const char added_tables[] =
	"CREATE TABLE IF NOT EXISTS mapping(run_id INTEGER NOT NULL, pid INTEGER NOT NULL,"
	" start INTEGER NOT NULL, end INTEGER NOT NULL, offset INTEGER NOT NULL,"
	" module_id INTEGER NOT NULL, PRIMARY KEY(run_id, pid, start)) WITHOUT ROWID";

int mon_store_connect(struct mon_store *store)
{
	bool shm_cut;
	int code = SQLITE_OK;

	switch (mon_store_file_look(&store->file)) {
	case MON_STORE_PATH_SAME:
		break;
	case MON_STORE_PATH_GONE:
	case MON_STORE_PATH_OTHER:
		return SQLITE_READONLY_DBMOVED;
	case MON_STORE_PATH_ERROR:
		return SQLITE_IOERR;
	}
	code = mon_store_open(store);
	if (code == SQLITE_OK && store->file.empty)
		code = create_schema(store);
	else if (code == SQLITE_OK)
		code = raise_minor(store);
	/* Set before the page size was read, the size of the cache has no effect (3.40.1). */
	if (code == SQLITE_OK)
		code = mon_store_execute(store,
					 "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; "
					 "PRAGMA cache_size=-4096");
	if (code == SQLITE_OK)
		code = mon_store_execute(store, added_tables);
	if (code == SQLITE_OK)
		code = limit_wal(store);
	if (code == SQLITE_OK)
		code = mon_store_execute(store, store->options.durability == MON_DURABILITY_FULL
							? "PRAGMA synchronous=FULL"
							: "PRAGMA synchronous=NORMAL");
	if (code == SQLITE_OK)
		code = mon_store_prepare(store);
	if (code == SQLITE_OK && store->run_id)
		code = mon_store_read_back(store);
	if (code == SQLITE_ERROR && store->run_id)
		code = SQLITE_CORRUPT; /* a table of ours is not there any more */
	if (code != SQLITE_OK) {
		mon_store_disconnect(store, true);
		return code;
	}
	(void)mon_store_file_companions(&store->file, 0, &store->companions, &shm_cut);
	(void)sqlite3_wal_hook(store->db, on_wal_commit, store);
	return SQLITE_OK;
}

void mon_store_disconnect(struct mon_store *store, bool doubt)
{
	/* A close checkpoints and unlinks the WAL by its name, where another file's may lie now. */
	if (store->db && doubt)
		(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	for (int i = 0; i < MON_STORE_STATEMENTS; i++) {
		(void)sqlite3_finalize(store->statements[i]);
		store->statements[i] = NULL;
	}
	/* NULL is harmless; an open transaction is rolled back. */
	(void)sqlite3_close(store->db);
	store->db = NULL;
	store->wal_used_bytes = 0;
	store->companions = (struct mon_store_companions){0};
	mon_store_forget(store);
}

static int reserve_heap(struct mon_store *store, struct mon_error *error)
{
	if (mon_budget_reserve(store->options.budget, MON_BUDGET_SQLITE, MON_BUDGET_SQLITE_BYTES))
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				     "no room for SQLite's %llu MiB in the memory budget; raise "
				     "--memory-budget",
				     MON_BUDGET_SQLITE_BYTES >> 20);
	store->heap_reserved = true;
	/* SQLite then answers SQLITE_NOMEM, which is survived, instead of growing. */
	(void)sqlite3_hard_heap_limit64(MON_BUDGET_SQLITE_BYTES);
	store->tasks = mon_budget_calloc(store->options.budget, MON_BUDGET_TOTALS,
					 MON_STORE_TASK_SLOTS * sizeof(*store->tasks));
	if (!store->tasks)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				     "out of memory for the table of threads; raise "
				     "--memory-budget");
	return 0;
}

static int refuse_open(struct mon_store *store, int code, struct mon_error *error)
{
	int result = mon_store_failed(store, code);

	return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
			     "cannot open %s: %s; name another file with --output",
			     MON_ESCAPED(store->file.path), store->error_text);
}

MON_DEFINE_CLEANUP(store, struct mon_store *, mon_store_free)

int mon_store_new(const struct mon_store_options *options, struct mon_store **store_out,
		  struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_store) struct mon_store *store = calloc(1, sizeof(*store));
	int64_t earlier;
	int result;

	if (!store)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	store->options = *options;
	store->file.lock_fd = -1;
	if (!store->options.clock)
		store->options.clock = &mon_clock_system;
	if (!store->options.size_max_bytes)
		store->options.size_max_bytes = MON_STORE_SIZE_DEFAULT_BYTES;
	/* The WAL counts towards --max-size: with a small one it has to stay small. */
	store->wal_limit_bytes = store->options.size_max_bytes / 8;
	if (store->wal_limit_bytes > MON_STORE_WAL_BYTES)
		store->wal_limit_bytes = MON_STORE_WAL_BYTES;
	store->wal_checkpoint_bytes = store->wal_limit_bytes;
	result = mon_store_file_claim(options, &store->file, error);
	if (result)
		return result;
	result = reserve_heap(store, error);
	if (result)
		return result;
	result = mon_store_connect(store);
	if (result == SQLITE_OK)
		result = mon_store_ask(store, "SELECT count(*) FROM run", 0, &earlier);
	if (result == SQLITE_OK)
		result = mon_store_ask(store, "SELECT coalesce(max(id),0)+1 FROM task", 0,
				       &store->task_next_id);
	if (result != SQLITE_OK)
		return refuse_open(store, result, error);
	store->stats.earlier_runs = earlier;
	store->stats.size_why =
		mon_store_file_full(&store->file, store->options.size_max_bytes,
				    &store->stats.file_bytes, &store->stats.wal_bytes);
	store->stats.size_reached = store->stats.size_why;
	*store_out = TAKE_PTR(store);
	return 0;
}

void mon_store_free(struct mon_store *store)
{
	if (!store)
		return;
	/* A close makes a checkpoint, too: only in files that are ours and whole. */
	mon_store_disconnect(store, store->db && mon_store_look(store) != SQLITE_OK);
	mon_store_file_release(&store->file, true);
	if (store->heap_reserved) {
		mon_budget_release(store->options.budget, MON_BUDGET_SQLITE,
				   MON_BUDGET_SQLITE_BYTES);
		(void)sqlite3_hard_heap_limit64(0);
	}
	mon_store_free_stacks(store);
	mon_budget_free_bytes(store->options.budget, MON_BUDGET_TOTALS, store->tasks,
			      MON_STORE_TASK_SLOTS * sizeof(*store->tasks));
	mon_budget_free_bytes(store->options.budget, MON_BUDGET_TOTALS, store->credits,
			      store->credit_bytes);
	mon_store_drop_run(store);
	free(store);
}

static int write_end(struct mon_store *store, const struct mon_run_end *end)
{
	int code = store->doubt ? mon_store_recover(store) : mon_store_look(store);

	if (code == SQLITE_OK && !store->db)
		code = mon_store_connect(store);
	if (code == SQLITE_OK)
		code = end->target_status == -1
			       ? mon_store_run(store, MON_STORE_RUN_END, "iitni", store->run_id,
					       mon_store_since(store, end->ended_ns), end->reason,
					       (int64_t)end->complete)
			       : mon_store_run(store, MON_STORE_RUN_END, "iitii", store->run_id,
					       mon_store_since(store, end->ended_ns), end->reason,
					       (int64_t)end->target_status, (int64_t)end->complete);
	return code;
}

/* Out of WAL mode: a reader without rights to the directory could not open the file. */
static int leave_wal(struct mon_store *store)
{
	int code = store->db ? SQLITE_OK : mon_store_connect(store);

	for (int i = 0; i < MON_STORE_STATEMENTS; i++) {
		(void)sqlite3_finalize(store->statements[i]);
		store->statements[i] = NULL;
	}
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "PRAGMA wal_checkpoint(TRUNCATE)");
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "PRAGMA journal_mode=DELETE");
	return code;
}

/* What the disk refused may go through on the next try; a lock was waited for already. */
static bool again(struct mon_store *store, int code, int *tries)
{
	if (code == SQLITE_OK || mon_store_errno(code) != -EIO || ++*tries == MON_STORE_END_TRIES)
		return false;
	mon_store_disconnect(store, true);
	return true;
}

int mon_store_end(struct mon_store *store, const struct mon_run_end *end)
{
	int code, tries = 0;

	do
		code = write_end(store, end);
	while (again(store, code, &tries));
	if (code != SQLITE_OK)
		return mon_store_failed(store, mon_store_judge(store, code));
	/* A reader that is in the middle of a query keeps us out; the run is ended all the same. */
	tries = 0;
	do
		code = leave_wal(store);
	while (again(store, code, &tries));
	if (code != SQLITE_OK) {
		(void)mon_store_failed(store, code);
		store->stats.wal_left = true;
	}
	mon_store_disconnect(store, store->stats.wal_left);
	(void)mon_store_file_full(&store->file, UINT64_MAX, &store->stats.file_bytes,
				  &store->stats.wal_bytes);
	return 0;
}

void mon_store_stats(const struct mon_store *store, struct mon_store_stats *stats_out)
{
	*stats_out = store->stats;
}
