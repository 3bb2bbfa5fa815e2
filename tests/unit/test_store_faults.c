// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The store on real files of the build's disk, with the system calls of SQLite's VFS made to fail.
 * What must be in the file is asked by a connection of our own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "base/cleanup.h"
#include "pipeline/store.h"
#include "tests/harness/database.h"
#include "tests/harness/scratch.h"
#include "tests/harness/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* System calls of SQLite's, made to fail: the nth from now, and then all that follow or none. */
static struct {
	long countdown; /* 0: off */
	long failed;
	bool persistent;
	int error;
	sqlite3_syscall_ptr real;
} fault;

static ssize_t faulty_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	ssize_t (*real)(int, const void *, size_t, off_t) =
		(ssize_t(*)(int, const void *, size_t, off_t))fault.real;

	if (fault.countdown > 0 && (--fault.countdown == 0 || fault.failed)) {
		fault.failed++;
		fault.countdown = fault.persistent ? 1 : 0;
		errno = fault.error;
		return -1;
	}
	return real(fd, bytes, size, offset);
}

static void inject(long nth, bool persistent, int error)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

	fault.countdown = nth;
	fault.failed = 0;
	fault.persistent = persistent;
	fault.error = error;
	if (!fault.real) {
		fault.real = vfs->xGetSystemCall(vfs, "pwrite64");
		assert_int_equal(
			vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)faulty_pwrite),
			SQLITE_OK);
		assert_int_equal(
			vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)faulty_pwrite),
			SQLITE_OK);
	}
}

static void restore_calls(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

	(void)vfs->xSetSystemCall(vfs, "pwrite64", NULL);
	(void)vfs->xSetSystemCall(vfs, "pwrite", NULL);
	memset(&fault, 0, sizeof(fault));
}

static void fail_each_write_once(int error, int expected)
{
	struct mon_store *store = store_begun();
	uint64_t pushed = 0, failures = 0;
	bool clean = false;

	for (long nth = 1; !clean; nth++) {
		struct mon_batch batch;
		int result;

		feed_calls(500);
		batch = feed_batch();
		pushed += batch.count;
		inject(nth, false, error);
		result = mon_store_push(store, &batch);
		clean = !fault.failed;
		if (result) {
			assert_int_equal(result, expected);
			failures++;
			store_push(store, &batch, 0);
		} else {
			assert_false(fault.failed);
		}
		restore_calls();
	}
	assert_true(failures > 3);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), pushed);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), pushed);
	assert_int_equal(db_int(store_path, "SELECT count(DISTINCT tid) FROM task"), 5);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM task"), 5);
}

static void S02_io_error_once(void **state)
{
	(void)state;
	fail_each_write_once(EIO, -EIO);
}

static void S02_disk_full_once(void **state)
{
	(void)state;
	fail_each_write_once(ENOSPC, -ENOSPC);
}

static mon_ns virtual_now;

static mon_ns tell_time(void *context)
{
	(void)context;
	return virtual_now;
}

struct attempt {
	struct mon_store *store;
	struct mon_batch batch;
};

static int push_attempt(void *arg)
{
	struct attempt *attempt = arg;

	return mon_store_push(attempt->store, &attempt->batch);
}

static void S03_io_error_persistent(void **state)
{
	const struct mon_clock clock = {tell_time, NULL};
	const struct mon_breaker_options breaker_options = {.clock = &clock,
							    .classify = mon_store_classify};
	struct attempt attempt = {.store = store_begun()};
	struct mon_breaker *breaker = NULL;
	struct mon_breaker_stats stats;

	(void)state;
	virtual_now = MON_NS_PER_S;
	assert_int_equal(mon_breaker_new(&breaker_options, &breaker), 0);
	feed_calls(500);
	attempt.batch = feed_batch();
	inject(1, true, EIO);
	for (unsigned i = 1; i <= 5; i++) {
		mon_breaker_stats(breaker, &stats);
		assert_int_equal(stats.state, MON_BREAKER_CLOSED);
		assert_int_equal(mon_breaker_call(breaker, push_attempt, &attempt), -EIO);
	}
	mon_breaker_stats(breaker, &stats);
	assert_int_equal(stats.state, MON_BREAKER_OPEN);
	assert_int_equal(mon_breaker_call(breaker, push_attempt, &attempt), -EAGAIN);
	/* The first probe still fails, the second finds the disk well again. */
	virtual_now += 60 * MON_NS_PER_S;
	assert_int_equal(mon_breaker_tick(breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(mon_breaker_call(breaker, push_attempt, &attempt), -EIO);
	restore_calls();
	assert_int_equal(mon_breaker_call(breaker, push_attempt, &attempt), -EAGAIN);
	virtual_now += 60 * MON_NS_PER_S;
	assert_int_equal(mon_breaker_tick(breaker), MON_BREAKER_HALF_OPEN);
	assert_int_equal(mon_breaker_call(breaker, push_attempt, &attempt), 0);
	mon_breaker_stats(breaker, &stats);
	assert_int_equal(stats.state, MON_BREAKER_CLOSED);
	mon_breaker_free(breaker);
	store_end(attempt.store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 500);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), 500);
}

static void S08_another_process_holds_the_lock(void **state)
{
	struct mon_store *store = store_begun();
	struct mon_store_stats stats;
	struct mon_batch batch;
	sqlite3 *holder = NULL;

	(void)state;
	feed_calls(100);
	batch = feed_batch();
	assert_int_equal(sqlite3_open(store_path, &holder), SQLITE_OK);
	assert_int_equal(sqlite3_exec(holder, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	store_push(store, &batch, -EBUSY);
	assert_string_equal(mon_store_error_text(store),
			    "another process holds the database (database is locked)");
	mon_store_stats(store, &stats);
	assert_true(stats.longest_push_ns >= 50 * MON_NS_PER_MS); /* it waited first */
	assert_int_equal(sqlite3_exec(holder, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	store_push(store, &batch, 0);
	(void)sqlite3_close(holder);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 100);
}

static void a_reader_in_the_middle_leaves_the_file_in_wal_mode_and_says_so(void **state)
{
	struct mon_store *store = store_begun();
	const struct mon_run_end end = {.ended_ns = STARTED_NS + 1,
					.reason = "test",
					.target_status = -1,
					.complete = true};
	struct mon_store_stats stats;
	struct mon_batch batch;
	sqlite3_stmt *row = NULL;
	sqlite3 *reader = NULL;

	(void)state;
	feed_calls(10);
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(sqlite3_open_v2(store_path, &reader, SQLITE_OPEN_READONLY, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(reader, "SELECT * FROM call", -1, &row, NULL), 0);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	assert_int_equal(mon_store_end(store, &end), 0);
	mon_store_stats(store, &stats);
	assert_true(stats.wal_left);
	mon_store_free(store);
	(void)sqlite3_finalize(row);
	(void)sqlite3_close(reader);
	assert_int_equal(db_int(store_path, "SELECT complete FROM run"), 1);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 10);
}

static void S10_a_moved_file_is_noticed_before_the_acknowledgement(void **state)
{
	struct mon_store *store = store_begun();
	MON_FREE char *other = scratch_path(store_directory, "moved.db");
	struct mon_batch batch;

	(void)state;
	feed_calls(100);
	batch = feed_batch();
	assert_int_equal(rename(store_path, other), 0);
	store_push(store, &batch, -ESTALE);
	/* Back before the next try: nothing has happened. */
	assert_int_equal(rename(other, store_path), 0);
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 100);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), 100);
	assert_int_equal(db_int(store_path, "SELECT max(part) FROM run"), 1);
}

static void S19_the_size_bound_is_told_and_ticks_go_on(void **state)
{
	struct mon_store_options chosen = store_options();
	const struct mon_total total = {.function = 0, .calls = 5};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9, .totals = &total, .total_count = 1};
	struct mon_batch batch = {.tick = &tick};
	struct mon_store_stats stats;
	struct mon_store *store;
	unsigned pushes = 0;
	struct stat status;

	(void)state;
	chosen.size_max_bytes = 8 << 20;
	store = store_open(&chosen);
	store_begin(store);
	do {
		feed_calls(RECORDS_MAX);
		batch = feed_batch();
		store_push(store, &batch, 0);
		mon_store_stats(store, &stats);
		assert_true(++pushes < 1000);
	} while (!stats.size_reached);
	assert_string_equal(stats.size_why, "the database reached --max-size");
	batch = (struct mon_batch){.tick = &tick};
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT calls FROM function_total"), 5);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), pushes * RECORDS_MAX);
	assert_int_equal(stat(store_path, &status), 0);
	assert_in_range(status.st_size, 6 << 20, 9 << 20);
}

static void the_wal_is_checkpointed(void **state)
{
	struct mon_store_options chosen = store_options();
	struct mon_store_stats stats;
	struct mon_store *store;

	(void)state;
	chosen.size_max_bytes = 64 << 20; /* so 8 MiB of WAL */
	store = store_open(&chosen);
	store_begin(store);
	for (unsigned i = 0; i < 150; i++) {
		struct mon_batch batch;

		feed_calls(RECORDS_MAX);
		batch = feed_batch();
		store_push(store, &batch, 0);
		mon_store_stats(store, &stats);
		assert_true(stats.wal_bytes <= 10 << 20);
	}
	assert_true(stats.checkpoints >= 2);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 150 * RECORDS_MAX);
}

static void refused(const struct mon_store_options *chosen, int expected, const char *part)
{
	struct mon_store *store = NULL;
	struct mon_error error = {0};
	int result = mon_store_new(chosen, &store, &error);

	assert_null(store);
	if (result != expected || !strstr(error.text, part))
		fail_msg("%d: %s, expected %d and \"%s\"", result, error.text, expected, part);
	assert_int_equal(error.exit_code, MON_EXIT_UNAVAILABLE);
	assert_false(store_exists("-lock"));
}

static void write_file(const char *name, const void *bytes, size_t size)
{
	MON_CLOSE int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
}

static void S15_newer_schema_or_foreign_file(void **state)
{
	struct mon_store_options chosen = store_options();
	MON_FREE char *before = NULL, *after = NULL;

	(void)state;
	write_file(store_path, "hello, I am a letter\n", 21);
	refused(&chosen, -EUCLEAN, "is not a database");
	assert_int_equal(unlink(store_path), 0);
	store_execute("CREATE TABLE theirs(a)");
	before = db_text(store_path, "SELECT sql FROM sqlite_schema");
	refused(&chosen, -EUCLEAN, "of another program");
	after = db_text(store_path, "SELECT sql FROM sqlite_schema");
	assert_string_equal(before, after);
	assert_int_equal(unlink(store_path), 0);
	store_end(store_begun());
	store_execute("PRAGMA user_version=999");
	refused(&chosen, -EUCLEAN, "newer monbpf (schema 999, this one knows 1)");
}

static void S16_symlink_as_output(void **state)
{
	struct mon_store_options chosen = store_options();
	MON_FREE char *victim = scratch_path(store_directory, "victim");

	(void)state;
	assert_int_equal(symlink(victim, store_path), 0);
	refused(&chosen, -ELOOP, "symbolic link");
	assert_int_equal(access(victim, F_OK), -1);
	write_file(victim, "precious", 8);
	refused(&chosen, -ELOOP, "symbolic link");
	assert_int_equal(unlink(store_path), 0);
	assert_int_equal(mkdir(store_path, 0700), 0);
	refused(&chosen, -EISDIR, "is a directory");
	assert_int_equal(rmdir(store_path), 0);
	assert_int_equal(mkfifo(store_path, 0600), 0);
	refused(&chosen, -EINVAL, "not a regular file");
	chosen.path = "/nonexistent/dir/x.db";
	refused(&chosen, -ENOENT, "its directory cannot be reached");
}

static void P08_two_monitors_one_output(void **state)
{
	struct mon_store_options chosen = store_options();
	struct mon_store *first = store_begun(), *second = NULL;
	struct mon_error error = {0};
	char expected[64];

	(void)state;
	assert_int_equal(mon_store_new(&chosen, &second, &error), -EBUSY);
	assert_int_equal(error.exit_code, MON_EXIT_UNAVAILABLE);
	(void)snprintf(expected, sizeof(expected), "another monbpf (pid %d)", getpid());
	assert_non_null(strstr(error.text, expected));
	assert_true(store_exists("-lock"));
	store_end(first);
	/* A lock file that a SIGKILL left is taken over. */
	MON_FREE char *lock = scratch_path(store_directory, "monbpf.db-lock");
	write_file(lock, "99999\n", 6);
	store_end(store_begun());
}

static void nothing_is_left_of_a_run_that_never_began(void **state)
{
	struct mon_store_options chosen = store_options();

	(void)state;
	mon_store_free(store_open(&chosen));
	assert_false(store_exists(""));
	assert_false(store_exists("-wal"));
	assert_false(store_exists("-lock"));
	write_file(store_path, "", 0);
	mon_store_free(store_open(&chosen));
	assert_true(store_exists(""));
}

static void it_keeps_to_its_budget(void **state)
{
	struct mon_store_options chosen = store_options();
	struct mon_store *store = NULL;
	struct mon_error error = {0};
	uint64_t used;

	(void)state;
	assert_int_equal(mon_budget_new(MON_BUDGET_DEFAULT_BYTES, &chosen.budget), 0);
	for (uint64_t nth = 1; nth <= 2; nth++) {
		mon_budget_fail_at(chosen.budget, nth);
		assert_int_equal(mon_store_new(&chosen, &store, &error), -ENOMEM);
		assert_non_null(strstr(error.text, "--memory-budget"));
		assert_int_equal(mon_budget_used(chosen.budget), 0);
		assert_false(store_exists(""));
	}
	store = store_open(&chosen);
	store_begin(store);
	for (unsigned i = 0; i < 20; i++) {
		struct mon_batch batch;

		feed_calls(RECORDS_MAX);
		batch = feed_batch();
		store_push(store, &batch, 0);
	}
	used = mon_budget_part_used(chosen.budget, MON_BUDGET_SQLITE);
	assert_true((uint64_t)sqlite3_memory_highwater(1) <= used);
	store_end(store);
	assert_int_equal(mon_budget_used(chosen.budget), 0);
	mon_budget_free(chosen.budget);
}

/* Random batches, ticks and faults against what was accepted; the seed tells how to repeat it. */
static void random_faults_against_a_model(void **state)
{
	unsigned seed = (unsigned)time(NULL), expected[3] = {0};
	struct mon_store *store = store_begun();
	uint64_t total = 0;

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (unsigned round = 0; round < 200; round++) {
		size_t count = rand() % 400;
		struct mon_batch batch;
		int result;

		for (size_t i = 0; i < count; i++) {
			uint32_t function = rand() % 3;

			expected[function]++;
			(void)feed_call(function, rand() % 50, 0);
		}
		total += count;
		batch = feed_batch();
		do {
			if (rand() % 3 == 0)
				inject(1 + rand() % 12, rand() % 2, rand() % 2 ? EIO : ENOSPC);
			result = mon_store_push(store, &batch);
			restore_calls();
			/* Pushed once more though it was written: as after a lost answer. */
		} while (result || rand() % 8 == 0);
	}
	for (uint32_t f = 0; f < 3; f++)
		assert_int_equal(mon_store_credited(store, f, MON_REASON_STORED), expected[f]);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM calls"), total);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger"), total);
	assert_int_equal(db_int(store_path, "SELECT sum(last_call-first_call+1) FROM batch"),
			 total);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM task"), 50);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM (SELECT started_ns FROM calls"
					    " GROUP BY 1 HAVING count(*)>1)"),
			 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(S02_io_error_once),
		TEST(S02_disk_full_once),
		TEST(S03_io_error_persistent),
		TEST(S08_another_process_holds_the_lock),
		TEST(a_reader_in_the_middle_leaves_the_file_in_wal_mode_and_says_so),
		TEST(S10_a_moved_file_is_noticed_before_the_acknowledgement),
		TEST(S19_the_size_bound_is_told_and_ticks_go_on),
		TEST(the_wal_is_checkpointed),
		TEST(S15_newer_schema_or_foreign_file),
		TEST(S16_symlink_as_output),
		TEST(P08_two_monitors_one_output),
		TEST(nothing_is_left_of_a_run_that_never_began),
		TEST(it_keeps_to_its_budget),
		TEST(random_faults_against_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
