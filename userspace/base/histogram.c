// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/histogram.h"

#include <errno.h>
#include <string.h>

#define SUB_BITS 3 /* 8 buckets an octave */

unsigned mon_histogram_bucket(uint64_t ns)
{
	unsigned octave;

	if (ns < 1ull << MON_HISTOGRAM_FIRST_OCTAVE)
		return 0;
	octave = 63u - (unsigned)__builtin_clzll(ns);
	if (octave > MON_HISTOGRAM_LAST_OCTAVE)
		return MON_HISTOGRAM_OVERFLOW;
	return 1 + ((octave - MON_HISTOGRAM_FIRST_OCTAVE) << SUB_BITS) +
	       (unsigned)((ns >> (octave - SUB_BITS)) & ((1u << SUB_BITS) - 1));
}

uint64_t mon_histogram_lower_ns(unsigned bucket)
{
	unsigned octave, step;

	if (bucket == 0)
		return 0;
	octave = MON_HISTOGRAM_FIRST_OCTAVE + ((bucket - 1) >> SUB_BITS);
	step = (bucket - 1) & ((1u << SUB_BITS) - 1);
	return (1ull << octave) + ((uint64_t)step << (octave - SUB_BITS));
}

uint64_t mon_histogram_upper_ns(unsigned bucket)
{
	return bucket >= MON_HISTOGRAM_OVERFLOW ? UINT64_MAX : mon_histogram_lower_ns(bucket + 1);
}

uint64_t mon_histogram_quantile(const uint64_t *counts, double fraction, uint64_t min_ns,
				uint64_t max_ns)
{
	uint64_t total = 0, before = 0;
	double rank;

	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		total += counts[i];
	if (total == 0)
		return 0;
	if (fraction < 0)
		fraction = 0;
	if (fraction > 1)
		fraction = 1;
	rank = fraction * (double)total;
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		uint64_t lower = mon_histogram_lower_ns(i), upper = mon_histogram_upper_ns(i);
		uint64_t value;
		double part;

		if (counts[i] == 0 || (double)(before + counts[i]) < rank) {
			before += counts[i];
			continue;
		}
		/* The exact bounds are better than the bucket's where they lie inside it. */
		if (max_ns && upper > max_ns)
			upper = max_ns;
		if (lower < min_ns)
			lower = min_ns;
		/* A live read can hold a count whose maximum is not written yet. */
		if (max_ns && lower > max_ns)
			lower = max_ns;
		if (upper == UINT64_MAX || upper < lower)
			upper = lower;
		part = (rank - (double)before) / (double)counts[i];
		value = lower + (uint64_t)((double)(upper - lower) * part);
		return value;
	}
	return max_ns;
}

static size_t put_number(uint8_t *blob, uint64_t number)
{
	size_t used = 0;

	while (number >= 0x80) {
		blob[used++] = (uint8_t)(number | 0x80);
		number >>= 7;
	}
	blob[used++] = (uint8_t)number;
	return used;
}

/* Bytes used, or 0 when there is no whole number of at most 64 bits. */
static size_t get_number(const uint8_t *blob, size_t length, uint64_t *number_out)
{
	uint64_t number = 0;

	for (size_t i = 0; i < length && i < 10; i++) {
		if (i == 9 && blob[i] > 1)
			return 0;
		number |= (uint64_t)(blob[i] & 0x7f) << (7 * i);
		if (!(blob[i] & 0x80)) {
			*number_out = number;
			return i + 1;
		}
	}
	return 0;
}

size_t mon_histogram_encode(const uint64_t *counts, uint8_t *blob)
{
	uint64_t empty = 0;
	size_t used = 0;

	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++) {
		if (counts[i] == 0) {
			empty++;
			continue;
		}
		used += put_number(blob + used, empty);
		used += put_number(blob + used, counts[i]);
		empty = 0;
	}
	return used;
}

int mon_histogram_decode(const uint8_t *blob, size_t length, uint64_t *counts)
{
	uint64_t decoded[MON_HISTOGRAM_BUCKETS] = {0};
	uint64_t bucket = 0, skip, count;
	size_t at = 0, used;

	while (at < length) {
		used = get_number(blob + at, length - at, &skip);
		if (!used || skip >= MON_HISTOGRAM_BUCKETS)
			return -EINVAL;
		at += used;
		used = get_number(blob + at, length - at, &count);
		if (!used || count == 0)
			return -EINVAL;
		at += used;
		bucket += skip;
		if (bucket >= MON_HISTOGRAM_BUCKETS)
			return -EINVAL;
		decoded[bucket++] = count;
	}
	for (unsigned i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		counts[i] += decoded[i];
	return 0;
}
