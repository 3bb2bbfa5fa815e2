// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * 10 million records as redis makes them (8 functions, one thread, a pointer or a small number
 * returned) through the store alone, to the closed file: rows a second, bytes a row, the longest
 * stall, beside a plain SQLite insert of the same rows with one statement for each.
 */
#include "base/cleanup.h"
#include "pipeline/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORDS 10000000ull
#define BATCH MON_STORE_BATCH_MAX
#define FUNCTIONS 8

static struct mon_call_event calls[BATCH];
static struct mon_record records[BATCH];

static uint64_t next_random(void)
{
	static uint64_t state = 88172645463325252ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fill(uint64_t first)
{
	static uint64_t now_ns = 1000000000;

	for (unsigned i = 0; i < BATCH; i++) {
		uint64_t random = next_random();

		now_ns += 300 + random % 2000;
		calls[i] = (struct mon_call_event){
			.kind = MON_EVENT_CALL,
			.version = MON_EVENT_VERSION,
			.function = random % FUNCTIONS,
			.start_ns = now_ns,
			.duration_ns = 200 + (random >> 20) % 3000,
			.ret = random & 1 ? 0x7f1234560000 + (random >> 40) : 0,
			.born_ns = 12345,
			.pid = 4242,
			.tid = 4242,
			.caller = random % 3 ? 0 : MON_FUNCTION_NONE,
			.weight = 1,
			.depth = random % 3,
		};
		records[i] = (struct mon_record){
			.position = (first + i) * 80,
			.end = (first + i + 1) * 80,
			.data = &calls[i],
			.size_bytes = MON_CALL_EVENT_BARE_BYTES,
		};
	}
}

static int fail(const char *what)
{
	(void)fprintf(stderr, "bench_store: %s\n", what);
	return 1;
}

/* What anyone would write first: one row a statement, one transaction for each batch. */
static double plain_rows_per_s(const char *path)
{
	const uint64_t rows = RECORDS / 10;
	sqlite3_stmt *insert = NULL;
	sqlite3 *db = NULL;
	mon_ns from_ns;
	double spent_s = 0;

	(void)unlink(path);
	if (sqlite3_open(path, &db) ||
	    sqlite3_exec(db,
			 "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
			 "CREATE TABLE call(id INTEGER PRIMARY KEY,a,b,c,d,e,f,g,h,i,j)",
			 NULL, NULL, NULL) ||
	    sqlite3_prepare_v2(db,
			       "INSERT INTO call(a,b,c,d,e,f,g,h,i,j) VALUES(?,?,?,?,?,?,?,?,?,?)",
			       -1, &insert, NULL))
		return 0;
	for (uint64_t first = 0; first < rows; first += BATCH) {
		fill(first);
		from_ns = mon_clock_now(&mon_clock_system);
		(void)sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
		for (unsigned i = 0; i < BATCH; i++) {
			const struct mon_call_event *call = &calls[i];
			const uint64_t values[] = {call->start_ns, call->duration_ns,
						   call->child_ns, call->function,
						   call->caller,   1,
						   call->depth,	   call->weight,
						   call->flags,	   call->ret};

			for (int slot = 0; slot < 10; slot++)
				(void)sqlite3_bind_int64(insert, slot + 1, (int64_t)values[slot]);
			(void)sqlite3_step(insert);
			(void)sqlite3_reset(insert);
		}
		(void)sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
		spent_s += (double)(mon_clock_now(&mon_clock_system) - from_ns) / 1e9;
	}
	(void)sqlite3_finalize(insert);
	(void)sqlite3_close(db);
	(void)unlink(path);
	return (double)rows / spent_s;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "bench_store.db";
	const struct mon_store_options options = {.path = path,
						  .size_max_bytes = 64ull << 30,
						  .owner_uid = getuid(),
						  .owner_gid = getgid()};
	const struct mon_run_info run = {.uuid = "bench", .mode = MON_MODE_SESSION};
	const struct mon_run_end end = {.reason = "bench", .target_status = -1, .complete = true};
	struct mon_module module = {.path = (char *)"/usr/bin/redis-server"};
	struct mon_function functions[FUNCTIONS];
	const struct mon_function_set set = {&module, 1, functions, FUNCTIONS};
	struct mon_store *store = NULL;
	struct mon_store_stats stats;
	struct mon_error error;
	double spent_s = 0, plain;
	struct stat status;
	mon_ns from_ns;

	plain = plain_rows_per_s(path);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		functions[i] = (struct mon_function){
			.offset = i, .symbol = (char *)"f", .name = (char *)"f"};
	if (mon_store_new(&options, &store, &error) || mon_store_begin(store, &run, &set, &error))
		return fail(error.text);
	for (uint64_t first = 0; first < RECORDS; first += BATCH) {
		struct mon_batch batch = {.records = records, .count = BATCH};

		fill(first); /* not timed: the ring has them already */
		from_ns = mon_clock_now(&mon_clock_system);
		if (mon_store_push(store, &batch))
			return fail(mon_store_error_text(store));
		spent_s += (double)(mon_clock_now(&mon_clock_system) - from_ns) / 1e9;
	}
	from_ns = mon_clock_now(&mon_clock_system);
	if (mon_store_end(store, &end))
		return fail(mon_store_error_text(store));
	spent_s += (double)(mon_clock_now(&mon_clock_system) - from_ns) / 1e9;
	mon_store_stats(store, &stats);
	mon_store_free(store);
	if (stats.rows != RECORDS || stat(path, &status))
		return fail("rows are missing");
	(void)unlink(path);
	(void)printf("store: 10,000,000 records to the closed file\n"
		     "  rows/s                  %10.0f   (goal 1,000,000)\n"
		     "  of a plain insert       %10.2f x (one row a statement: %.0f rows/s)\n"
		     "  bytes a row             %10.1f   (goal 41)\n"
		     "  longest stall           %10.1f ms, of %llu commits, %llu checkpoints\n",
		     (double)RECORDS / spent_s, (double)RECORDS / spent_s / plain, plain,
		     (double)status.st_size / (double)RECORDS, (double)stats.longest_push_ns / 1e6,
		     (unsigned long long)stats.commits, (unsigned long long)stats.checkpoints);
	return 0;
}
