/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Spools for tests. Record number N of a ring has a position, a size and a content that follow from
 * N, so that whatever comes out can be held against what must have gone in. Sizes are 0 to 4000
 * bytes (of which 2048 are kept), some records are broken, and positions have gaps.
 */
#ifndef HARNESS_SPOOL_H
#define HARNESS_SPOOL_H

#include "pipeline/spool.h"

#define SPOOL_TEST_UUID "01234567-89ab-cdef-0123-456789abcdef"
#define SPOOL_TEST_OTHER_UUID "76543210-89ab-cdef-0123-456789abcdef"
#define SPOOL_TEST_BATCH 1000

struct fixture {
	char *scratch, *directory; /* the second is in the first; the spool makes it */
	unsigned crashes;
	struct mon_spool_options options;
};

/* Small segments, no reserve; the test may change the options before spool_begin(). */
int spool_setup(void **state);
int spool_teardown(void **state);
#define spool_test(function) cmocka_unit_test_setup_teardown(function, spool_setup, spool_teardown)

struct mon_spool *spool_begin(struct fixture *fixture);

uint64_t spool_test_position(uint64_t number);
uint64_t spool_test_end(uint64_t number);
void spool_test_record(uint64_t number, struct mon_record *record, uint8_t data[4096]);
/* Fails the test unless it is that record, as far as it is kept. */
void spool_assert_record(const struct mon_record *record, uint64_t number);
/* Which number a record has. */
uint64_t spool_test_number(const struct mon_record *record);

/* Records @first... of @ring; returns how many were taken. The last result is in errno (0). */
size_t spool_push(struct mon_spool *spool, uint32_t ring, uint64_t first, size_t count);
/* One pop: asserts that these are the records from @first on; returns how many. */
size_t spool_pop(struct mon_spool *spool, uint32_t ring, uint64_t first, size_t max);
/* Until nothing comes. */
size_t spool_pop_all(struct mon_spool *spool, uint32_t ring, uint64_t first);

/*
 * As if the monitor was killed: the directory as it is now becomes the one that the next
 * spool_begin() opens; @spool goes on with the old one until it is freed.
 */
void spool_crash(struct fixture *fixture);

/* Path of segment @sequence; the caller frees it. */
char *spool_segment_path(const struct fixture *fixture, uint64_t sequence);
/* Files in the directory whose name ends so. */
size_t spool_count_files(const struct fixture *fixture, const char *suffix);

#endif
