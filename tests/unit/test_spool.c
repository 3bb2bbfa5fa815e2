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
	uint32_t ring = 0;

	count = mon_spool_pop(model->spool, records, max, (uint8_t *)memory + draw(model, 2),
			      bytes - 1, &ring);
	for (size_t i = 0; i < count; i++) {
		while (model->popped < model->count && is_committed(model, &items[model->popped]))
			model->popped++;
		assert_true(model->popped < model->count);
		assert_int_equal(items[model->popped].ring, ring);
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
		spool_test(random_operations_equal_a_list),
	};

	return cmocka_run_group_tests_name("pipeline/spool", tests, NULL, NULL);
}
