// SPDX-License-Identifier: GPL-2.0-or-later
/* Several rings as one: their numbers, their levels, and the wait for all of them. */
#include "pipeline/rings.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define SIZE 4096

/* Consumer page, producer page, the data twice over; nothing but headers of no length in it. */
static uint64_t *fake_pages(struct mon_ring_options *options)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page + 2 * SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(pages != MAP_FAILED);
	*options = (struct mon_ring_options){
		.map_fd = -1,
		.size_bytes = SIZE,
		.number = 7, /* not ours to say */
		.function_count = 1,
		.consumer_page = pages,
		.producer_pages = pages + page,
	};
	return options->producer_pages;
}

/* The level that matters is the fullest ring's: there calls are lost first. */
static void numbers_and_levels(void **state)
{
	struct mon_ring_options options[MON_RINGS_MAX];
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct mon_rings_stats stats;
	struct mon_rings *rings;
	struct mon_record record;

	(void)state;
	assert_int_equal(mon_rings_new(&rings), 0);
	for (uint32_t i = 0; i < MON_RINGS_MAX; i++) {
		uint64_t *producer = fake_pages(&options[i]);

		assert_int_equal(mon_rings_add(rings, &options[i]), 0);
		*producer = i == 5 ? SIZE / 2 : 8;
	}
	assert_int_equal(mon_rings_add(rings, &options[0]), -E2BIG);
	assert_int_equal(mon_rings_count(rings), MON_RINGS_MAX);
	assert_null(mon_rings_at(rings, MON_RINGS_MAX));
	mon_rings_stats(rings, &stats);
	assert_int_equal(stats.sum.size_bytes, MON_RINGS_MAX * SIZE);
	assert_int_equal(stats.sum.produced, SIZE / 2 + (MON_RINGS_MAX - 1) * 8);
	assert_int_equal(stats.fullest.produced, SIZE / 2);
	assert_true(mon_ring_level(&stats.fullest) == 0.5);
	for (uint32_t i = 0; i < MON_RINGS_MAX; i++) {
		assert_int_equal(mon_ring_try_pop(mon_rings_at(rings, i), &record), 0);
		assert_int_equal(record.ring, i);
	}
	mon_rings_free(rings);
	for (uint32_t i = 0; i < MON_RINGS_MAX; i++)
		(void)munmap(options[i].consumer_page, 2 * page + 2 * SIZE);
}

static void waiting(void **state)
{
	uint64_t one = 1;
	int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mon_ns before;
	struct mon_rings *rings;

	(void)state;
	assert_true(wake_fd >= 0);
	assert_int_equal(mon_rings_new(&rings), 0);
	assert_int_equal(mon_rings_wait(rings, -1, 0), 0);
	assert_int_equal(mon_rings_wait(rings, wake_fd, 0), 0);
	for (int i = 0; i < 3; i++) { /* each write wakes once, read by us or not */
		assert_int_equal(write(wake_fd, &one, sizeof(one)), sizeof(one));
		before = mon_clock_now(&mon_clock_system);
		assert_int_equal(mon_rings_wait(rings, wake_fd, 20000), 0);
		assert_true(mon_clock_now(&mon_clock_system) - before < 10 * MON_NS_PER_S);
	}
	before = mon_clock_now(&mon_clock_system);
	assert_int_equal(mon_rings_wait(rings, wake_fd, 5), 0); /* an old edge is no news */
	assert_true(mon_clock_now(&mon_clock_system) - before >= 4 * MON_NS_PER_MS);
	mon_rings_free(rings);
	close(wake_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_and_levels),
		cmocka_unit_test(waiting),
	};

	return cmocka_run_group_tests_name("pipeline/rings", tests, NULL, NULL);
}
