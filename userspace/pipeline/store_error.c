// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What SQLite's result codes mean to the rest of the program: an errno, a class for the breaker,
 * and words for one log line. The only table of them; writer thread, nothing allocated.
 */
#include "pipeline/store_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	int code; /* primary, or extended where that differs */
	int error;
} codes[] = {
	{SQLITE_BUSY, EBUSY},
	{SQLITE_LOCKED, EBUSY},
	{SQLITE_PROTOCOL, EBUSY},
	{SQLITE_FULL, ENOSPC},
	{SQLITE_IOERR_NOMEM, ENOMEM},
	{SQLITE_IOERR, EIO},
	{SQLITE_CANTOPEN, EIO},
	{SQLITE_NOMEM, ENOMEM},
	{SQLITE_CORRUPT, EUCLEAN},
	{SQLITE_NOTADB, EUCLEAN},
	{SQLITE_READONLY_DBMOVED, ESTALE},
	{SQLITE_READONLY, EROFS},
	{SQLITE_PERM, EPERM},
	{SQLITE_AUTH, EPERM},
	{SQLITE_INTERRUPT, EINTR},
	{SQLITE_TOOBIG, EBADMSG},
	{SQLITE_MISMATCH, EBADMSG},
	{SQLITE_CONSTRAINT, EBADMSG},
};

static const struct {
	int error;
	enum mon_outcome outcome;
	const char *text;
} errors[] = {
	{EBUSY, MON_OUTCOME_FAILURE, "another process holds the database"},
	{ENOSPC, MON_OUTCOME_FAILURE, "disk full"},
	{EIO, MON_OUTCOME_FAILURE, "I/O error"},
	{ENOMEM, MON_OUTCOME_FAILURE, "out of memory"},
	{EUCLEAN, MON_OUTCOME_TRIP, "database damaged"},
	{EROFS, MON_OUTCOME_TRIP, "database is read-only"},
	{ESTALE, MON_OUTCOME_TRIP, "database was moved or removed"},
	{EPERM, MON_OUTCOME_TRIP, "no permission"},
	{EINTR, MON_OUTCOME_EXCLUDED, "interrupted"},
	{EBADMSG, MON_OUTCOME_EXCLUDED, "a record was refused"},
	{ENOTRECOVERABLE, MON_OUTCOME_TRIP, "internal error"},
};

int mon_store_errno(int code)
{
	if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW)
		return 0;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code || codes[i].code == (code & 0xff))
			return -codes[i].error;
	return -ENOTRECOVERABLE;
}

enum mon_outcome mon_store_classify(int result, void *context)
{
	(void)context;
	if (result >= 0)
		return MON_OUTCOME_SUCCESS;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].error == -result)
			return errors[i].outcome;
	return MON_OUTCOME_TRIP;
}

int mon_store_failed_errno(struct mon_store *store, int error, const char *text)
{
	const char *what = "internal error";

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].error == -error)
			what = errors[i].text;
	(void)snprintf(store->error_text, sizeof(store->error_text), "%s (%s)", what, text);
	return error;
}

int mon_store_failed(struct mon_store *store, int code)
{
#ifdef MON_DEBUG
	/* Our bug: where it happened is worth more than going on. */
	if ((code & 0xff) == SQLITE_MISUSE || (code & 0xff) == SQLITE_RANGE)
		abort();
#endif
	store->stats.last_code = code;
	/* sqlite3_errstr() is static text; sqlite3_errmsg() may quote the file's own names. */
	return mon_store_failed_errno(store, mon_store_errno(code), sqlite3_errstr(code));
}

const char *mon_store_error_text(const struct mon_store *store)
{
	return store->error_text;
}
