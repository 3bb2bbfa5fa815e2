// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows P01 and P02 of the fault matrix: the spool on a file system that is full. A tmpfs of a few
 * megabytes in a mount namespace of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/spool.h"

#include "base/cleanup.h"
#include "tests/harness/scratch.h"
#include "tests/harness/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SEGMENT MON_SPOOL_SEGMENT_BYTES_MIN

static int group_setup(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNS))
		return -1;
	/* In a chroot "/" is no mount; each test takes away what it mounted in any case. */
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && errno != EINVAL;
}

static int setup(void **state)
{
	struct fixture *fixture;

	if (spool_setup(state))
		return -1;
	fixture = *state;
	return mount("none", fixture->scratch, "tmpfs", 0, "size=4m");
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	(void)umount2(fixture->scratch, MNT_DETACH);
	return spool_teardown(state);
}

static uint64_t free_bytes(const struct fixture *fixture)
{
	struct statvfs system;

	assert_int_equal(statvfs(fixture->scratch, &system), 0);
	return (uint64_t)system.f_bavail * system.f_frsize;
}

/* Takes what is free, to the last byte. */
static void fill_up(const struct fixture *fixture)
{
	static const char bytes[1 << 16];
	MON_FREE char *path = scratch_path(fixture->scratch, "filler");
	MON_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(free_bytes(fixture), 0);
}

/* The disk is smaller than the bound: stops there, loses nothing, goes on when there is room. */
static void P01_spool_disk_full(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	struct mon_spool_stats stats;
	size_t first, second, third;

	first = spool_push(spool, 0, 0, 100000);
	assert_int_equal(errno, ENOSPC);
	assert_true(free_bytes(fixture) < SEGMENT);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.pushed, first);
	assert_int_equal(stats.waiting, first);
	assert_true(stats.used_bytes > (3 << 20) && stats.used_bytes <= (4 << 20));
	assert_int_equal(spool_push(spool, 0, first, 1000), 0);
	assert_int_equal(errno, ENOSPC);

	assert_int_equal(mount("none", fixture->scratch, "tmpfs", MS_REMOUNT, "size=5m"), 0);
	second = spool_push(spool, 0, first, 100000);
	assert_int_equal(errno, ENOSPC);
	assert_true(second > 1000);

	assert_int_equal(spool_pop(spool, 0, 0, 1000), 1000);
	assert_int_equal(spool_pop(spool, 0, 1000, 1000), 1000);
	mon_spool_release(spool, 0, spool_test_end(1999));
	third = spool_push(spool, 0, first + second, 100000);
	assert_int_equal(errno, ENOSPC);
	assert_true(third > 1000);
	assert_int_equal(spool_pop_all(spool, 0, 2000), first + second + third - 2000);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.damaged, 0);
	mon_spool_free(spool);
	assert_int_equal(spool_count_files(fixture, ".bad"), 0);
}

/* The reserve was taken at the start, so that a disk that others filled leaves room. */
static void P01_the_reserve_is_room_on_a_full_disk(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	size_t count;

	fixture->options.no_reserve = false; /* 64 MiB: a quarter of the disk is what it gets */
	spool = spool_begin(fixture);
	mon_spool_stats(spool, &stats);
	assert_true(stats.reserve_bytes >= (1 << 20) - SEGMENT && stats.reserve_bytes <= 1 << 20);
	fill_up(fixture);
	count = spool_push(spool, 0, 0, 100000);
	assert_int_equal(errno, ENOSPC);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.reserve_bytes, 0);
	assert_true(count > 5000);
	assert_int_equal(spool_pop_all(spool, 0, 0), count);
	mon_spool_free(spool);
}

/* A start is not refused by a full disk. */
static void P01_a_start_on_a_full_disk(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool_stats stats;
	struct mon_spool *spool;

	fixture->options.no_reserve = false;
	fill_up(fixture);
	spool = spool_begin(fixture);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.reserve_bytes, 0);
	assert_int_equal(spool_push(spool, 0, 0, 10), 0);
	assert_int_equal(errno, ENOSPC);
	assert_true(mon_spool_drained(spool));
	mon_spool_free(spool);
	assert_int_equal(access(fixture->directory, F_OK), -1);
}

/* Draining needs no byte: after each release the next segment's worth can be pushed. */
static void P02_drain_with_no_byte_free(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool;
	struct mon_spool_stats stats;
	size_t count, popped = 0, batch;

	fixture->options.no_reserve = false;
	fixture->options.reserve_bytes = 8 * SEGMENT;
	spool = spool_begin(fixture);
	count = spool_push(spool, 0, 0, 100000);
	assert_int_equal(errno, ENOSPC);
	fill_up(fixture);
	while ((batch = spool_pop(spool, 0, popped, 500))) {
		popped += batch;
		mon_spool_release(spool, 0, spool_test_end(popped - 1));
	}
	assert_int_equal(popped, count);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.damaged, 0);
	assert_int_equal(stats.reserve_bytes, 8 * SEGMENT); /* out of what was released */
	fill_up(fixture);
	count = spool_push(spool, 0, popped, 3000); /* some 5 segments, all of the reserve */
	assert_int_equal(count, 3000);
	assert_int_equal(spool_pop_all(spool, 0, popped), count);

	/* And a start with leftovers, with no byte free. */
	mon_spool_free(spool);
	fill_up(fixture);
	spool = spool_begin(fixture);
	assert_int_equal(spool_pop_all(spool, 0, popped), count);
	mon_spool_release(spool, 0, spool_test_end(popped + count - 1));
	mon_spool_free(spool);
	assert_int_equal(access(fixture->directory, F_OK), -1);
}

#define disk_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		disk_test(P01_spool_disk_full),
		disk_test(P01_the_reserve_is_room_on_a_full_disk),
		disk_test(P01_a_start_on_a_full_disk),
		disk_test(P02_drain_with_no_byte_free),
	};

	return cmocka_run_group_tests_name("spool disk", tests, group_setup, NULL);
}
