// SPDX-License-Identifier: GPL-2.0-or-later
/* A store on a file of the build's disk, and records to push into it. */
#include "tests/harness/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/database.h"
#include "tests/harness/scratch.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *store_directory, *store_path;

struct store_feed store_feed;

void feed_record(const void *data, uint32_t size_bytes, int invalid)
{
	store_feed.records[store_feed.count] = (struct mon_record){
		.position = store_feed.position,
		.end = store_feed.position + size_bytes + 8,
		.data = data,
		.size_bytes = size_bytes,
		.invalid = invalid,
	};
	store_feed.position = store_feed.records[store_feed.count++].end;
}

struct mon_call_event *feed_call(uint32_t function, uint32_t tid, uint16_t flags)
{
	struct mon_call_event *call = &store_feed.calls[store_feed.count];

	*call = (struct mon_call_event){
		.kind = MON_EVENT_CALL,
		.version = MON_EVENT_VERSION,
		.flags = flags,
		.function = function,
		.start_ns = STARTED_NS + store_feed.position,
		.duration_ns = flags & MON_CALL_UNFINISHED ? 0 : 1000,
		.child_ns = flags & MON_CALL_UNFINISHED ? 0 : 400,
		.ret = (uint64_t)-7,
		.born_ns = 5,
		.pid = 100,
		.tid = tid,
		.caller = MON_FUNCTION_NONE,
		.weight = 1,
	};
	feed_record(call, MON_CALL_EVENT_BARE_BYTES, 0);
	return call;
}

void feed_calls(size_t count)
{
	for (size_t i = 0; i < count; i++)
		(void)feed_call(i % 3, 100 + i % 5, 0);
}

struct mon_batch feed_batch(void)
{
	struct mon_batch batch = {.records = store_feed.records, .count = store_feed.count};

	store_feed.count = 0;
	return batch;
}

struct mon_store_options store_options(void)
{
	return (struct mon_store_options){
		.path = store_path, .owner_uid = getuid(), .owner_gid = getgid(), .busy_ms = 50};
}

static struct mon_function_set store_functions(void)
{
	static struct mon_module modules[] = {
		{.path = (char *)"/usr/bin/target", .build_id = "ab"}};
	static struct mon_function list[] = {
		{.offset = 16,
		 .probe_offset = 16,
		 .symbol = (char *)"first",
		 .name = (char *)"first"},
		{.offset = 32, .probe_offset = 32, .symbol = (char *)"_Zx", .name = (char *)"x()"},
		{.offset = 48,
		 .probe_offset = 48,
		 .symbol = (char *)"last",
		 .name = (char *)"last"},
	};

	return (struct mon_function_set){
		.modules = modules,
		.module_count = 1,
		.functions = list,
		.function_count = MON_ARRAY_COUNT(list),
	};
}

struct mon_store *store_open(const struct mon_store_options *chosen)
{
	struct mon_store *store = NULL;
	struct mon_error error = {0};

	if (mon_store_new(chosen, &store, &error))
		fail_msg("%s", error.text);
	return store;
}

int store_try_begin(struct mon_store *store, struct mon_error *error)
{
	const struct mon_function_set set = store_functions();
	const struct mon_run_info run = {.uuid = "u",
					 .started_ns = STARTED_NS,
					 .started_wall_ns = 77,
					 .mode = MON_MODE_PERF};

	return mon_store_begin(store, &run, &set, error);
}

void store_begin(struct mon_store *store)
{
	struct mon_error error = {0};

	if (store_try_begin(store, &error))
		fail_msg("%s", error.text);
}

struct mon_store *store_begun(void)
{
	const struct mon_store_options chosen = store_options();
	struct mon_store *store = store_open(&chosen);

	store_begin(store);
	return store;
}

void store_end(struct mon_store *store)
{
	const struct mon_run_end end = {.ended_ns = STARTED_NS + 50,
					.reason = "test",
					.target_status = -1,
					.complete = true};

	assert_int_equal(mon_store_end(store, &end), 0);
	mon_store_free(store);
}

void store_push(struct mon_store *store, const struct mon_batch *batch, int expected)
{
	int result = mon_store_push(store, batch);

	if (result != expected)
		fail_msg("push: %d (%s), expected %d", result, mon_store_error_text(store),
			 expected);
}

void store_execute(const char *sql)
{
	sqlite3 *db = NULL;
	char *message = NULL;

	assert_int_equal(sqlite3_open(store_path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &message))
		fail_msg("%s: %s", sql, message);
	(void)sqlite3_close(db);
}

bool store_exists(const char *suffix)
{
	char name[4096];

	(void)snprintf(name, sizeof(name), "%s%s", store_path, suffix);
	return access(name, F_OK) == 0;
}

struct mon_batch feed_calls_batch(size_t count)
{
	feed_calls(count);
	return feed_batch();
}

void store_push_calls(struct mon_store *store, size_t count)
{
	const struct mon_batch batch = feed_calls_batch(count);

	store_push(store, &batch, 0);
}

struct mon_store *store_begun_with(enum mon_durability durability, uint64_t size_max_bytes)
{
	struct mon_store_options chosen = store_options();
	struct mon_store *store;

	chosen.durability = durability;
	chosen.size_max_bytes = size_max_bytes;
	store = store_open(&chosen);
	store_begin(store);
	return store;
}

char *store_beside(const char *suffix)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "monbpf.db%s", suffix);
	return scratch_path(store_directory, name);
}

int64_t store_ask(const char *suffix, const char *sql)
{
	MON_FREE char *path = store_beside(suffix);

	return db_int(path, sql);
}

void assert_store_sound(const char *suffix, int64_t rows)
{
	MON_FREE char *path = store_beside(suffix), *check = db_text(path, "PRAGMA quick_check");

	assert_string_equal(check, "ok");
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), rows);
	assert_int_equal(db_int(path, "SELECT count(*) - count(DISTINCT start_ns) FROM call"), 0);
}

struct mon_store_stats store_stats_of(const struct mon_store *store)
{
	struct mon_store_stats stats;

	mon_store_stats(store, &stats);
	return stats;
}

int store_setup(void **state)
{
	(void)state;
	store_directory = scratch_new();
	store_path = scratch_path(store_directory, "monbpf.db");
	memset(&store_feed, 0, sizeof(store_feed));
	return 0;
}

int store_teardown(void **state)
{
	(void)state;
	scratch_remove(store_directory);
	free(store_path);
	return 0;
}
