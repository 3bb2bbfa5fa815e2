// SPDX-License-Identifier: GPL-2.0-or-later
/* Main thread; ends early when every target does. */
#include "monitor/census.h"

#include "base/cleanup.h"
#include "capture/capture.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CENSUS_MS 1000
#define RING_BYTES 4096 /* no call is kept */

static uint64_t read_cpu(const struct mon_watched *watched)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < watched->target_count; i++) {
		struct timespec at;
		clockid_t clock;

		if (!clock_getcpuclockid(watched->targets[i].pid, &clock) &&
		    !clock_gettime(clock, &at))
			sum += (uint64_t)at.tv_sec * MON_NS_PER_S + (uint64_t)at.tv_nsec;
	}
	return sum;
}

static void wait_a_second(const struct mon_watched *watched)
{
	mon_ns end_ns = mon_clock_now(&mon_clock_system) + CENSUS_MS * MON_NS_PER_MS;
	struct pollfd fds[MON_TARGETS_MAX];
	size_t alive = watched->target_count;

	for (size_t i = 0; i < watched->target_count; i++)
		fds[i] = (struct pollfd){.fd = watched->targets[i].pidfd, .events = POLLIN};
	while (alive || !watched->target_count) {
		mon_ns now = mon_clock_now(&mon_clock_system);

		if (now >= end_ns)
			return;
		(void)poll(fds, watched->target_count, (int)((end_ns - now) / MON_NS_PER_MS) + 1);
		for (size_t i = 0; i < watched->target_count; i++)
			if (fds[i].fd >= 0 && fds[i].revents) {
				fds[i].fd = -1;
				alive--;
			}
	}
}

static int attach(struct mon_census *census, const struct mon_config *config,
		  struct mon_capture *capture, struct mon_error *error)
{
	struct mon_watched *watched = &census->watched;
	int result = 0;

	for (uint32_t i = 0; i < watched->set.function_count; i++)
		mon_capture_write_policy(capture, i, (struct mon_policy){MON_SAMPLE_NONE});
	if (config->binary)
		return mon_capture_attach(capture, &watched->set, -1, error);
	for (size_t i = 0; i < watched->target_count && !result; i++)
		result = mon_capture_attach(capture, &watched->set, watched->targets[i].pid, error);
	return result;
}

static int dearest_first(const void *a, const void *b)
{
	const struct mon_census_row *left = a, *right = b;

	if (left->of_cpu != right->of_cpu)
		return left->of_cpu < right->of_cpu ? 1 : -1;
	return strcmp(left->name, right->name);
}

/* Hits were in the way of the target while it was counted, and would be again: rates are by what
 * is left to it. */
static void fill(struct mon_census *census, const uint64_t *calls, uint64_t cpu_ns)
{
	const struct mon_function_set *set = &census->watched.set;
	double spent_ns = 0, own_ns, seconds = (double)census->length_ns / 1e9;

	for (size_t i = 0; i < set->function_count; i++) {
		bool stepped = set->functions[i].cost != MON_COST_EMULATED;

		census->rows[i] = (struct mon_census_row){
			.name = set->functions[i].name,
			.calls = calls[i],
			.stepped = stepped,
			.call_ns = census->returns ? census->cost.full_ns[stepped]
						   : census->cost.entry_ns[stepped],
		};
		spent_ns += (double)calls[i] * census->cost.entry_ns[stepped];
	}
	if (spent_ns > 0.98 * (double)cpu_ns)
		spent_ns = 0.98 * (double)cpu_ns;
	own_ns = (double)cpu_ns - spent_ns;
	census->own_ns = census->watched.target_count ? (uint64_t)own_ns : 0;
	for (size_t i = 0; i < set->function_count; i++) {
		struct mon_census_row *row = &census->rows[i];
		double cost_ns = (double)row->calls * row->call_ns;

		row->of_cpu = cost_ns / 1e9 / seconds;
		row->of_target = census->own_ns ? cost_ns / own_ns : 0;
		census->sum.calls += row->calls;
		census->sum.of_cpu += row->of_cpu;
		census->sum.of_target += row->of_target;
	}
	census->row_count = set->function_count;
	qsort(census->rows, census->row_count, sizeof(*census->rows), dearest_first);
}

static int count(struct mon_census *census, const struct mon_config *config, bool wide_links,
		 struct mon_error *error)
{
	const struct mon_capture_options options = {
		.mode = census->mode,
		.function_count = (uint32_t)census->watched.set.function_count,
		.ring_bytes = RING_BYTES,
		.threads_max = 1,
		.all_processes = config->binary != NULL,
		.wide_links = wide_links,
	};
	MON_FREE uint64_t *calls = calloc(options.function_count + 1, sizeof(*calls));
	struct mon_capture *capture = NULL;
	uint64_t cpu_ns;
	mon_ns from_ns;
	int result;

	census->rows = calloc(options.function_count + 1, sizeof(*census->rows));
	if (!calls || !census->rows)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	result = mon_capture_new(&options, &capture, error);
	if (!result)
		result = attach(census, config, capture, error);
	if (result) {
		mon_capture_free(capture);
		return result;
	}
	for (uint32_t i = 0; i < options.function_count; i++) {
		uint64_t unused;

		mon_capture_read_calls(capture, i, &calls[i], &unused, &unused);
	}
	from_ns = mon_clock_now(&mon_clock_system);
	cpu_ns = read_cpu(&census->watched);
	wait_a_second(&census->watched);
	for (uint32_t i = 0; i < options.function_count; i++) {
		uint64_t now, unused;

		mon_capture_read_calls(capture, i, &now, &unused, &unused);
		calls[i] = now - calls[i];
	}
	census->length_ns = mon_clock_now(&mon_clock_system) - from_ns;
	cpu_ns = read_cpu(&census->watched) - cpu_ns;
	mon_capture_free(capture);
	fill(census, calls, cpu_ns < census->length_ns * 4096 ? cpu_ns : 0);
	return 0;
}

int mon_census_take(const struct mon_config *config, struct mon_census *census_out,
		    struct mon_error *error)
{
	struct mon_census census = {0};
	struct mon_features features;
	int result = mon_watched_find(config, &census.watched, error);

	if (result)
		return result;
	result = mon_features_detect(&features, error);
	if (!result)
		result = mon_features_choose(&features, config->mode, &census.mode, error);
	census.returns =
		!config->counts_only && (!census.watched.hazard.found || config->force_returns);
	if (!result)
		result = mon_capture_measure_mode(census.mode, &census.cost, error);
	if (!result)
		result = count(&census, config,
			       census.mode == MON_MODE_MULTI && features.multi_pid_filter, error);
	if (result) {
		mon_census_clear(&census);
		return result;
	}
	*census_out = census;
	return 0;
}

void mon_census_clear(struct mon_census *census)
{
	free(census->rows);
	census->rows = NULL;
	mon_watched_clear(&census->watched);
}
