// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The spool on real files below the build's scratch directory: order and exactness across segments,
 * the bound, the reserve, what an earlier monitor left, two threads, and random operations against
 * a naive model. The faults are in test_spool_faults.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/spool.h"

#include "base/budget.h"
#include "tests/harness/scratch.h"
#include "tests/harness/spool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void records_come_back_in_order(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	struct mon_spool_stats stats;

	assert_true(mon_spool_drained(spool));
	assert_int_equal(spool_push(spool, 0, 0, 20000), 20000); /* some 30 segments */
	assert_int_equal(mon_spool_end(spool, 0), spool_test_end(19999));
	assert_false(mon_spool_drained(spool));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 20000);
	assert_true(stats.segments > 10);
	assert_int_equal(spool_pop_all(spool, 0, 0), 20000);
	assert_true(mon_spool_drained(spool));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 20000); /* until they are committed */
	mon_spool_release(spool, 0, spool_test_end(19999));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.pushed, 20000);
	assert_int_equal(stats.popped, 20000);
	assert_int_equal(stats.released, 20000);
	assert_int_equal(stats.damaged, 0);
	assert_true(stats.segments <= 1);
	mon_spool_free(spool);
	assert_int_equal(access(fixture->directory, F_OK), -1); /* nothing waits, nothing is left */
}

static void what_waits_is_found_again(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	struct mon_spool_stats stats;

	assert_int_equal(spool_push(spool, 0, 0, 5000), 5000);
	assert_int_equal(spool_push(spool, 3, 0, 10), 10);
	assert_int_equal(spool_pop(spool, 0, 0, 700), 700);
	mon_spool_release(spool, 0, spool_test_end(699));
	mon_spool_free(spool);
	assert_int_equal(spool_count_files(fixture, ".bad"), 0);

	spool = spool_begin(fixture);
	mon_spool_stats(spool, &stats);
	assert_true(stats.waiting >= 5000 - 700 + 10 && stats.waiting <= 5010);
	assert_int_equal(stats.damaged, 0);
	assert_int_equal(mon_spool_end(spool, 0), spool_test_end(4999));
	assert_int_equal(mon_spool_end(spool, 3), spool_test_end(9));
	assert_int_equal(mon_spool_end(spool, 1), 0);
	assert_int_equal(mon_spool_end(spool, MON_SPOOL_RINGS_MAX), 0);
	mon_spool_release(spool, 0, spool_test_end(699)); /* what the database says */
	assert_int_equal(spool_push(spool, 0, 5000, 1000), 1000);
	for (size_t popped = 700; popped < 5000;)
		popped += spool_pop(spool, 0, popped, popped > 4000 ? 5000 - popped : 1000);
	assert_int_equal(spool_pop(spool, 3, 0, 10), 10);
	assert_int_equal(spool_pop_all(spool, 0, 5000), 1000);
	mon_spool_free(spool);
}

/* In the order of the pushes; what one ring's mark releases is not another's. */
static void rings_wait_beside_each_other(void **state)
{
	struct mon_spool *spool = spool_begin(*state);
	struct mon_record records[20];
	struct mon_spool_stats stats;
	uint64_t memory[2000];

	assert_int_equal(spool_push(spool, 2, 0, 10), 10);
	assert_int_equal(spool_push(spool, 15, 0, 5), 5);
	assert_int_equal(spool_push(spool, 2, 10, 5), 5);
	assert_int_equal(spool_push(spool, MON_SPOOL_RINGS_MAX, 0, 5), 0);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(spool_pop(spool, 2, 0, 0), 0);
	assert_int_equal(mon_spool_pop(spool, records, 20, memory, sizeof(memory)), 20);
	for (size_t i = 0; i < 20; i++) {
		assert_int_equal(records[i].ring, i >= 10 && i < 15 ? 15 : 2);
		spool_assert_record(&records[i], i < 10 ? i : i < 15 ? i - 10 : i - 5);
	}
	assert_int_equal(spool_pop(spool, 2, 15, 100), 0);
	mon_spool_release(spool, 2, spool_test_end(14));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 5);
	mon_spool_release(spool, 15, spool_test_end(4));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 0);
	mon_spool_free(spool);
}

/* At the bound pushes stop; they go on when a segment was given back. */
static void the_bound_holds(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	size_t first, more;

	fixture->options.max_bytes = 8 * MON_SPOOL_SEGMENT_BYTES_MIN;
	spool = spool_begin(fixture);
	first = spool_push(spool, 0, 0, 100000);
	assert_int_equal(errno, ENOSPC);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.used_bytes, stats.max_bytes);
	assert_int_equal(stats.waiting, first);
	assert_int_equal(spool_push(spool, 0, first, 1000), 0);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(spool_pop(spool, 0, 0, 1000), 1000);
	mon_spool_release(spool, 0, spool_test_end(999));
	more = spool_push(spool, 0, first, 100000);
	assert_int_equal(errno, ENOSPC);
	assert_true(more > 100);
	assert_int_equal(spool_pop_all(spool, 0, 1000), first + more - 1000);
	mon_spool_release(spool, 0, spool_test_end(first + more - 1));
	assert_int_equal(spool_push(spool, 0, first + more, 3000), 3000);
	mon_spool_free(spool);
}

static void the_reserve_is_taken_and_refilled(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	struct stat status;

	fixture->options.no_reserve = false;
	fixture->options.reserve_bytes = 4 * MON_SPOOL_SEGMENT_BYTES_MIN;
	spool = spool_begin(fixture);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.reserve_bytes, fixture->options.reserve_bytes);
	assert_int_equal(spool_count_files(fixture, ""), 4);
	assert_int_equal(stat(fixture->directory, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0700);
	assert_int_equal(spool_push(spool, 0, 0, 100), 100);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.reserve_bytes, 3 * MON_SPOOL_SEGMENT_BYTES_MIN);
	assert_int_equal(spool_push(spool, 0, 100, 10000), 10000);
	assert_int_equal(spool_pop_all(spool, 0, 0), 10100);
	mon_spool_release(spool, 0, spool_test_end(10099));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.reserve_bytes, fixture->options.reserve_bytes);
	assert_int_equal(stats.segments, 1);
	assert_int_equal(spool_count_files(fixture, ""), 5);
	/* Killed: the next monitor has the reserve still, should the disk be full by now. */
	spool_crash(fixture);
	mon_spool_free(spool);
	spool = spool_begin(fixture);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.reserve_bytes, fixture->options.reserve_bytes);
	mon_spool_free(spool);
	assert_int_equal(access(fixture->directory, F_OK),
			 0); /* the last records were not released */
	assert_int_equal(spool_count_files(fixture, ""), 1);
}

static void other_runs_are_left_alone(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool;
	struct mon_spool_stats stats;
	struct mon_spool_found found[2];
	struct mon_error error;
	size_t count = 0, segments;

	spool = spool_begin(fixture);
	assert_int_equal(spool_push(spool, 0, 0, 3000), 3000);
	mon_spool_free(spool);
	segments = spool_count_files(fixture, ".seg");
	fixture->options.run_uuid = SPOOL_TEST_OTHER_UUID;
	spool = spool_begin(fixture);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.foreign_segments, segments);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(spool_push(spool, 0, 7, 10), 10);
	assert_int_equal(spool_pop_all(spool, 0, 7), 10);
	mon_spool_free(spool);

	assert_int_equal(mon_spool_check(fixture->directory, found, 1, &count, &error), -E2BIG);
	assert_int_equal(mon_spool_check(fixture->directory, found, 2, &count, &error), 0);
	assert_int_equal(count, 2);
	assert_string_equal(found[0].run_uuid, SPOOL_TEST_UUID);
	assert_int_equal(found[0].segments, segments);
	assert_int_equal(found[0].records, 3000);
	assert_int_equal(found[0].first_position, spool_test_position(0));
	assert_int_equal(found[0].end_position, spool_test_end(2999));
	assert_string_equal(found[1].run_uuid, SPOOL_TEST_OTHER_UUID);
	assert_int_equal(found[1].records, 10);
	assert_int_equal(found[1].damaged, 0);
	assert_int_equal(found[1].set_aside, 0);

	fixture->options.run_uuid = SPOOL_TEST_UUID;
	spool = spool_begin(fixture);
	assert_int_equal(spool_pop_all(spool, 0, 0), 3000);
	mon_spool_free(spool);
}

static void memory_is_the_budgets(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = NULL;
	struct mon_budget *budget;
	struct mon_error error = {0};

	assert_int_equal(mon_budget_new(4 << 20, &budget), 0);
	fixture->options.budget = budget;
	fixture->options.max_bytes = 0; /* the default */
	fixture->options.segment_bytes = 0;
	spool = spool_begin(fixture);
	assert_true(mon_budget_used(budget) <= MON_BUDGET_SPOOL_BYTES);
	mon_spool_free(spool);
	for (unsigned i = 1; i <= 3; i++) {
		spool = NULL;
		mon_budget_fail_at(budget, i);
		assert_int_equal(mon_spool_new(&fixture->options, &spool, &error), -ENOMEM);
		assert_null(spool);
		assert_int_equal(access(fixture->directory, F_OK), -1);
		assert_int_equal(mon_budget_used(budget), 0);
	}
	mon_budget_free(budget);
}

static void sync_survives_too(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool;

	fixture->options.sync = true;
	spool = spool_begin(fixture);
	assert_int_equal(spool_push(spool, 0, 0, 2000), 2000);
	assert_int_equal(spool_pop_all(spool, 0, 0), 2000);
	mon_spool_free(spool);
}

/* ---- Two threads ---- */

#define THREAD_RECORDS 150000

struct race {
	struct mon_spool *spool;
	atomic_bool done;
	uint64_t full;
};

static void *push_thread(void *argument)
{
	struct race *race = argument;
	uint64_t pushed = 0;

	while (pushed < THREAD_RECORDS) {
		size_t count = 1 + pushed * 7 % 700;

		if (count > THREAD_RECORDS - pushed)
			count = THREAD_RECORDS - pushed;
		count = spool_push(race->spool, 0, pushed, count);
		race->full += !count;
		if (!count)
			(void)sched_yield();
		pushed += count;
	}
	atomic_store(&race->done, true);
	return NULL;
}

static void race(struct fixture *fixture, unsigned removals)
{
	struct race shared = {0};
	struct mon_spool_stats stats;
	uint64_t popped = 0;
	pthread_t thread;

	fixture->options.max_bytes = 6 * MON_SPOOL_SEGMENT_BYTES_MIN;
	fixture->options.no_reserve = false;
	fixture->options.reserve_bytes = 2 * MON_SPOOL_SEGMENT_BYTES_MIN;
	shared.spool = spool_begin(fixture);
	assert_int_equal(pthread_create(&thread, NULL, push_thread, &shared), 0);
	while (!atomic_load(&shared.done) || !mon_spool_drained(shared.spool)) {
		size_t count = spool_pop(shared.spool, 0, popped, 1 + popped % 900);

		popped += count;
		if (popped && (!count || popped % 3 == 0))
			mon_spool_release(shared.spool, 0, spool_test_end(popped - 1));
		if (!count)
			(void)sched_yield();
		if (removals && popped > THREAD_RECORDS / (removals + 1)) {
			scratch_remove(strdup(fixture->directory));
			removals--;
		}
		mon_spool_stats(shared.spool, &stats);
		assert_true(stats.used_bytes + stats.reserve_bytes <= stats.max_bytes);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(popped, THREAD_RECORDS);
	mon_spool_release(shared.spool, 0, spool_test_end(popped - 1));
	mon_spool_stats(shared.spool, &stats);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.released, THREAD_RECORDS);
	assert_int_equal(stats.damaged, 0);
	print_message("full %llu times\n", (unsigned long long)shared.full);
	mon_spool_free(shared.spool);
}

static void reader_and_writer_thread(void **state)
{
	race(*state, 0);
}

static void P09_directory_removed_while_both_work(void **state)
{
	race(*state, 6);
}

/* ---- Random operations against a list ---- */

#define MODEL_RINGS 2
#define MODEL_MAX 400000

struct item {
	uint64_t number;
	uint32_t ring;
};

static struct item items[MODEL_MAX];

struct model {
	struct mon_spool *spool;
	uint64_t random;
	size_t count, popped; /* items pushed; those before `popped` were popped or skipped */
	uint64_t next[MODEL_RINGS], marks[MODEL_RINGS];
	unsigned full, crashes;
};

static uint64_t draw(struct model *model, uint64_t below)
{
	model->random = model->random * 6364136223846793005ull + 1442695040888963407ull;
	return (model->random >> 20) % below;
}

static bool is_committed(const struct model *model, const struct item *item)
{
	return spool_test_end(item->number) <= model->marks[item->ring];
}

static void model_push(struct model *model)
{
	uint32_t ring = (uint32_t)draw(model, MODEL_RINGS);
	size_t count = draw(model, draw(model, 4) ? 40 : 1500), taken;

	taken = spool_push(model->spool, ring, model->next[ring], count);
	if (taken < count) {
		assert_int_equal(errno, ENOSPC);
		model->full++;
	}
	for (size_t i = 0; i < taken; i++)
		items[model->count++] = (struct item){model->next[ring]++, ring};
	if (taken)
		assert_int_equal(mon_spool_end(model->spool, ring),
				 spool_test_end(model->next[ring] - 1));
}

/* Returns how many came. */
static size_t model_pop(struct model *model)
{
	static uint64_t memory[1 << 13];
	struct mon_record records[512];
	size_t max = draw(model, 512) + 1, count;
	size_t bytes = draw(model, 8) ? sizeof(memory) : MON_SPOOL_POP_BYTES_MIN + 1;

	count = mon_spool_pop(model->spool, records, max, (uint8_t *)memory + draw(model, 2),
			      bytes - 1);
	for (size_t i = 0; i < count; i++) {
		while (model->popped < model->count && is_committed(model, &items[model->popped]))
			model->popped++;
		assert_true(model->popped < model->count);
		assert_int_equal(items[model->popped].ring, records[i].ring);
		spool_assert_record(&records[i], items[model->popped].number);
		model->popped++;
	}
	if (!count) {
		for (; model->popped < model->count; model->popped++)
			assert_true(is_committed(model, &items[model->popped]));
		assert_true(mon_spool_drained(model->spool));
	}
	return count;
}

/* Up to a record that was popped, or (rarely) one that was not. */
static void model_release(struct model *model)
{
	size_t limit = draw(model, 8) ? model->popped : model->count;
	const struct item *item;

	if (!limit)
		return;
	item = &items[limit - 1 - draw(model, limit < 300 ? limit : 300)];
	if (!is_committed(model, item))
		model->marks[item->ring] = spool_test_end(item->number);
	mon_spool_release(model->spool, item->ring, spool_test_end(item->number));
}

static void model_restart(struct model *model, struct fixture *fixture)
{
	if (draw(model, 2))
		spool_crash(fixture);
	mon_spool_free(model->spool);
	model->spool = spool_begin(fixture);
	for (uint32_t ring = 0; ring < MODEL_RINGS; ring++)
		mon_spool_release(model->spool, ring, model->marks[ring]);
	model->popped = 0; /* what was popped and not committed comes again */
	model->crashes++;
}

static void model_check(struct model *model)
{
	struct mon_spool_stats stats;
	size_t waiting = 0;

	for (size_t i = 0; i < model->count; i++)
		waiting += !is_committed(model, &items[i]);
	mon_spool_stats(model->spool, &stats);
	assert_true(stats.waiting >= waiting);
	assert_int_equal(stats.damaged, 0);
	assert_int_equal(stats.segments_set_aside, 0);
	assert_int_equal(stats.remade, 0);
	assert_true(stats.used_bytes + stats.reserve_bytes <= stats.max_bytes);
}

static void random_operations(struct fixture *fixture, uint64_t seed)
{
	struct model model = {.random = seed};
	struct mon_spool_stats stats;

	print_message("seed %llu\n", (unsigned long long)seed);
	fixture->options.max_bytes = 1 << 20;
	fixture->options.reserve_bytes = 4 << 16;
	fixture->options.no_reserve = false;
	model.spool = spool_begin(fixture);
	for (unsigned step = 0; step < 4000 && model.count < MODEL_MAX - 1500; step++) {
		uint64_t what = draw(&model, 100);

		if (what < 40)
			model_push(&model);
		else if (what < 75)
			(void)model_pop(&model);
		else if (what < 98)
			model_release(&model);
		else
			model_restart(&model, fixture);
		if (step % 50 == 0)
			model_check(&model);
	}
	while (model_pop(&model))
		;
	for (uint32_t ring = 0; ring < MODEL_RINGS; ring++)
		mon_spool_release(model.spool, ring, spool_test_end(model.next[ring]));
	mon_spool_stats(model.spool, &stats);
	assert_int_equal(stats.waiting, 0);
	mon_spool_free(model.spool);
	assert_int_equal(access(fixture->directory, F_OK), -1);
	print_message("%zu records, %u restarts, %u times full\n", model.count, model.crashes,
		      model.full);
	assert_true(model.full && model.crashes);
}

static void random_operations_equal_a_list(void **state)
{
	const char *given = getenv("MON_TEST_SEED");

	random_operations(*state, given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) | 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		spool_test(records_come_back_in_order),
		spool_test(what_waits_is_found_again),
		spool_test(rings_wait_beside_each_other),
		spool_test(the_bound_holds),
		spool_test(the_reserve_is_taken_and_refilled),
		spool_test(other_runs_are_left_alone),
		spool_test(memory_is_the_budgets),
		spool_test(sync_survives_too),
		spool_test(reader_and_writer_thread),
		spool_test(P09_directory_removed_while_both_work),
		spool_test(random_operations_equal_a_list),
	};

	return cmocka_run_group_tests_name("pipeline/spool", tests, NULL, NULL);
}
