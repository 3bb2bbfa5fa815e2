// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Values come from a file that may be hostile: 128 bits hold every product, a quotient that does
 * not fit is cut. Pure.
 */
#include "report/estimate.h"

#include "base/clock.h"

static uint64_t share(uint64_t value, uint64_t of, uint64_t by)
{
	return (uint64_t)((unsigned __int128)value * of / by);
}

bool mon_estimate_is_blind(const struct mon_function_row *row)
{
	return row->wanted_ns && !row->armed_ns && !row->calls;
}

bool mon_estimate_is_scaled(const struct mon_function_row *row)
{
	return row->armed_ns && row->armed_ns < row->wanted_ns;
}

bool mon_estimate_of_returns(const struct mon_function_row *row)
{
	return row->estimated || mon_estimate_is_scaled(row);
}

uint64_t mon_estimate_scale(const struct mon_function_row *row, uint64_t value)
{
	if (!mon_estimate_is_scaled(row))
		return value;
	/* Calls happen in the target's own CPU time, which hits leave less of. */
	if (row->armed_own_ns && row->wanted_own_ns)
		return share(value, row->wanted_own_ns, row->armed_own_ns);
	return share(value, row->wanted_ns, row->armed_ns);
}

uint64_t mon_estimate_calls(const struct mon_function_row *row)
{
	return mon_estimate_scale(row, row->calls);
}

uint64_t mon_estimate_sum(const struct mon_function_row *row, uint64_t value)
{
	if (row->estimated && row->returns)
		value = share(value, row->calls, row->returns);
	return mon_estimate_scale(row, value);
}

uint64_t mon_estimate_rate(const struct mon_function_row *row)
{
	if (!row->armed_ns)
		return 0;
	if (mon_estimate_is_scaled(row))
		return share(mon_estimate_calls(row), MON_NS_PER_S, row->wanted_ns);
	return share(row->calls, MON_NS_PER_S, row->armed_ns);
}

double mon_estimate_slowdown(const struct mon_function_row *row)
{
	if (!mon_estimate_is_scaled(row) || !row->armed_own_ns || !row->wanted_own_ns)
		return 1;
	return (double)row->wanted_own_ns / (double)row->armed_own_ns * (double)row->armed_ns /
	       (double)row->wanted_ns;
}
