// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The last counts of a run that its database did not take, brought back from the spool: as they are
 * written now, as earlier builds wrote them (the spool of a full disk may wait for weeks, and the
 * program be another by then), and as a later one might.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/histogram.h"
#include "monitor/remains.h"
#include "monitor/replay.h"
#include "pipeline/spool.h"
#include "tests/harness/database.h"
#include "tests/harness/scratch.h"
#include "tests/harness/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define CALLS 30 /* of each of three functions */
#define KILLED 4

static char *spool_path;

/* As versions 1 and 2 were laid out. */
struct total_1 {
	uint8_t kind, version;
	uint16_t histogram_bytes;
	uint32_t function;
	uint64_t armed_ns, killed;
	struct mon_counters counters;
	uint8_t histogram[8];
};

struct total_2 {
	uint8_t kind, version;
	uint16_t histogram_bytes;
	uint32_t function;
	uint64_t armed_ns, killed;
	uint32_t marks, reserved;
	struct mon_counters counters;
	uint8_t histogram[8];
};

static int setup(void **state)
{
	int result = store_setup(state);

	spool_path = scratch_path(store_directory, "spool");
	return result;
}

static int teardown(void **state)
{
	free(spool_path);
	return store_teardown(state);
}

static const struct mon_counters counters = {
	.calls = CALLS + KILLED,
	.returns = CALLS,
	.total_ns = 1000 * CALLS,
	.self_ns = 600 * CALLS,
	.min_ns = 900,
	.max_ns = 1100,
	.emitted = CALLS + KILLED,
};
static const uint8_t histogram[] = {25, CALLS}; /* bucket 25 holds 1000 ns */

static uint32_t make_total_1(uint32_t function, void *room)
{
	struct total_1 *total = room;

	*total = (struct total_1){.kind = MON_REMAINS_TOTAL,
				  .version = 1,
				  .histogram_bytes = sizeof(histogram),
				  .function = function,
				  .armed_ns = 5000,
				  .killed = KILLED,
				  .counters = counters};
	memcpy(total->histogram, histogram, sizeof(histogram));
	return offsetof(struct total_1, histogram) + sizeof(histogram);
}

static uint32_t make_total_2(uint32_t function, void *room)
{
	struct total_2 *total = room;

	*total = (struct total_2){.kind = MON_REMAINS_TOTAL,
				  .version = 2,
				  .histogram_bytes = sizeof(histogram),
				  .function = function,
				  .armed_ns = 5000,
				  .killed = KILLED,
				  .marks = MON_MARK_ESTIMATED,
				  .counters = counters};
	memcpy(total->histogram, histogram, sizeof(histogram));
	return offsetof(struct total_2, histogram) + sizeof(histogram);
}

static uint32_t make_total_3(uint8_t version, uint32_t function, void *room)
{
	struct mon_remains_total *total = room;

	*total = (struct mon_remains_total){.kind = MON_REMAINS_TOTAL,
					    .version = version,
					    .histogram_bytes = sizeof(histogram),
					    .function = function,
					    .armed_ns = 5000,
					    .wanted_ns = 9000,
					    .wanted_own_ns = 60,
					    .armed_own_ns = 20,
					    .killed = KILLED,
					    .marks = MON_MARK_ESTIMATED,
					    .counters = counters};
	memcpy(total->histogram, histogram, sizeof(histogram));
	return offsetof(struct mon_remains_total, histogram) + sizeof(histogram);
}

static uint32_t make_total(uint8_t version, uint32_t function, void *room)
{
	return version == 1   ? make_total_1(function, room)
	       : version == 2 ? make_total_2(function, room)
			      : make_total_3(version, function, room);
}

/* What a build whose remains have this version leaves: a run without rows, and all of it spooled.
 */
static void leave(uint8_t version)
{
	static uint64_t totals[3][sizeof(struct mon_remains_total) / 8 + 1];
	static struct mon_remains_breaker breaker;
	static struct mon_remains_end end;
	struct mon_spool_options options = {.path = spool_path,
					    .run_uuid = UUID,
					    .no_reserve = true,
					    .owner_uid = getuid(),
					    .owner_gid = getgid()};
	struct mon_spool *spool = NULL;
	struct mon_error error = {0};
	struct mon_batch batch;
	size_t taken = 0;

	breaker = (struct mon_remains_breaker){.kind = MON_REMAINS_BREAKER,
					       .version = version,
					       .to = MON_BREAKER_OPEN,
					       .at_ns = STARTED_NS + 7,
					       .cause = "disk full"};
	end = (struct mon_remains_end){.kind = MON_REMAINS_END,
				       .version = version,
				       .target_status = -1,
				       .ended_ns = STARTED_NS + 9000,
				       .reason = "interrupted"};
	mon_store_free(store_begun());
	store_execute("UPDATE run SET uuid='" UUID "'");
	feed_calls((size_t)3 * CALLS);
	for (uint32_t i = 0; i < 3; i++)
		feed_record(totals[i], make_total(version, i, totals[i]), 0);
	feed_record(&breaker, sizeof(breaker), 0);
	feed_record(&end, sizeof(end), 0);
	batch = feed_batch();
	if (mon_spool_new(&options, &spool, &error))
		fail_msg("%s", error.text);
	assert_int_equal(mon_spool_push(spool, 0, batch.records, batch.count, &taken), 0);
	assert_int_equal(taken, batch.count);
	mon_spool_free(spool);
}

static void keep(const struct mon_replay_run *run, void *context)
{
	*(struct mon_replay_run *)context = *run;
}

static struct mon_replay_run drain(void)
{
	const struct mon_replay_options options = {.spool_path = spool_path,
						   .output = store_path,
						   .owner_uid = getuid(),
						   .owner_gid = getgid()};
	struct mon_replay_run run = {0};
	struct mon_error error = {0};

	if (mon_replay(&options, keep, &run, &error))
		fail_msg("%s", error.text);
	return run;
}

static void each_version_closes_the_books(void **state)
{
	(void)state;
	for (uint8_t version = 1; version <= MON_REMAINS_VERSION; version++) {
		struct mon_replay_run run;

		leave(version);
		run = drain();
		assert_int_equal(run.records, 3 * CALLS);
		assert_int_equal(run.damaged, 0);
		assert_true(run.ended && run.complete);
		assert_int_equal(db_int(store_path, "SELECT count(*) FROM unbalanced"), 0);
		assert_int_equal(db_int(store_path, "SELECT count(*) FROM set_aside"), 0);
		assert_int_equal(db_int(store_path, "SELECT sum(count) FROM losses"), 3 * KILLED);
		assert_int_equal(db_int(store_path, "SELECT count(*) FROM breaker_event"), 1);
		assert_int_equal(db_int(store_path,
					"SELECT count(*) FROM function_total WHERE calls=34 AND "
					"returns=30 AND total_ns=30000 AND self_ns=18000 AND "
					"min_ns=900 AND max_ns=1100 AND armed_ns=5000 AND "
					"hex(histogram)='191E'"),
				 3);
		assert_int_equal(db_int(store_path, "SELECT sum(estimated) FROM function_total"),
				 version >= 2 ? 3 : 0);
		assert_int_equal(
			db_int(store_path, "SELECT count(wanted_own_ns) FROM function_total"),
			version >= 3 ? 3 : 0);
		assert_int_equal(db_int(store_path, "SELECT complete AND ended_ns=9000 AND "
						    "end_reason='interrupted' FROM run"),
				 1);
		assert_int_equal(unlink(store_path), 0);
	}
}

/* What nobody can read is told, not passed over as if the monitor had been killed. */
static void a_later_version_is_damage(void **state)
{
	struct mon_replay_run run;

	(void)state;
	leave(MON_REMAINS_VERSION + 1);
	run = drain();
	assert_int_equal(run.records, 3 * CALLS);
	assert_int_equal(run.damaged, 5);
	assert_true(run.unread && !run.ended && !run.complete);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM set_aside"), 5);
}

/* Each size that a version does not have. */
static void sizes_must_fit_their_version(void **state)
{
	static uint64_t room[sizeof(struct mon_remains_total) / 8 + 1];

	(void)state;
	for (uint8_t version = 1; version <= MON_REMAINS_VERSION; version++) {
		uint32_t right = make_total(version, 2, room);

		for (uint32_t size = 0; size <= sizeof(struct mon_remains_total); size++) {
			const struct mon_record record = {.data = room, .size_bytes = size};

			assert_int_equal(mon_remains_is(&record, 3), size == right);
			assert_false(mon_remains_is(&record, 2));
		}
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_version_closes_the_books),
		TEST(a_later_version_is_damage),
		TEST(sizes_must_fit_their_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
