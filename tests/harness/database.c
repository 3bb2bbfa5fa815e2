/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One read-only connection for each question: tests are not hot paths. */
#include "tests/harness/database.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 20
#define WAIT_TRIES 1000

struct question {
	sqlite3 *db;
	sqlite3_stmt *row;
};

static struct question ask(const char *path, const char *sql)
{
	struct question question = {NULL, NULL};
	int result = sqlite3_open_v2(path, &question.db, SQLITE_OPEN_READONLY, NULL);

	if (result == SQLITE_OK) {
		sqlite3_busy_timeout(question.db, 5000);
		result = sqlite3_prepare_v2(question.db, sql, -1, &question.row, NULL);
	}
	if (result == SQLITE_OK)
		result = sqlite3_step(question.row);
	if (result != SQLITE_ROW)
		fail_msg("%s: %s: %s", path, sql,
			 result == SQLITE_DONE ? "no row" : sqlite3_errmsg(question.db));
	return question;
}

static void answer(struct question question)
{
	sqlite3_finalize(question.row);
	sqlite3_close(question.db);
}

int64_t db_int(const char *path, const char *sql)
{
	struct question question = ask(path, sql);
	int64_t value = sqlite3_column_int64(question.row, 0);

	answer(question);
	return value;
}

void db_wait_int(const char *path, const char *sql, int64_t least)
{
	int64_t value = db_int(path, sql);

	for (int tries = 0; value < least; tries++) {
		if (tries == WAIT_TRIES)
			fail_msg("%s: %s: still %lld, not %lld", path, sql, (long long)value,
				 (long long)least);
		(void)poll(NULL, 0, WAIT_MS);
		value = db_int(path, sql);
	}
}

char *db_text(const char *path, const char *sql)
{
	struct question question = ask(path, sql);
	const char *text = (const char *)sqlite3_column_text(question.row, 0);
	char *copy = text ? strdup(text) : NULL;

	answer(question);
	return copy;
}

void assert_ledger_closed(const char *path)
{
	char *check = db_text(path, "PRAGMA quick_check");

	assert_string_equal(check, "ok");
	free(check);
	assert_int_equal(db_int(path, "SELECT complete FROM run ORDER BY id DESC LIMIT 1"), 1);

	char *open = db_text(path, "SELECT group_concat(function || ': ' || calls || ' calls, ' ||"
				   " accounted || ' accounted', '; ') FROM unbalanced");
	if (open)
		fail_msg("the ledger does not close: %s", open);
}
