// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The start of a new run. Order matters: what can be refused without a trace comes first (the
 * targets, the plan, the output), the probes last. Main thread.
 */
#include "monitor/monitor_internal.h"

#include "attach/modules.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "capture/pins.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>

static int choose_mode(struct mon_monitor *monitor, struct mon_error *error)
{
	struct mon_features features;
	int result = mon_features_detect(&features, error);

	if (!result)
		result =
			mon_features_choose(&features, monitor->config.mode, &monitor->mode, error);
	if (!result)
		monitor->wide_links = monitor->mode == MON_MODE_MULTI && features.multi_pid_filter;
	return result;
}

/* A limit wants to know what a hit costs. */
static int measure_traps(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_trap_cost *cost = &monitor->trap_cost;
	int result;

	if (monitor->config.max_overhead <= 0)
		return 0;
	result = mon_capture_measure_traps(monitor->capture, &monitor->trap_cost);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "what a probe costs here could not be measured (%s): "
				     "--max-overhead 0 goes without a limit",
				     strerror(-result));
	mon_log(MON_LOG_VERBOSE,
		"a hit costs %u ns, with its return %u ns; single-stepped %u and %u ns",
		cost->entry_ns[0], cost->full_ns[0], cost->entry_ns[1], cost->full_ns[1]);
	return 0;
}

/* What is asked of one function decides what the programs must be able to do. */
static void describe_function(struct mon_monitor *monitor, size_t index,
			      struct mon_capture_options *options)
{
	const struct mon_policy *policy = &monitor->policies[index];

	options->allowance |= !monitor->config.keep_none && monitor->rules[index]->automatic;
	options->judge |= policy->slow_ns || policy->failed_if;
	options->caps |= policy->records_per_s > 0;
	monitor->watched.set.functions[index].failed_if = mon_failed_if_name(policy->failed_if);
}

static int load_programs(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;
	struct mon_capture_options options = {
		.function_count = (uint32_t)monitor->watched.set.function_count,
		.ring_bytes = monitor->plan.ring_bytes,
		.ring_count = monitor->plan.rings,
		.threads_max = monitor->plan.threads,
		.arg_count = config->arg_count,
		.text_count = config->text_count,
		.capture_bytes = config->capture_bytes,
		.stack_frames = config->stack_frames,
		.text_calls = monitor->returns ? monitor->plan.text_calls : 1,
		.returns = monitor->returns,
		.all_processes = config->binary != NULL,
		.reader_timeout_ns = config->persist ? config->reader_timeout_ns : 0,
		.mode = monitor->mode,
		.wide_links = monitor->wide_links,
		.may_skip_returns = (config->counts_only || config->max_overhead > 0) &&
				    monitor->returns && monitor->mode == MON_MODE_SESSION,
		.movable = config->max_overhead > 0 && !config->persist,
		.own_functions = config->max_overhead > 0 ? MON_TRAP_FUNCTIONS : 0,
		.caps = config->records_per_s > 0,
		.records_per_s = config->records_per_s,
	};
	int result;

	for (size_t i = 0; i < monitor->watched.set.function_count; i++)
		describe_function(monitor, i, &options);
	memcpy(options.texts, config->texts, sizeof(options.texts));
	result = mon_capture_new(&options, &monitor->capture, error);
	if (result)
		return result;
	result = mon_monitor_map_rings(monitor, &options, error);
	return result ? result : measure_traps(monitor, error);
}

static int arm(struct mon_monitor *monitor, struct mon_error *error)
{
	struct mon_function_set *set = &monitor->watched.set;
	int result = 0;

	for (size_t i = 0; i < set->function_count; i++) {
		set->functions[i].returns = monitor->returns;
		mon_monitor_write_policy(monitor, (uint32_t)i, 0);
	}
	monitor->armed_ns = mon_clock_now(&mon_clock_system);
	if (monitor->config.binary)
		result = mon_capture_attach(monitor->capture, set, -1, error);
	for (size_t i = 0; !result && i < monitor->watched.target_count; i++) {
		result = mon_capture_attach(monitor->capture, set, monitor->watched.targets[i].pid,
					    error);
		if (!result && mon_target_check(&monitor->watched.targets[i]))
			result = mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
					       "process %d ended before it was watched",
					       (int)monitor->watched.targets[i].pid);
	}
	if (!result && monitor->watched.command.pid)
		monitor->command = true;
	for (size_t i = 0; !result && i < set->function_count; i++)
		if (set->functions[i].attach_error) {
			monitor->left_out++;
			mon_log(MON_LOG_WARNING, "%s is not watched: it cannot be probed (%s)",
				MON_ESCAPED(set->functions[i].name),
				strerror(set->functions[i].attach_error));
		}
	return result;
}

static void make_uuid(char uuid[MON_UUID_BYTES])
{
	uint8_t b[16] = {0};

	(void)!getrandom(b, sizeof(b), 0);
	b[6] = (b[6] & 0x0f) | 0x40; /* RFC 4122, version 4 */
	b[8] = (b[8] & 0x3f) | 0x80;
	(void)snprintf(uuid, MON_UUID_BYTES,
		       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		       b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		       b[13], b[14], b[15]);
}

/* What the run goes by, defaults filled in: the command line tells only what was asked for. */
static void describe_options(const struct mon_monitor *monitor, char *text, size_t size)
{
	const struct mon_config *config = &monitor->config;

	(void)snprintf(text, size,
		       "returns=%s stats=%s records=%s args=%u texts=%u capture_bytes=%u "
		       "stack_frames=%u sample_rules=%zu "
		       "memory_budget=%llu "
		       "ring_size=%llu rings=%u threads_max=%u max_size=%llu durability=%s",
		       monitor->returns ? "yes" : "no", config->counts_only ? "counts" : "exact",
		       config->keep_none ? "no" : "yes", config->arg_count, config->text_count,
		       config->capture_bytes, config->stack_frames, config->rule_count,
		       (unsigned long long)mon_budget_limit(monitor->budget),
		       (unsigned long long)monitor->plan.bytes[MON_BUDGET_RING],
		       monitor->plan.rings, monitor->plan.threads,
		       (unsigned long long)(config->size_max_bytes ? config->size_max_bytes
								   : MON_STORE_SIZE_DEFAULT_BYTES),
		       config->durability == MON_DURABILITY_FULL ? "full" : "normal");
}

static int begin_run(struct mon_monitor *monitor, struct mon_error *error)
{
	char options[512];
	struct mon_run_info run = {
		.version = MON_VERSION,
		.command = monitor->config.command_line,
		.target = monitor->watched.title,
		.started_ns = monitor->started_ns,
		.started_wall_ns = monitor->started_wall_ns,
		.mode = monitor->mode,
	};
	MON_FCLOSE FILE *boot = fopen("/proc/sys/kernel/random/boot_id", "re");
	char boot_id[64] = "";
	struct utsname name;

	if (uname(&name) == 0) {
		run.host = name.nodename;
		run.kernel = name.release;
	}
	if (boot && fgets(boot_id, sizeof(boot_id), boot)) {
		boot_id[strcspn(boot_id, "\n")] = '\0';
		run.boot_id = boot_id;
	}
	memcpy(run.uuid, monitor->uuid, sizeof(run.uuid));
	describe_options(monitor, options, sizeof(options));
	run.options = options;
	return mon_store_begin(monitor->store, &run, &monitor->watched.set, error);
}

/* Where no return can be skipped one by one, --stats counts follows none. */
static void choose_returns(struct mon_monitor *monitor)
{
	const struct mon_config *config = &monitor->config;
	bool hazard = monitor->watched.hazard.found && !config->force_returns;
	bool entries =
		config->counts_only && (config->keep_none || monitor->mode != MON_MODE_SESSION);

	monitor->returns = !hazard && !entries;
	if (!hazard || entries)
		return;
	for (size_t i = 0; i < monitor->watched.set.function_count; i++) {
		free(monitor->watched.set.functions[i].note);
		monitor->watched.set.functions[i].note =
			strdup("a return probe could end the target");
	}
}

/* How a call ended is known of followed returns only. */
static int check_rules(const struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;

	if (monitor->returns || (!config->slow.count && !config->failed.count))
		return 0;
	if (config->counts_only)
		return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
				     "--failed wants returns, and --stats counts follows none %s: "
				     "leave one of them out",
				     config->keep_none ? "with -c" : "in this mode");
	return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
			     "--keep-slow and --failed want return probes, and one could end the "
			     "target (%s): leave them out, or take the risk with --force-returns",
			     monitor->watched.hazard.why);
}

/* After the run is in the database: whoever finds the pins finds it there. */
static int pin(struct mon_monitor *monitor, struct mon_error *error)
{
	MON_FREE struct mon_pins_identity *identity = calloc(1, sizeof(*identity));
	const struct mon_watched *watched = &monitor->watched;

	if (!identity)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	(void)snprintf(identity->head.run_uuid, sizeof(identity->head.run_uuid), "%s",
		       monitor->uuid);
	(void)snprintf(identity->head.database, sizeof(identity->head.database), "%s",
		       monitor->database);
	if (monitor->spool && !realpath(monitor->spool_path, identity->spool))
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "the spool directory %s cannot be found: %s",
				     MON_ESCAPED(monitor->spool_path), strerror(errno));
	identity->started_ns = monitor->started_ns;
	identity->armed_ns = monitor->armed_ns;
	identity->target_count = (uint32_t)watched->target_count;
	for (size_t i = 0; i < watched->target_count; i++) {
		identity->targets[i].pid = watched->targets[i].pid;
		identity->targets[i].start_ticks = watched->targets[i].start_ticks;
	}
	return mon_capture_pin(monitor->capture, monitor->config.pins_path, identity, error);
}

int mon_monitor_begin(struct mon_monitor *monitor, struct mon_error *error)
{
	int result = mon_watched_find(&monitor->config, &monitor->watched, error);

	if (result)
		return result;
	make_uuid(monitor->uuid);
	result = choose_mode(monitor, error);
	if (result)
		return result;
	choose_returns(monitor);
	result = check_rules(monitor, error);
	if (result)
		return result;
	result = mon_monitor_plan(monitor, NULL, error);
	if (!result)
		result = mon_monitor_make_tables(monitor, error);
	if (!result)
		result = mon_monitor_open_store(monitor, error);
	if (!result)
		result = mon_monitor_open_spool(monitor, error);
	if (!result)
		result = load_programs(monitor, error);
	monitor->started_ns = mon_clock_now(&mon_clock_system);
	monitor->started_wall_ns = mon_clock_wall();
	if (!result && mon_ledger_new((uint32_t)monitor->watched.set.function_count,
				      monitor->started_ns, monitor->budget, &monitor->ledger))
		result = mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				       "out of memory; raise --memory-budget");
	if (!result)
		result = arm(monitor, error);
	if (!result && monitor->config.max_overhead > 0 &&
	    mon_govern_new(monitor, &monitor->trap_cost, &monitor->govern))
		result = mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				       "out of memory; raise --memory-budget");
	if (!result)
		result = begin_run(monitor, error);
	if (!result)
		mon_monitor_map_targets(monitor);
	if (!result && monitor->config.persist)
		result = pin(monitor, error);
	return result;
}
