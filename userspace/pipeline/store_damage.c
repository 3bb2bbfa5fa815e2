// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When the file is not what it was: not synced, moved, removed, cut, overwritten. The push that
 * sees it fails
 * (-ESTALE, -EUCLEAN: the breaker opens at once), and the next one that the breaker permits clears
 * it up before it writes: a file that is well again is gone on with, a damaged one is renamed
 * aside, and where there is none any more a new one is made, with the run's next part in it.
 *
 * A part has the dictionaries, marks and credits of the run in its first transaction; so replay and
 * the ledger go on as if nothing had been. Not done: a new file when the old one or its directory
 * is read-only, when something else lies at the path, or when its file system is gone.
 *
 * A -shm that is cut between the look before a push and the push itself is SIGBUS, as for any
 * program that uses SQLite in WAL mode. Writer thread.
 */
#include "pipeline/store_internal.h"

#include <errno.h>
#include <string.h>

/* What ended up in the WAL of a file that we still have open goes into that file. */
static int rescue(struct mon_store *store)
{
	return sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

int mon_store_look(struct mon_store *store)
{
	bool shm_cut;
	enum mon_store_path path = mon_store_file_look(&store->file);
	bool same;

	if (path == MON_STORE_PATH_ERROR)
		return SQLITE_IOERR;
	if (!store->db)
		return path == MON_STORE_PATH_SAME ? SQLITE_OK : SQLITE_READONLY_DBMOVED;
	same = mon_store_file_companions(&store->file, store->wal_used_bytes, &store->companions,
					 &shm_cut);
	if (path != MON_STORE_PATH_SAME) {
		if (!shm_cut)
			(void)rescue(store);
		return SQLITE_READONLY_DBMOVED;
	}
	if (same)
		return SQLITE_OK;
	/* A WAL that was unlinked is whole for us; one that was cut is not, and this fails. */
	if (!shm_cut)
		(void)rescue(store);
	mon_store_disconnect(store, true);
	store->stats.reopened++;
	return SQLITE_OK;
}

int mon_store_judge(struct mon_store *store, int code)
{
	int primary = code & 0xff;

	if (primary == SQLITE_IOERR && code != SQLITE_IOERR_NOMEM) {
		int result = mon_store_file_probe(&store->file);

		if (result == -ENOSPC)
			code = SQLITE_FULL;
		else if (result == -EROFS)
			code = SQLITE_READONLY;
	}
	if (code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC)
		store->doubt = MON_STORE_UNSYNCED;
	else if (code == SQLITE_READONLY_DBMOVED)
		store->doubt = MON_STORE_MOVED;
	else if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB)
		store->doubt = MON_STORE_DAMAGED;
	return code;
}

static int code_of(int result)
{
	switch (-result) {
	case ENOSPC:
	case EDQUOT:
		return SQLITE_FULL;
	case EROFS:
		return SQLITE_READONLY;
	case EACCES:
	case EPERM:
		return SQLITE_PERM;
	case ESTALE:
		return SQLITE_READONLY_DBMOVED;
	default:
		return SQLITE_CANTOPEN;
	}
}

static int write_marks(struct mon_store *store)
{
	int code = SQLITE_OK;

	for (int64_t ring = 0; ring < MON_STORE_RINGS_MAX && code == SQLITE_OK; ring++)
		if (store->marks[ring])
			code = mon_store_run(store, MON_STORE_MARK, "iiu", store->run_id, ring,
					     store->marks[ring]);
	return code;
}

static int write_credits(struct mon_store *store)
{
	uint64_t count = store->function_count * (uint64_t)MON_STORE_CREDITS;
	int code = SQLITE_OK;

	for (uint64_t i = 0; i < count && code == SQLITE_OK; i++)
		if (store->credits_written[i])
			code = mon_store_run(
				store, MON_STORE_LEDGER, "iiunn",
				store->function_base + (int64_t)(i / MON_STORE_CREDITS),
				(int64_t)mon_store_credit_reason[i % MON_STORE_CREDITS],
				store->credits_written[i]);
	return code;
}

/* Where the rows of the part before are, for whoever reads this one. */
static int write_earlier(struct mon_store *store)
{
	char sql[128] = "INSERT INTO meta(key,value) VALUES('earlier_part','moved or removed')";

	if (store->damaged_number)
		(void)sqlite3_snprintf(
			sizeof(sql), sql,
			"INSERT INTO meta(key,value) VALUES('earlier_part','.damaged-%u')",
			store->damaged_number);
	return mon_store_execute(store, sql);
}

static int write_part(struct mon_store *store)
{
	mon_ns now = mon_clock_now(store->options.clock);
	int code = mon_store_execute(store, "BEGIN IMMEDIATE");

	if (code == SQLITE_OK)
		code = mon_store_write_run(store, &store->run, &store->functions);
	if (code == SQLITE_OK)
		code = write_marks(store);
	if (code == SQLITE_OK)
		code = write_credits(store);
	if (code == SQLITE_OK)
		code = write_earlier(store);
	/* Where the first interval of this part begins, if another process must go on with it. */
	if (code == SQLITE_OK && now > store->started_ns)
		code = mon_store_run(store, MON_STORE_CLOCK, "iii", store->run_id,
				     mon_store_since(store, now),
				     store->run.started_wall_ns + mon_store_since(store, now));
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "COMMIT");
	return code;
}

static int begin_part(struct mon_store *store)
{
	int64_t run_id = store->run_id, function_base = store->function_base;
	int code, result = -ESTALE;

	if (mon_store_file_is_mounted(&store->file))
		result = mon_store_file_clear(&store->file);
	if (!result)
		result = mon_store_file_create_again(&store->options, &store->file);
	if (result)
		return code_of(result);
	store->run_id = 0; /* nothing of it is in this file yet */
	store->run.part++;
	code = mon_store_connect(store);
	if (code == SQLITE_OK)
		code = write_part(store);
	if (code != SQLITE_OK) {
		mon_store_disconnect(store, true);
		mon_store_file_remove(&store->file);
		store->run.part--;
		store->run_id = run_id;
		store->function_base = function_base;
		return code;
	}
	store->file.created = false;
	mon_store_file_sync_directory(&store->file);
	store->rows_before = store->stats.rows;
	store->set_aside_before = store->stats.set_aside;
	store->stats.run_id = store->run_id;
	store->stats.part = store->run.part;
	store->stats.damaged_number = store->damaged_number;
	store->damaged_number = 0;
	store->doubt = MON_STORE_SURE;
	return SQLITE_OK;
}

/* SQLITE_OK: a sound file with our run in it. SQLITE_CORRUPT: not that. Else it cannot be told. */
static int check(struct mon_store *store)
{
	sqlite3_stmt *statement = NULL;
	bool sound = false;
	int64_t runs = 0;
	int code = mon_store_open(store);

	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &statement, NULL);
	if (code == SQLITE_OK) {
		if (sqlite3_step(statement) == SQLITE_ROW)
			sound = strcmp((const char *)sqlite3_column_text(statement, 0), "ok") == 0;
		code = sqlite3_reset(statement);
	}
	(void)sqlite3_finalize(statement);
	if (code == SQLITE_OK && sound) {
		code = mon_store_ask(store, "SELECT count(*) FROM run WHERE id=?", store->run_id,
				     &runs);
		sound = runs == 1;
	}
	/* A table that is not there any more is a plain error. */
	if (code == SQLITE_ERROR || (code & 0xff) == SQLITE_NOTADB || (code == SQLITE_OK && !sound))
		code = SQLITE_CORRUPT;
	mon_store_disconnect(store, true);
	return code;
}

static int recover_damaged(struct mon_store *store)
{
	int code = check(store), result;

	if (code == SQLITE_OK)
		store->doubt = MON_STORE_SURE;
	if ((code & 0xff) != SQLITE_CORRUPT)
		return code;
	result = mon_store_file_set_aside(&store->file, &store->damaged_number);
	if (result)
		return code_of(result);
	store->doubt = MON_STORE_MOVED;
	return begin_part(store);
}

/*
 * After an fsync that failed the kernel has dropped what it could not write, or thinks it clean;
 * another fsync would say it is well. So all that the WAL reads is written once more, into the
 * database, and that is synced. Then the mark that is there may be believed.
 */
static int write_again(struct mon_store *store)
{
	int code = mon_store_connect(store);

	if (code == SQLITE_OK)
		code = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_FULL, NULL,
						 NULL);
	/* A reader is in the way. Until a checkpoint, normal durability promises nothing. */
	if ((code & 0xff) == SQLITE_BUSY && store->options.durability == MON_DURABILITY_NORMAL)
		code = SQLITE_OK;
	if (code == SQLITE_OK)
		store->doubt = MON_STORE_SURE;
	else
		mon_store_disconnect(store, true);
	return code;
}

int mon_store_recover(struct mon_store *store)
{
	mon_store_disconnect(store, true);
	switch (mon_store_file_look(&store->file)) {
	case MON_STORE_PATH_GONE:
		return begin_part(store);
	case MON_STORE_PATH_OTHER:
		return SQLITE_READONLY_DBMOVED;
	case MON_STORE_PATH_ERROR:
		return SQLITE_IOERR;
	case MON_STORE_PATH_SAME:
		break;
	}
	if (store->doubt == MON_STORE_DAMAGED)
		return recover_damaged(store);
	if (store->doubt == MON_STORE_UNSYNCED)
		return write_again(store);
	store->doubt = MON_STORE_SURE;
	return SQLITE_OK;
}

void mon_store_trim(struct mon_store *store)
{
	if (store->db)
		(void)sqlite3_db_release_memory(store->db);
}
