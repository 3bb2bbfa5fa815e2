// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The first lines of every report: which run, what became of it, how much of it was counted. Main
 * thread only.
 */
#include "base/clock.h"
#include "base/text.h"
#include "report/detail.h"
#include "report/estimate.h"

#include <inttypes.h>

#define QUIET_WALL_NS (3 * (int64_t)MON_NS_PER_S) /* a live run writes each second or so */

static const char *run_state(const struct mon_report *report)
{
	const struct mon_run *run = &report->run;
	int64_t quiet_ns = mon_clock_wall() - run->started_wall_ns - (int64_t)run->length_ns;

	if (run->ended)
		return run->complete ? "complete" : "incomplete";
	/* Without an end it is alive, or its monitor was killed. */
	if (run->superseded)
		return "incomplete: its end was never written";
	switch (report->lock) {
	case MON_LOCK_HELD:
		return "still running";
	case MON_LOCK_FREE:
		return "incomplete: its monitor was killed";
	case MON_LOCK_UNKNOWN:
		break;
	}
	return quiet_ns > QUIET_WALL_NS ? "incomplete: its end was never written" : "still running";
}

/* A run goes on in a new file when its own was lost; counts are of all of it, rows are not. */
static void print_part(const struct mon_report *report)
{
	const struct mon_run *run = &report->run;

	if (run->part <= 1)
		return;
	if (run->earlier[0] == '.')
		(void)fprintf(report->out, "part %" PRId64 ": earlier rows are in %s%s\n",
			      run->part, MON_ESCAPED(report->options->path),
			      MON_ESCAPED(run->earlier));
	else
		(void)fprintf(report->out,
			      "part %" PRId64 ": earlier rows are in a file that was %s\n",
			      run->part, run->earlier[0] ? MON_ESCAPED(run->earlier) : "lost");
}

bool mon_report_has_totals(const struct mon_report *report)
{
	for (size_t i = 0; i < report->functions.count; i++)
		if (report->functions.rows[i].has_total)
			return true;
	return report->functions.count == 0;
}

/* A function that is never called is always armed; so this is of the calls, not of functions. */
static void print_armed(const struct mon_report *report)
{
	double armed = 0, calls = 0;
	bool scaled = false, blind = false, any = false;

	for (size_t i = 0; i < report->functions.count; i++) {
		const struct mon_function_row *row = &report->functions.rows[i];
		double of_row = (double)mon_estimate_calls(row);

		if (!row->wanted_ns)
			continue;
		any = true;
		scaled |= mon_estimate_is_scaled(row);
		blind |= mon_estimate_is_blind(row);
		calls += of_row;
		armed += of_row * (double)row->armed_ns / (double)row->wanted_ns;
	}
	if (any && !scaled && !blind)
		(void)fputs("; armed 100 % of the time\n", report->out);
	else if (!scaled || calls <= 0)
		(void)fputc('\n', report->out);
	else
		(void)fprintf(report->out,
			      "; armed %s%.3g %% of the time, ~ marks estimates for the whole\n",
			      armed > 0.999 * calls ? "over " : "",
			      armed > 0.999 * calls ? 99.9 : 100 * armed / calls);
}

void mon_report_print_head(const struct mon_report *report)
{
	const struct mon_run *run = &report->run;
	uint64_t calls = 0, kept = 0, lost = 0;
	char text[3][32];

	for (size_t i = 0; i < report->functions.count; i++) {
		const struct mon_function_row *row = &report->functions.rows[i];

		calls += row->calls;
		kept += row->stored;
		lost += row->lost;
	}
	(void)fprintf(report->out, "run %" PRId64 "  %s  %s UTC  %s  %s\n", run->id,
		      MON_ESCAPED_AGAIN(run->target),
		      mon_report_time(text[0], 32, run->started_wall_ns, false),
		      mon_format_ns(text[1], 32, run->length_ns), run_state(report));
	if (report->options->since_set)
		(void)fprintf(report->out, "%s calls counted in the last %s",
			      mon_format_count(text[0], 32, calls),
			      mon_format_ns(text[1], 32, run->length_ns - report->from_ns));
	else if (!mon_report_has_totals(report))
		(void)fprintf(report->out, "totals are not written yet, %s kept, %s lost",
			      mon_format_count(text[1], 32, kept),
			      mon_format_count(text[2], 32, lost));
	else
		(void)fprintf(report->out, "%s calls counted, %s kept, %s lost",
			      mon_format_count(text[0], 32, calls),
			      mon_format_count(text[1], 32, kept),
			      mon_format_count(text[2], 32, lost));
	print_armed(report);
	print_part(report);
}
