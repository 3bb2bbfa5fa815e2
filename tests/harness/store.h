/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A store on a file of a scratch directory, with three functions to watch, and records to push into
 * it. Whatever goes wrong fails the test.
 */
#ifndef HARNESS_STORE_H
#define HARNESS_STORE_H

#include "pipeline/store.h"

#define RECORDS_MAX 4096
#define STARTED_NS 1000000000ull

extern char *store_directory, *store_path;

/* What was fed and not taken yet; the first record lies at index 0. */
struct store_feed {
	struct mon_call_event calls[RECORDS_MAX];
	struct mon_record records[RECORDS_MAX];
	size_t count;
	uint64_t position;
};
extern struct store_feed store_feed;

/* For cmocka: a directory of its own, nothing fed. */
int store_setup(void **state);
int store_teardown(void **state);

void feed_record(const void *data, uint32_t size_bytes, int invalid);
struct mon_call_event *feed_call(uint32_t function, uint32_t tid, uint16_t flags);
void feed_calls(size_t count); /* of all three functions, by five threads */
struct mon_batch feed_batch(void);

struct mon_store_options store_options(void);
struct mon_store *store_open(const struct mon_store_options *options);
void store_begin(struct mon_store *store);
int store_try_begin(struct mon_store *store, struct mon_error *error);
struct mon_store *store_begun(void); /* opened with store_options(), and begun */
void store_end(struct mon_store *store);
struct mon_store *store_begun_with(enum mon_durability durability, uint64_t size_max_bytes);
void store_push(struct mon_store *store, const struct mon_batch *batch, int expected);
struct mon_batch feed_calls_batch(size_t count);
void store_push_calls(struct mon_store *store, size_t count);
struct mon_store_stats store_stats_of(const struct mon_store *store);

/* By another connection. */
void store_execute(const char *sql);
/* The database's path with @suffix; the caller frees it. */
char *store_beside(const char *suffix);
int64_t store_ask(const char *suffix, const char *sql);
/* quick_check ok, so many calls, none of them twice. */
void assert_store_sound(const char *suffix, int64_t rows);
/* Is there a file of this name with @suffix ("-wal")? */
bool store_exists(const char *suffix);

#endif
