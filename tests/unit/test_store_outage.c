// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows S of the fault matrix on the store alone, where the file is sound and what is around it
 * fails: its disk does not keep what it was given, has no room, is away for a while, a reader holds
 * it, we are killed. Nothing that was acknowledged is gone, nothing is there twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "pipeline/store.h"
#include "tests/harness/database.h"
#include "tests/harness/store.h"
#include "tests/harness/vfs.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * The frames of a commit are in the WAL when their fsync fails, so the batch may be in the file
 * after all: only the mark knows, read back by a new connection.
 */
static void fail_each_sync(int fault_code)
{
	struct mon_store *store;
	uint64_t pushed = 0, failures = 0;
	bool clean = false, was_there = false;

	vfs_install();
	store = store_begun_with(MON_DURABILITY_FULL, 0);
	for (long nth = 1; !clean; nth++) {
		const struct mon_batch batch = feed_calls_batch(500);
		int result;

		pushed += batch.count;
		vfs_sync = (struct vfs_fault){.nth = nth, .code = fault_code};
		result = mon_store_push(store, &batch);
		clean = !vfs_sync.failed;
		vfs_sync.nth = 0;
		if (!result)
			continue;
		assert_int_equal(result, -EIO);
		assert_int_equal(mon_store_classify(result, NULL), MON_OUTCOME_FAILURE);
		failures++;
		was_there =
			was_there || (uint64_t)store_ask("", "SELECT count(*) FROM call") == pushed;
		store_push(store, &batch, 0);
	}
	assert_true(failures >= 1);
	assert_true(was_there);
	store_end(store);
	assert_store_sound("", (int64_t)pushed);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), pushed);
}

static void S04_fsync_error_once(void **state)
{
	(void)state;
	fail_each_sync(SQLITE_IOERR_FSYNC);
}

static void S04_directory_fsync_error_once(void **state)
{
	(void)state;
	fail_each_sync(SQLITE_IOERR_DIR_FSYNC);
}

static void S04_fsync_error_persistent(void **state)
{
	struct mon_batch batch;
	struct mon_store *store;

	(void)state;
	vfs_install();
	store = store_begun_with(MON_DURABILITY_FULL, 0);
	for (unsigned outage = 0; outage < 3; outage++) {
		batch = feed_calls_batch(500);
		vfs_sync = (struct vfs_fault){1, SQLITE_IOERR_FSYNC, true, 0, NULL};
		/*
		 * The first is in the file, and the mark says so; but it is on no disk until an
		 * fsync went through.
		 */
		store_push(store, &batch, -EIO);
		store_push(store, &batch, -EIO);
		assert_true(vfs_sync.failed >= 2);
		vfs_sync = (struct vfs_fault){0};
		store_push(store, &batch, 0);
	}
	store_end(store);
	assert_store_sound("", 1500);
}

static void limit_files(rlim_t bytes)
{
	const struct rlimit limit = {bytes, RLIM_INFINITY};

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* SQLite says "I/O error" and no errno: what it is, a test write tells. */
static void S05_a_file_size_limit_is_lack_of_space(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch;
	struct stat wal;
	MON_FREE char *wal_path = store_beside("-wal");

	(void)state;
	store_push_calls(store, 1000);
	assert_int_equal(stat(wal_path, &wal), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	batch = feed_calls_batch(RECORDS_MAX);
	limit_files(wal.st_size + 20000);
	store_push(store, &batch, -ENOSPC);
	assert_int_equal(store_stats_of(store).last_code, SQLITE_FULL);
	store_push(store, &batch, -ENOSPC);
	limit_files(RLIM_INFINITY);
	(void)signal(SIGXFSZ, SIG_DFL);
	store_push(store, &batch, 0);
	store_end(store);
	assert_store_sound("", 1000 + RECORDS_MAX);
}

/* Pushes until it is killed, and says after each acknowledgement how far it is. */
static void push_for_ever(int pipe_fd)
{
	const struct mon_store_options chosen = store_options();
	struct mon_run_resumed resumed;
	struct mon_store *store = NULL;
	struct mon_error error;
	uint64_t mark;

	if (mon_store_new(&chosen, &store, &error) ||
	    mon_store_resume(store, "u", &resumed, &error))
		_exit(3);
	mark = mon_store_mark(store, 0);
	store_feed.position = mark; /* as the ring: what is in the file is not given again */
	for (;;) {
		struct mon_batch batch = feed_calls_batch(97);

		if (mon_store_push(store, &batch))
			_exit(4);
		mark = store_feed.position;
		if (write(pipe_fd, &mark, sizeof(mark)) != sizeof(mark))
			_exit(5);
	}
}

static void S07_sigkill_in_a_commit_loop(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	uint64_t acknowledged = 0, bytes_of_a_record;
	struct mon_batch batch;
	struct mon_store *store = store_begun();

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	batch = feed_calls_batch(1);
	bytes_of_a_record = store_feed.position;
	store_push(store, &batch, 0);
	mon_store_free(store);
	for (unsigned kill_number = 0; kill_number < 50; kill_number++) {
		int pipe_fds[2], status;
		unsigned commits = rand() % 8;
		uint64_t mark;
		pid_t child;

		assert_int_equal(pipe(pipe_fds), 0);
		child = fork();
		assert_true(child >= 0);
		if (!child)
			push_for_ever(pipe_fds[1]);
		(void)close(pipe_fds[1]);
		for (unsigned i = 0; i < commits; i++) {
			assert_int_equal(read(pipe_fds[0], &mark, sizeof(mark)), sizeof(mark));
			acknowledged = mark;
		}
		for (volatile unsigned spin = rand() % 2000000; spin > 0; spin--)
			;
		assert_int_equal(kill(child, SIGKILL), 0);
		while (read(pipe_fds[0], &mark, sizeof(mark)) == sizeof(mark))
			acknowledged = mark;
		(void)close(pipe_fds[0]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		mark = db_int(store_path, "SELECT position FROM mark");
		assert_true(mark >= acknowledged);
		assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"),
				 mark / bytes_of_a_record);
		assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"),
				 mark / bytes_of_a_record);
	}
	assert_true(acknowledged > 0);
	assert_store_sound("", db_int(store_path, "SELECT position FROM mark") / bytes_of_a_record);
}

static void S09_a_reader_never_finishes(void **state)
{
	struct mon_store *store = store_begun_with(MON_DURABILITY_NORMAL, 64 << 20);
	sqlite3_stmt *row = NULL;
	sqlite3 *reader = NULL;
	uint64_t pushed = 1000;
	unsigned rounds = 0;

	(void)state;
	store_push_calls(store, 1000);
	assert_int_equal(sqlite3_open_v2(store_path, &reader, SQLITE_OPEN_READONLY, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(reader, "SELECT * FROM call", -1, &row, NULL), 0);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	while (!store_stats_of(store).wal_alarm) {
		store_push_calls(store, RECORDS_MAX);
		pushed += RECORDS_MAX;
		assert_true(++rounds < 1000);
	}
	assert_true(store_stats_of(store).wal_bytes > 4 * (8ull << 20));
	assert_true(store_stats_of(store).checkpoints > 0); /* tried, and in nobody's way */
	(void)sqlite3_finalize(row);
	/* The reader has gone: the WAL starts again, and the file is cut. */
	for (rounds = 0;
	     store_stats_of(store).wal_alarm || store_stats_of(store).wal_bytes > (20 << 20);
	     rounds++) {
		store_push_calls(store, RECORDS_MAX);
		pushed += RECORDS_MAX;
		assert_true(rounds < 500);
	}
	(void)sqlite3_close(reader);
	store_end(store);
	assert_store_sound("", (int64_t)pushed);
}

/* An outage of the disk looks like damage too: the file is asked before it is believed. */
static void S13_damage_that_is_none(void **state)
{
	static const int codes[] = {SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_CORRUPT_INDEX};
	uint64_t pushed = 300;
	struct mon_store *store;

	(void)state;
	vfs_install();
	store = store_begun();
	store_push_calls(store, 300);
	for (size_t i = 0; i < MON_ARRAY_COUNT(codes); i++) {
		const struct mon_batch batch = feed_calls_batch(30);

		vfs_write = (struct vfs_fault){.nth = 1, .code = codes[i]};
		store_push(store, &batch, -EUCLEAN);
		/* Still away when the file is to be asked: nothing is decided. */
		vfs_read = (struct vfs_fault){1, SQLITE_IOERR_READ, true, 0, NULL};
		store_push(store, &batch, -EIO);
		vfs_read = (struct vfs_fault){0};
		store_push(store, &batch, 0);
		pushed += batch.count;
	}
	assert_int_equal(store_stats_of(store).part, 1);
	assert_false(store_exists(".damaged-1"));
	store_end(store);
	assert_store_sound("", (int64_t)pushed);
}

static void read_only_trips_and_makes_no_new_file(void **state)
{
	static const int codes[] = {SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH};
	static const int expected[] = {-EROFS, -EPERM, -EPERM};
	struct mon_store *store;

	(void)state;
	vfs_install();
	store = store_begun();
	for (size_t i = 0; i < MON_ARRAY_COUNT(codes); i++) {
		const struct mon_batch batch = feed_calls_batch(30);

		vfs_write = (struct vfs_fault){1, codes[i], true, 0, NULL};
		store_push(store, &batch, expected[i]);
		store_push(store, &batch, expected[i]);
		assert_int_equal(mon_store_classify(expected[i], NULL), MON_OUTCOME_TRIP);
		vfs_write = (struct vfs_fault){0};
		store_push(store, &batch, 0);
	}
	assert_int_equal(mon_store_classify(-EINTR, NULL), MON_OUTCOME_EXCLUDED);
	assert_int_equal(store_stats_of(store).part, 1);
	store_end(store);
	assert_store_sound("", 90);
}

static void our_own_bug_aborts_a_debug_build(void **state)
{
	struct mon_store *store = store_begun();
	const struct mon_record record = {.ring = MON_RINGS_MAX};
	const struct mon_batch batch = {.records = &record, .count = 1};
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (!child) {
		(void)signal(SIGABRT, SIG_DFL);
		_exit(mon_store_push(store, &batch) == -ENOTRECOVERABLE ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
#ifdef MON_DEBUG
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#else
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
	assert_int_equal(mon_store_classify(-ENOTRECOVERABLE, NULL), MON_OUTCOME_TRIP);
	store_end(store);
}

static void caches_are_given_back(void **state)
{
	struct mon_store *store = store_begun();
	sqlite3_int64 before;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		store_push_calls(store, RECORDS_MAX);
	before = sqlite3_memory_used();
	mon_store_trim(store);
	assert_true(sqlite3_memory_used() < before - (512 << 10));
	store_push_calls(store, 300);
	store_end(store);
	assert_store_sound("", 10 * RECORDS_MAX + 300);
}

static int teardown(void **state)
{
	vfs_remove();
	limit_files(RLIM_INFINITY);
	return store_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, teardown)
		TEST(S04_fsync_error_once),
		TEST(S04_directory_fsync_error_once),
		TEST(S04_fsync_error_persistent),
		TEST(S05_a_file_size_limit_is_lack_of_space),
		TEST(S07_sigkill_in_a_commit_loop),
		TEST(S09_a_reader_never_finishes),
		TEST(S13_damage_that_is_none),
		TEST(read_only_trips_and_makes_no_new_file),
		TEST(our_own_bug_aborts_a_debug_build),
		TEST(caches_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
