// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/histogram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

/* The definition of bpf/counters.h, walked from the bottom: slow and independent. */
static unsigned naive_bucket(uint64_t ns)
{
	unsigned bucket = 0;

	if (ns < 128)
		return 0;
	for (unsigned octave = 7; octave <= 35; octave++)
		for (unsigned step = 0; step < 8; step++) {
			uint64_t lower = (1ull << octave) + step * (1ull << (octave - 3));

			bucket++;
			if (ns >= lower && ns < lower + (1ull << (octave - 3)))
				return bucket;
		}
	return bucket + 1;
}

static uint64_t seeded(void)
{
	uint64_t seed = (uint64_t)time(NULL);

	print_message("seed %llu\n", (unsigned long long)seed);
	return seed | 1;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void buckets_agree_with_their_definition(void **state)
{
	uint64_t random = seeded();

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++)
		for (int delta = -1; delta <= 1; delta++) {
			uint64_t ns = (1ull << bit) + (uint64_t)delta;

			assert_int_equal(mon_histogram_bucket(ns), naive_bucket(ns));
		}
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t ns = next_random(&random) >> (i % 64);

		assert_int_equal(mon_histogram_bucket(ns), naive_bucket(ns));
	}
}

static void bounds_enclose_their_bucket(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		assert_int_equal(mon_histogram_bucket(mon_histogram_lower_ns(i)), i);
		if (i < MON_HISTOGRAM_OVERFLOW)
			assert_int_equal(mon_histogram_bucket(mon_histogram_upper_ns(i) - 1), i);
	}
	assert_true(mon_histogram_upper_ns(MON_HISTOGRAM_OVERFLOW) == UINT64_MAX);
}

static void quantiles_are_within_a_bucket(void **state)
{
	static const double fractions[] = {0.5, 0.9, 0.99};
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};

	(void)state;
	for (uint64_t ns = 1000; ns <= 1000000; ns += 1)
		counts[mon_histogram_bucket(ns)]++;
	for (size_t i = 0; i < 3; i++) {
		double truth = 1000 + fractions[i] * 999000;
		uint64_t got = mon_histogram_quantile(counts, fractions[i], 1000, 1000000);

		assert_true((double)got > truth * 0.9375 && (double)got < truth * 1.0625);
	}
	assert_int_equal(mon_histogram_quantile(counts, 1, 1000, 1000000), 1000000);
	memset(counts, 0, sizeof(counts));
	assert_int_equal(mon_histogram_quantile(counts, 0.5, 0, 0), 0);
	counts[40] = 1; /* counted already, its maximum not yet: never above what is shown as MAX */
	assert_int_equal(mon_histogram_quantile(counts, 0.99, 200, 300), 300);
	counts[40] = 0;
	counts[20] = 1; /* one call: its exact duration is known */
	assert_int_equal(mon_histogram_quantile(counts, 0.99, mon_histogram_lower_ns(20) + 3,
						mon_histogram_lower_ns(20) + 3),
			 mon_histogram_lower_ns(20) + 3);
}

static void blobs_come_back(void **state)
{
	uint64_t random = seeded();
	uint8_t blob[MON_HISTOGRAM_BLOB_MAX];

	(void)state;
	for (unsigned round = 0; round < 1000; round++) {
		uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0}, back[MON_HISTOGRAM_BUCKETS] = {0};
		size_t length;

		for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
			if (next_random(&random) % 3 == 0)
				counts[i] = next_random(&random) >> (next_random(&random) % 64);
		if (round == 0)
			memset(counts, 0xff, sizeof(counts)); /* the longest there is */
		length = mon_histogram_encode(counts, blob);
		assert_true(length <= sizeof(blob));
		assert_int_equal(mon_histogram_decode(blob, length, back), 0);
		assert_memory_equal(counts, back, sizeof(counts));
		if (length) { /* every cut in the middle of a pair is noticed */
			memset(back, 0, sizeof(back));
			if (mon_histogram_decode(blob, length - 1, back) == 0)
				fail_msg("a cut blob was taken");
			for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
				assert_int_equal(back[i], 0);
		}
	}
}

static void hostile_blobs_are_refused(void **state)
{
	static const struct {
		size_t length;
		uint8_t bytes[16];
	} bad[] = {
		{1, {0x00}},		 /* a skip without a count */
		{2, {0x00, 0x00}},	 /* a count of none */
		{3, {0xea, 0x01, 0x01}}, /* bucket 234: past the last */
		{2, {0x80, 0x80}},	 /* never ends */
		{12, {0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 127, 1}}, /* over 64 bits */
	};
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0}, random = seeded();
	uint8_t noise[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(mon_histogram_decode(bad[i].bytes, bad[i].length, counts),
				 -EINVAL);
	assert_int_equal(counts[0], 0);
	for (unsigned round = 0; round < 10000; round++) {
		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)next_random(&random);
		/* Whatever it says, it stays inside its array (the sanitizers look). */
		(void)mon_histogram_decode(noise, next_random(&random) % sizeof(noise), counts);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_agree_with_their_definition),
		cmocka_unit_test(bounds_enclose_their_bucket),
		cmocka_unit_test(quantiles_are_within_a_bucket),
		cmocka_unit_test(blobs_come_back),
		cmocka_unit_test(hostile_blobs_are_refused),
	};

	return cmocka_run_group_tests_name("base/histogram", tests, NULL, NULL);
}
