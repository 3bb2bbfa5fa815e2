// SPDX-License-Identifier: GPL-2.0-or-later
/* A run from armed to ended: the tick, and the reasons to end. Main thread. */
#include "monitor/monitor_internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <string.h>

#define TICK_NS MON_NS_PER_S
#define CLOCK_ROW_NS (60 * MON_NS_PER_S)
#define CLOCK_STEP_NS MON_NS_PER_MS

void mon_monitor_read_counters(struct mon_monitor *monitor, mon_ns now)
{
	for (uint32_t i = 0; i < monitor->watched.set.function_count; i++) {
		struct mon_counters counters;
		const uint32_t *histogram;
		mon_ns armed_ns = now - monitor->armed_ns;

		mon_capture_read_counters(monitor->capture, i, &counters, &histogram);
		mon_govern_account(monitor->govern, i, now, &armed_ns);
		mon_ledger_update(monitor->ledger, i, &counters, histogram, armed_ns);
		mon_govern_share(monitor->govern, i, now);
	}
}

/* A policy from each function's rate, where the rule leaves it open. */
static void write_policies(struct mon_monitor *monitor)
{
	for (uint32_t i = 0; i < monitor->watched.set.function_count; i++)
		if (monitor->rules[i]->automatic)
			mon_monitor_write_policy(monitor, i,
						 (uint64_t)mon_look_rate(monitor->look, i));
}

static void tell_of_fork(const struct mon_monitor *monitor)
{
	if (monitor->wide_links || (monitor->mode != MON_MODE_PERF && !monitor->config.persist))
		mon_log(MON_LOG_WARNING,
			"the target forked: children are not followed, their calls are counted as "
			"foreign, and each costs them a trap (about 1 us)");
	else if (monitor->mode == MON_MODE_PERF)
		mon_log(MON_LOG_WARNING,
			"the target forked: children are not followed, their calls are not counted "
			"and cost them nothing");
	else
		mon_log(MON_LOG_WARNING,
			"the target forked: children are not followed, their calls are not counted "
			"(--persist), and each costs them a trap (about 1 us)");
}

/* A child that was forked is not followed: its hits are counted as foreign, and said once. */
static void look_at_forks(struct mon_monitor *monitor)
{
	struct mon_run_counters run;
	bool beyond = false;

	mon_capture_reap_foreign(monitor->capture);
	mon_capture_read_run_counters(monitor->capture, &run);
	if (run.forks == monitor->forks_seen)
		return;
	if (!monitor->forks_seen)
		tell_of_fork(monitor);
	for (uint64_t i = monitor->forks_seen; i < run.forks; i++) {
		if (run.forks - i > MON_FORKS_REMEMBERED) {
			beyond = true;
			continue;
		}
		beyond |= mon_capture_attach_foreign(
				  monitor->capture, &monitor->watched.set,
				  (pid_t)run.fork_pids[i % MON_FORKS_REMEMBERED]) == -ENOSPC;
	}
	monitor->forks_seen = run.forks;
	if (beyond && !monitor->forks_beyond_told) {
		monitor->forks_beyond_told = true;
		mon_log(MON_LOG_WARNING,
			"more than %d children at once: further children are not told apart, their "
			"calls cost a trap each (about 1 us) and are not counted",
			MON_CAPTURE_FOREIGN_MAX);
	}
}

static void look_at_printer(struct mon_monitor *monitor)
{
	if (!monitor->printer || monitor->printer_told || !mon_printer_is_closed(monitor->printer))
		return;
	monitor->printer_told = true;
	mon_log(MON_LOG_WARNING,
		"nobody reads what is printed any more; calls are still stored in "
		"%s. Ctrl-C ends.",
		MON_ESCAPED(monitor->config.output));
}

static void look_at_size(struct mon_monitor *monitor, const struct mon_store_stats *stats)
{
	if (stats->size_reached == monitor->size_told)
		return;
	monitor->size_told = stats->size_reached;
	mon_monitor_set_gate(monitor, MON_REASON_SIZE_CAP, stats->size_reached);
	if (stats->size_reached)
		mon_log(MON_LOG_WARNING,
			"%s: no more calls are kept (size_cap), exact statistics go on",
			stats->size_why);
	else
		mon_log(MON_LOG_INFO, "there is room again: calls are kept");
}

/* A new file has nothing of the run but its name: everything is told again. */
static void look_at_parts(struct mon_monitor *monitor, const struct mon_store_stats *stats)
{
	if (stats->wal_alarm != monitor->wal_told) {
		monitor->wal_told = stats->wal_alarm;
		if (stats->wal_alarm)
			mon_log(MON_LOG_WARNING,
				"another process reads the database without end: the WAL cannot "
				"shrink and has %s",
				mon_format_bytes((char[32]){0}, 32, stats->wal_bytes));
		else
			mon_log(MON_LOG_INFO, "the WAL shrinks again");
	}
	if (stats->part == monitor->part)
		return;
	if (monitor->part && stats->damaged_number)
		mon_log(MON_LOG_WARNING,
			"the database was damaged: it is kept as %s.damaged-%u, the run goes on in "
			"a new %s",
			MON_ESCAPED(monitor->config.output), stats->damaged_number,
			MON_ESCAPED(monitor->config.output));
	else if (monitor->part)
		mon_log(MON_LOG_WARNING,
			"the database was moved or removed: the run goes on in a new %s",
			MON_ESCAPED(monitor->config.output));
	if (monitor->part)
		mon_ledger_tell_all(monitor->ledger);
	monitor->part = stats->part;
}

static void look_at_memory(struct mon_monitor *monitor)
{
	bool pressed = mon_pressure_now(&monitor->pressure);

	if (pressed == monitor->pressed)
		return;
	monitor->pressed = pressed;
	mon_workers_set_pressure(monitor->workers, pressed);
	if (pressed) {
		(void)malloc_trim(0);
		mon_log(MON_LOG_WARNING, "memory is short: calls are spooled earlier, caches are "
					 "given back");
	} else {
		mon_log(MON_LOG_INFO, "there is memory again");
	}
}

static void tick(struct mon_monitor *monitor,
		 void (*on_tick)(const struct mon_view *view, void *context), void *context)
{
	mon_ns now = mon_clock_now(&mon_clock_system);
	struct mon_view view;
	struct mon_workers_stats stats;
	struct mon_tick rows;

	(void)mon_workers_tick(monitor->workers);
	look_at_memory(monitor);
	mon_monitor_read_counters(monitor, now);
	mon_look_at(monitor->look, monitor->capture, monitor->ledger, monitor->one_in, now, &view);
	write_policies(monitor);
	look_at_forks(monitor);
	look_at_printer(monitor);
	mon_workers_stats(monitor->workers, &stats);
	if (mon_workers_tick_written(monitor->workers)) {
		mon_ledger_commit(monitor->ledger);
		look_at_parts(monitor, &stats.store);
	}
	if (mon_ledger_take(monitor->ledger, now, false, &rows) == 0) {
		mon_wall_ns wall = mon_clock_wall();
		int64_t step =
			(wall - monitor->started_wall_ns) - (int64_t)(now - monitor->started_ns);

		rows.wall_ns = wall;
		rows.wanted_ns = now - monitor->armed_ns;
		mon_govern_overhead(monitor->govern, &rows.overhead);
		if (step > (int64_t)CLOCK_STEP_NS || step < -(int64_t)CLOCK_STEP_NS ||
		    now - monitor->last_clock_ns >= CLOCK_ROW_NS) {
			rows.clock_row = true;
			monitor->last_clock_ns = now;
		}
		if (!mon_workers_offer(monitor->workers, &rows))
			mon_ledger_give_back(monitor->ledger);
	}
	mon_workers_stats(monitor->workers, &stats);
	look_at_size(monitor, &stats.store);
	view.rows = stats.store.rows;
	view.file_bytes = stats.store.file_bytes + stats.store.wal_bytes;
	view.breaker = stats.breaker.state;
	view.ring_used = mon_ring_level(&stats.fullest_ring);
	view.queue_used =
		stats.queue.slots ? (double)stats.queue.used / (double)stats.queue.slots : 0;
	view.spooled = stats.spool.waiting;
	view.memory_bytes = mon_look_at_memory(monitor->bpf_bytes, stats.ring.size_bytes);
	view.memory_limit_bytes = mon_budget_limit(monitor->budget);
	view.elapsed_ns = now - monitor->started_ns;
	mon_govern_overhead(monitor->govern, &view.overhead);
	if (monitor->govern)
		view.overhead_now = mon_governor_overhead(mon_govern_governor(monitor->govern));
	if (on_tick)
		on_tick(&view, context);
}

/* Until there is a reason to end, which is returned. */
static const char *watch(struct mon_monitor *monitor,
			 void (*on_tick)(const struct mon_view *view, void *context), void *context)
{
	enum { STOP, STATUS, TARGETS };
	struct pollfd fds[TARGETS + MON_TARGETS_MAX] = {
		[STOP] = {.fd = monitor->stop_fd, .events = POLLIN},
		[STATUS] = {.fd = monitor->status ? mon_status_fd(monitor->status) : -1,
			    .events = POLLIN},
	};
	size_t alive = monitor->watched.target_count;
	mon_ns next_ns = mon_clock_now(&mon_clock_system) + TICK_NS;
	mon_ns end_ns = monitor->config.duration_ns
				? next_ns - TICK_NS + monitor->config.duration_ns
				: UINT64_MAX;

	for (size_t i = 0; i < alive; i++)
		fds[TARGETS + i] =
			(struct pollfd){.fd = monitor->watched.targets[i].pidfd, .events = POLLIN};
	for (;;) {
		mon_ns now = mon_clock_now(&mon_clock_system);
		mon_ns until = next_ns < end_ns ? next_ns : end_ns;
		mon_ns govern_ns = mon_govern_next(monitor->govern);
		int timeout_ms;

		if (govern_ns < until)
			until = govern_ns;
		timeout_ms = until > now ? (int)((until - now) / MON_NS_PER_MS) + 1 : 0;

		if (monitor->targets_gone)
			return "target exited";
		if (now >= end_ns)
			return "duration";
		if (now >= next_ns) {
			tick(monitor, on_tick, context);
			next_ns += TICK_NS;
			continue;
		}
		if (now >= govern_ns) {
			mon_govern_act(monitor->govern, now);
			continue;
		}
		if (poll(fds, TARGETS + monitor->watched.target_count, timeout_ms) <= 0)
			continue;
		if (fds[STOP].revents)
			return "interrupted";
		if (fds[STATUS].revents)
			mon_monitor_answer(monitor);
		for (size_t i = TARGETS; i < TARGETS + monitor->watched.target_count; i++)
			if (fds[i].revents) {
				fds[i].fd = -1;
				if (--alive == 0)
					return "target exited";
			}
	}
}

int mon_monitor_run(struct mon_monitor *monitor,
		    void (*on_tick)(const struct mon_view *view, void *context), void *context,
		    struct mon_outcome_of_run *outcome_out, struct mon_error *error)
{
	struct mon_outcome_of_run outcome = {0};
	int result;

	struct mon_capture_cost cost;

	monitor->last_clock_ns = monitor->started_ns;
	mon_capture_cost(monitor->capture, &cost);
	monitor->bpf_bytes = cost.bpf_bytes;
	if (monitor->command) {
		result = mon_command_release(&monitor->watched.command, error);
		if (result)
			return result;
	}
	outcome.reason = watch(monitor, on_tick, context);
	result = mon_monitor_finish(monitor, &outcome);
	*outcome_out = outcome;
	if (result && outcome.waiting)
		return mon_error_set(
			error, MON_EXIT_RUNTIME, -result,
			"%s was not written to its end: %s; %llu records wait in %s: "
			"monbpf spool drain %s -o %s",
			MON_ESCAPED(monitor->config.output), mon_monitor_why(monitor),
			(unsigned long long)outcome.waiting, MON_ESCAPED(monitor->spool_path),
			MON_ESCAPED(monitor->spool_path), MON_ESCAPED(monitor->config.output));
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "%s was not written to its end: %s; what it has is kept",
				     MON_ESCAPED(monitor->config.output), mon_monitor_why(monitor));
	return 0;
}
