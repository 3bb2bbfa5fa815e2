// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What every run is made of, whether it begins or goes on: the plan, the database, the spool, the
 * rings, tables, the status socket and the threads. Each can be refused with a sentence and leaves
 * nothing behind then. Main thread.
 */
#include "monitor/monitor_internal.h"

#include "attach/mappings.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

int mon_monitor_plan(struct mon_monitor *monitor, const struct mon_capture_options *adopted,
		     struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;
	const struct mon_budget_want want = {
		.limit_bytes =
			config->budget_bytes ? config->budget_bytes : MON_BUDGET_DEFAULT_BYTES,
		.ring_bytes =
			adopted ? adopted->ring_bytes * adopted->ring_count : config->ring_bytes,
		.rings = adopted ? adopted->ring_count : config->rings,
		.cpus_online = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
		.functions = adopted ? adopted->function_count
				     : (uint32_t)monitor->watched.set.function_count,
		.threads = adopted ? adopted->threads_max : 0,
		.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF),
		.frames = monitor->returns,
		.arguments = config->arg_count > 0,
		.stacks = config->stack_frames > 0,
		.governed = !adopted && config->max_overhead > 0,
		.text_bytes = config->text_count ? MON_TEXTS_CALL_BYTES(config->text_count,
									config->capture_bytes)
						 : 0,
		.symbols_bytes = mon_watched_bytes(&monitor->watched),
		.print_bytes = config->print ? MON_PRINT_BYTES : 0,
	};
	char least[32], limit[32];
	static const enum mon_budget_part fixed[] = {MON_BUDGET_PROCESS, MON_BUDGET_RING,
						     MON_BUDGET_MAPS, MON_BUDGET_FRAMES,
						     MON_BUDGET_SYMBOLS};

	if (mon_budget_plan(&want, &monitor->plan))
		return mon_error_set(
			error, MON_EXIT_USAGE, ENOMEM,
			"%u functions do not fit in --memory-budget %s: %s would do, or a smaller "
			"--ring-size, or fewer functions",
			want.functions, mon_format_bytes(limit, sizeof(limit), want.limit_bytes),
			mon_format_bytes(least, sizeof(least), monitor->plan.least_bytes));
	if (mon_budget_new(want.limit_bytes, &monitor->budget))
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	for (size_t i = 0; i < MON_ARRAY_COUNT(fixed); i++)
		if (mon_budget_reserve(monitor->budget, fixed[i], monitor->plan.bytes[fixed[i]]))
			return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
					     "the plan does not fit in the memory budget");
	for (int part = 0; part < MON_BUDGET_PARTS; part++)
		mon_log(MON_LOG_VERBOSE, "plan: %-8s %s", mon_budget_part_name(part),
			mon_format_bytes(least, sizeof(least), monitor->plan.bytes[part]));
	return 0;
}

/* A rule for nothing is most likely a name that was mistyped. */
static void warn_of_glob(const struct mon_function_set *set, const char *option, const char *glob)
{
	for (size_t i = 0; i < set->function_count; i++)
		if (!glob[0] || mon_glob_match(glob, set->functions[i].symbol) ||
		    mon_glob_match(glob, set->functions[i].name))
			return;
	mon_log(MON_LOG_WARNING, "%s %s=...: none of the functions that are watched has that name",
		option, MON_ESCAPED(glob));
}

static void warn_of_rules(const struct mon_config *config, const struct mon_function_set *set)
{
	for (size_t i = 0; i < config->rule_count; i++)
		warn_of_glob(set, "--sample", config->rules[i].glob);
	for (size_t i = 0; i < config->slow.count; i++)
		warn_of_glob(set, "--keep-slow", config->slow.rules[i].glob);
	for (size_t i = 0; i < config->failed.count; i++)
		warn_of_glob(set, "--failed", config->failed.rules[i].glob);
	for (size_t i = 0; i < config->caps.count; i++)
		warn_of_glob(set, "--max-records-per-sec", config->caps.rules[i].glob);
}

int mon_monitor_make_tables(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_function_set *set = &monitor->watched.set;
	const struct mon_config *config = &monitor->config;
	size_t count = set->function_count;
	static const struct mon_sample_rule by_auto = {.automatic = true};

	monitor->rules = calloc(count, sizeof(struct mon_sample_rule *));
	monitor->one_in = calloc(count, sizeof(*monitor->one_in));
	monitor->policies = calloc(count, sizeof(*monitor->policies));
	if (!monitor->rules || !monitor->one_in || !monitor->policies)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	warn_of_rules(config, set);
	for (size_t i = 0; i < count; i++) {
		monitor->rules[i] =
			mon_sample_rule_find(monitor->config.rules, monitor->config.rule_count,
					     set->functions[i].symbol, set->functions[i].name);
		if (!monitor->rules[i])
			monitor->rules[i] = &by_auto;
		monitor->policies[i] = mon_rules_policy(
			&config->slow, &config->failed, config->keep_failed, &config->caps,
			set->functions[i].symbol, set->functions[i].name);
	}
	return 0;
}

/* By the writer, or at the very end by the main thread. */
static void on_committed(void *context, const struct mon_batch *batch)
{
	struct mon_monitor *monitor = context;

	mon_printer_print(monitor->printer, batch);
}

/* What an earlier monitor stored of this run, it printed. */
static int start_printer(struct mon_monitor *monitor)
{
	struct mon_printer_options options = {
		.fd = STDOUT_FILENO,
		.set = &monitor->watched.set,
		.started_ns = monitor->started_ns,
		.path = monitor->config.output,
		.budget = monitor->budget,
	};

	for (uint32_t ring = 0; ring < MON_RINGS_MAX; ring++)
		options.marks[ring] = mon_store_mark(monitor->store, ring);
	return monitor->config.print ? mon_printer_new(&options, &monitor->printer) : 0;
}

int mon_monitor_open_store(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;
	const struct mon_store_options options = {
		.path = config->output,
		.durability = config->durability,
		.size_max_bytes = config->size_max_bytes,
		.owner_uid = config->owner_uid,
		.owner_gid = config->owner_gid,
		.budget = monitor->budget,
		.on_committed = config->print ? on_committed : NULL,
		.context = monitor,
		.mappings = &mon_process_mappings,
	};

	return mon_store_new(&options, &monitor->store, error);
}

int mon_monitor_map_rings(struct mon_monitor *monitor, const struct mon_capture_options *options,
			  struct mon_error *error)
{
	struct mon_ring_options ring = {
		.size_bytes = options->ring_bytes,
		.function_count = options->function_count,
		.arg_count = options->arg_count,
		.text_count = options->text_count,
		.capture_bytes = options->capture_bytes,
		.stack_frames = options->stack_frames,
	};
	int result = mon_rings_new(&monitor->rings);

	for (uint32_t i = 0; !result && i < options->ring_count; i++) {
		ring.map_fd = mon_capture_ring_fd(monitor->capture, i);
		result = mon_rings_add(monitor->rings, &ring);
	}
	return result ? mon_error_set(error, MON_EXIT_RUNTIME, -result, "cannot map the ring: %s",
				      strerror(-result))
		      : 0;
}

static void on_size_reached(void *monitor)
{
	mon_monitor_set_gate(monitor, MON_REASON_SIZE_CAP, true);
}

static void on_gate(void *context, bool closed)
{
	mon_monitor_set_gate(context, MON_REASON_GATE_CLOSED, closed);
}

static void on_alive(void *context, mon_ns now)
{
	struct mon_monitor *monitor = context;

	mon_capture_heartbeat(monitor->capture, now);
}

static bool same_file_system(const char *a, const char *b)
{
	struct stat of_a, of_b;

	return !stat(a, &of_a) && !stat(b, &of_b) && of_a.st_dev == of_b.st_dev;
}

/*
 * The reserve is room that the database cannot take: not more than an eighth of what is free, so
 * that on a small disk it is not the spool that fills it.
 */
static void size_reserve(const char *output, struct mon_spool_options *options)
{
	char directory[PATH_MAX], *slash;
	struct statvfs disk;
	uint64_t share;

	(void)snprintf(directory, sizeof(directory), "%s", output);
	slash = strrchr(directory, '/');
	if (slash)
		slash[1] = '\0';
	if (statvfs(slash ? directory : ".", &disk))
		return;
	share = (uint64_t)disk.f_bavail * disk.f_frsize / 8;
	if (share >= MON_SPOOL_RESERVE_BYTES_DEFAULT)
		return;
	options->segment_bytes = share / 16 > MON_SPOOL_SEGMENT_BYTES_MIN
					 ? share / 16 & ~4095ull
					 : MON_SPOOL_SEGMENT_BYTES_MIN;
	options->reserve_bytes = share > options->segment_bytes ? share : options->segment_bytes;
}

int mon_monitor_open_spool(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;
	struct mon_spool_options options = {
		.path = monitor->spool_path,
		.run_uuid = monitor->uuid,
		.max_bytes = config->spool_max_bytes,
		.sync = config->durability == MON_DURABILITY_FULL,
		.owner_uid = config->owner_uid,
		.owner_gid = config->owner_gid,
		.budget = monitor->budget,
	};
	struct mon_spool_stats stats;
	char waits[32];
	int result;

	if (config->keep_none && !monitor->pinned_spool[0])
		return 0;
	if (config->spool_path)
		(void)snprintf(monitor->spool_path, sizeof(monitor->spool_path), "%s",
			       config->spool_path);
	else if ((size_t)snprintf(monitor->spool_path, sizeof(monitor->spool_path), "%s.spool",
				  config->output) >= sizeof(monitor->spool_path))
		return mon_error_set(error, MON_EXIT_USAGE, ENAMETOOLONG,
				     "the spool's path is too long; name one with --spool-dir");
	size_reserve(monitor->spool_path, &options);
	result = mon_spool_new(&options, &monitor->spool, error);
	if (result)
		return result;
	mon_spool_stats(monitor->spool, &stats);
	mon_log(MON_LOG_VERBOSE, "plan: spool at %s: %s at most, %s of it reserved%s",
		MON_ESCAPED(monitor->spool_path),
		mon_format_bytes((char[32]){0}, 32, stats.max_bytes),
		mon_format_bytes((char[32]){0}, 32, stats.reserve_bytes),
		same_file_system(monitor->spool_path, config->output)
			? ", on the database's own file system: what fills that stops both"
			: "");
	if (stats.reserve_bytes < MON_SPOOL_RESERVE_BYTES_DEFAULT)
		mon_log(MON_LOG_WARNING,
			"the disk is nearly full: only %s are reserved for the spool",
			mon_format_bytes(waits, sizeof(waits), stats.reserve_bytes));
	if (stats.foreign_segments)
		mon_log(MON_LOG_WARNING,
			"an earlier run left calls in %s: monbpf spool drain %s -o %s writes them "
			"into its own run",
			MON_ESCAPED(monitor->spool_path), MON_ESCAPED(monitor->spool_path),
			MON_ESCAPED(config->output));
	return 0;
}

void mon_monitor_map_targets(struct mon_monitor *monitor)
{
	int result = 0;

	for (size_t i = 0; monitor->config.stack_frames && i < monitor->watched.target_count; i++)
		result = mon_store_map_process(monitor->store,
					       (uint32_t)monitor->watched.targets[i].pid)
				 ?: result;
	if (result)
		mon_log(MON_LOG_WARNING,
			"what the targets have mapped is not in the database yet (%s): stacks that "
			"come from the spool when they are gone will be addresses",
			strerror(-result));
}

/* A run without it is still a run. */
void mon_monitor_start_status(struct mon_monitor *monitor)
{
	const struct mon_config *config = &monitor->config;
	int result = mon_status_listen(config->output, config->owner_uid, config->owner_gid,
				       &monitor->status);

	if (result)
		mon_log(MON_LOG_WARNING, "monbpf status will not find this run: %s",
			strerror(-result));
}

int mon_monitor_start_workers(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_queue_options queue = {.budget = monitor->budget};
	const struct mon_breaker_options breaker = {
		.failures_max = monitor->config.breaker_failures,
		.timeout_ns = monitor->config.breaker_timeout_ns,
		.clock = &mon_clock_system,
	};
	struct mon_workers_options options = {
		.rings = monitor->rings,
		.store = monitor->store,
		.breaker = &breaker,
		.spool = monitor->spool,
		.budget = monitor->budget,
		.on_size_reached = on_size_reached,
		.on_gate = on_gate,
		.on_alive = on_alive,
		.context = monitor,
	};
	int result = mon_queue_new(&queue, &monitor->queue);

	options.queue = monitor->queue;
	if (!result)
		result = start_printer(monitor);
	if (!result)
		result = mon_workers_new(&options, &monitor->workers);
	return result ? mon_error_set(error, MON_EXIT_RUNTIME, -result,
				      "cannot start the run's threads: %s", strerror(-result))
		      : 0;
}
