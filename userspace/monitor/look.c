// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/look.h"

#include "base/cleanup.h"
#include "base/histogram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct seen {
	uint64_t calls, self_ns;
	double calls_per_s;
};

struct mon_look {
	const struct mon_function_set *set;
	struct mon_view_row *rows;
	struct seen *seen; /* by function, at the last look */
	struct mon_open_calls *open;
	uint64_t calls, kept;
	mon_ns last_ns;
};

MON_DEFINE_CLEANUP(look, struct mon_look *, mon_look_free)

int mon_look_new(const struct mon_function_set *set, mon_ns now, struct mon_look **look_out)
{
	MON_CLEANUP(mon_cleanup_look) struct mon_look *look = calloc(1, sizeof(*look));

	if (!look)
		return -ENOMEM;
	look->set = set;
	look->last_ns = now;
	look->rows = calloc(set->function_count, sizeof(*look->rows));
	look->seen = calloc(set->function_count, sizeof(*look->seen));
	look->open = calloc(set->function_count, sizeof(*look->open));
	if (!look->rows || !look->seen || !look->open)
		return -ENOMEM;
	*look_out = TAKE_PTR(look);
	return 0;
}

void mon_look_free(struct mon_look *look)
{
	if (!look)
		return;
	free(look->rows);
	free(look->seen);
	free(look->open);
	free(look);
}

static int busier(const void *a, const void *b)
{
	const struct mon_view_row *left = a, *right = b;

	if (left->self_per_s != right->self_per_s)
		return left->self_per_s < right->self_per_s ? 1 : -1;
	if (left->calls_per_s != right->calls_per_s)
		return left->calls_per_s < right->calls_per_s ? 1 : -1;
	return (left->function > right->function) - (left->function < right->function);
}

/* Only for rows that are shown: a walk over the buckets of each. */
static void add_quantiles(struct mon_view_row *row, struct mon_capture *capture,
			  const struct mon_counters *counters)
{
	uint64_t wide[MON_HISTOGRAM_BUCKETS];
	const uint32_t *buckets;

	row->max_ns = counters->max_ns;
	if (!counters->returns)
		return;
	buckets = mon_capture_histogram(capture, row->function);
	row->marks = __atomic_load_n(&buckets[MON_HISTOGRAM_MARKS], __ATOMIC_RELAXED);
	for (size_t i = 0; i < MON_HISTOGRAM_BUCKETS; i++)
		wide[i] = __atomic_load_n(&buckets[i], __ATOMIC_RELAXED);
	row->p50_ns = mon_histogram_quantile(wide, 0.5, counters->min_ns, counters->max_ns);
	row->p99_ns = mon_histogram_quantile(wide, 0.99, counters->min_ns, counters->max_ns);
}

void mon_look_at(struct mon_look *look, struct mon_capture *capture,
		 const struct mon_ledger *ledger, const uint32_t *one_in, mon_ns now,
		 struct mon_view *view_out)
{
	double seconds = (double)(now - look->last_ns) / 1e9;
	uint64_t calls = 0, kept = 0;
	struct mon_view view = {.at_ns = now, .function_count = look->set->function_count};

	(void)mon_capture_read_open(capture, look->open);
	for (uint32_t i = 0; i < look->set->function_count; i++) {
		const struct mon_counters *counters = mon_ledger_counters(ledger, i);
		struct seen *seen = &look->seen[i];

		seen->calls_per_s = (double)(counters->calls - seen->calls) / seconds;
		look->rows[i] = (struct mon_view_row){
			.name = look->set->functions[i].name,
			.function = i,
			.one_in = one_in[i],
			.calls_per_s = seen->calls_per_s,
			.self_per_s = (double)(counters->self_ns - seen->self_ns) / seconds,
			.open = look->open[i],
		};
		seen->calls = counters->calls;
		seen->self_ns = counters->self_ns;
		calls += counters->calls;
		kept += counters->emitted;
		view.lost += counters->ring_full + counters->gate_closed + counters->frame_refused;
	}
	qsort(look->rows, view.function_count, sizeof(*look->rows), busier);
	view.rows_shown = look->rows;
	view.row_count =
		view.function_count < MON_VIEW_ROWS_MAX ? view.function_count : MON_VIEW_ROWS_MAX;
	for (size_t i = 0; i < view.row_count; i++)
		add_quantiles(&look->rows[i], capture,
			      mon_ledger_counters(ledger, look->rows[i].function));
	for (size_t i = 0; i < view.function_count; i++)
		if (look->rows[i].open.count &&
		    (!view.oldest || look->rows[i].open.oldest_ns < view.oldest->open.oldest_ns))
			view.oldest = &look->rows[i];
	view.calls_per_s = (double)(calls - look->calls) / seconds;
	view.kept_per_s = (double)(kept - look->kept) / seconds;
	look->calls = calls;
	look->kept = kept;
	look->last_ns = now;
	*view_out = view;
}

uint64_t mon_look_open_calls(struct mon_look *look, struct mon_capture *capture)
{
	uint64_t count = 0;

	if (mon_capture_read_open(capture, look->open))
		return 0;
	for (size_t i = 0; i < look->set->function_count; i++)
		count += look->open[i].count;
	return count;
}

double mon_look_rate(const struct mon_look *look, uint32_t function)
{
	return look->seen[function].calls_per_s;
}

uint64_t mon_look_at_memory(uint64_t bpf_bytes, uint64_t ring_bytes)
{
	MON_FCLOSE FILE *file = fopen("/proc/self/statm", "re");
	uint64_t unused, resident_pages = 0, resident;

	if (!file || fscanf(file, "%" SCNu64 " %" SCNu64, &unused, &resident_pages) != 2)
		return 0;
	resident = resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
	/* The ring is mapped: its pages are in both figures. */
	return resident + bpf_bytes - (resident > ring_bytes ? ring_bytes : 0);
}
