// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows P of the fault matrix that need no file system of their own: a segment cut at each byte, a
 * bit of each byte flipped, headers that are not ours, things that are no files, a directory that
 * goes away, two monitors, a file size limit. Rows P01 and P02 are in
 * tests/fault/test_spool_disk.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/spool_internal.h"

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "tests/harness/scratch.h"
#include "tests/harness/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RECORDS 16
#define IMAGE_MAX (32 << 10)

/* A segment as a killed monitor leaves it, and where its frames are. */
struct image {
	uint8_t bytes[IMAGE_MAX];
	size_t size;		/* after the last frame */
	size_t at[RECORDS + 1]; /* of each frame; the end */
};

static void read_image(const char *path, struct image *image)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size;

	assert_true(fd >= 0);
	size = read(fd, image->bytes, sizeof(image->bytes));
	assert_true(size > 0 && size < IMAGE_MAX);
	image->size = (size_t)size;
	(void)close(fd);
}

static void write_image(const char *path, const uint8_t *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	(void)close(fd);
}

/* @first: number of the first record, so that sizes differ. */
static void make_image(struct fixture *fixture, uint64_t first, struct image *image)
{
	struct mon_spool *spool = spool_begin(fixture);
	MON_FREE char *path = spool_segment_path(fixture, 0);

	assert_int_equal(spool_push(spool, 0, first, RECORDS), RECORDS);
	mon_spool_free(spool);
	read_image(path, image);
	image->at[0] = sizeof(struct mon_spool_header);
	for (size_t i = 0; i < RECORDS; i++) {
		uint8_t data[4096];
		struct mon_record record;

		spool_test_record(first + i, &record, data);
		image->at[i + 1] = image->at[i] + mon_spool_frame_size(&record);
	}
	assert_int_equal(image->at[RECORDS], image->size);
}

/* Opens what is there and asserts that all come but those that @lost says. */
static void expect(struct fixture *fixture, uint64_t first, const bool *lost, bool set_aside,
		   uint64_t damaged)
{
	static uint64_t memory[1 << 14];
	struct mon_record records[RECORDS + 1];
	struct mon_spool *spool = spool_begin(fixture);
	MON_FREE char *path = spool_segment_path(fixture, 0);
	struct mon_spool_stats stats;
	size_t count, want = 0;

	count = mon_spool_pop(spool, records, RECORDS + 1, memory, sizeof(memory));
	for (size_t i = 0; i < RECORDS; i++)
		if (!lost[i] && !set_aside) {
			assert_true(want < count);
			spool_assert_record(&records[want++], first + i);
		}
	assert_int_equal(count, want);
	assert_int_equal(mon_spool_pop(spool, records, 1, memory, sizeof(memory)), 0);
	assert_true(mon_spool_drained(spool));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, want);
	assert_int_equal(stats.damaged, damaged);
	assert_int_equal(stats.segments_set_aside, set_aside);
	assert_int_equal(access(path, F_OK) != 0, set_aside);
	(void)unlink(path);
	mon_spool_free(spool);
	if (set_aside) {
		MON_FREE char *aside = NULL;

		assert_true(asprintf(&aside, "%s.bad", path) > 0);
		assert_int_equal(unlink(aside), 0);
	}
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

/*
 * Cut: the file ends there. Zeroed: it was preallocated, and what is behind was never written; then
 * a frame is whole as well when only zeros of its are behind.
 */
static void tear_at_each_byte(struct fixture *fixture, bool zeroed)
{
	static struct image image;
	static uint8_t torn[IMAGE_MAX];
	MON_FREE char *path = spool_segment_path(fixture, 0);

	make_image(fixture, 100, &image);
	for (size_t cut = 0; cut <= image.size; cut++) {
		bool lost[RECORDS];
		size_t last = 0; /* bytes that are left of the first torn frame */
		bool headless = zeroed ? !is_zero(image.bytes + cut,
						  cut < image.at[0] ? image.at[0] - cut : 0)
				       : cut < image.at[0];
		uint64_t damaged = 0;

		for (size_t i = 0; i < RECORDS; i++) {
			lost[i] = cut < image.at[i + 1] &&
				  !(zeroed && cut > image.at[i] &&
				    is_zero(image.bytes + cut, image.at[i + 1] - cut));
			if (lost[i] && cut > image.at[i])
				last = cut - image.at[i];
			if (lost[i] && cut > image.at[i] &&
			    !is_zero(image.bytes + image.at[i],
				     last < MON_SPOOL_END_BYTES ? last : MON_SPOOL_END_BYTES))
				damaged = 1;
		}
		memset(torn, 0, sizeof(torn));
		memcpy(torn, image.bytes, cut);
		(void)mkdir(fixture->directory, 0700);
		write_image(path, torn, zeroed ? image.size + 4096 : cut);
		expect(fixture, 100, lost, headless, headless ? 0 : damaged);
	}
}

static void P03_torn_tail(void **state)
{
	tear_at_each_byte(*state, false);
}

static void P03_torn_tail_of_zeros(void **state)
{
	tear_at_each_byte(*state, true);
}

static void flip_each_byte(struct fixture *fixture, uint64_t first, size_t behind)
{
	static struct image image;
	MON_FREE char *path = spool_segment_path(fixture, 0);

	make_image(fixture, first, &image);
	memset(image.bytes + image.size, 0, behind);
	for (size_t at = 0, record = 0; at < image.size; at++) {
		bool header = at < image.at[0], lost[RECORDS] = {false};

		while (!header && at >= image.at[record + 1])
			record++;
		for (unsigned way = 0; way < 2; way++) {
			uint8_t flip = way ? 0xff : (uint8_t)(1u << (first + at) % 8);

			image.bytes[at] ^= flip;
			(void)mkdir(fixture->directory, 0700);
			write_image(path, image.bytes, image.size + behind);
			lost[record] = true;
			expect(fixture, first, lost, header, !header);
			image.bytes[at] ^= flip;
			lost[record] = false;
		}
	}
}

static void P04_flipped_bit(void **state)
{
	uint64_t seed = (uint64_t)time(NULL) % 100000;

	print_message("seed %llu\n", (unsigned long long)seed);
	flip_each_byte(*state, seed, 0);
}

static void P04_flipped_bit_before_zeros(void **state)
{
	uint64_t seed = (uint64_t)time(NULL) % 100000;

	print_message("seed %llu\n", (unsigned long long)seed);
	flip_each_byte(*state, seed, 4096);
}

/* Several flips: each stretch counts once, what is between comes. */
static void two_frames_in_a_row_are_one_stretch(void **state)
{
	static struct image image;
	struct fixture *fixture = *state;
	MON_FREE char *path = spool_segment_path(fixture, 0);
	bool lost[RECORDS] = {[3] = true, [4] = true, [9] = true};

	make_image(fixture, 5, &image);
	for (size_t i = 0; i < RECORDS; i++)
		if (lost[i])
			image.bytes[image.at[i] + 9] ^= 0x40;
	write_image(path, image.bytes, image.size);
	expect(fixture, 5, lost, false, 2);
}

static void a_page_that_was_never_written(void **state)
{
	static struct image image;
	struct fixture *fixture = *state;
	MON_FREE char *path = spool_segment_path(fixture, 0);
	bool lost[RECORDS] = {[6] = true, [7] = true};

	make_image(fixture, 5, &image);
	memset(image.bytes + image.at[6], 0, image.at[8] - image.at[6]);
	write_image(path, image.bytes, image.size);
	expect(fixture, 5, lost, false, 1);
}

static void P06_bad_header_newer_version(void **state)
{
	static struct image image;
	struct fixture *fixture = *state;
	MON_FREE char *path = spool_segment_path(fixture, 0);
	const bool lost[RECORDS] = {false};
	struct mon_spool_header *header = (void *)image.bytes;
	struct mon_spool_header good;

	make_image(fixture, 5, &image);
	good = *header;
	for (unsigned what = 0; what < 5; what++) {
		size_t size = image.size;

		*header = good;
		if (what == 0)
			header->version = MON_SPOOL_VERSION + 1;
		else if (what == 1)
			memset(image.bytes, 'x', sizeof(*header));
		else if (what == 2)
			mon_spool_header_fill(header, SPOOL_TEST_OTHER_UUID, 0, 0);
		else if (what == 3)
			mon_spool_header_fill(header, SPOOL_TEST_UUID, 1, 0);
		else
			size = 0;
		header->crc = mon_crc32c(0, header, offsetof(struct mon_spool_header, crc));
		(void)mkdir(fixture->directory, 0700);
		write_image(path, image.bytes, size);
		expect(fixture, 5, lost, true, 0);
	}
}

/* What is set aside is never written over, and the start goes on with what is good. */
static void P06_the_others_are_read(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	MON_FREE char *path = spool_segment_path(fixture, 1);
	struct mon_spool_stats stats;
	uint64_t in_first, all;

	all = spool_push(spool, 0, 0, 3000);
	assert_int_equal(all, 3000);
	mon_spool_free(spool);
	for (unsigned i = 1; i <= 3; i++) {
		struct mon_record records[SPOOL_TEST_BATCH];
		static uint64_t memory[1 << 16];

		write_image(path, (const uint8_t *)"nothing of ours", 15);
		spool = spool_begin(fixture);
		mon_spool_stats(spool, &stats);
		assert_int_equal(stats.segments_set_aside, 1);
		assert_true(stats.waiting > 1000 && stats.waiting < 3000);
		in_first = 0;
		while (mon_spool_pop(spool, records, 1, memory, sizeof(memory)) &&
		       spool_test_number(&records[0]) == in_first)
			spool_assert_record(&records[0], in_first++);
		assert_true(in_first > 100 && in_first < 2000);
		assert_int_equal(spool_pop_all(spool, 0, spool_test_number(&records[0]) + 1) + 1,
				 stats.waiting - in_first);
		mon_spool_free(spool);
		assert_int_equal(spool_count_files(fixture, i == 1   ? ".bad"
							    : i == 2 ? ".bad.2"
								     : ".bad.3"),
				 1);
	}
}

static void P07_symlink_or_fifo_as_a_segment(void **state)
{
	struct fixture *fixture = *state;
	MON_FREE char *victim = scratch_path(fixture->scratch, "victim");
	char *paths[4];
	struct mon_spool_found found;
	struct mon_error error;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	struct stat status;
	size_t count = 0;

	assert_int_equal(mkdir(fixture->directory, 0700), 0);
	for (unsigned i = 0; i < 4; i++)
		paths[i] = spool_segment_path(fixture, i);
	write_image(victim, (const uint8_t *)"untouched", 9);
	assert_int_equal(symlink(victim, paths[0]), 0);
	assert_int_equal(mkfifo(paths[1], 0600), 0);
	assert_int_equal(mkdir(paths[2], 0700), 0);
	assert_int_equal(symlink("/nowhere", paths[3]), 0);
	assert_int_equal(mon_spool_check(fixture->directory, &found, 1, &count, &error), 0);
	assert_int_equal(count, 1);
	assert_int_equal(found.set_aside, 4);

	(void)alarm(60); /* opening a FIFO to read would wait for ever */
	spool = spool_begin(fixture);
	(void)alarm(0);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.segments_set_aside, 4);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(spool_push(spool, 0, 0, 100), 100);
	assert_int_equal(spool_pop_all(spool, 0, 0), 100);
	mon_spool_free(spool);
	assert_int_equal(spool_count_files(fixture, ".bad"), 4);
	assert_int_equal(stat(victim, &status), 0);
	assert_int_equal(status.st_size, 9);
	for (unsigned i = 0; i < 4; i++)
		free(paths[i]);
}

static void remove_all(const char *path)
{
	char *copy = strdup(path);

	assert_non_null(copy);
	scratch_remove(copy);
	assert_int_equal(access(path, F_OK), -1);
}

static void P09_directory_removed(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	struct stat status;

	fixture->options.no_reserve = false;
	fixture->options.reserve_bytes = 4 * MON_SPOOL_SEGMENT_BYTES_MIN;
	spool = spool_begin(fixture);
	assert_int_equal(spool_push(spool, 0, 0, 3000), 3000);
	assert_int_equal(spool_pop(spool, 0, 0, 100), 100);
	remove_all(fixture->directory);
	assert_int_equal(spool_push(spool, 0, 3000, 1), 1); /* at once, not at the next segment */
	assert_int_equal(stat(fixture->directory, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0700);
	assert_int_equal(spool_count_files(fixture, ".seg"), 1);
	assert_int_equal(spool_push(spool, 0, 3001, 2999), 2999);
	remove_all(fixture->directory);
	assert_int_equal(spool_push(spool, 0, 6000, 3000), 3000);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.remade, 2);
	assert_int_equal(stats.waiting, 9000);
	/* Every segment was open, so nothing is lost. */
	assert_int_equal(spool_pop_all(spool, 0, 100), 8900);
	mon_spool_release(spool, 0, spool_test_end(8999));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.damaged, 0);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.reserve_bytes, fixture->options.reserve_bytes);
	mon_spool_free(spool);
	assert_int_equal(access(fixture->directory, F_OK), -1);
}

/* With few descriptors only some are open: the others are lost, and exactly those are counted. */
static void P09_what_was_not_open_is_counted(void **state)
{
	struct fixture *fixture = *state;
	static uint64_t memory[1 << 16];
	static struct mon_record records[SPOOL_TEST_BATCH];
	struct rlimit before, few;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	uint64_t popped = 0, next = 0;
	size_t count;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){.rlim_cur = 40, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	spool = spool_begin(fixture);
	assert_int_equal(spool_push(spool, 0, 0, 20000), 20000);
	mon_spool_stats(spool, &stats);
	assert_true(stats.segments > 20);
	remove_all(fixture->directory);
	while ((count = mon_spool_pop(spool, records, SPOOL_TEST_BATCH, memory, sizeof(memory))))
		for (size_t i = 0; i < count; i++, popped++) {
			assert_true(spool_test_number(&records[i]) >= next);
			next = spool_test_number(&records[i]);
			spool_assert_record(&records[i], next++);
		}
	mon_spool_stats(spool, &stats);
	assert_true(stats.damaged > 0 && popped > 5000);
	assert_int_equal(popped + stats.damaged, 20000);
	assert_int_equal(stats.waiting, popped);
	assert_true(mon_spool_drained(spool));
	mon_spool_release(spool, 0, spool_test_end(19999));
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 0);
	mon_spool_free(spool);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* The same without a removal: what was closed is opened again. */
static void few_descriptors_lose_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit before, few;
	struct mon_spool *spool;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){.rlim_cur = 24, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	spool = spool_begin(fixture);
	assert_int_equal(spool_push(spool, 0, 0, 20000), 20000);
	assert_int_equal(spool_pop_all(spool, 0, 0), 20000);
	mon_spool_free(spool);
	spool = spool_begin(fixture);
	assert_int_equal(spool_pop_all(spool, 0, 0), 20000);
	mon_spool_free(spool);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void P09_a_symlink_in_its_place_is_refused(void **state)
{
	struct fixture *fixture = *state;
	MON_FREE char *elsewhere = scratch_path(fixture->scratch, "elsewhere");
	struct mon_spool *spool = spool_begin(fixture);

	assert_int_equal(spool_push(spool, 0, 0, 100), 100);
	remove_all(fixture->directory);
	assert_int_equal(mkdir(elsewhere, 0700), 0);
	assert_int_equal(symlink(elsewhere, fixture->directory), 0);
	assert_int_equal(spool_push(spool, 0, 100, 100), 0);
	assert_true(errno == ELOOP || errno == ENOTDIR);
	assert_int_equal(unlink(fixture->directory), 0);
	assert_int_equal(spool_push(spool, 0, 100, 100), 100); /* it heals */
	assert_int_equal(spool_pop_all(spool, 0, 0), 200);
	mon_spool_free(spool);
	assert_int_equal(rmdir(elsewhere), 0); /* nothing was written there */
}

static void P08_two_monitors_one_directory(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture), *second = NULL;
	struct mon_error error = {0};

	assert_int_equal(spool_push(spool, 0, 0, 100), 100);
	assert_int_equal(mon_spool_new(&fixture->options, &second, &error), -EBUSY);
	assert_null(second);
	assert_int_equal(error.exit_code, MON_EXIT_UNAVAILABLE);
	assert_non_null(strstr(error.text, "another monitor"));
	assert_int_equal(spool_pop_all(spool, 0, 0), 100); /* the first is not disturbed */
	mon_spool_free(spool);
	spool = spool_begin(fixture);
	assert_int_equal(spool_pop_all(spool, 0, 0), 100);
	mon_spool_free(spool);
}

static void refuse(struct fixture *fixture, int number)
{
	struct mon_spool *spool = NULL;
	struct mon_error error = {0};
	int result = mon_spool_new(&fixture->options, &spool, &error);

	if (result != -number)
		fail_msg("%d instead of %d: %s", result, -number, error.text);
	assert_null(spool);
	assert_int_equal(error.exit_code, MON_EXIT_UNAVAILABLE);
	assert_non_null(strstr(error.text, fixture->directory));
}

static void directories_that_are_refused(void **state)
{
	struct fixture *fixture = *state;
	MON_FREE char *elsewhere = scratch_path(fixture->scratch, "elsewhere");
	MON_FREE char *deep = scratch_path(fixture->directory, "deep");

	assert_int_equal(mkdir(elsewhere, 0700), 0);
	assert_int_equal(symlink(elsewhere, fixture->directory), 0);
	refuse(fixture, ENOTDIR);
	assert_int_equal(unlink(fixture->directory), 0);

	write_image(fixture->directory, (const uint8_t *)"file", 4);
	refuse(fixture, ENOTDIR);
	assert_int_equal(unlink(fixture->directory), 0);

	assert_int_equal(mkdir(fixture->directory, 0700), 0);
	assert_int_equal(chmod(fixture->directory, 0770), 0);
	refuse(fixture, EPERM);
	assert_int_equal(chmod(fixture->directory, 0702), 0);
	refuse(fixture, EPERM);
	if (geteuid() == 0) {
		assert_int_equal(chmod(fixture->directory, 0700), 0);
		assert_int_equal(chown(fixture->directory, 12345, 12345), 0);
		refuse(fixture, EPERM);
		fixture->options.owner_uid = 12345; /* the user who called us */
		mon_spool_free(spool_begin(fixture));
		fixture->options.owner_uid = 0;
	} else {
		assert_int_equal(rmdir(fixture->directory), 0);
	}
	fixture->options.path = deep; /* its parent is missing */
	refuse(fixture, ENOENT);
}

/* A write that ends in the middle. SIGXFSZ is ignored, so it is a short write, then EFBIG. */
static void S05_a_short_write_is_no_record(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit before, low;
	struct mon_spool_stats stats;
	struct mon_spool *spool = spool_begin(fixture);
	size_t first, second;

	first = spool_push(spool, 0, 0, 50);
	assert_int_equal(first, 50);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = (struct rlimit){.rlim_cur = 30000, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	second = spool_push(spool, 0, 50, 900);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(second, 0);
	assert_int_equal(spool_pop_all(spool, 0, 0), 50);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	spool_crash(fixture); /* what a killed monitor would leave now */
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.pushed, 50);
	assert_int_equal(spool_push(spool, 0, 2000, 900), 900); /* the failed place is used again */
	assert_int_equal(spool_pop_all(spool, 0, 2000), 900);
	mon_spool_free(spool);
	spool = spool_begin(fixture);
	assert_int_equal(spool_pop_all(spool, 0, 0), 50);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.damaged, 0);
	mon_spool_free(spool);
}

/* What is missing in the middle of the work is counted to the record, and new ones go on. */
static void a_file_is_cut_while_it_is_used(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool *spool = spool_begin(fixture);
	MON_FREE char *path = spool_segment_path(fixture, 0);
	struct mon_spool_stats stats;
	size_t popped;

	assert_int_equal(spool_push(spool, 0, 0, 200), 200);
	assert_int_equal(truncate(path, 10000), 0);
	popped = spool_pop_all(spool, 0, 0);
	assert_true(popped > 50 && popped < 150);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.damaged, 200 - popped);
	assert_int_equal(stats.waiting, popped);
	assert_true(mon_spool_drained(spool));
	assert_int_equal(spool_push(spool, 0, 200, 2000), 2000);
	assert_int_equal(spool_pop_all(spool, 0, 200), 2000);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.damaged, 200 - popped);
	mon_spool_free(spool);
}

/* Somebody's file under the name of one of ours: not written to. */
static void P07_links_as_the_reserve(void **state)
{
	struct fixture *fixture = *state;
	MON_FREE char *victim = scratch_path(fixture->scratch, "victim");
	MON_FREE char *new_name = scratch_path(fixture->directory, MON_SPOOL_NEW_NAME);
	MON_FREE char *spare0 = scratch_path(fixture->directory, "reserve.0");
	MON_FREE char *spare1 = scratch_path(fixture->directory, "reserve.1");
	MON_FREE char *spare2 = scratch_path(fixture->directory, "reserve.2");
	struct mon_spool *spool;
	static uint8_t bytes[MON_SPOOL_SEGMENT_BYTES_MIN], again[MON_SPOOL_SEGMENT_BYTES_MIN];
	int fd;

	memset(bytes, 'v', sizeof(bytes));
	write_image(victim, bytes, sizeof(bytes));
	fixture->options.no_reserve = false;
	fixture->options.reserve_bytes = 3 * MON_SPOOL_SEGMENT_BYTES_MIN;
	spool = spool_begin(fixture);
	assert_int_equal(unlink(spare0) | unlink(spare1) | unlink(spare2), 0);
	assert_int_equal(link(victim, spare0), 0);
	assert_int_equal(symlink(victim, spare1), 0);
	assert_int_equal(mkfifo(spare2, 0600), 0);
	assert_int_equal(symlink(victim, new_name), 0);
	assert_int_equal(spool_push(spool, 0, 0, 3000), 3000);
	assert_int_equal(spool_pop_all(spool, 0, 0), 3000);
	mon_spool_free(spool);
	fd = open(victim, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, again, sizeof(again)), sizeof(again));
	assert_memory_equal(bytes, again, sizeof(bytes));
	(void)close(fd);
}

/* A file that was used before is full of old frames: none of them comes back. */
static void a_file_of_the_reserve_holds_no_old_records(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	uint64_t next = 0;

	fixture->options.no_reserve = false;
	fixture->options.reserve_bytes = 2 * MON_SPOOL_SEGMENT_BYTES_MIN;
	fixture->options.max_bytes = 3 * MON_SPOOL_SEGMENT_BYTES_MIN;
	spool = spool_begin(fixture);
	for (unsigned round = 0; round < 40; round++) {
		size_t count = spool_push(spool, 0, next, round % 2 ? 3000 : 100 + round);

		assert_true(count > 0);
		assert_int_equal(spool_pop_all(spool, 0, next), count);
		mon_spool_stats(spool, &stats);
		assert_int_equal(stats.damaged, 0);
		assert_true(stats.used_bytes + stats.reserve_bytes <= stats.max_bytes);
		if (round % 4 == 3) { /* killed before anything was committed */
			struct mon_spool *old = spool;

			spool_crash(fixture);
			mon_spool_free(old);
			spool = spool_begin(fixture);
			mon_spool_stats(spool, &stats);
			assert_int_equal(stats.damaged, 0);
			mon_spool_release(spool, 0, next ? spool_test_end(next - 1) : 0);
			assert_int_equal(spool_pop_all(spool, 0, next), count);
		}
		mon_spool_release(spool, 0, spool_test_end(next + count - 1));
		next += count;
	}
	mon_spool_free(spool);
}

static struct mon_spool *killed(struct fixture *fixture, struct mon_spool *spool)
{
	spool_crash(fixture);
	mon_spool_free(spool);
	return spool_begin(fixture);
}

/*
 * All was released and nothing pushed when the second monitor was killed: the third counts its
 * segments from 0 again, in a file that was segment 0 of the same run.
 */
static void the_same_sequence_in_the_same_file(void **state)
{
	struct fixture *fixture = *state;
	struct mon_spool_stats stats;
	struct mon_spool *spool;
	size_t count;

	fixture->options.no_reserve = false;
	fixture->options.reserve_bytes = MON_SPOOL_SEGMENT_BYTES_MIN;
	fixture->options.max_bytes = 4 * MON_SPOOL_SEGMENT_BYTES_MIN;
	spool = spool_begin(fixture);
	count = spool_push(spool, 0, 0, 100000);
	spool = killed(fixture, spool);
	mon_spool_release(spool, 0, spool_test_end(count - 1));
	spool = killed(fixture, spool);
	assert_int_equal(spool_count_files(fixture, ".seg"), 0);
	assert_int_equal(spool_count_files(fixture, ""), 1);
	assert_int_equal(spool_push(spool, 0, count, 20), 20);
	spool = killed(fixture, spool);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.waiting, 20);
	assert_int_equal(stats.damaged, 0);
	assert_int_equal(spool_pop_all(spool, 0, count), 20);
	mon_spool_free(spool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		spool_test(P03_torn_tail),
		spool_test(P03_torn_tail_of_zeros),
		spool_test(P04_flipped_bit),
		spool_test(P04_flipped_bit_before_zeros),
		spool_test(two_frames_in_a_row_are_one_stretch),
		spool_test(a_page_that_was_never_written),
		spool_test(P06_bad_header_newer_version),
		spool_test(P06_the_others_are_read),
		spool_test(P07_symlink_or_fifo_as_a_segment),
		spool_test(P07_links_as_the_reserve),
		spool_test(P08_two_monitors_one_directory),
		spool_test(P09_directory_removed),
		spool_test(P09_what_was_not_open_is_counted),
		spool_test(P09_a_symlink_in_its_place_is_refused),
		spool_test(few_descriptors_lose_nothing),
		spool_test(directories_that_are_refused),
		spool_test(S05_a_short_write_is_no_record),
		spool_test(a_file_is_cut_while_it_is_used),
		spool_test(a_file_of_the_reserve_holds_no_old_records),
		spool_test(the_same_sequence_in_the_same_file),
	};

	(void)signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests_name("pipeline/spool faults", tests, NULL, NULL);
}
