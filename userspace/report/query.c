// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The file may be hostile (somebody else's), busy (being written) or broken: it is opened
 * read-only and defensively, schema functions are not trusted, and lengths are limited. Paths get
 * "./" in front, so that SQLite takes none for a URI or for :memory:. Main thread only.
 */
#include "report/query.h"

#include "base/text.h"
#include "report/estimate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 2000
#define VALUE_BYTES_MAX (16 << 20)
#define TEXT_BYTES_MAX 4000
#define RUNS_LISTED 20
#define QUANTILE_CALLS_MIN 500 /* sampled ones; of fewer, the tail is chance */

static int failed(sqlite3 *database, struct mon_error *error)
{
	int code = sqlite3_extended_errcode(database);
	const char *file = sqlite3_db_filename(database, "main");
	const char *path = MON_ESCAPED(file ? file : "the database");

	switch (code & 0xff) {
	case SQLITE_NOTADB:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EINVAL,
				     "%s is not a database of monbpf: name another one with -i",
				     path);
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
		return mon_error_set(
			error, MON_EXIT_UNAVAILABLE, EACCES,
			"%s was not closed cleanly and cannot be read from a directory "
			"you cannot write to: copy it, with its -wal, and name the copy "
			"with -i",
			path);
	case SQLITE_NOMEM:
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory reading %s",
				     path);
	case SQLITE_BUSY:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EBUSY,
				     "%s is locked by another process: try again", path);
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return mon_error_set(error, MON_EXIT_PERMISSION, EACCES,
				     "%s may not be read: try as its owner", path);
	default:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EIO,
				     "%s cannot be read (%s): is it damaged? Try "
				     "sqlite3's .recover",
				     path, MON_ESCAPED(sqlite3_errmsg(database)));
	}
}

static int check_file(const char *path, struct mon_error *error)
{
	struct stat status;

	if (stat(path, &status)) {
		if (errno == ENOENT || errno == ENOTDIR)
			return mon_error_set(error, MON_EXIT_UNAVAILABLE, ENOENT,
					     "no database at %s: run monbpf attach first or name "
					     "one with -i",
					     MON_ESCAPED(path));
		return mon_error_set(
			error, errno == EACCES ? MON_EXIT_PERMISSION : MON_EXIT_UNAVAILABLE, errno,
			"cannot look at %s: %s", MON_ESCAPED(path), strerror(errno));
	}
	if (!S_ISREG(status.st_mode))
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EINVAL,
				     "%s is not a file: name a database with -i",
				     MON_ESCAPED(path));
	if (access(path, R_OK))
		return mon_error_set(error, MON_EXIT_PERMISSION, EACCES,
				     "%s may not be read by you: try as user id %u, its owner",
				     MON_ESCAPED(path), status.st_uid);
	return 0;
}

static int pragma_number(sqlite3 *database, const char *sql, int64_t *value_out,
			 struct mon_error *error)
{
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result = mon_query_prepare(database, sql, NULL, 0, &statement, error);

	if (result)
		return result;
	result = mon_query_step(statement, error);
	if (result < 0)
		return result;
	*value_out = result ? sqlite3_column_int64(statement, 0) : 0;
	return 0;
}

int mon_query_open(const char *path, sqlite3 **database_out, struct mon_error *error)
{
	MON_DATABASE sqlite3 *database = NULL;
	MON_FREE char *plain = NULL;
	int64_t application = 0, version = 0;
	int result = check_file(path, error);

	if (result)
		return result;
	if (asprintf(&plain, "%s%s", path[0] == '/' ? "" : "./", path) < 0) {
		plain = NULL;
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	}
	if (sqlite3_open_v2(plain, &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL))
		return database ? failed(database, error)
				: mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	(void)sqlite3_busy_timeout(database, BUSY_TIMEOUT_MS);
	(void)sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	(void)sqlite3_limit(database, SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX);
	(void)sqlite3_limit(database, SQLITE_LIMIT_EXPR_DEPTH, 100);
	if (sqlite3_exec(database, "BEGIN", NULL, NULL, NULL))
		return failed(database, error);
	result = pragma_number(database, "PRAGMA application_id", &application, error);
	if (result)
		return result;
	if (application != MON_DATABASE_APPLICATION_ID)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EINVAL,
				     "%s is not a database of monbpf: name another one with -i",
				     MON_ESCAPED(path));
	result = pragma_number(database, "PRAGMA user_version", &version, error);
	if (result)
		return result;
	if (version > MON_DATABASE_VERSION)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EPROTONOSUPPORT,
				     "%s was written by a newer monbpf (schema %" PRId64
				     ", this one knows %d): update monbpf",
				     MON_ESCAPED(path), version, MON_DATABASE_VERSION);
	*database_out = TAKE_PTR(database);
	return 0;
}

int mon_query_prepare(sqlite3 *database, const char *sql, const int64_t *values, int count,
		      sqlite3_stmt **statement_out, struct mon_error *error)
{
	MON_STATEMENT sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL))
		return failed(database, error);
	for (int i = 0; i < count; i++) {
		if (sqlite3_bind_int64(statement, i + 1, values[i]))
			return failed(database, error);
	}
	*statement_out = TAKE_PTR(statement);
	return 0;
}

int mon_query_step(sqlite3_stmt *statement, struct mon_error *error)
{
	switch (sqlite3_step(statement)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return failed(sqlite3_db_handle(statement), error);
	}
}

/* Columns are appended; a file may be of before. */
static bool has_column(sqlite3 *database, const char *table, const char *column)
{
	return sqlite3_table_column_metadata(database, "main", table, column, NULL, NULL, NULL,
					     NULL, NULL) == SQLITE_OK;
}

uint64_t mon_query_count(sqlite3_stmt *statement, int column)
{
	int64_t value = sqlite3_column_int64(statement, column);

	return value > 0 ? (uint64_t)value : 0;
}

const char *mon_query_text(sqlite3_stmt *statement, int column)
{
	const unsigned char *text = sqlite3_column_text(statement, column);

	return text ? (const char *)text : "";
}

bool mon_query_is_null(sqlite3_stmt *statement, int column)
{
	return sqlite3_column_type(statement, column) == SQLITE_NULL;
}

void mon_query_histogram(sqlite3_stmt *statement, int column, uint64_t *counts)
{
	const void *blob = sqlite3_column_blob(statement, column);
	int length = sqlite3_column_bytes(statement, column);

	if (blob && length > 0 && length <= MON_HISTOGRAM_BLOB_MAX)
		(void)mon_histogram_decode(blob, (size_t)length, counts);
}

static char *copy_text(sqlite3_stmt *statement, int column)
{
	return strndup(mon_query_text(statement, column), TEXT_BYTES_MAX);
}

static int out_of_memory(struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
}

void mon_run_clear(struct mon_run *run)
{
	free(run->uuid);
	free(run->target);
	free(run->host);
	free(run->kernel);
	free(run->version);
	free(run->command);
	free(run->options);
	free(run->end_reason);
	free(run->earlier);
	memset(run, 0, sizeof(*run));
}

static int no_such_run(sqlite3 *database, uint32_t id, const char *path, struct mon_error *error)
{
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	char list[1024] = "";
	size_t used = 0;
	int result =
		mon_query_prepare(database, "SELECT id, target FROM run ORDER BY id DESC LIMIT ?1",
				  (int64_t[]){RUNS_LISTED}, 1, &statement, error);

	if (result)
		return result;
	while ((result = mon_query_step(statement, error)) > 0 && used < sizeof(list) - 1) {
		char target[80];

		(void)mon_escape_again(target, sizeof(target), mon_query_text(statement, 1));
		used += (size_t)snprintf(list + used, sizeof(list) - used,
					 "\n  --run %" PRId64 "  %s",
					 (int64_t)sqlite3_column_int64(statement, 0), target);
	}
	if (result < 0)
		return result;
	if (!list[0])
		return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT,
				     "%s holds no run yet: run monbpf attach first",
				     MON_ESCAPED(path));
	return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT,
			     "no run %u in %s; there are (latest first):%s", id, MON_ESCAPED(path),
			     list);
}

/* A file of an earlier version lacks the columns. */
static void read_overhead(sqlite3 *database, struct mon_run *run)
{
	static const char sql[] = "SELECT overhead_limit, probe_cost_ns, own_cpu_ns FROM run"
				  " WHERE id = ?1";
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	struct mon_error unused;

	if (!has_column(database, "run", "overhead_limit") ||
	    mon_query_prepare(database, sql, (int64_t[]){run->id}, 1, &statement, &unused) ||
	    mon_query_step(statement, &unused) <= 0)
		return;
	run->overhead_limit = sqlite3_column_double(statement, 0);
	run->cost_ns = mon_query_count(statement, 1);
	run->own_cpu_ns = mon_query_count(statement, 2);
}

/* Likewise. What was not called lately has an older total. */
static void read_wanted(sqlite3 *database, struct mon_run *run)
{
	static const char sql[] = "SELECT wanted_ns FROM run WHERE id = ?1";
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	struct mon_error unused;

	if (run->ended || !has_column(database, "run", "wanted_ns") ||
	    mon_query_prepare(database, sql, (int64_t[]){run->id}, 1, &statement, &unused) ||
	    mon_query_step(statement, &unused) <= 0)
		return;
	run->wanted_ns = mon_query_count(statement, 0);
	if (run->length_ns < run->wanted_ns)
		run->length_ns = run->wanted_ns;
}

int mon_query_run(sqlite3 *database, uint32_t id, const char *path, struct mon_run *run_out,
		  struct mon_error *error)
{
	static const char sql[] =
		"SELECT id, uuid, target, host, kernel, version, command, options, end_reason,"
		" started_wall_ns, ended_ns, complete,"
		" coalesce(ended_ns, max("
		"  coalesce((SELECT max(at_ns) FROM clock WHERE run_id = run.id), 0),"
		"  coalesce((SELECT max(s.wanted_ns) FROM function f JOIN function_total s"
		"            ON s.function_id = f.id WHERE f.run_id = run.id), 0))),"
		" id < (SELECT max(id) FROM run), part,"
		" (SELECT value FROM meta WHERE key = 'earlier_part')"
		" FROM run WHERE id = ?1 OR ?1 = 0 ORDER BY id DESC LIMIT 1";
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	struct mon_run run = {0};
	int result = mon_query_prepare(database, sql, (int64_t[]){id}, 1, &statement, error);

	if (result)
		return result;
	result = mon_query_step(statement, error);
	if (result < 0)
		return result;
	if (result == 0)
		return no_such_run(database, id, path, error);
	run.id = sqlite3_column_int64(statement, 0);
	run.uuid = copy_text(statement, 1);
	run.target = copy_text(statement, 2);
	run.host = copy_text(statement, 3);
	run.kernel = copy_text(statement, 4);
	run.version = copy_text(statement, 5);
	run.command = copy_text(statement, 6);
	run.options = copy_text(statement, 7);
	run.end_reason = copy_text(statement, 8);
	run.started_wall_ns = sqlite3_column_int64(statement, 9);
	run.ended = !mon_query_is_null(statement, 10);
	run.complete = sqlite3_column_int64(statement, 11) != 0;
	run.length_ns = mon_query_count(statement, 12);
	run.superseded = sqlite3_column_int64(statement, 13) != 0;
	run.part = sqlite3_column_int64(statement, 14);
	run.earlier = copy_text(statement, 15);
	read_overhead(database, &run);
	read_wanted(database, &run);
	if (!run.uuid || !run.target || !run.host || !run.kernel || !run.version || !run.command ||
	    !run.options || !run.end_reason || !run.earlier) {
		mon_run_clear(&run);
		return out_of_memory(error);
	}
	*run_out = run;
	return 0;
}

/* "1: FLOCK  ADVISORY  WRITE 4242 fe:00:333211 0 EOF", proc_locks(5). */
static bool is_listed(const struct stat *file)
{
	MON_FCLOSE FILE *locks = fopen("/proc/locks", "re");
	unsigned long long inode;
	unsigned major, minor;
	char line[256];

	while (locks && fgets(line, sizeof(line), locks))
		if (sscanf(line, "%*u: FLOCK %*s WRITE %*d %x:%x:%llu", &major, &minor, &inode) ==
			    3 &&
		    inode == file->st_ino && makedev(major, minor) == file->st_dev)
			return true;
	return false;
}

/*
 * Asking for the lock could turn a monitor away that starts at this very moment, so it is asked for
 * only when the kernel's list does not have it, which is so for other pid namespaces and for
 * filesystems whose device numbers differ. It is let go with the descriptor.
 */
enum mon_lock mon_query_lock(const char *path)
{
	MON_FREE char *lock_path = NULL;
	MON_CLOSE int fd = -1;
	struct stat status;

	if (asprintf(&lock_path, "%s-lock", path) < 0) {
		lock_path = NULL;
		return MON_LOCK_UNKNOWN;
	}
	fd = open(lock_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode))
		return MON_LOCK_UNKNOWN;
	if (is_listed(&status))
		return MON_LOCK_HELD;
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		return MON_LOCK_FREE;
	return errno == EWOULDBLOCK ? MON_LOCK_HELD : MON_LOCK_UNKNOWN;
}

static void function_row_clear(struct mon_function_row *row)
{
	free(row->name);
	free(row->symbol);
	free(row->aliases);
	free(row->module);
	free(row->mode);
	free(row->note);
}

void mon_function_rows_clear(struct mon_function_rows *rows)
{
	for (size_t i = 0; i < rows->count; i++)
		function_row_clear(&rows->rows[i]);
	free(rows->rows);
	memset(rows, 0, sizeof(*rows));
}

static int compare_rows(const void *left, const void *right)
{
	const struct mon_function_row *a = left, *b = right;
	uint64_t a_ns = mon_estimate_sum(a, a->total_ns), b_ns = mon_estimate_sum(b, b->total_ns);
	uint64_t a_calls = mon_estimate_calls(a), b_calls = mon_estimate_calls(b);

	if (a_ns != b_ns)
		return a_ns < b_ns ? 1 : -1;
	if (a_calls != b_calls)
		return a_calls < b_calls ? 1 : -1;
	return strcmp(a->name, b->name);
}

static int row_add(struct mon_function_rows *rows, sqlite3_stmt *statement)
{
	struct mon_function_row *row;

	if (rows->count == rows->count_max) {
		size_t count_max = rows->count_max ? rows->count_max * 2 : 64;

		row = reallocarray(rows->rows, count_max, sizeof(*row));
		if (!row)
			return -ENOMEM;
		rows->rows = row;
		rows->count_max = count_max;
	}
	row = &rows->rows[rows->count];
	*row = (struct mon_function_row){
		.id = sqlite3_column_int64(statement, 0),
		.name = copy_text(statement, 1),
		.symbol = copy_text(statement, 2),
		.aliases = copy_text(statement, 3),
		.module = copy_text(statement, 4),
		.mode = copy_text(statement, 5),
		.note = copy_text(statement, 6),
		.offset = mon_query_count(statement, 7),
		.probe_offset = mon_query_count(statement, 8),
		.size_bytes = mon_query_count(statement, 9),
		.stored = mon_query_count(statement, 10),
		.lost = mon_query_count(statement, 11),
	};
	rows->count++;
	return row->name && row->symbol && row->aliases && row->module && row->mode && row->note
		       ? 0
		       : -ENOMEM;
}

/* Adds the numbers of one row: of the total, or of one interval. */
static void row_numbers(struct mon_function_row *row, sqlite3_stmt *statement, uint64_t *counts)
{
	uint64_t min_ns = mon_query_count(statement, 19), max_ns = mon_query_count(statement, 20);

	row->has_total |= !mon_query_is_null(statement, 12);
	row->wanted_ns += mon_query_count(statement, 12);
	row->armed_ns += mon_query_count(statement, 13);
	row->calls += mon_query_count(statement, 14);
	row->returns += mon_query_count(statement, 15);
	row->has_failed |= !mon_query_is_null(statement, 16);
	row->failed += mon_query_count(statement, 16);
	row->total_ns += mon_query_count(statement, 17);
	row->self_ns += mon_query_count(statement, 18);
	row->self_unknown |= mon_query_count(statement, 15) && mon_query_is_null(statement, 18);
	row->estimated |= mon_query_count(statement, 23) != 0;
	row->wanted_own_ns = mon_query_count(statement, 24);
	row->armed_own_ns = mon_query_count(statement, 25);
	row->selected = mon_query_count(statement, 26);
	row->has_min = !mon_query_is_null(statement, 19);
	row->min_ns = min_ns;
	if (max_ns > row->max_ns)
		row->max_ns = max_ns;
	mon_query_histogram(statement, 21, counts);
}

static void row_quantiles(struct mon_function_row *row, const uint64_t *counts)
{
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS && !row->has_quantiles; i++)
		row->has_quantiles = counts[i] != 0;
	if (row->estimated && row->selected < QUANTILE_CALLS_MIN)
		row->has_quantiles = false;
	row->p50_ns = mon_histogram_quantile(counts, 0.5, row->min_ns, row->max_ns);
	row->p90_ns = mon_histogram_quantile(counts, 0.9, row->min_ns, row->max_ns);
	row->p99_ns = mon_histogram_quantile(counts, 0.99, row->min_ns, row->max_ns);
}

/*
 * Not sorted: a sorter would hold all histograms. Rows of one function follow each other, for every
 * other table is LEFT JOINed to it.
 */
#define FUNCTION_COLUMNS                                                              \
	"SELECT f.id, f.name, f.symbol, f.aliases, m.path, f.mode, f.note, f.offset," \
	" f.probe_offset, f.size,"                                                    \
	" (SELECT count FROM ledger WHERE function_id = f.id AND reason_id = 1),"     \
	" (SELECT sum(l.count) FROM ledger l JOIN reason q ON q.id = l.reason_id"     \
	"  WHERE l.function_id = f.id AND q.class = 'lost'),"

/* All but those that were sampled out: in the ledger, each call is counted once. */
#define SELECTED "(SELECT sum(count) FROM ledger WHERE function_id = f.id AND reason_id <> 3)"

static const char sql_totals[] = FUNCTION_COLUMNS
	" s.wanted_ns, s.armed_ns, s.calls, s.returns, s.failed, s.total_ns, s.self_ns, s.min_ns,"
	" s.max_ns, s.histogram, 0, %s, %s, " SELECTED
	" FROM function f LEFT JOIN module m ON m.id = f.module_id"
	" LEFT JOIN function_total s ON s.function_id = f.id"
	" WHERE f.run_id = ?1";

/*
 * Those of one function do not overlap: the last one that starts before the cut may end past it. A
 * function that was armed a share of the time has a row without an interval, too: nothing was seen
 * of it, which is not nothing.
 */
static const char sql_intervals[] = FUNCTION_COLUMNS
	" i.length_ns, i.armed_ns, i.calls, i.returns, i.failed, i.total_ns, i.self_ns, NULL,"
	" i.max_ns, i.histogram, i.start_ns, %s, %s, " SELECTED
	" FROM function f LEFT JOIN module m ON m.id = f.module_id"
	" LEFT JOIN function_total s ON s.function_id = f.id"
	" LEFT JOIN function_interval i ON i.function_id = f.id AND i.start_ns + i.length_ns > ?2"
	"  AND i.start_ns >= coalesce((SELECT max(start_ns) FROM function_interval"
	"   WHERE function_id = f.id AND start_ns <= ?2), 0)"
	" WHERE f.run_id = ?1 AND (i.function_id IS NOT NULL OR s.armed_ns < s.wanted_ns)";

static uint64_t part_of(uint64_t value, uint64_t part, uint64_t whole)
{
	return whole ? (uint64_t)((unsigned __int128)value * part / whole) : 0;
}

/*
 * How long @row was wanted and armed in the last @since_ns. An interval without a call is not in
 * the file, so these say too little of it, and a total is as old as the last call while the run
 * lives. Windows are in table `coverage`, but for one that is open now and those that a database
 * which was out did not get: what the total has more. The total of a further part is of all parts.
 */
static void row_since(struct mon_function_row *row, const struct mon_run *run, uint64_t since_ns,
		      sqlite3_stmt *statement)
{
	uint64_t wanted_ns = mon_query_count(statement, 0),
		 armed_ns = mon_query_count(statement, 1);
	uint64_t all_ns = mon_query_count(statement, 4);
	uint64_t since_armed_ns = mon_query_count(statement, 5);

	if (run->ended && since_ns > wanted_ns)
		since_ns = wanted_ns;
	if (run->part <= 1 && armed_ns > all_ns)
		since_armed_ns += armed_ns - all_ns;
	if (since_armed_ns < row->armed_ns)
		since_armed_ns = row->armed_ns;
	if (armed_ns >= wanted_ns || since_armed_ns > since_ns)
		since_armed_ns = since_ns;
	row->has_total = true;
	row->wanted_ns = since_ns;
	row->armed_ns = since_armed_ns;
	/* The target's own time is known of the whole run: as much of it, while armed and not. */
	row->wanted_own_ns = part_of(mon_query_count(statement, 2), since_ns, wanted_ns);
	row->armed_own_ns = part_of(mon_query_count(statement, 3), since_armed_ns, armed_ns);
}

static int rows_since(sqlite3 *database, const struct mon_run *run, uint64_t from_ns,
		      uint64_t since_ns, struct mon_function_rows *rows, struct mon_error *error)
{
	static const char format[] =
		"SELECT wanted_ns, armed_ns, %s,"
		" (SELECT sum(to_ns - from_ns) FROM coverage WHERE function_id = ?1),"
		" (SELECT sum(to_ns - max(from_ns, ?2)) FROM coverage"
		"  WHERE function_id = ?1 AND to_ns > ?2)"
		" FROM function_total WHERE function_id = ?1";
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	char sql[512];
	int result;

	(void)snprintf(sql, sizeof(sql), format,
		       has_column(database, "function_total", "armed_own_ns")
			       ? "wanted_own_ns, armed_own_ns"
			       : "0, 0");
	result = mon_query_prepare(database, sql, (int64_t[]){0, (int64_t)from_ns}, 2, &statement,
				   error);
	for (size_t i = 0; i < rows->count && result >= 0; i++) {
		(void)sqlite3_bind_int64(statement, 1, rows->rows[i].id);
		result = mon_query_step(statement, error);
		if (result > 0)
			row_since(&rows->rows[i], run, since_ns, statement);
		(void)sqlite3_reset(statement);
	}
	return result < 0 ? result : 0;
}

int mon_query_functions(sqlite3 *database, const struct mon_run *run, bool since, uint64_t cut_ns,
			uint64_t *from_ns_out, struct mon_function_rows *rows_out,
			struct mon_error *error)
{
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	struct mon_function_rows rows = {0};
	uint64_t counts[MON_HISTOGRAM_BUCKETS];
	uint64_t from_ns = cut_ns;
	char sql[2048];
	int result;

	(void)snprintf(sql, sizeof(sql), since ? sql_intervals : sql_totals,
		       has_column(database, "function_total", "estimated") ? "s.estimated" : "0",
		       /* Of an interval only the time is known: rows_since(). */
		       !since && has_column(database, "function_total", "armed_own_ns")
			       ? "s.wanted_own_ns, s.armed_own_ns"
			       : "0, 0");
	result = mon_query_prepare(database, sql, (int64_t[]){run->id, (int64_t)cut_ns},
				   since ? 2 : 1, &statement, error);
	if (result)
		return result;
	while ((result = mon_query_step(statement, error)) > 0) {
		struct mon_function_row *row = rows.count ? &rows.rows[rows.count - 1] : NULL;

		if (!row || row->id != sqlite3_column_int64(statement, 0)) {
			if (row)
				row_quantiles(row, counts);
			memset(counts, 0, sizeof(counts));
			if (row_add(&rows, statement)) {
				result = out_of_memory(error);
				break;
			}
			row = &rows.rows[rows.count - 1];
		}
		row_numbers(row, statement, counts);
		if (!mon_query_is_null(statement, 22) && mon_query_count(statement, 22) < from_ns)
			from_ns = mon_query_count(statement, 22);
	}
	if (result == 0 && since)
		result = rows_since(database, run, from_ns, run->length_ns - from_ns, &rows, error);
	else if (result == 0 && run->wanted_ns)
		result = rows_since(database, run, 0, run->wanted_ns, &rows, error);
	if (result < 0) {
		mon_function_rows_clear(&rows);
		return result;
	}
	if (rows.count) {
		row_quantiles(&rows.rows[rows.count - 1], counts);
		qsort(rows.rows, rows.count, sizeof(*rows.rows), compare_rows);
	}
	*from_ns_out = since ? from_ns : 0;
	*rows_out = rows;
	return 0;
}
