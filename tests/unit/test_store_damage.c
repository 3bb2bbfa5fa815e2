// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows S of the fault matrix on the store alone, where the file itself is what fails: its disk does
 * not keep what it was given, or somebody moves, cuts, overwrites or holds it. Each time: nothing
 * that was acknowledged is gone, nothing is there twice, the books balance.
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
#include "tests/harness/scratch.h"
#include "tests/harness/store.h"
#include "tests/harness/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

static struct mon_batch calls(size_t count)
{
	feed_calls(count);
	return feed_batch();
}

static void push_calls(struct mon_store *store, size_t count)
{
	const struct mon_batch batch = calls(count);

	store_push(store, &batch, 0);
}

static struct mon_store *begun_with(enum mon_durability durability, uint64_t size_max_bytes)
{
	struct mon_store_options chosen = store_options();
	struct mon_store *store;

	chosen.durability = durability;
	chosen.size_max_bytes = size_max_bytes;
	store = store_open(&chosen);
	store_begin(store);
	return store;
}

static char *beside(const char *suffix)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "monbpf.db%s", suffix);
	return scratch_path(store_directory, name);
}

static int64_t ask(const char *suffix, const char *sql)
{
	MON_FREE char *path = beside(suffix);

	return db_int(path, sql);
}

static void assert_sound(const char *suffix, int64_t rows)
{
	MON_FREE char *path = beside(suffix), *check = db_text(path, "PRAGMA quick_check");

	assert_string_equal(check, "ok");
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), rows);
	assert_int_equal(db_int(path, "SELECT count(*) - count(DISTINCT start_ns) FROM call"), 0);
}

static struct mon_store_stats stats_of(const struct mon_store *store)
{
	struct mon_store_stats stats;

	mon_store_stats(store, &stats);
	return stats;
}

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
	store = begun_with(MON_DURABILITY_FULL, 0);
	for (long nth = 1; !clean; nth++) {
		const struct mon_batch batch = calls(500);
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
		was_there = was_there || (uint64_t)ask("", "SELECT count(*) FROM call") == pushed;
		store_push(store, &batch, 0);
	}
	assert_true(failures >= 1);
	assert_true(was_there);
	store_end(store);
	assert_sound("", (int64_t)pushed);
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
	store = begun_with(MON_DURABILITY_FULL, 0);
	for (unsigned outage = 0; outage < 3; outage++) {
		batch = calls(500);
		vfs_sync = (struct vfs_fault){1, SQLITE_IOERR_FSYNC, true, 0};
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
	assert_sound("", 1500);
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
	MON_FREE char *wal_path = beside("-wal");

	(void)state;
	push_calls(store, 1000);
	assert_int_equal(stat(wal_path, &wal), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	batch = calls(RECORDS_MAX);
	limit_files(wal.st_size + 20000);
	store_push(store, &batch, -ENOSPC);
	assert_int_equal(stats_of(store).last_code, SQLITE_FULL);
	store_push(store, &batch, -ENOSPC);
	limit_files(RLIM_INFINITY);
	(void)signal(SIGXFSZ, SIG_DFL);
	store_push(store, &batch, 0);
	store_end(store);
	assert_sound("", 1000 + RECORDS_MAX);
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
		struct mon_batch batch = calls(97);

		if (mon_store_push(store, &batch))
			_exit(4);
		mark = batch.end;
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
	batch = calls(1);
	bytes_of_a_record = batch.end;
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
	assert_sound("", db_int(store_path, "SELECT position FROM mark") / bytes_of_a_record);
}

static void S09_a_reader_never_finishes(void **state)
{
	struct mon_store *store = begun_with(MON_DURABILITY_NORMAL, 64 << 20);
	sqlite3_stmt *row = NULL;
	sqlite3 *reader = NULL;
	uint64_t pushed = 1000;
	unsigned rounds = 0;

	(void)state;
	push_calls(store, 1000);
	assert_int_equal(sqlite3_open_v2(store_path, &reader, SQLITE_OPEN_READONLY, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(reader, "SELECT * FROM call", -1, &row, NULL), 0);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	while (!stats_of(store).wal_alarm) {
		push_calls(store, RECORDS_MAX);
		pushed += RECORDS_MAX;
		assert_true(++rounds < 1000);
	}
	assert_true(stats_of(store).wal_bytes > 4 * (8ull << 20));
	assert_true(stats_of(store).checkpoints > 0); /* tried, and in nobody's way */
	(void)sqlite3_finalize(row);
	/* The reader has gone: the WAL starts again, and the file is cut. */
	for (rounds = 0; stats_of(store).wal_alarm || stats_of(store).wal_bytes > (20 << 20);
	     rounds++) {
		push_calls(store, RECORDS_MAX);
		pushed += RECORDS_MAX;
		assert_true(rounds < 500);
	}
	(void)sqlite3_close(reader);
	store_end(store);
	assert_sound("", (int64_t)pushed);
}

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
		push_calls(store, 300);
		push_totals(store, ledger, 100);
		for (size_t k = 0; k < 3 && removed[i][k]; k++) {
			MON_FREE char *path = beside(removed[i][k]);

			assert_int_equal(unlink(path), 0);
		}
		batch = calls(30);
		store_push(store, &batch, -ESTALE);
		assert_int_equal(mon_store_classify(-ESTALE, NULL), MON_OUTCOME_TRIP);
		assert_false(store_exists(""));
		store_push(store, &batch, 0);
		assert_int_equal(stats_of(store).part, 2);
		assert_int_equal(stats_of(store).damaged_number, 0);
		assert_int_equal(stats_of(store).rows, 330);
		assert_int_equal(mon_store_credited(store, 0, MON_REASON_STORED), 110);
		assert_int_equal(mon_store_new(&chosen, &second, &error), -EBUSY);
		mon_ledger_tell_all(ledger);
		push_totals(store, ledger, 110);
		store_end(store);
		mon_ledger_free(ledger);
		assert_sound("", 30);
		assert_int_equal(ask("", "SELECT part FROM run"), 2);
		assert_int_equal(ask("", "SELECT count(*) FROM run"), 1);
		assert_int_equal(ask("", "SELECT complete FROM run"), 1);
		assert_int_equal(ask("", "SELECT count(*) FROM function"), 3);
		assert_int_equal(ask("", "SELECT position FROM mark"), store_feed.position);
		assert_int_equal(ask("", "SELECT sum(count) FROM ledger WHERE reason_id=1"), 330);
		assert_int_equal(ask("", "SELECT sum(calls) FROM function_total"), 336);
		assert_int_equal(ask("", "SELECT count(*) FROM unbalanced"), 0);
		assert_false(store_exists("-wal"));
		assert_false(store_exists("-lock"));
		store_feed.position = 0;
		assert_int_equal(unlink(store_path), 0);
	}
}

static void S10_a_renamed_file_keeps_all_its_rows(void **state)
{
	struct mon_store *store = store_begun();
	MON_FREE char *other = beside(".old");
	struct mon_batch batch;

	(void)state;
	push_calls(store, 300);
	assert_int_equal(rename(store_path, other), 0);
	batch = calls(30);
	store_push(store, &batch, -ESTALE);
	assert_sound(".old", 300); /* its WAL stayed behind, and there is nothing in it */
	store_push(store, &batch, 0);
	push_calls(store, 20);
	store_end(store);
	assert_sound("", 50);
	assert_sound(".old", 300);
}

static void S10_what_lies_at_the_path_now_is_left_alone(void **state)
{
	struct mon_store *store = store_begun();
	MON_FREE char *other = beside(".old"), *theirs = NULL;
	struct mon_batch batch;

	(void)state;
	push_calls(store, 300);
	assert_int_equal(rename(store_path, other), 0);
	store_execute("CREATE TABLE theirs(a)");
	batch = calls(30);
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
	assert_sound("", 30);
	assert_sound(".old", 300);
}

/* A new file that cannot be made this time is made the next. */
static void S10_a_new_part_that_fails_is_tried_again(void **state)
{
	struct mon_store *store;
	struct mon_batch batch;
	long nth = 0;
	int result;

	(void)state;
	vfs_install();
	store = store_begun();
	push_calls(store, 300);
	assert_int_equal(unlink(store_path), 0);
	batch = calls(30);
	store_push(store, &batch, -ESTALE);
	do {
		vfs_write = (struct vfs_fault){.nth = ++nth, .code = SQLITE_IOERR_WRITE};
		result = mon_store_push(store, &batch);
		if (result)
			assert_int_equal(result, -EIO);
	} while (vfs_write.failed);
	assert_int_equal(result, 0);
	assert_true(nth > 10);
	assert_int_equal(stats_of(store).part, 2);
	store_end(store);
	assert_sound("", 30);
	assert_int_equal(ask("", "SELECT part FROM run"), 2);
	assert_int_equal(ask("", "SELECT sum(count) FROM ledger"), 330);
}

static void cut(const char *suffix)
{
	MON_FREE char *path = beside(suffix);

	assert_int_equal(truncate(path, 0), 0);
}

static void removes(const char *suffix)
{
	MON_FREE char *path = beside(suffix);

	assert_int_equal(unlink(path), 0);
}

/* Nothing is lost: what is in a WAL that was unlinked goes into the database first. */
static void S11_wal_or_shm_removed(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	push_calls(store, 300);
	removes("-wal");
	push_calls(store, 30);
	assert_int_equal(stats_of(store).reopened, 1);
	removes("-shm");
	push_calls(store, 30);
	assert_int_equal(stats_of(store).reopened, 2);
	removes("-wal");
	removes("-shm");
	push_calls(store, 30);
	assert_int_equal(stats_of(store).reopened, 3);
	store_end(store);
	assert_sound("", 390);
	assert_int_equal(ask("", "SELECT sum(count) FROM ledger"), 390);
	assert_int_equal(ask("", "SELECT part FROM run"), 1);
}

/* Never SIGBUS: the index is made again from the WAL. */
static void S11_shm_truncated(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		push_calls(store, 300);
		cut("-shm");
	}
	push_calls(store, 300);
	assert_int_equal(stats_of(store).reopened, 3);
	cut("-shm");
	store_end(store);
	assert_sound("", 1200);
}

/* What was cut off is gone: the file is the truth, so the books say how much. */
static void S11_wal_truncated(void **state)
{
	struct mon_store *store = store_begun();

	(void)state;
	push_calls(store, 300);
	removes("-wal"); /* so that these are in the database */
	push_calls(store, 30);
	cut("-wal");
	push_calls(store, 60);
	assert_int_equal(stats_of(store).reopened, 2);
	assert_int_equal(stats_of(store).rows, 360);
	assert_int_equal(mon_store_credited(store, 0, MON_REASON_STORED), 120);
	store_end(store);
	assert_sound("", 360);
	assert_int_equal(ask("", "SELECT sum(count) FROM ledger"), 360);
	assert_int_equal(ask("", "SELECT part FROM run"), 1);
}

/* With the run's own first rows: that file is nobody's any more. */
static void S11_wal_truncated_to_before_the_run(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_batch batch;

	(void)state;
	push_calls(store, 300);
	cut("-wal");
	batch = calls(30);
	store_push(store, &batch, -EUCLEAN);
	store_push(store, &batch, 0);
	assert_int_equal(stats_of(store).part, 2);
	store_end(store);
	assert_sound("", 30);
	assert_int_equal(ask("", "SELECT sum(count) FROM ledger"), 330);
	assert_sound(".damaged-1", 0);
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
	struct mon_store *store = begun_with(MON_DURABILITY_NORMAL, 1 << 20);
	MON_FREE char *aside = beside(".damaged-1");
	struct mon_batch batch;
	struct stat before, after;

	for (unsigned i = 0; i < 30; i++)
		push_calls(store, 300);
	assert_int_equal(stat(store_path, &before), 0);
	overwrite(store_path, from, to_end ? before.st_size - from : 100);
	cut(reopens);
	batch = calls(300);
	store_push(store, &batch, -EUCLEAN);
	assert_int_equal(mon_store_classify(-EUCLEAN, NULL), MON_OUTCOME_TRIP);
	assert_false(store_exists(".damaged-1"));
	store_push(store, &batch, 0);
	assert_int_equal(stats_of(store).part, 2);
	assert_int_equal(stats_of(store).damaged_number, 1);
	assert_int_equal(stats_of(store).rows, 9300);
	assert_int_equal(stat(aside, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_true(store_exists(".damaged-1-wal"));
	push_calls(store, 300);
	store_end(store);
	assert_sound("", 600);
	assert_int_equal(ask("", "SELECT sum(count) FROM ledger"), 9600);
	assert_int_equal(ask("", "SELECT count(*) FROM meta WHERE key='earlier_part' AND "
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
	struct mon_store *store = begun_with(MON_DURABILITY_NORMAL, 1 << 20);
	struct mon_batch batch;

	(void)state;
	for (unsigned i = 0; i < 30; i++)
		push_calls(store, 300);
	cut("");
	cut("-shm");
	batch = calls(300);
	store_push(store, &batch, -EUCLEAN);
	store_push(store, &batch, 0);
	assert_int_equal(stats_of(store).damaged_number, 1);
	store_end(store);
	assert_sound("", 300);
}

/* A name that is taken, if only by a WAL, is not used again. */
static void S12_beside_an_earlier_one(void **state)
{
	MON_FREE char *earlier = beside(".damaged-1-wal");
	MON_CLOSE int fd = open(earlier, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct mon_store *store = store_begun();
	struct mon_batch batch = calls(300);

	(void)state;
	cut("-wal");
	store_push(store, &batch, -EUCLEAN);
	store_push(store, &batch, 0);
	assert_int_equal(stats_of(store).damaged_number, 2);
	assert_true(store_exists(".damaged-2"));
	assert_false(store_exists(".damaged-1"));
	store_end(store);
	assert_sound("", 300);
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
	push_calls(store, 300);
	for (size_t i = 0; i < MON_ARRAY_COUNT(codes); i++) {
		const struct mon_batch batch = calls(30);

		vfs_write = (struct vfs_fault){.nth = 1, .code = codes[i]};
		store_push(store, &batch, -EUCLEAN);
		/* Still away when the file is to be asked: nothing is decided. */
		vfs_read = (struct vfs_fault){1, SQLITE_IOERR_READ, true, 0};
		store_push(store, &batch, -EIO);
		vfs_read = (struct vfs_fault){0};
		store_push(store, &batch, 0);
		pushed += batch.count;
	}
	assert_int_equal(stats_of(store).part, 1);
	assert_false(store_exists(".damaged-1"));
	store_end(store);
	assert_sound("", (int64_t)pushed);
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
		const struct mon_batch batch = calls(30);

		vfs_write = (struct vfs_fault){1, codes[i], true, 0};
		store_push(store, &batch, expected[i]);
		store_push(store, &batch, expected[i]);
		assert_int_equal(mon_store_classify(expected[i], NULL), MON_OUTCOME_TRIP);
		vfs_write = (struct vfs_fault){0};
		store_push(store, &batch, 0);
	}
	assert_int_equal(mon_store_classify(-EINTR, NULL), MON_OUTCOME_EXCLUDED);
	assert_int_equal(stats_of(store).part, 1);
	store_end(store);
	assert_sound("", 90);
}

static void our_own_bug_aborts_a_debug_build(void **state)
{
	struct mon_store *store = store_begun();
	const struct mon_batch batch = {.ring = UINT32_MAX};
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
		push_calls(store, RECORDS_MAX);
	before = sqlite3_memory_used();
	mon_store_trim(store);
	assert_true(sqlite3_memory_used() < before - (512 << 10));
	push_calls(store, 300);
	store_end(store);
	assert_sound("", 10 * RECORDS_MAX + 300);
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
	push_calls(store, 300);
	push_totals(store, ledger, 100);
	assert_int_equal(unlink(store_path), 0);
	batch = calls(30);
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
		TEST(S04_fsync_error_once),
		TEST(S04_directory_fsync_error_once),
		TEST(S04_fsync_error_persistent),
		TEST(S05_a_file_size_limit_is_lack_of_space),
		TEST(S07_sigkill_in_a_commit_loop),
		TEST(S09_a_reader_never_finishes),
		TEST(S10_a_removed_file_is_followed_by_a_new_part),
		TEST(S10_a_renamed_file_keeps_all_its_rows),
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
		TEST(S13_damage_that_is_none),
		TEST(read_only_trips_and_makes_no_new_file),
		TEST(our_own_bug_aborts_a_debug_build),
		TEST(caches_are_given_back),
		TEST(a_second_part_is_resumed_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
