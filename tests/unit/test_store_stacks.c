// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Return addresses become places in files, asked of the processes in time, and no more often than
 * the writer can bear.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/store.h"
#include "tests/harness/database.h"
#include "tests/harness/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_FRAMES 3
#define STACK_RECORDS 400
#define DLOPENED 0x700000

struct stack_record {
	struct mon_call_event call;
	struct mon_stack head;
	uint64_t frames[STACK_FRAMES];
};
static struct stack_record stack_records[STACK_RECORDS];

/* Process 100 has a program, code of no file, and once `dlopened` a library; others are gone. */
static bool dlopened;
static unsigned asked, identified;

static int read_mappings(uint32_t pid,
			 int (*each)(const struct mon_mapping *mapping, void *context),
			 void *context)
{
	static const struct mon_mapping mappings[] = {
		{0x400000, 0x500000, 0x1000, "/bin/it", 1, 1},
		{0x600000, 0x601000, 0, NULL, 0, 0},
		{DLOPENED, 0x710000, 0x2000, "/lib/late.so", 1, 2},
	};
	int result = 0;

	asked++;
	if (pid != 100)
		return -ENOENT;
	for (size_t i = 0; i < 2u + dlopened && !result; i++)
		result = each(&mappings[i], context);
	return result;
}

static void identify(uint32_t pid, const struct mon_mapping *mapping,
		     char build_id[MON_BUILD_ID_BYTES])
{
	(void)pid;
	identified++;
	(void)snprintf(build_id, MON_BUILD_ID_BYTES, "%s", mapping->inode == 1 ? "aa" : "bb");
}

static mon_ns stack_now;
static mon_ns read_clock(void *context)
{
	(void)context;
	return stack_now += MON_NS_PER_S;
}

static void feed_stack(size_t index, uint32_t pid, uint64_t first, uint64_t second)
{
	struct stack_record *record = &stack_records[index];

	(void)feed_call(index % 3, 100, 0);
	*record = (struct stack_record){.call = store_feed.calls[--store_feed.count]};
	store_feed.position = store_feed.records[store_feed.count].position;
	record->call.kind = MON_EVENT_CALL_STACK;
	record->call.pid = pid;
	record->call.ret = index;
	record->head.room_frames = STACK_FRAMES;
	record->head.frame_count = second ? 2 : first ? 1 : 0;
	record->frames[0] = first;
	record->frames[1] = second;
	feed_record(record, sizeof(*record), 0);
}

static struct mon_store *open_by_clock(const struct mon_mapping_source *source,
				       const struct mon_clock *clock)
{
	struct mon_store_options options = store_options();

	options.mappings = source;
	options.clock = clock;
	return store_open(&options);
}

static struct mon_store *open_with_mappings(const struct mon_mapping_source *source)
{
	static const struct mon_clock clock = {.now = read_clock};

	return open_by_clock(source, &clock);
}

/* What the stack of the call that returned @ret says, in hex; "" when it has none. */
static void assert_stack(int ret, const char *expected)
{
	char sql[256];
	char *text;

	(void)snprintf(
		sql, sizeof(sql),
		"SELECT coalesce(max(hex(s.frames)),'') FROM call c LEFT JOIN call_stack k ON"
		" k.call_id=c.id LEFT JOIN stack s ON s.id=k.stack_id WHERE c.ret=%d",
		ret);
	text = db_text(store_path, sql);
	if (strcmp(text, expected) != 0)
		fail_msg("stack of call %d is %s", ret, text);
	free(text);
}

static void stacks_are_places_in_files(void **state)
{
	static const struct mon_mapping_source source = {read_mappings, identify};
	struct mon_store *store;
	struct mon_batch batch;
	char expected[128];
	int64_t it, late;

	(void)state;
	dlopened = false;
	asked = identified = 0;
	store = open_with_mappings(&source);
	store_begin(store);
	assert_int_equal(mon_store_map_process(store, 100), 0);
	assert_int_equal(asked, 1);
	feed_stack(0, 100, 0x400010, 0x4fffff);
	feed_stack(1, 100, 0x400010, 0x4fffff);
	feed_stack(2, 100, 0x600010, 0); /* of no file: what it is stays as it is */
	feed_stack(3, 100, 0, 0);	 /* could not be read */
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(asked, 1);
	/* In no mapping: the process is asked again, and has it or not. */
	feed_stack(4, 100, DLOPENED + 5, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(asked, 2);
	dlopened = true;
	feed_stack(5, 100, DLOPENED + 6, 0x400010);
	feed_stack(6, 200, 0x400010, 0); /* gone: nobody knows */
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(asked, 4);
	assert_int_equal(identified, 2);
	/* The same batch again is passed over. */
	store_push(store, &batch, 0);
	store_end(store);
	it = db_int(store_path, "SELECT id FROM module WHERE path='/bin/it' AND build_id='aa'");
	late = db_int(store_path,
		      "SELECT id FROM module WHERE path='/lib/late.so' AND build_id='bb'");
	(void)snprintf(expected, sizeof(expected),
		       "%02X000000"
		       "1010000000000000"
		       "%02X000000"
		       "FF0F100000000000",
		       (int)it, (int)it);
	assert_stack(0, expected);
	assert_stack(1, expected);
	assert_stack(2, "000000001000600000000000");
	assert_stack(3, "");
	assert_stack(4, "000000000500700000000000");
	(void)snprintf(expected, sizeof(expected),
		       "%02X000000"
		       "0620000000000000"
		       "%02X000000"
		       "1010000000000000",
		       (int)late, (int)it);
	assert_stack(5, expected);
	assert_stack(6, "000000001000400000000000");
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM stack"), 5);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM mapping"), 2);
}

/* Records that come late, by another process, when nobody can be asked any more. */
static void stacks_are_told_by_what_the_file_knows(void **state)
{
	static const struct mon_mapping_source source = {read_mappings, identify};
	struct mon_run_resumed resumed;
	struct mon_store *store;
	struct mon_error error;
	struct mon_batch batch;
	char expected[64], *uuid;

	(void)state;
	dlopened = true;
	store = open_with_mappings(&source);
	store_begin(store);
	assert_int_equal(mon_store_map_process(store, 100), 0);
	mon_store_free(store);
	uuid = db_text(store_path, "SELECT uuid FROM run");
	store = open_with_mappings(NULL);
	assert_int_equal(mon_store_resume(store, uuid, &resumed, &error), 0);
	free(uuid);
	feed_stack(0, 100, DLOPENED, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_end(store);
	mon_run_resumed_clear(&resumed);
	(void)snprintf(expected, sizeof(expected),
		       "%02X000000"
		       "0020000000000000",
		       (int)db_int(store_path, "SELECT id FROM module WHERE path LIKE '%late%'"));
	assert_stack(0, expected);
}

/* What a ROLLBACK took away is not referred to: every call's stack is there. */
static void stacks_are_written_again_after_a_failure(void **state)
{
	static const struct mon_mapping_source source = {read_mappings, identify};
	struct mon_store *store;
	struct mon_batch batch;

	(void)state;
	dlopened = true;
	store = open_with_mappings(&source);
	store_begin(store);
	/* The last one of the batch is refused, so halves are written after whole ones failed. */
	store_execute("CREATE TRIGGER poison BEFORE INSERT ON call WHEN new.ret=399 "
		      "BEGIN SELECT RAISE(ABORT,'no'); END");
	for (size_t i = 0; i < STACK_RECORDS; i++)
		feed_stack(i, 100, 0x400000 + 16 * (i % 40), DLOPENED + i % 3);
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), STACK_RECORDS - 1);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call c JOIN call_stack k ON "
					    "k.call_id=c.id JOIN stack s ON s.id=k.stack_id"),
			 STACK_RECORDS - 1);
	assert_int_equal(db_int(store_path, "SELECT count(DISTINCT frames) FROM stack"), 120);
	assert_int_equal(
		db_int(store_path,
		       "SELECT count(*) FROM call c JOIN call_stack k ON k.call_id=c.id JOIN stack "
		       "s ON s.id=k.stack_id WHERE hex(substr(s.frames,5,2))<>"
		       "printf('%02X%02X',(c.ret%40*16)%256,16+(c.ret%40*16)/256)"),
		0);
}

#define CROWD 60
#define CROWD_MAPPINGS 40
#define CROWD_PID 1000
#define CROWD_MODULE(index) (0x100000ull * (1 + (uint64_t)(index)))

/* More mappings in all than are remembered. */
static int read_crowd(uint32_t pid, int (*each)(const struct mon_mapping *mapping, void *context),
		      void *context)
{
	int result = 0;

	asked++;
	for (ino_t i = 0; i < CROWD_MAPPINGS && !result; i++) {
		char path[32];
		const struct mon_mapping mapping = {
			.start = CROWD_MODULE(i),
			.end = CROWD_MODULE(i) + 0x1000,
			.path = path,
			.device = 1,
			.inode = i + 1,
		};

		(void)snprintf(path, sizeof(path), "/lib/%u.so", (unsigned)i);
		result = each(&mapping, context);
	}
	return pid < CROWD_PID ? -ENOENT : result;
}

static mon_ns read_stopped(void *context)
{
	(void)context;
	return stack_now;
}

/* What all processes of one binary need: each is asked, though all come at one time. */
static void stacks_of_many_processes(void **state)
{
	static const struct mon_mapping_source source = {read_crowd, identify};
	static const struct mon_clock clock = {.now = read_stopped};
	struct mon_store *store;
	struct mon_batch batch;

	(void)state;
	stack_now = 100 * MON_NS_PER_S;
	asked = identified = 0;
	store = open_by_clock(&source, &clock);
	store_begin(store);
	for (uint32_t round = 0; round < 3; round++)
		for (uint32_t i = 0; i < CROWD; i++)
			feed_stack((size_t)round * CROWD + i, CROWD_PID + i,
				   CROWD_MODULE((i + round) % CROWD_MAPPINGS) + round + 1,
				   CROWD_MODULE((i + round + 7) % CROWD_MAPPINGS) + round + 1);
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(asked, CROWD);
	/* Nobody's address: asked for no sooner than another process's, and again later. */
	for (uint32_t i = 0; i < CROWD; i++)
		feed_stack(3 * CROWD + i, CROWD_PID + i, 1, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(asked, CROWD);
	stack_now += CROWD * (10 * MON_NS_PER_MS);
	for (uint32_t i = 0; i < CROWD; i++)
		feed_stack(4 * CROWD + i, CROWD_PID + i, 2, 3);
	batch = feed_batch();
	store_push(store, &batch, 0);
	assert_int_equal(asked, 2 * CROWD);
	/* What was forgotten and is in the file is not identified again. */
	assert_int_equal(identified, CROWD * CROWD_MAPPINGS);
	store_end(store);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM mapping"),
			 CROWD * CROWD_MAPPINGS);
	assert_int_equal(db_int(store_path,
				"SELECT count(*) FROM call c JOIN call_stack k ON k.call_id=c.id"
				" JOIN stack s ON s.id=k.stack_id WHERE c.ret<180 AND"
				" hex(substr(s.frames,1,4))<>'00000000' AND"
				" hex(substr(s.frames,13,4))<>'00000000' AND"
				" hex(substr(s.frames,5,8))=printf('%02X00000000000000',"
				" c.ret/60+1)"),
			 3 * CROWD);
}

/* Another file where one was: the row that lies under the new one tells nothing any more. */
static struct mon_mapping moving = {0x400000, 0x500000, 0, "/lib/before.so", 1, 1};

static int read_moving(uint32_t pid, int (*each)(const struct mon_mapping *mapping, void *context),
		       void *context)
{
	(void)pid;
	asked++;
	return each(&moving, context);
}

static void what_was_mapped_before_is_gone(void **state)
{
	static const struct mon_mapping_source source = {read_moving, identify};
	struct mon_store *store;
	struct mon_batch batch;
	char expected[64];

	(void)state;
	store = open_with_mappings(&source);
	store_begin(store);
	feed_stack(0, 100, 0x480000, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	moving = (struct mon_mapping){0x300000, 0x490000, 0, "/lib/after.so", 1, 2};
	feed_stack(1, 100, 0x380000, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	/* What is remembered goes with the ROLLBACK: the file tells. */
	store_execute("CREATE TRIGGER poison BEFORE INSERT ON call WHEN new.ret=3 "
		      "BEGIN SELECT RAISE(ABORT,'no'); END");
	feed_stack(2, 100, 0x480001, 0);
	feed_stack(3, 100, 0x480001, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_end(store);
	(void)snprintf(expected, sizeof(expected),
		       "%02X000000"
		       "0100180000000000",
		       (int)db_int(store_path, "SELECT id FROM module WHERE path LIKE '%after%'"));
	assert_stack(2, expected);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM mapping"), 1);
}

/* What a process said goes with the ROLLBACK, and the push after it does not wait to ask again. */
static void a_process_is_asked_again_after_a_failure(void **state)
{
	static const struct mon_mapping_source source = {read_mappings, identify};
	static const struct mon_clock clock = {.now = read_stopped};
	struct mon_store *store;
	struct mon_batch batch;
	char *text;

	(void)state;
	store = open_by_clock(&source, &clock);
	store_begin(store);
	store_execute("CREATE TRIGGER poison BEFORE INSERT ON call_stack WHEN new.call_id=2 "
		      "BEGIN SELECT RAISE(ABORT,'no'); END");
	feed_stack(0, 100, 0x400010, 0);
	feed_stack(1, 100, 0x400010, 0);
	batch = feed_batch();
	store_push(store, &batch, 0);
	store_end(store);
	text = db_text(store_path, "SELECT hex(frames) FROM stack");
	assert_string_equal(text, "020000001010000000000000");
	free(text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stacks_are_places_in_files),
		TEST(stacks_are_told_by_what_the_file_knows),
		TEST(stacks_are_written_again_after_a_failure),
		TEST(stacks_of_many_processes),
		TEST(what_was_mapped_before_is_gone),
		TEST(a_process_is_asked_again_after_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
