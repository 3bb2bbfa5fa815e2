// SPDX-License-Identifier: GPL-2.0-or-later
/* What `monbpf status` is told: gathered when it is asked. Main thread. */
#include "monitor/monitor_internal.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>

static void copy(char *to, const char *from)
{
	(void)snprintf(to, MON_STATUS_TEXT_BYTES, "%.255s", from);
}

static void add_counts(const struct mon_monitor *monitor, struct mon_status *status)
{
	for (uint32_t i = 0; i < monitor->watched.set.function_count; i++) {
		const struct mon_counters *counters = mon_ledger_counters(monitor->ledger, i);

		status->calls += counters->calls;
		status->emitted += counters->emitted;
		status->counts[MON_REASON_SAMPLED_OUT] += counters->sampled_out;
		status->counts[MON_REASON_RATE_CAP] += counters->rate_cap;
		status->counts[MON_REASON_SIZE_CAP] += counters->size_cap;
		status->counts[MON_REASON_RING_FULL] += counters->ring_full;
		status->counts[MON_REASON_GATE_CLOSED] += counters->gate_closed;
		status->counts[MON_REASON_FRAME_REFUSED] += counters->frame_refused;
	}
}

static void add_breaker(const struct mon_breaker_stats *breaker, mon_ns now,
			struct mon_status *status)
{
	status->breaker_state = breaker->state;
	status->breaker_failures_in_row = breaker->failures_in_row;
	status->breaker_not_permitted = breaker->not_permitted;
	status->breaker_late = breaker->late;
	status->breaker_open_ns = breaker->open_ns;
	if (breaker->next_probe_ns > now)
		status->breaker_next_probe_ns = breaker->next_probe_ns - now;
	memcpy(status->breaker_transitions, breaker->transitions,
	       sizeof(status->breaker_transitions));
	memcpy(status->breaker_outcomes, breaker->outcomes, sizeof(status->breaker_outcomes));
	if (breaker->last_error)
		copy(status->last_error, strerror(-breaker->last_error));
}

static void add_stages(struct mon_monitor *monitor, mon_ns now, struct mon_status *status)
{
	struct mon_workers_stats stats;
	uint64_t done;

	mon_workers_stats(monitor->workers, &stats);
	status->run_id = stats.store.run_id;
	status->stored = stats.store.rows;
	status->set_aside = stats.store.set_aside;
	status->file_bytes = stats.store.file_bytes;
	status->wal_bytes = stats.store.wal_bytes;
	status->commits = stats.store.commits;
	status->rollbacks = stats.store.rollbacks;
	status->longest_push_ns = stats.store.longest_push_ns;
	status->ring_size_bytes = stats.fullest_ring.size_bytes;
	status->ring_used_bytes = stats.fullest_ring.produced - stats.fullest_ring.acknowledged;
	status->rings = mon_rings_count(monitor->rings);
	status->queue_used = stats.queue.used;
	status->queue_slots = stats.queue.slots;
	status->queue_overflow_used = stats.queue.overflow_used;
	status->queue_overflow_refused = stats.queue.overflow_refused;
	if (monitor->spool) {
		copy(status->spool_path, monitor->spool_path);
		status->spooled = stats.spool.waiting;
		status->spool_bytes = stats.spool.used_bytes;
		status->spool_max_bytes = stats.spool.max_bytes;
		status->spool_reserve_bytes = stats.spool.reserve_bytes;
		status->spool_pushed = stats.spool.pushed;
		status->spool_damaged = stats.spool.damaged;
		status->spool_segments_set_aside = stats.spool.segments_set_aside;
		status->spool_foreign_segments = stats.spool.foreign_segments;
		status->spooling = stats.spooling;
	}
	add_breaker(&stats.breaker, now, status);
	status->memory_bytes = mon_look_at_memory(monitor->bpf_bytes, stats.ring.size_bytes);
	done = status->stored + status->set_aside + status->spooled;
	status->on_the_way = status->emitted > done ? status->emitted - done : 0;
}

static void copy_name(const struct mon_monitor *monitor, uint32_t function, char *to)
{
	if (function < monitor->watched.set.function_count)
		(void)snprintf(to, MON_STATUS_NAME_BYTES, "%.95s",
			       monitor->watched.set.functions[function].name);
}

/* The time is taken after the walk: what it found is not of the future. */
static void add_open(struct mon_monitor *monitor, struct mon_status *status)
{
	struct mon_open_list list = {0};
	mon_ns now;

	_Static_assert(MON_STATUS_OPEN_MAX <= MON_OPEN_LISTED_MAX, "as many as are listed");
	status->open_known = mon_capture_follows_returns(monitor->capture);
	status->open_calls = mon_look_open_calls(monitor->look, monitor->capture, &list);
	now = mon_clock_now(&mon_clock_system);
	for (size_t i = 0; i < list.count && i < MON_STATUS_OPEN_MAX; i++) {
		const struct mon_open_call *call = &list.calls[i];
		struct mon_status_open *open = &status->open[status->open_count++];

		open->pid = call->pid;
		open->tid = call->tid;
		open->depth = call->depth;
		open->age_ns = now > call->start_ns ? now - call->start_ns : 0;
		copy_name(monitor, call->function, open->function);
		copy_name(monitor, call->caller, open->caller);
		mon_look_comm(call->pid, call->tid, open->comm);
	}
}

static void add_overhead(const struct mon_monitor *monitor, struct mon_status *status)
{
	const struct mon_governor *governor = mon_govern_governor(monitor->govern);

	if (!governor)
		return;
	status->overhead_limit = monitor->config.max_overhead;
	status->overhead_now = mon_governor_overhead(governor);
	status->overhead_of_run = mon_governor_overhead_of_run(governor);
	mon_governor_sums(governor, &status->cost_ns, &status->own_ns);
	status->step = mon_governor_step(governor);
	mon_governor_tally(governor, &status->no_return_functions, &status->windowed_functions);
	for (uint32_t i = 0; i < monitor->watched.set.function_count; i++) {
		struct mon_governor_order order = mon_governor_order(governor, i);

		if (!order.windowed || status->windowed_listed == MON_GOVERNOR_WINDOWED_MAX)
			continue;
		status->window_share = order.share;
		copy_name(monitor, i, status->windowed[status->windowed_listed++]);
	}
}

void mon_monitor_answer(struct mon_monitor *monitor)
{
	mon_ns now = mon_clock_now(&mon_clock_system);
	struct mon_status status = {
		.magic = MON_STATUS_MAGIC,
		.size_bytes = sizeof(status),
		.pid = getpid(),
		.function_count = (uint32_t)monitor->watched.set.function_count,
		.elapsed_ns = now - monitor->started_ns,
		.bpf_bytes = monitor->bpf_bytes,
		.memory_limit_bytes = mon_budget_limit(monitor->budget),
		.pressed = monitor->pressed,
	};

	(void)snprintf(status.uuid, sizeof(status.uuid), "%s", monitor->uuid);
	(void)snprintf(status.mode, sizeof(status.mode), "%s", mon_mode_name(monitor->mode));
	copy(status.title, monitor->watched.title);
	mon_monitor_read_counters(monitor, now);
	add_counts(monitor, &status);
	add_stages(monitor, now, &status);
	add_open(monitor, &status);
	add_overhead(monitor, &status);
	pthread_mutex_lock(&monitor->gate_lock);
	status.gate = monitor->gates & (1u << MON_REASON_SIZE_CAP) ? MON_REASON_SIZE_CAP
		      : monitor->gates				   ? MON_REASON_GATE_CLOSED
								   : 0;
	pthread_mutex_unlock(&monitor->gate_lock);
	for (int part = 0; part < MON_BUDGET_PARTS; part++) {
		status.part_bytes[part] = mon_budget_part_used(monitor->budget, part);
		status.part_peak_bytes[part] = mon_budget_part_peak(monitor->budget, part);
	}
	mon_status_serve(monitor->status, &status);
}
