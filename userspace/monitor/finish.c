// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The end of a run: probes off, open calls flushed, the ring drained into the database or, when
 * that does not take it, into the spool; then the last counters, the books, and the row that says
 * complete. What the database does not take of these goes behind the records in the spool. Main
 * thread.
 */
#include "monitor/monitor_internal.h"

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/text.h"
#include "monitor/remains.h"

#include <errno.h>
#include <string.h>

#define DRAIN_NS (5 * MON_NS_PER_S)

static uint64_t credited(const void *context, uint32_t function, enum mon_reason reason)
{
	return mon_store_credited(context, function, reason);
}

static void count_left_in(const struct mon_ring *ring, uint64_t *left)
{
	struct mon_ring_stats stats;
	struct mon_record record;
	uint64_t position;

	mon_ring_stats(ring, &stats);
	position = stats.acknowledged;
	while (mon_ring_walk(ring, &position, &record) == 0) {
		const struct mon_call_event *call = record.data;

		if (!record.invalid && call->kind != MON_EVENT_TASK)
			left[call->function]++;
	}
}

/* Calls in the rings that neither database nor spool had room for. */
static void count_left(const struct mon_monitor *monitor, uint64_t *left)
{
	for (uint32_t i = 0; i < mon_rings_count(monitor->rings); i++)
		count_left_in(mon_rings_at(monitor->rings, i), left);
}

/*
 * Gives each call that is under no reason yet its own: left in the ring, or else waiting in the
 * spool; with nothing waiting, damaged there, which a damaged record cannot say itself.
 */
static void settle_books(struct mon_monitor *monitor, bool waits)
{
	uint32_t count = (uint32_t)monitor->watched.set.function_count;
	MON_FREE uint64_t *left = calloc(count, sizeof(*left));
	struct mon_workers_stats stats;

	mon_workers_stats(monitor->workers, &stats);
	if (left && waits)
		count_left(monitor, left);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t missing = mon_ledger_missing(monitor->ledger, i, credited, monitor->store);
		uint64_t killed = left && left[i] < missing ? left[i] : left ? missing : 0;

		mon_ledger_set(monitor->ledger, i, MON_REASON_KILLED, killed);
		missing -= killed;
		if (waits)
			mon_ledger_set(monitor->ledger, i, MON_REASON_SPOOLED, missing);
		else if (stats.spool.damaged)
			mon_ledger_set(monitor->ledger, i, MON_REASON_SPOOL_DAMAGED, missing);
	}
}

/* What the database did not take waits behind the records. */
static void leave_remains(struct mon_monitor *monitor, const struct mon_run_end *end,
			  struct mon_outcome_of_run *outcome)
{
	struct mon_breaker_transition transitions[MON_WORKERS_TRANSITIONS_MAX];
	struct mon_spool_stats spool;
	struct mon_ring_stats ring;
	size_t transition_count;
	int result;

	if (!monitor->spool)
		return;
	mon_ring_stats(mon_rings_at(monitor->rings, 0), &ring);
	transition_count = mon_workers_transitions(monitor->workers, transitions,
						   MON_ARRAY_COUNT(transitions));
	result = mon_remains_push(monitor->spool, ring.read, monitor->ledger,
				  (uint32_t)monitor->watched.set.function_count, transitions,
				  transition_count, end);
	if (result)
		mon_log(MON_LOG_WARNING, "the spool did not take the last counts: %s",
			strerror(-result));
	mon_spool_stats(monitor->spool, &spool);
	outcome->waiting = spool.waiting;
}

static void tell_of_programs(struct mon_monitor *monitor, struct mon_outcome_of_run *outcome)
{
	struct mon_run_counters run;

	mon_capture_read_run_counters(monitor->capture, &run);
	if (run.texts_refused)
		mon_log(MON_LOG_WARNING,
			"%llu kept calls are without their strings and buffers: more calls were "
			"open than there is room for",
			(unsigned long long)run.texts_refused);
	if (run.stacks_refused)
		mon_log(MON_LOG_WARNING,
			"%llu kept calls are without their stack: their caller could not be read",
			(unsigned long long)run.stacks_refused);
	outcome->foreign_hits = run.foreign_hits;
	outcome->foreign_cost_ns = run.foreign_hits * monitor->trap_cost.entry_ns[0];
	outcome->missed = mon_capture_missed(monitor->capture);
}

/* The last counters, the books, the end of the run. 0 or -errno of the store. */
static int write_end(struct mon_monitor *monitor, struct mon_run_end *end, int drained,
		     struct mon_outcome_of_run *outcome)
{
	struct mon_store_stats stats;
	struct mon_tick rows;
	int result, ended;

	result = mon_ledger_take(monitor->ledger, end->ended_ns, true, &rows);
	mon_govern_overhead(monitor->govern, &rows.overhead);
	if (!result)
		result = mon_workers_write(monitor->workers, &rows);
	mon_ledger_check(monitor->ledger, credited, monitor->store, &outcome->sum);
	outcome->complete = !drained && !result && !outcome->sum.unbalanced;
	end->complete = outcome->complete;
	ended = mon_store_end(monitor->store, end);
	mon_store_stats(monitor->store, &stats);
	if (stats.wal_left)
		mon_log(MON_LOG_WARNING,
			"another process reads the database: it stays in WAL mode until it is "
			"written again");
	return result ? result : ended;
}

/* A writer that hangs may still come to it; what it prints then is not read. */
static void finish_printing(struct mon_monitor *monitor, struct mon_outcome_of_run *outcome)
{
	if (monitor->printer)
		mon_printer_finish(monitor->printer, &outcome->printed);
}

int mon_monitor_finish(struct mon_monitor *monitor, struct mon_outcome_of_run *outcome)
{
	struct mon_run_end end = {.reason = outcome->reason, .target_status = -1};
	int drained, result;

	mon_govern_end(monitor->govern);
	(void)mon_capture_detach(monitor->capture);
	end.ended_ns = mon_clock_now(&mon_clock_system);
	result = mon_capture_flush_open(monitor->capture);
	if (result)
		mon_log(MON_LOG_WARNING, "open calls could not be read: %s", strerror(-result));
	outcome->command_status = -1;
	if (monitor->command)
		(void)mon_command_reap(&monitor->watched.command, false, &outcome->command_status);
	end.target_status = outcome->command_status;
	drained = mon_workers_drain(monitor->workers, DRAIN_NS);
	monitor->hangs = drained == -EINPROGRESS || drained == -ETIMEDOUT;
	if (!monitor->hangs && mon_workers_tick_written(monitor->workers))
		mon_ledger_commit(monitor->ledger);
	else
		mon_ledger_give_back(monitor->ledger);
	mon_monitor_read_counters(monitor, end.ended_ns);
	tell_of_programs(monitor, outcome);
	if (monitor->hangs) {
		finish_printing(monitor, outcome);
		/* What is pinned
		 * stays, and who goes on with it tells the last counts. */
		if (drained == -EINPROGRESS && !monitor->config.persist)
			leave_remains(monitor, &end, outcome);
		return -EINTR;
	}
	settle_books(monitor, drained);
	result = write_end(monitor, &end, drained, outcome);
	finish_printing(monitor, outcome);
	if (drained || result)
		leave_remains(monitor, &end, outcome);
	else if (monitor->spool)
		mon_spool_release_all(monitor->spool);
	/* Whatever the end was like, it is over: nothing is left for another monitor. */
	MON_CRASH_POINT("ended");
	(void)mon_capture_unpin(monitor->capture);
	return drained ? drained : result;
}

const char *mon_monitor_why(const struct mon_monitor *monitor)
{
	const char *text;

	if (monitor->hangs)
		return "it did not answer (disk or lock)";
	text = mon_store_error_text(monitor->store);
	return text[0] ? text : "the end was hurried";
}
