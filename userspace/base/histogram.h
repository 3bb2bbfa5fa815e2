/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log-linear histogram of bpf/counters.h in userspace: bounds, quantiles, and the BLOB the
 * database keeps it in. Pure functions.
 *
 * BLOB: for each bucket that is not empty, in rising order, two unsigned LEB128 numbers: how many
 * empty buckets were passed over since the last one, and the count. An empty histogram is an
 * empty BLOB.
 */
#ifndef MON_HISTOGRAM_H
#define MON_HISTOGRAM_H

#include "bpf/counters.h"

#include <stddef.h>
#include <stdint.h>

/* Enough for every bucket of a histogram, encoded. */
#define MON_HISTOGRAM_BLOB_MAX (MON_HISTOGRAM_BUCKETS * 11)

unsigned mon_histogram_bucket(uint64_t ns);
uint64_t mon_histogram_lower_ns(unsigned bucket);
uint64_t mon_histogram_upper_ns(unsigned bucket); /* first ns past it; UINT64_MAX for the last */

/*
 * The @fraction (0..1) quantile of @counts[MON_HISTOGRAM_BUCKETS], interpolated inside its bucket
 * and bounded by the exact @min_ns and @max_ns. 0 when there is nothing.
 */
uint64_t mon_histogram_quantile(const uint64_t *counts, double fraction, uint64_t min_ns,
				uint64_t max_ns);

/* Returns the bytes written, at most MON_HISTOGRAM_BLOB_MAX. */
size_t mon_histogram_encode(const uint64_t *counts, uint8_t *blob);
/* Adds to @counts. 0 or -EINVAL (hostile or damaged BLOB); then @counts is untouched. */
int mon_histogram_decode(const uint8_t *blob, size_t length, uint64_t *counts);

#endif
