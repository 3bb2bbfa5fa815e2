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

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RECORDS_MAX 4096
#define STARTED_NS 1000000000ull

static char *directory, *path;

static struct {
	struct mon_call_event calls[RECORDS_MAX];
	struct mon_record records[RECORDS_MAX];
	size_t count;
	uint64_t position;
} feed;

static void add_record(const void *data, uint32_t size_bytes, int invalid)
{
	feed.records[feed.count] = (struct mon_record){
		.position = feed.position,
		.end = feed.position + size_bytes + 8,
		.data = data,
		.size_bytes = size_bytes,
		.invalid = invalid,
	};
	feed.position = feed.records[feed.count++].end;
}

static struct mon_call_event *add_call(uint32_t function, uint32_t tid, uint16_t flags)
{
	struct mon_call_event *call = &feed.calls[feed.count];

	*call = (struct mon_call_event){
		.kind = MON_EVENT_CALL,
		.version = MON_EVENT_VERSION,
		.flags = flags,
		.function = function,
		.start_ns = STARTED_NS + feed.position,
		.duration_ns = flags & MON_CALL_UNFINISHED ? 0 : 1000,
		.child_ns = flags & MON_CALL_UNFINISHED ? 0 : 400,
		.ret = (uint64_t)-7,
		.born_ns = 5,
		.pid = 100,
		.tid = tid,
		.caller = MON_FUNCTION_NONE,
		.weight = 1,
	};
	add_record(call, MON_CALL_EVENT_BARE_BYTES, 0);
	return call;
}

static void add_calls(size_t count)
{
	for (size_t i = 0; i < count; i++)
		(void)add_call(i % 3, 100 + i % 5, 0);
}

static struct mon_batch take_batch(void)
{
	struct mon_batch batch = {
		.records = feed.records, .count = feed.count, .end = feed.position};

	feed.count = 0;
	return batch;
}

static struct mon_store_options options(void)
{
	return (struct mon_store_options){
		.path = path, .owner_uid = getuid(), .owner_gid = getgid(), .busy_ms = 50};
}

static struct mon_function_set functions(void)
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

static struct mon_store *open_store(const struct mon_store_options *chosen)
{
	struct mon_store *store = NULL;
	struct mon_error error = {0};

	if (mon_store_new(chosen, &store, &error))
		fail_msg("%s", error.text);
	return store;
}

static void begin(struct mon_store *store)
{
	const struct mon_function_set set = functions();
	const struct mon_run_info run = {.uuid = "u",
					 .started_ns = STARTED_NS,
					 .started_wall_ns = 77,
					 .mode = MON_MODE_PERF};
	struct mon_error error = {0};

	if (mon_store_begin(store, &run, &set, &error))
		fail_msg("%s", error.text);
}

static struct mon_store *begun_store(void)
{
	const struct mon_store_options chosen = options();
	struct mon_store *store = open_store(&chosen);

	begin(store);
	return store;
}

static void end_store(struct mon_store *store)
{
	const struct mon_run_end end = {.ended_ns = STARTED_NS + 50,
					.reason = "test",
					.target_status = -1,
					.complete = true};

	assert_int_equal(mon_store_end(store, &end), 0);
	mon_store_free(store);
}

static void push(struct mon_store *store, const struct mon_batch *batch, int expected)
{
	int result = mon_store_push(store, batch);

	if (result != expected)
		fail_msg("push: %d (%s), expected %d", result, mon_store_error_text(store),
			 expected);
}

static void execute(const char *sql)
{
	sqlite3 *db = NULL;
	char *message = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &message))
		fail_msg("%s: %s", sql, message);
	(void)sqlite3_close(db);
}

static bool exists(const char *suffix)
{
	char name[4096];

	(void)snprintf(name, sizeof(name), "%s%s", path, suffix);
	return access(name, F_OK) == 0;
}

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	path = scratch_path(directory, "monbpf.db");
	memset(&feed, 0, sizeof(feed));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove(directory);
	free(path);
	return 0;
}

static void a_run_is_written_and_read_back(void **state)
{
	struct mon_store *store = begun_store();
	struct mon_store_stats stats;
	struct mon_batch batch;
	struct stat status;

	(void)state;
	add_calls(120);
	add_call(1, 100, MON_CALL_UNWOUND)->caller = 0;
	(void)add_call(1, 100, MON_CALL_IN_FLIGHT);
	(void)add_call(1, 100, MON_CALL_THREAD_EXIT);
	(void)add_call(1, 100, MON_CALL_ENTRY_ONLY);
	batch = take_batch();
	push(store, &batch, 0);
	mon_store_stats(store, &stats);
	assert_int_equal(stats.rows, 124);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_STORED), 41);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_UNWOUND), 1);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_IN_FLIGHT), 1);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_UNRETURNED), 1);
	end_store(store);

	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_false(exists("-wal"));
	assert_false(exists("-lock"));
	assert_int_equal(db_int(path, "SELECT count(*) FROM calls"), 124);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call WHERE duration_ns IS NULL"), 4);
	assert_int_equal(db_int(path, "SELECT count(*) FROM calls WHERE self_ns=600"), 120);
	assert_int_equal(db_int(path, "SELECT count(*) FROM calls WHERE caller='first'"), 1);
	assert_int_equal(db_int(path, "SELECT min(ret_int) FROM calls"), -7);
	assert_int_equal(db_int(path, "SELECT count(*) FROM task"), 5);
	assert_int_equal(db_int(path, "SELECT born_ns FROM task"), 5 - (int64_t)STARTED_NS);
	assert_int_equal(db_int(path, "SELECT first_call FROM batch"), 1);
	assert_int_equal(db_int(path, "SELECT last_call FROM batch"), 124);
	assert_int_equal(db_int(path, "SELECT from_ns FROM batch"), 0);
	assert_int_equal(db_int(path, "SELECT position FROM mark"), 124 * 80);
	assert_int_equal(db_int(path, "SELECT sum(count) FROM ledger"), 124);
	assert_int_equal(db_int(path, "SELECT complete FROM run"), 1);
	assert_int_equal(db_int(path, "SELECT wall_ns FROM clock"), 77);
	assert_int_equal(db_int(path, "PRAGMA application_id"), 0x4d6f6e62);
}

static void a_tick_is_written_once_and_may_be_repeated(void **state)
{
	struct mon_store *store = begun_store();
	static const uint8_t histogram[] = {3, 9};
	const struct mon_total totals[] = {
		{.function = 0,
		 .wanted_ns = 10,
		 .armed_ns = 9,
		 .calls = 9,
		 .returns = 9,
		 .total_ns = 90,
		 .self_ns = 80,
		 .min_ns = 1,
		 .max_ns = 20,
		 .histogram = histogram,
		 .histogram_bytes = 2},
		{.function = 2, .calls = 0},
	};
	const struct mon_interval interval = {.function = 0,
					      .start_ns = STARTED_NS + 5,
					      .length_ns = 4,
					      .calls = 9,
					      .returns = 9,
					      .histogram = histogram,
					      .histogram_bytes = 2};
	const struct mon_ledger_entry entry = {.function = 0,
					       .reason = MON_REASON_SAMPLED_OUT,
					       .count = 9,
					       .from_ns = STARTED_NS + 1,
					       .to_ns = STARTED_NS + 2};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9,
				      .wall_ns = 86,
				      .clock_row = true,
				      .totals = totals,
				      .total_count = 2,
				      .intervals = &interval,
				      .interval_count = 1,
				      .entries = &entry,
				      .entry_count = 1};
	const struct mon_breaker_transition transition = {
		STARTED_NS + 3, MON_BREAKER_CLOSED, MON_BREAKER_OPEN, "5 failures in a row", -EIO};
	const struct mon_batch batch = {
		.tick = &tick, .transitions = &transition, .transition_count = 1};

	(void)state;
	push(store, &batch, 0);
	push(store, &batch, 0);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM function_total"), 2);
	assert_int_equal(db_int(path, "SELECT self_ns FROM function_total"), 80);
	assert_int_equal(db_int(path, "SELECT total_ns IS NULL FROM function_total "
				      "WHERE function_id=3"),
			 1);
	assert_int_equal(db_int(path, "SELECT hex(histogram)='0309' FROM function_total"), 1);
	assert_int_equal(db_int(path, "SELECT start_ns FROM function_interval"), 5);
	assert_int_equal(db_int(path, "SELECT count(*) FROM breaker_event"), 1);
	assert_int_equal(db_int(path, "SELECT error_code FROM breaker_event"), -EIO);
	assert_int_equal(db_int(path, "SELECT count(*) FROM clock"), 2);
	assert_int_equal(db_int(path, "SELECT count FROM ledger WHERE reason_id=3"), 9);
	assert_int_equal(db_int(path, "SELECT count(*) FROM unbalanced"), 0);
}

static void runs_follow_each_other_in_one_file(void **state)
{
	struct mon_store_options chosen = options();
	struct mon_store_stats stats;

	(void)state;
	for (unsigned run = 0; run < 3; run++) {
		struct mon_store *store = open_store(&chosen);
		struct mon_batch batch;

		mon_store_stats(store, &stats);
		assert_int_equal(stats.earlier_runs, run);
		begin(store);
		add_calls(10);
		batch = take_batch();
		push(store, &batch, 0);
		end_store(store);
	}
	assert_int_equal(db_int(path, "SELECT count(*) FROM calls WHERE run_id=3"), 10);
	assert_int_equal(db_int(path, "SELECT count(*) FROM function"), 9);
	assert_int_equal(db_int(path, "SELECT count(*) FROM module"), 1);
	assert_int_equal(db_int(path, "SELECT count(*) FROM task"), 15);
}

static void a_batch_pushed_again_lands_once(void **state)
{
	struct mon_store *store = begun_store();
	struct mon_batch batch, longer;

	(void)state;
	add_calls(60);
	batch = take_batch();
	push(store, &batch, 0);
	push(store, &batch, 0);
	/* The next one may begin before the mark, too. */
	feed.count = 60;
	add_calls(7);
	longer = take_batch();
	push(store, &longer, 0);
	assert_int_equal(mon_store_credited(store, 0, MON_REASON_STORED) +
				 mon_store_credited(store, 1, MON_REASON_STORED) +
				 mon_store_credited(store, 2, MON_REASON_STORED),
			 67);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 67);
	assert_int_equal(db_int(path, "SELECT sum(count) FROM ledger"), 67);
}

static void names_of_threads_come_with_their_record(void **state)
{
	struct mon_store *store = begun_store();
	struct mon_task_event task = {.kind = MON_EVENT_TASK,
				      .version = MON_EVENT_VERSION,
				      .born_ns = 5,
				      .pid = 100,
				      .tid = 100,
				      .comm = "sixteen bytes ab"};
	struct mon_batch batch;

	(void)state;
	(void)add_call(0, 100, 0);
	add_record(&task, sizeof(task), 0);
	(void)add_call(0, 100, 0);
	batch = take_batch();
	push(store, &batch, 0);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM task"), 1);
	assert_int_equal(db_int(path, "SELECT comm='sixteen bytes ab' FROM task"), 1);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 2);
}

/* More threads than the table of known ones holds: forgotten and found again, none twice. */
static void more_threads_than_are_remembered(void **state)
{
	struct mon_store *store = begun_store();

	(void)state;
	for (unsigned round = 0; round < 2; round++)
		for (uint32_t tid = 0; tid < 14000; tid += 1000) {
			struct mon_batch batch;

			for (uint32_t i = 0; i < 1000; i++)
				(void)add_call(0, tid + i, 0);
			batch = take_batch();
			push(store, &batch, 0);
		}
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM task"), 14000);
	assert_int_equal(db_int(path, "SELECT count(DISTINCT tid) FROM calls"), 14000);
	assert_int_equal(db_int(path, "SELECT count(*) FROM calls"), 28000);
}

static void arguments_and_wide_numbers(void **state)
{
	struct mon_store *store = begun_store();
	struct mon_call_event *call = add_call(2, 100, 0);
	struct mon_batch batch;

	(void)state;
	call->arg_count = 2;
	call->args[0] = UINT64_MAX;
	call->args[1] = 1ull << 63;
	call->child_ns =
		call->duration_ns + 5; /* another CPU's clock: never a negative self time */
	batch = take_batch();
	push(store, &batch, 0);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT arg1 FROM call"), -1);
	assert_int_equal(db_int(path, "SELECT arg2 FROM call"), INT64_MIN);
	assert_int_equal(db_int(path, "SELECT arg3 IS NULL FROM call"), 1);
	assert_int_equal(db_int(path, "SELECT self_ns FROM calls"), 0);
}

static void what_the_ring_refused_is_set_aside(void **state)
{
	struct mon_store *store = begun_store();
	struct mon_batch batch;

	(void)state;
	add_calls(3);
	(void)add_call(1, 100, 0);
	feed.records[3].invalid = EPROTO;
	add_record(NULL, 0, EBADMSG);
	batch = take_batch();
	push(store, &batch, 0);
	assert_int_equal(mon_store_credited(store, 1, MON_REASON_SET_ASIDE), 1);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 3);
	assert_int_equal(db_int(path, "SELECT count(*) FROM set_aside"), 2);
	assert_int_equal(db_int(path, "SELECT length(record) FROM set_aside"), 72);
}

static void S17_poison_record_is_found_and_set_aside(void **state)
{
	struct mon_store *store = begun_store();
	struct mon_batch batch;

	(void)state;
	execute("CREATE TRIGGER poison BEFORE INSERT ON call WHEN new.ret=666 "
		"BEGIN SELECT RAISE(ABORT,'no'); END");
	add_calls(1000);
	feed.calls[437].ret = 666;
	feed.calls[999].ret = 666;
	batch = take_batch();
	push(store, &batch, 0);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 998);
	assert_int_equal(db_int(path, "SELECT count(*) FROM set_aside"), 2);
	assert_int_equal(db_int(path, "SELECT position FROM set_aside"), 437 * 80);
	assert_int_equal(db_int(path, "SELECT sum(count) FROM ledger"), 1000);
}

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
	struct mon_store *store = begun_store();
	uint64_t pushed = 0, failures = 0;
	bool clean = false;

	for (long nth = 1; !clean; nth++) {
		struct mon_batch batch;
		int result;

		add_calls(500);
		batch = take_batch();
		pushed += batch.count;
		inject(nth, false, error);
		result = mon_store_push(store, &batch);
		clean = !fault.failed;
		if (result) {
			assert_int_equal(result, expected);
			failures++;
			push(store, &batch, 0);
		} else {
			assert_false(fault.failed);
		}
		restore_calls();
	}
	assert_true(failures > 3);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), pushed);
	assert_int_equal(db_int(path, "SELECT sum(count) FROM ledger"), pushed);
	assert_int_equal(db_int(path, "SELECT count(DISTINCT tid) FROM task"), 5);
	assert_int_equal(db_int(path, "SELECT count(*) FROM task"), 5);
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
	struct attempt attempt = {.store = begun_store()};
	struct mon_breaker *breaker = NULL;
	struct mon_breaker_stats stats;

	(void)state;
	virtual_now = MON_NS_PER_S;
	assert_int_equal(mon_breaker_new(&breaker_options, &breaker), 0);
	add_calls(500);
	attempt.batch = take_batch();
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
	end_store(attempt.store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 500);
	assert_int_equal(db_int(path, "SELECT sum(count) FROM ledger"), 500);
}

static void S08_another_process_holds_the_lock(void **state)
{
	struct mon_store *store = begun_store();
	struct mon_store_stats stats;
	struct mon_batch batch;
	sqlite3 *holder = NULL;

	(void)state;
	add_calls(100);
	batch = take_batch();
	assert_int_equal(sqlite3_open(path, &holder), SQLITE_OK);
	assert_int_equal(sqlite3_exec(holder, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	push(store, &batch, -EBUSY);
	assert_string_equal(mon_store_error_text(store),
			    "another process holds the database (database is locked)");
	mon_store_stats(store, &stats);
	assert_true(stats.longest_push_ns >= 50 * MON_NS_PER_MS); /* it waited first */
	assert_int_equal(sqlite3_exec(holder, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	push(store, &batch, 0);
	(void)sqlite3_close(holder);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 100);
}

static void a_reader_in_the_middle_leaves_the_file_in_wal_mode_and_says_so(void **state)
{
	struct mon_store *store = begun_store();
	const struct mon_run_end end = {.ended_ns = STARTED_NS + 1,
					.reason = "test",
					.target_status = -1,
					.complete = true};
	struct mon_store_stats stats;
	struct mon_batch batch;
	sqlite3_stmt *row = NULL;
	sqlite3 *reader = NULL;

	(void)state;
	add_calls(10);
	batch = take_batch();
	push(store, &batch, 0);
	assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(reader, "SELECT * FROM call", -1, &row, NULL), 0);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	assert_int_equal(mon_store_end(store, &end), 0);
	mon_store_stats(store, &stats);
	assert_true(stats.wal_left);
	mon_store_free(store);
	(void)sqlite3_finalize(row);
	(void)sqlite3_close(reader);
	assert_int_equal(db_int(path, "SELECT complete FROM run"), 1);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 10);
}

static void S10_a_moved_file_is_noticed_before_the_acknowledgement(void **state)
{
	struct mon_store *store = begun_store();
	MON_FREE char *other = scratch_path(directory, "moved.db");
	struct mon_batch batch;

	(void)state;
	add_calls(100);
	batch = take_batch();
	assert_int_equal(rename(path, other), 0);
	push(store, &batch, -ESTALE);
	push(store, &batch, -ESTALE);
	assert_int_equal(rename(other, path), 0);
	push(store, &batch, 0);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 100);
	assert_int_equal(db_int(path, "SELECT sum(count) FROM ledger"), 100);
}

static void S19_the_size_bound_is_told_and_ticks_go_on(void **state)
{
	struct mon_store_options chosen = options();
	const struct mon_total total = {.function = 0, .calls = 5};
	const struct mon_tick tick = {.at_ns = STARTED_NS + 9, .totals = &total, .total_count = 1};
	struct mon_batch batch = {.tick = &tick};
	struct mon_store_stats stats;
	struct mon_store *store;
	unsigned pushes = 0;
	struct stat status;

	(void)state;
	chosen.size_max_bytes = 8 << 20;
	store = open_store(&chosen);
	begin(store);
	do {
		add_calls(RECORDS_MAX);
		batch = take_batch();
		push(store, &batch, 0);
		mon_store_stats(store, &stats);
		assert_true(++pushes < 1000);
	} while (!stats.size_reached);
	assert_string_equal(stats.size_why, "the database reached --max-size");
	batch = (struct mon_batch){.tick = &tick};
	push(store, &batch, 0);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT calls FROM function_total"), 5);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), pushes * RECORDS_MAX);
	assert_int_equal(stat(path, &status), 0);
	assert_in_range(status.st_size, 6 << 20, 9 << 20);
}

static void the_wal_is_checkpointed(void **state)
{
	struct mon_store_options chosen = options();
	struct mon_store_stats stats;
	struct mon_store *store;

	(void)state;
	chosen.size_max_bytes = 64 << 20; /* so 8 MiB of WAL */
	store = open_store(&chosen);
	begin(store);
	for (unsigned i = 0; i < 150; i++) {
		struct mon_batch batch;

		add_calls(RECORDS_MAX);
		batch = take_batch();
		push(store, &batch, 0);
		mon_store_stats(store, &stats);
		assert_true(stats.wal_bytes <= 10 << 20);
	}
	assert_true(stats.checkpoints >= 2);
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM call"), 150 * RECORDS_MAX);
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
	assert_false(exists("-lock"));
}

static void write_file(const char *name, const void *bytes, size_t size)
{
	MON_CLOSE int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
}

static void S15_newer_schema_or_foreign_file(void **state)
{
	struct mon_store_options chosen = options();
	MON_FREE char *before = NULL, *after = NULL;

	(void)state;
	write_file(path, "hello, I am a letter\n", 21);
	refused(&chosen, -EUCLEAN, "is not a database");
	assert_int_equal(unlink(path), 0);
	execute("CREATE TABLE theirs(a)");
	before = db_text(path, "SELECT sql FROM sqlite_schema");
	refused(&chosen, -EUCLEAN, "of another program");
	after = db_text(path, "SELECT sql FROM sqlite_schema");
	assert_string_equal(before, after);
	assert_int_equal(unlink(path), 0);
	end_store(begun_store());
	execute("PRAGMA user_version=999");
	refused(&chosen, -EUCLEAN, "newer monbpf (schema 999, this one knows 1)");
}

static void S16_symlink_as_output(void **state)
{
	struct mon_store_options chosen = options();
	MON_FREE char *victim = scratch_path(directory, "victim");

	(void)state;
	assert_int_equal(symlink(victim, path), 0);
	refused(&chosen, -ELOOP, "symbolic link");
	assert_int_equal(access(victim, F_OK), -1);
	write_file(victim, "precious", 8);
	refused(&chosen, -ELOOP, "symbolic link");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	refused(&chosen, -EISDIR, "is a directory");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(&chosen, -EINVAL, "not a regular file");
	chosen.path = "/nonexistent/dir/x.db";
	refused(&chosen, -ENOENT, "its directory cannot be reached");
}

static void P08_two_monitors_one_output(void **state)
{
	struct mon_store_options chosen = options();
	struct mon_store *first = begun_store(), *second = NULL;
	struct mon_error error = {0};
	char expected[64];

	(void)state;
	assert_int_equal(mon_store_new(&chosen, &second, &error), -EBUSY);
	assert_int_equal(error.exit_code, MON_EXIT_UNAVAILABLE);
	(void)snprintf(expected, sizeof(expected), "another monbpf (pid %d)", getpid());
	assert_non_null(strstr(error.text, expected));
	assert_true(exists("-lock"));
	end_store(first);
	/* A lock file that a SIGKILL left is taken over. */
	MON_FREE char *lock = scratch_path(directory, "monbpf.db-lock");
	write_file(lock, "99999\n", 6);
	end_store(begun_store());
}

static void nothing_is_left_of_a_run_that_never_began(void **state)
{
	struct mon_store_options chosen = options();

	(void)state;
	mon_store_free(open_store(&chosen));
	assert_false(exists(""));
	assert_false(exists("-wal"));
	assert_false(exists("-lock"));
	write_file(path, "", 0);
	mon_store_free(open_store(&chosen));
	assert_true(exists(""));
}

static void it_keeps_to_its_budget(void **state)
{
	struct mon_store_options chosen = options();
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
		assert_false(exists(""));
	}
	store = open_store(&chosen);
	begin(store);
	for (unsigned i = 0; i < 20; i++) {
		struct mon_batch batch;

		add_calls(RECORDS_MAX);
		batch = take_batch();
		push(store, &batch, 0);
	}
	used = mon_budget_part_used(chosen.budget, MON_BUDGET_SQLITE);
	assert_true((uint64_t)sqlite3_memory_highwater(1) <= used);
	end_store(store);
	assert_int_equal(mon_budget_used(chosen.budget), 0);
	mon_budget_free(chosen.budget);
}

/* Random batches, ticks and faults against what was accepted; the seed tells how to repeat it. */
static void random_faults_against_a_model(void **state)
{
	unsigned seed = (unsigned)time(NULL), expected[3] = {0};
	struct mon_store *store = begun_store();
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
			(void)add_call(function, rand() % 50, 0);
		}
		total += count;
		batch = take_batch();
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
	end_store(store);
	assert_int_equal(db_int(path, "SELECT count(*) FROM calls"), total);
	assert_int_equal(db_int(path, "SELECT sum(count) FROM ledger"), total);
	assert_int_equal(db_int(path, "SELECT sum(last_call-first_call+1) FROM batch"), total);
	assert_int_equal(db_int(path, "SELECT count(*) FROM task"), 50);
	assert_int_equal(db_int(path, "SELECT count(*) FROM (SELECT started_ns FROM calls"
				      " GROUP BY 1 HAVING count(*)>1)"),
			 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_is_written_and_read_back),
		TEST(a_tick_is_written_once_and_may_be_repeated),
		TEST(runs_follow_each_other_in_one_file),
		TEST(a_batch_pushed_again_lands_once),
		TEST(names_of_threads_come_with_their_record),
		TEST(more_threads_than_are_remembered),
		TEST(arguments_and_wide_numbers),
		TEST(what_the_ring_refused_is_set_aside),
		TEST(S17_poison_record_is_found_and_set_aside),
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
