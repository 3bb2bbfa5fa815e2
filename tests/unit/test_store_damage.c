// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows S of the fault matrix on the store alone, where somebody moves, removes, cuts or overwrites
 * its files. What comes after is whole by itself, what can be kept of the old is kept beside it,
 * and the books balance.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "control/ledger.h"
#include "pipeline/store.h"
#include "tests/harness/database.h"
#include "tests/harness/store.h"
#include "tests/harness/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the run has of each function, as the ledger would tell it. */
static void push_totals(struct mon_store *store, struct mon_ledger *ledger, uint64_t calls_each)
{
	static uint32_t histogram[MON_HISTOGRAM_SLOTS];
	struct mon_batch batch = {0};
	struct mon_tick tick;

	for (uint32_t i = 0; i < 3; i++) {
		const struct mon_counters counters = {.calls = calls_each + 2, .ring_full = 2};

		mon_ledger_update(ledger, i, &counters, histogram, 1);
	}
	assert_int_equal(mon_ledger_take(ledger, STARTED_NS + 10, false, &tick), 0);
	batch.tick = &tick;
	store_push(store, &batch, 0);
	mon_ledger_commit(ledger);
}

/* What is lost of the first file does not matter here: what comes after is whole by itself. */
static void S10_a_removed_file_is_followed_by_a_new_part(void **state)
{
	static const char *const removed[][3] = {{""}, {"", "-wal", "-shm"}, {"", "-wal", "-lock"}};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(removed); i++) {
		struct mon_store_options chosen = store_options();
		struct mon_ledger *ledger = NULL;
		struct mon_store *store = store_begun(), *second = NULL;
		struct mon_error error;
		struct mon_batch batch;

		assert_int_equal(mon_ledger_new(3, STARTED_NS, NULL, &ledger), 0);
		store_push_calls(store, 300);
		push_totals(store, ledger, 100);
		for (size_t k = 0; k < 3 && removed[i][k]; k++) {
			MON_FREE char *path = store_beside(removed[i][k]);

			assert_int_equal(unlink(path), 0);
		}
		batch = feed_calls_batch(30);
		store_push(store, &batch, -ESTALE);
		assert_int_equal(mon_store_classify(-ESTALE, NULL), MON_OUTCOME_TRIP);
		assert_false(store_exists(""));
		store_push(store, &batch, 0);
		assert_int_equal(store_stats_of(store).part, 2);
		assert_int_equal(store_stats_of(store).damaged_number, 0);
		assert_int_equal(store_stats_of(store).rows, 330);
		assert_int_equal(mon_store_credited(store, 0, MON_REASON_STORED), 110);
		assert_int_equal(mon_store_new(&chosen, &second, &error), -EBUSY);
		mon_ledger_tell_all(ledger);
		push_totals(store, ledger, 110);
		store_end(store);
		mon_ledger_free(ledger);
		assert_store_sound("", 30);
		assert_int_equal(store_ask("", "SELECT part FROM run"), 2);
		assert_int_equal(store_ask("", "SELECT count(*) FROM run"), 1);
		assert_int_equal(store_ask("", "SELECT complete FROM run"), 1);
		assert_int_equal(store_ask("", "SELECT count(*) FROM function"), 3);
		assert_int_equal(store_ask("", "SELECT position FROM mark"), store_feed.position);
		assert_int_equal(store_ask("", "SELECT sum(count) FROM ledger WHERE reason_id=1"),
				 330);
		assert_int_equal(store_ask("", "SELECT sum(calls) FROM function_total"), 336);
		assert_int_equal(store_ask("", "SELECT count(*) FROM unbalanced"), 0);
		assert_false(store_exists("-wal"));
		assert_false(store_exists("-lock"));
		store_feed.position = 0;
		assert_int_equal(unlink(store_path), 0);
	}
}

static void S10_a_renamed_file_keeps_all_its_rows(void **state)
{
	struct mon_store *store = store_begun();
	MON_FREE char *other = store_beside(".old");
	struct mon_batch batch;

	(void)state;
	store_push_calls(store, 300);
	assert_int_equal(rename(store_path, other), 0);
	batch = feed_calls_batch(30);
	store_push(store, &batch, -ESTALE);
	assert_store_sound(".old", 300); /* its WAL stayed behind, and there is nothing in it */
	store_push(store, &batch, 0);
	store_push_calls(store, 20);
	store_end(store);
	assert_store_sound("", 50);
	assert_store_sound(".old", 300);
}

static char *moved_path;

static void move_away(void)
{
	assert_int_equal(rename(store_path, moved_path), 0);
}

/*
 * Too late to be seen before: the commit goes into the file that was moved, and is not
 * acknowledged. So the batch may be in both files, but never in none.
 */
static void S10_renamed_at_each_write_of_a_push(void **state)
{
	bool clean = false;
	long nth = 0;

	(void)state;
	vfs_install();
	moved_path = store_beside(".old");
	while (!clean) {
		struct mon_store *store = store_begun();
		struct mon_batch batch;
		int64_t in_old;

		store_push_calls(store, 300);
		batch = feed_calls_batch(30);
		vfs_write = (struct vfs_fault){.nth = ++nth, .hook = move_away};
		clean = mon_store_push(store, &batch) == 0;
		assert_int_equal(clean, !vfs_write.failed);
		vfs_write = (struct vfs_fault){0};
		if (!clean) {
			store_push(store, &batch, 0);
			assert_int_equal(store_stats_of(store).rows, 330);
			in_old = store_ask(".old", "SELECT count(*) FROM call");
			assert_true(in_old == 300 || in_old == 330);
			assert_store_sound(".old", in_old);
			assert_int_equal(unlink(moved_path), 0);
		}
		store_end(store);
		assert_store_sound("", clean ? 330 : 30);
		assert_int_equal(unlink(store_path), 0);
		store_feed.position = 0;
	}
	assert_true(nth > 3);
	free(moved_path);
}

/* A reader keeps the WAL from being emptied: it is kept too, under the name of what was moved. */
static void S10_a_wal_that_stays_behind_is_not_deleted(void **state)
{
	struct mon_store *store = store_begun();
	MON_FREE char *other = store_beside(".old");
	struct mon_batch batch;
	sqlite3_stmt *row = NULL;
	sqlite3 *reader = NULL;

	(void)state;
	store_push_calls(store, 300);
	assert_int_equal(sqlite3_open_v2(store_path, &reader, SQLITE_OPEN_READONLY, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(reader, "SELECT * FROM call", -1, &row, NULL), 0);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	assert_int_equal(rename(store_path, other), 0);
	batch = feed_calls_batch(30);
	store_push(store, &batch, -ESTALE);
	store_push(store, &batch, 0);
	assert_true(store_exists(".moved-1-wal"));
	assert_false(store_exists(".moved-1"));
	(void)sqlite3_finalize(row);
	(void)sqlite3_close(reader);
	store_end(store);
	assert_store_sound("", 30);
	assert_store_sound(".old", 300);
}

/* As an unmounted file system: nothing is made where it should be, and all is well afterwards. */
static void S10_the_directory_is_away_for_a_while(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch;
	char away[4096];

	(void)state;
	store_push_calls(store, 300);
	(void)snprintf(away, sizeof(away), "%s-away", store_directory);
	assert_int_equal(rename(store_directory, away), 0);
	batch = feed_calls_batch(30);
	store_push(store, &batch, -ESTALE);
	store_push(store, &batch, -ESTALE);
	assert_int_equal(rename(away, store_directory), 0);
	store_push(store, &batch, 0);
	assert_int_equal(store_stats_of(store).part, 1);
	store_end(store);
	assert_store_sound("", 330);
}

/* Freed without an end, as after an error: a close must not touch what was cut. */
static void S11_shm_truncated_before_a_free(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	store_push_calls(store, 300);
	MON_FREE char *shm = store_beside("-shm");
	assert_int_equal(truncate(shm, 0), 0);
	mon_store_free(store);
	assert_store_sound("", 300);
}

static void S10_what_lies_at_the_path_now_is_left_alone(void **state)
{
	struct mon_store *store = store_begun();
	MON_FREE char *other = store_beside(".old"), *theirs = NULL;
	struct mon_batch batch;

	(void)state;
	store_push_calls(store, 300);
	assert_int_equal(rename(store_path, other), 0);
	store_execute("CREATE TABLE theirs(a)");
	batch = feed_calls_batch(30);
	for (unsigned i = 0; i < 3; i++)
		store_push(store, &batch, -ESTALE);
	theirs = db_text(store_path, "SELECT name FROM sqlite_schema");
	assert_string_equal(theirs, "theirs");
	assert_int_equal(unlink(store_path), 0);
	assert_int_equal(symlink(other, store_path), 0);
	store_push(store, &batch, -ESTALE);
	assert_int_equal(unlink(store_path), 0);
	store_push(store, &batch, 0);
	store_end(store);
	assert_store_sound("", 30);
	assert_store_sound(".old", 300);
}

/* A new file that cannot be made this time is made the next. */
static void S10_a_new_part_that_fails_is_tried_again(void **state)
{
	struct mon_store *store;
	struct mon_batch batch;
	uint64_t first_ends;
	long nth = 0;
	int result;

	(void)state;
	vfs_install();
	store = store_begun();
	store_push_calls(store, 300);
	assert_int_equal(unlink(store_path), 0);
	first_ends = mon_store_mark(store, 0);
	batch = feed_calls_batch(30);
	for (size_t i = 0; i < batch.count; i++)
		store_feed.records[i].ring = 1; /* the mark of the other is only carried over */
	store_push(store, &batch, -ESTALE);
	do {
		vfs_write = (struct vfs_fault){.nth = ++nth, .code = SQLITE_IOERR_WRITE};
		result = mon_store_push(store, &batch);
		if (result)
			assert_int_equal(result, -EIO);
	} while (vfs_write.failed);
	assert_int_equal(result, 0);
	assert_true(nth > 10);
	assert_int_equal(store_stats_of(store).part, 2);
	store_end(store);
	assert_store_sound("", 30);
	assert_int_equal(store_ask("", "SELECT part FROM run"), 2);
	assert_int_equal(store_ask("", "SELECT sum(count) FROM ledger"), 330);
	assert_int_equal(store_ask("", "SELECT position FROM mark WHERE ring=0"), first_ends);
}

static void cut(const char *suffix)
{
	MON_FREE char *path = store_beside(suffix);

	assert_int_equal(truncate(path, 0), 0);
}

static void removes(const char *suffix)
{
	MON_FREE char *path = store_beside(suffix);

	assert_int_equal(unlink(path), 0);
}

/* Nothing is lost: what is in a WAL that was unlinked goes into the database first. */
static void S11_wal_or_shm_removed(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	store_push_calls(store, 300);
	removes("-wal");
	store_push_calls(store, 30);
	assert_int_equal(store_stats_of(store).reopened, 1);
	removes("-shm");
	store_push_calls(store, 30);
	assert_int_equal(store_stats_of(store).reopened, 2);
	removes("-wal");
	removes("-shm");
	store_push_calls(store, 30);
	assert_int_equal(store_stats_of(store).reopened, 3);
	store_end(store);
	assert_store_sound("", 390);
	assert_int_equal(store_ask("", "SELECT sum(count) FROM ledger"), 390);
	assert_int_equal(store_ask("", "SELECT part FROM run"), 1);
}

/* Never SIGBUS: the index is made again from the WAL. */
static void S11_shm_truncated(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		store_push_calls(store, 300);
		cut("-shm");
	}
	store_push_calls(store, 300);
	assert_int_equal(store_stats_of(store).reopened, 3);
	cut("-shm");
	store_end(store);
	assert_store_sound("", 1200);
}

/* What was cut off is gone: the file is the truth, so the books say how much. */
static void S11_wal_truncated(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	store_push_calls(store, 300);
	removes("-wal"); /* so that these are in the database */
	store_push_calls(store, 30);
	cut("-wal");
	store_push_calls(store, 60);
	assert_int_equal(store_stats_of(store).reopened, 2);
	assert_int_equal(store_stats_of(store).rows, 360);
	assert_int_equal(mon_store_credited(store, 0, MON_REASON_STORED), 120);
	store_end(store);
	assert_store_sound("", 360);
	assert_int_equal(store_ask("", "SELECT sum(count) FROM ledger"), 360);
	assert_int_equal(store_ask("", "SELECT part FROM run"), 1);
}

/* With the run's own first rows: that file is nobody's any more. */
static void S11_wal_truncated_to_before_the_run(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch;

	(void)state;
	store_push_calls(store, 300);
	cut("-wal");
	batch = feed_calls_batch(30);
	store_push(store, &batch, -EUCLEAN);
	store_push(store, &batch, 0);
	assert_int_equal(store_stats_of(store).part, 2);
	store_end(store);
	assert_store_sound("", 30);
	assert_int_equal(store_ask("", "SELECT sum(count) FROM ledger"), 330);
	assert_store_sound(".damaged-1", 0);
}

static void overwrite(const char *path, off_t from, size_t size)
{
	MON_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	MON_FREE char *bytes = malloc(size);

	assert_true(fd >= 0 && bytes);
	memset(bytes, 0xa5, size);
	assert_int_equal(pwrite(fd, bytes, size, from), size);
}

/*
 * Most is in the database itself, and some in a WAL of 128 KiB at most. What lies in the cache or
 * the WAL hides damage, and heals it when it is written; what opens the file again finds it.
 */
static void is_set_aside(const char *reopens, off_t from, bool to_end)
{
	struct mon_store *store = store_begun_with(MON_DURABILITY_NORMAL, 1 << 20);
	MON_FREE char *aside = store_beside(".damaged-1");
	struct mon_batch batch;
	struct stat before, after;

	for (unsigned i = 0; i < 30; i++)
		store_push_calls(store, 300);
	assert_int_equal(stat(store_path, &before), 0);
	overwrite(store_path, from, to_end ? before.st_size - from : 100);
	cut(reopens);
	batch = feed_calls_batch(300);
	store_push(store, &batch, -EUCLEAN);
	assert_int_equal(mon_store_classify(-EUCLEAN, NULL), MON_OUTCOME_TRIP);
	assert_false(store_exists(".damaged-1"));
	store_push(store, &batch, 0);
	assert_int_equal(store_stats_of(store).part, 2);
	assert_int_equal(store_stats_of(store).damaged_number, 1);
	assert_int_equal(store_stats_of(store).rows, 9300);
	assert_int_equal(stat(aside, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_true(store_exists(".damaged-1-wal"));
	store_push_calls(store, 300);
	store_end(store);
	assert_store_sound("", 600);
	assert_int_equal(store_ask("", "SELECT sum(count) FROM ledger"), 9600);
	assert_int_equal(store_ask("", "SELECT count(*) FROM meta WHERE key='earlier_part' AND "
				       "value='.damaged-1'"),
			 1);
}

static void S12_pages_overwritten(void **state)
{
	(void)state;
	is_set_aside("-shm", 8192, true);
}

static void S12_header_overwritten(void **state)
{
	(void)state;
	is_set_aside("-wal", 0, false);
}

static void S12_all_overwritten(void **state)
{
	(void)state;
	is_set_aside("-wal", 0, true);
}

static void S12_truncated_to_nothing(void **state)
{
	struct mon_store *store = store_begun_with(MON_DURABILITY_NORMAL, 1 << 20);
	struct mon_batch batch;

	(void)state;
	for (unsigned i = 0; i < 30; i++)
		store_push_calls(store, 300);
	cut("");
	cut("-shm");
	batch = feed_calls_batch(300);
	store_push(store, &batch, -EUCLEAN);
	store_push(store, &batch, 0);
	assert_int_equal(store_stats_of(store).damaged_number, 1);
	store_end(store);
	assert_store_sound("", 300);
}

/* A name that is taken, if only by a WAL, is not used again. */
static void S12_beside_an_earlier_one(void **state)
{
	MON_FREE char *earlier = store_beside(".damaged-1-wal");
	MON_CLOSE int fd = open(earlier, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct mon_store *store = store_begun();
	struct mon_batch batch = feed_calls_batch(300);

	(void)state;
	cut("-wal");
	store_push(store, &batch, -EUCLEAN);
	store_push(store, &batch, 0);
	assert_int_equal(store_stats_of(store).damaged_number, 2);
	assert_true(store_exists(".damaged-2"));
	assert_false(store_exists(".damaged-1"));
	store_end(store);
	assert_store_sound("", 300);
}

/* A part by itself: intervals of the first one are in another file. */
static void a_second_part_is_resumed_too(void **state)
{
	const struct mon_store_options chosen = store_options();
	struct mon_run_resumed resumed = {0};
	struct mon_ledger *ledger = NULL;
	struct mon_store *store = store_begun();
	struct mon_error error;
	struct mon_batch batch;

	(void)state;
	assert_int_equal(mon_ledger_new(3, STARTED_NS, NULL, &ledger), 0);
	store_push_calls(store, 300);
	push_totals(store, ledger, 100);
	assert_int_equal(unlink(store_path), 0);
	batch = feed_calls_batch(30);
	store_push(store, &batch, -ESTALE);
	store_push(store, &batch, 0);
	mon_ledger_tell_all(ledger);
	push_totals(store, ledger, 110);
	mon_store_free(store);
	mon_ledger_free(ledger);
	store = store_open(&chosen);
	assert_int_equal(mon_store_resume(store, "u", &resumed, &error), 0);
	assert_int_equal(resumed.run.part, 2);
	assert_int_equal(resumed.sums[0].calls, 112);
	assert_int_equal(resumed.sums[0].by_reason[MON_REASON_RING_FULL], 2);
	assert_true(resumed.last_interval_end_ns > STARTED_NS);
	assert_int_equal(mon_store_credited(store, 0, MON_REASON_STORED), 110);
	store_end(store);
	mon_run_resumed_clear(&resumed);
}

static int teardown(void **state)
{
	vfs_remove();
	return store_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, teardown)
		TEST(S10_a_removed_file_is_followed_by_a_new_part),
		TEST(S10_a_renamed_file_keeps_all_its_rows),
		TEST(S10_renamed_at_each_write_of_a_push),
		TEST(S10_a_wal_that_stays_behind_is_not_deleted),
		TEST(S10_the_directory_is_away_for_a_while),
		TEST(S11_shm_truncated_before_a_free),
		TEST(S10_what_lies_at_the_path_now_is_left_alone),
		TEST(S10_a_new_part_that_fails_is_tried_again),
		TEST(S11_wal_or_shm_removed),
		TEST(S11_shm_truncated),
		TEST(S11_wal_truncated),
		TEST(S11_wal_truncated_to_before_the_run),
		TEST(S12_pages_overwritten),
		TEST(S12_header_overwritten),
		TEST(S12_all_overwritten),
		TEST(S12_truncated_to_nothing),
		TEST(S12_beside_an_earlier_one),
		TEST(a_second_part_is_resumed_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
