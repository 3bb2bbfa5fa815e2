/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the counters of one function say of all of its calls. There are two reasons to estimate, and
 * both may hold at once: it was armed a share of the time (--max-overhead), or not every call was
 * followed to its return. Every screen and export asks here, so that they agree.
 */
#ifndef MON_REPORT_ESTIMATE_H
#define MON_REPORT_ESTIMATE_H

#include "report/query.h"

/* Was it wanted and never armed? Then nothing was seen of it, and its counts say nothing. */
bool mon_estimate_is_blind(const struct mon_function_row *row);

/* Was it armed a share of the time? Then counts and sums are scaled, and marked. */
bool mon_estimate_is_scaled(const struct mon_function_row *row);

/* Are sums over finished calls (times, failures, histogram) estimates, for either reason? */
bool mon_estimate_of_returns(const struct mon_function_row *row);

/* @value of the time it was armed, for the whole time: by the target's own CPU time if known. */
uint64_t mon_estimate_scale(const struct mon_function_row *row, uint64_t value);

uint64_t mon_estimate_calls(const struct mon_function_row *row);

/*
 * A sum over finished calls, such as total_ns, for all calls. Of sampled ones it is the mean times
 * the calls (a ratio estimator), as calls are counted and only the sum has noise.
 */
uint64_t mon_estimate_sum(const struct mon_function_row *row, uint64_t value);

uint64_t mon_estimate_rate(const struct mon_function_row *row); /* calls a second */

/* What turns a rate while armed into mon_estimate_rate(): the target is slower while armed. */
double mon_estimate_slowdown(const struct mon_function_row *row);

#endif
