// SPDX-License-Identifier: GPL-2.0-or-later
/* The life of a run, and what others ask of it. Main thread, but for stop() and the gate. */
#include "monitor/monitor_internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "capture/pins.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

static struct mon_policy policy_of(const struct mon_monitor *monitor, size_t function,
				   uint64_t calls_per_s)
{
	const struct mon_policy *fixed = &monitor->policies[function];
	struct mon_policy policy = {.sample = MON_SAMPLE_NONE};

	if (!monitor->config.keep_none)
		policy = mon_sample_policy(monitor->rules[function], calls_per_s);
	policy.slow_ns = fixed->slow_ns;
	policy.records_per_s = fixed->records_per_s;
	policy.failed_if = fixed->failed_if;
	policy.flags |= fixed->flags;
	if (monitor->config.counts_only)
		policy.flags |= MON_POLICY_NO_RETURN; /* capture/ drops it where it cannot be */
	return policy;
}

void mon_monitor_write_policy(struct mon_monitor *monitor, uint32_t function, uint64_t calls_per_s)
{
	struct mon_policy policy = policy_of(monitor, function, calls_per_s);

	mon_govern_policy(monitor->govern, function, monitor->rules[function]->automatic, &policy);
	monitor->one_in[function] = mon_sample_word_n(policy.sample);
	mon_capture_write_policy(monitor->capture, function, policy);
}

void mon_monitor_set_gate(struct mon_monitor *monitor, enum mon_reason reason, bool closed)
{
	pthread_mutex_lock(&monitor->gate_lock);
	if (closed)
		monitor->gates |= 1u << reason;
	else
		monitor->gates &= ~(1u << reason);
	/* One reason is counted; that the file is full for good comes first. */
	mon_capture_set_gate(monitor->capture, monitor->gates & (1u << MON_REASON_SIZE_CAP)
						       ? MON_REASON_SIZE_CAP
					       : monitor->gates & (1u << MON_REASON_GATE_CLOSED)
						       ? MON_REASON_GATE_CLOSED
						       : 0);
	pthread_mutex_unlock(&monitor->gate_lock);
}

MON_DEFINE_CLEANUP(monitor, struct mon_monitor *, mon_monitor_free)

/* Where the database is or will be, as whoever looks for its pins will name it, too. */
static int resolve_output(struct mon_monitor *monitor, struct mon_error *error)
{
	const char *output = monitor->config.output, *slash = strrchr(output, '/');
	MON_FREE char *directory =
		slash ? strndup(output, (size_t)(slash - output) + 1) : strdup(".");
	MON_FREE char *absolute = directory ? realpath(directory, NULL) : NULL;

	if (!absolute)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "there is no directory for %s", MON_ESCAPED(output));
	if ((size_t)snprintf(monitor->database, sizeof(monitor->database), "%s/%s",
			     strcmp(absolute, "/") ? absolute : "",
			     slash ? slash + 1 : output) >= sizeof(monitor->database))
		return mon_error_set(error, MON_EXIT_USAGE, ENAMETOOLONG, "%s is too long a path",
				     MON_ESCAPED(output));
	return 0;
}

/* Begins a run, or goes on with the one whose pins were left for this database. */
static int begin_or_adopt(struct mon_monitor *monitor, struct mon_error *error)
{
	int result;

	if (!monitor->config.persist)
		return mon_monitor_begin(monitor, error);
	result = resolve_output(monitor, error);
	if (result)
		return result;
	result = mon_pins_find(monitor->config.pins_path, monitor->database, monitor->uuid, error);
	monitor->adopts = !result;
	if (!result)
		return mon_monitor_adopt(monitor, error);
	if (result != -ENOENT)
		return result;
	if (!monitor->config.target_count && !monitor->config.binary && !monitor->config.command)
		return mon_error_set(error, MON_EXIT_USAGE, ENOENT,
				     "no run of %s is pinned that could be gone on with: name a "
				     "process with -p, a file with -b, or a command after --",
				     MON_ESCAPED(monitor->config.output));
	return mon_monitor_begin(monitor, error);
}

/* So that the first rates are of the first second here, not of the run so far. */
static void look_once(struct mon_monitor *monitor)
{
	mon_ns now = mon_clock_now(&mon_clock_system);
	struct mon_view view;

	mon_monitor_read_counters(monitor, now);
	mon_look_at(monitor->look, monitor->capture, monitor->ledger, monitor->one_in, now, &view);
}

int mon_monitor_new(const struct mon_config *config, struct mon_monitor **monitor_out,
		    struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_monitor) struct mon_monitor *monitor = calloc(1, sizeof(*monitor));
	int result;

	if (!monitor)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	monitor->config = *config;
	(void)pthread_mutex_init(&monitor->gate_lock, NULL);
	monitor->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = begin_or_adopt(monitor, error);
	if (!result &&
	    mon_look_new(&monitor->watched.set, mon_clock_now(&mon_clock_system), &monitor->look))
		result = mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	if (!result && monitor->adopted)
		look_once(monitor);
	/* Before the threads: it sets the process's umask for a moment. */
	if (!result)
		mon_monitor_start_status(monitor);
	if (!result)
		result = mon_monitor_start_workers(monitor, error);
	/* What did not start leaves nothing; what was adopted is left to the next. */
	if (result && monitor->capture && !monitor->adopts) {
		(void)mon_capture_detach(monitor->capture);
		(void)mon_capture_unpin(monitor->capture);
	}
	if (result)
		return result;
	mon_pressure_find(&monitor->pressure);
	*monitor_out = TAKE_PTR(monitor);
	return 0;
}

void mon_monitor_free(struct mon_monitor *monitor)
{
	if (!monitor)
		return;
	mon_status_close(monitor->status);
	if (monitor->hangs)
		return;
	mon_workers_free(monitor->workers);
	mon_printer_free(monitor->printer);
	mon_queue_free(monitor->queue);
	mon_spool_free(monitor->spool);
	mon_rings_free(monitor->rings);
	mon_govern_free(monitor->govern);
	mon_capture_free(monitor->capture);
	mon_ledger_free(monitor->ledger);
	mon_store_free(monitor->store);
	mon_budget_free(monitor->budget);
	mon_watched_clear(&monitor->watched);
	free(monitor->rules);
	free(monitor->one_in);
	free(monitor->policies);
	mon_look_free(monitor->look);
	if (monitor->stop_fd >= 0)
		(void)close(monitor->stop_fd);
	(void)pthread_mutex_destroy(&monitor->gate_lock);
	free(monitor);
}

void mon_monitor_describe(const struct mon_monitor *monitor, struct mon_description *out)
{
	struct mon_workers_stats stats;

	mon_workers_stats(monitor->workers, &stats); /* the store itself is the writer's */
	*out = (struct mon_description){
		.title = monitor->watched.title,
		.output = monitor->config.output,
		.hazard = monitor->watched.hazard.found ? monitor->watched.hazard.why : NULL,
		.mode = monitor->mode,
		.returns = monitor->returns,
		.adopted = monitor->adopted,
		.function_count = (uint32_t)monitor->watched.set.function_count - monitor->left_out,
		.left_out = monitor->left_out,
		.unread = monitor->watched.unread,
		.run_id = stats.store.run_id,
		.max_overhead = monitor->govern ? monitor->config.max_overhead : 0,
		.earlier_runs = stats.store.earlier_runs,
		.budget_bytes = mon_budget_limit(monitor->budget),
		.size_max_bytes = monitor->config.size_max_bytes ? monitor->config.size_max_bytes
								 : MON_STORE_SIZE_DEFAULT_BYTES,
	};
}

int mon_monitor_wait_command(struct mon_monitor *monitor, bool wait)
{
	int status = -1;

	if (!monitor->command || !mon_command_reap(&monitor->watched.command, wait, &status))
		return -1;
	return status;
}

pid_t mon_monitor_command_pid(const struct mon_monitor *monitor)
{
	return monitor->command ? monitor->watched.command.pid : 0;
}

void mon_monitor_stop(struct mon_monitor *monitor)
{
	uint64_t one = 1;

	/* Asked a second time, the end does not wait for the disk. */
	if (atomic_exchange(&monitor->stop_again, true) && monitor->workers)
		mon_workers_hurry(monitor->workers);
	(void)!write(monitor->stop_fd, &one, sizeof(one));
}
