// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Going on with a run whose monitor is gone: its pins are taken over as they are, its names and
 * sums come back from the database, what its monitor had spooled is drained first, and the ring is
 * read from where it was acknowledged. What is committed or spooled already is passed over by mark
 * and spool. Main thread.
 */
#include "monitor/monitor_internal.h"

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/text.h"
#include "capture/pins.h"

#include <errno.h>
#include <string.h>

/* The processes that still are who they were. */
static void find_targets(struct mon_monitor *monitor, const struct mon_pins_identity *identity)
{
	struct mon_watched *watched = &monitor->watched;
	uint32_t gone = 0;

	for (uint32_t i = 0; i < identity->target_count && i < MON_TARGETS_MAX; i++) {
		struct mon_target *target = &watched->targets[watched->target_count];

		if (mon_target_open_pid(identity->targets[i].pid, target, NULL)) {
			gone++;
			continue;
		}
		if (target->start_ticks != identity->targets[i].start_ticks) {
			mon_target_close(target);
			gone++;
			continue;
		}
		watched->target_count++;
	}
	if (gone)
		mon_log(MON_LOG_INFO, "%u of %u watched processes ended meanwhile", gone,
			identity->target_count);
	/* None is left to wait for: what is in the ring is read, and the run ends. */
	monitor->targets_gone = gone && !watched->target_count;
}

static int resume(struct mon_monitor *monitor, struct mon_error *error)
{
	struct mon_run_resumed resumed;
	struct mon_function_set *set = &monitor->watched.set;
	int result = mon_store_resume(monitor->store, monitor->uuid, &resumed, error);

	if (result == -ENOENT)
		return mon_error_set(
			error, MON_EXIT_UNAVAILABLE, ENOENT,
			"run %s is pinned for %s, which does not know it (any more): put that "
			"file back, or remove the pins with `monbpf detach --run %s`",
			monitor->uuid, MON_ESCAPED(monitor->config.output), monitor->uuid);
	if (result)
		return result;
	result = mon_store_reopen_run(monitor->store);
	if (result) {
		mon_run_resumed_clear(&resumed);
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result, "cannot write %s: %s",
				     MON_ESCAPED(monitor->config.output),
				     mon_store_error_text(monitor->store));
	}
	*set = resumed.functions; /* the store points into it as long as it lives */
	resumed.functions = (struct mon_function_set){0};
	for (size_t i = 0; i < set->module_count; i++)
		if (!set->modules[i].open_path)
			set->modules[i].open_path = strdup(set->modules[i].path);
	monitor->started_ns = resumed.run.started_ns;
	monitor->started_wall_ns = resumed.run.started_wall_ns;
	(void)snprintf(monitor->watched.title, sizeof(monitor->watched.title), "%s",
		       resumed.run.target ? MON_ESCAPED(resumed.run.target) : "");
	if (mon_ledger_new((uint32_t)set->function_count, monitor->started_ns, monitor->budget,
			   &monitor->ledger))
		result = mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				       "out of memory; raise --memory-budget");
	for (uint32_t i = 0; !result && i < set->function_count; i++)
		(void)mon_ledger_resume(monitor->ledger, i, &resumed.sums[i],
					resumed.last_interval_end_ns);
	mon_run_resumed_clear(&resumed);
	return result;
}

int mon_monitor_adopt(struct mon_monitor *monitor, struct mon_error *error)
{
	MON_FREE struct mon_pins_identity *identity = calloc(1, sizeof(*identity));
	struct mon_run_counters run;
	int result;

	if (!identity)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	result = mon_capture_adopt(monitor->config.pins_path, monitor->uuid, &monitor->capture,
				   identity, error);
	if (result)
		return result;
	MON_CRASH_POINT("adopted");
	monitor->mode = identity->options.mode;
	monitor->returns = identity->options.returns;
	monitor->armed_ns = identity->armed_ns;
	monitor->config.arg_count = identity->options.arg_count;
	monitor->config.stack_frames = identity->options.stack_frames;
	/* What waits there comes before what is in the ring, whatever this command line names. */
	memcpy(monitor->pinned_spool, identity->spool, sizeof(monitor->pinned_spool));
	if (monitor->pinned_spool[0])
		monitor->config.spool_path = monitor->pinned_spool;
	result = mon_monitor_plan(monitor, &identity->options, error);
	if (!result)
		result = mon_monitor_open_store(monitor, error);
	if (!result)
		result = resume(monitor, error);
	if (!result && monitor->watched.set.function_count != identity->options.function_count)
		result = mon_error_set(error, MON_EXIT_UNAVAILABLE, EPROTO,
				       "the run that is pinned watches %u functions and %s knows "
				       "%zu: monbpf detach removes the pins",
				       identity->options.function_count,
				       MON_ESCAPED(monitor->config.output),
				       monitor->watched.set.function_count);
	if (!result)
		result = mon_monitor_make_tables(monitor, error);
	if (!result)
		result = mon_monitor_open_spool(monitor, error);
	if (!result)
		result = mon_monitor_map_rings(monitor, &identity->options, error);
	if (result)
		return result;
	MON_CRASH_POINT("resumed");
	find_targets(monitor, identity);
	mon_monitor_map_targets(monitor);
	monitor->targets_gone |= identity->detached;
	monitor->wide_links = identity->options.wide_links;
	mon_capture_heartbeat(monitor->capture, mon_clock_now(&mon_clock_system));
	mon_capture_set_gate(monitor->capture, 0);
	/* Forks of before were told of, and their pids may be others' by now. */
	mon_capture_read_run_counters(monitor->capture, &run);
	monitor->forks_seen = run.forks;
	for (uint32_t i = 0; i < monitor->watched.set.function_count; i++)
		mon_monitor_write_policy(monitor, i, 0);
	monitor->adopted = true;
	return 0;
}
