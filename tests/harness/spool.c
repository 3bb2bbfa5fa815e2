// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/spool.h"

#include "tests/harness/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRAIN 8192 /* of positions: number N begins at N * GRAIN */

int spool_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	fixture->scratch = scratch_new();
	fixture->directory = scratch_path(fixture->scratch, "spool");
	fixture->options = (struct mon_spool_options){
		.path = fixture->directory,
		.run_uuid = SPOOL_TEST_UUID,
		.segment_bytes = MON_SPOOL_SEGMENT_BYTES_MIN,
		.max_bytes = 64 << 20,
		.no_reserve = true,
		.owner_uid = geteuid(),
		.owner_gid = getegid(),
	};
	*state = fixture;
	return 0;
}

int spool_teardown(void **state)
{
	struct fixture *fixture = *state;

	free(fixture->directory);
	scratch_remove(fixture->scratch);
	free(fixture);
	return 0;
}

struct mon_spool *spool_begin(struct fixture *fixture)
{
	struct mon_spool *spool = NULL;
	struct mon_error error = {0};

	if (mon_spool_new(&fixture->options, &spool, &error))
		fail_msg("%s", error.text);
	return spool;
}

static uint64_t mix(uint64_t number)
{
	number = (number + 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
	return number ^ number >> 31;
}

static uint32_t size_of(uint64_t number)
{
	uint64_t random = mix(number);

	if (random % 64 == 0)
		return 0; /* broken ones only */
	if (random % 64 == 1)
		return (uint32_t)(random >> 8) % 4000 + 1;
	return random % 4 ? 72 : (uint32_t)(random >> 8) % 200 + 1;
}

static int invalid_of(uint64_t number)
{
	if (size_of(number) == 0)
		return EBADMSG;
	return mix(number) % 64 == 2 ? EPROTO : 0;
}

uint64_t spool_test_position(uint64_t number)
{
	return number * GRAIN;
}

uint64_t spool_test_end(uint64_t number)
{
	return spool_test_position(number) + 8 + ((size_of(number) + 7) & ~7u);
}

uint64_t spool_test_number(const struct mon_record *record)
{
	assert_int_equal(record->position % GRAIN, 0);
	return record->position / GRAIN;
}

static uint8_t byte_of(uint64_t number, size_t at)
{
	return (uint8_t)(mix(number) >> (at % 8 * 8)) ^ (uint8_t)(at / 8);
}

void spool_test_record(uint64_t number, struct mon_record *record, uint8_t data[4096])
{
	uint32_t size = size_of(number);

	for (size_t i = 0; i < size; i++)
		data[i] = byte_of(number, i);
	*record = (struct mon_record){
		.position = spool_test_position(number),
		.end = spool_test_end(number),
		.data = size ? data : NULL,
		.size_bytes = size,
		.invalid = invalid_of(number),
	};
}

void spool_assert_record(const struct mon_record *record, uint64_t number)
{
	const uint8_t *data = record->data;
	size_t size = size_of(number);

	assert_int_equal(record->position, spool_test_position(number));
	assert_int_equal(record->end, spool_test_end(number));
	assert_int_equal(record->size_bytes, size);
	assert_int_equal(record->invalid, invalid_of(number));
	assert_int_equal((uintptr_t)data % 8, 0);
	assert_int_equal(!data, size == 0);
	for (size_t i = 0; i < size && i < MON_RING_READABLE_BYTES; i++)
		if (data[i] != byte_of(number, i))
			fail_msg("record %llu: byte %zu", (unsigned long long)number, i);
}

size_t spool_push(struct mon_spool *spool, uint32_t ring, uint64_t first, size_t count)
{
	static uint8_t data[SPOOL_TEST_BATCH][4096];
	static struct mon_record records[SPOOL_TEST_BATCH];
	size_t done = 0;
	int result = 0;

	while (done < count && !result) {
		size_t batch = count - done, taken = 12345;

		if (batch > SPOOL_TEST_BATCH)
			batch = SPOOL_TEST_BATCH;
		for (size_t i = 0; i < batch; i++)
			spool_test_record(first + done + i, &records[i], data[i]);
		result = mon_spool_push(spool, ring, records, batch, &taken);
		assert_true(taken <= batch);
		assert_true(result || taken == batch);
		done += taken;
	}
	errno = -result;
	return done;
}

size_t spool_pop(struct mon_spool *spool, uint32_t ring, uint64_t first, size_t max)
{
	static uint64_t memory[1 << 16];
	static struct mon_record records[SPOOL_TEST_BATCH];
	size_t count;

	if (max > SPOOL_TEST_BATCH)
		max = SPOOL_TEST_BATCH;
	count = mon_spool_pop(spool, records, max, memory, sizeof(memory));
	assert_true(count <= max);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(records[i].ring, ring);
		spool_assert_record(&records[i], first + i);
	}
	return count;
}

size_t spool_pop_all(struct mon_spool *spool, uint32_t ring, uint64_t first)
{
	size_t all = 0, count;

	while ((count = spool_pop(spool, ring, first + all, SPOOL_TEST_BATCH)))
		all += count;
	return all;
}

static void copy_file(const char *from, const char *to)
{
	static char bytes[1 << 16];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t count;

	assert_true(in >= 0 && out >= 0);
	while ((count = read(in, bytes, sizeof(bytes))) > 0)
		assert_int_equal(write(out, bytes, (size_t)count), count);
	assert_int_equal(count, 0);
	(void)close(in);
	(void)close(out);
}

void spool_crash(struct fixture *fixture)
{
	DIR *directory = opendir(fixture->directory);
	const struct dirent *entry;
	char name[32], *copy;

	(void)snprintf(name, sizeof(name), "crash%u", ++fixture->crashes);
	copy = scratch_path(fixture->scratch, name);
	assert_int_equal(mkdir(copy, 0700), 0);
	assert_non_null(directory);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.') {
			char *from = scratch_path(fixture->directory, entry->d_name);
			char *to = scratch_path(copy, entry->d_name);

			copy_file(from, to);
			free(from);
			free(to);
		}
	(void)closedir(directory);
	free(fixture->directory);
	fixture->directory = copy;
	fixture->options.path = copy;
}

char *spool_segment_path(const struct fixture *fixture, uint64_t sequence)
{
	char name[128];

	(void)snprintf(name, sizeof(name), "%s.%016llx.seg", SPOOL_TEST_UUID,
		       (unsigned long long)sequence);
	return scratch_path(fixture->directory, name);
}

size_t spool_count_files(const struct fixture *fixture, const char *suffix)
{
	DIR *directory = opendir(fixture->directory);
	const struct dirent *entry;
	size_t count = 0;

	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		size_t length = strlen(entry->d_name), end = strlen(suffix);

		count += length >= end && strcmp(entry->d_name + length - end, suffix) == 0 &&
			 entry->d_name[0] != '.';
	}
	(void)closedir(directory);
	return count;
}
