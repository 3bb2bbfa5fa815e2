// SPDX-License-Identifier: GPL-2.0-or-later
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/report.h"

#include "base/cleanup.h"
#include "base/histogram.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char report_path[300];

static char directory[256];

char *report_file(const char *path)
{
	MON_FCLOSE FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;

	if (!file)
		return NULL;
	if (getdelim(&text, &size, '\0', file) < 0) {
		free(text);
		return strdup("");
	}
	return text;
}

void report_sql(sqlite3 *database, const char *sql)
{
	char *message = NULL;

	if (sqlite3_exec(database, sql, NULL, NULL, &message))
		fail_msg("%s in: %.300s", message, sql);
}

sqlite3 *report_database(void)
{
	MON_FREE char *schema = report_file("userspace/pipeline/schema.sql");
	sqlite3 *database = NULL;

	assert_non_null(schema);
	(void)unlink(report_path);
	assert_int_equal(sqlite3_open(report_path, &database), SQLITE_OK);
	report_sql(database, "PRAGMA synchronous=OFF");
	report_sql(database, schema);
	return database;
}

void report_histogram(sqlite3 *database, const char *table, int id, uint64_t ns, uint64_t count)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};
	uint8_t blob[MON_HISTOGRAM_BLOB_MAX];
	MON_FREE char *sql = NULL;
	sqlite3_stmt *statement = NULL;

	counts[mon_histogram_bucket(ns)] = count - count / 10;
	counts[mon_histogram_bucket(ns * 2)] = count / 10;
	assert_true(asprintf(&sql, "UPDATE %s SET histogram = ?1 WHERE function_id = %d", table,
			     id) > 0);
	assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
	sqlite3_bind_blob(statement, 1, blob, (int)mon_histogram_encode(counts, blob),
			  SQLITE_TRANSIENT);
	assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
	sqlite3_finalize(statement);
}

int report_setup(void **state)
{
	const char *build = getenv("MON_BUILD");

	(void)state;
	(void)snprintf(directory, sizeof(directory), "%s/tests/report.XXXXXX",
		       build ? build : "build");
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(report_path, sizeof(report_path), "%s/m.db", directory);
	return 0;
}

int report_teardown(void **state)
{
	char path[320];
	static const char *const ends[] = {"", "-wal", "-shm", "-journal"};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(ends); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", report_path, ends[i]);
		(void)unlink(path);
	}
	return rmdir(directory);
}

int report_text(struct mon_report_options options, char **text_out, struct mon_error *error)
{
	size_t size = 0;
	FILE *out = open_memstream(text_out, &size);
	int result;

	assert_non_null(out);
	memset(error, 0, sizeof(*error));
	if (!options.path)
		options.path = report_path;
	result = mon_report_print(&options, out, error);
	(void)fclose(out);
	return result;
}

void report_golden(const char *name, struct mon_report_options options)
{
	MON_FREE char *text = NULL;
	MON_FREE char *expected = NULL;
	struct mon_error error;
	char path[300];

	if (report_text(options, &text, &error))
		fail_msg("%s: %s", name, error.text);
	(void)snprintf(path, sizeof(path), "tests/golden/report/%s.txt", name);
	if (getenv("MON_UPDATE_GOLDEN")) {
		MON_FCLOSE FILE *file = fopen(path, "we");

		assert_non_null(file);
		(void)fputs(text, file);
		return;
	}
	expected = report_file(path);
	assert_non_null(expected);
	assert_string_equal(text, expected);
}
