// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The start of a run. Order matters: what can be refused without a trace comes first (the targets,
 * the plan, the output), the probes last. Main thread.
 */
#include "monitor/monitor_internal.h"

#include "attach/modules.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

static int plan_memory(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;
	const struct mon_budget_want want = {
		.limit_bytes =
			config->budget_bytes ? config->budget_bytes : MON_BUDGET_DEFAULT_BYTES,
		.ring_bytes = config->ring_bytes,
		.functions = (uint32_t)monitor->watched.set.function_count,
		.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF),
		.frames = monitor->returns,
		.arguments = config->arg_count > 0,
		.text_bytes = config->text_count ? MON_TEXTS_CALL_BYTES(config->text_count,
									config->capture_bytes)
						 : 0,
		.symbols_bytes = mon_watched_bytes(&monitor->watched),
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

static int open_store(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;
	const struct mon_store_options options = {
		.path = config->output,
		.durability = config->durability,
		.size_max_bytes = config->size_max_bytes,
		.owner_uid = config->owner_uid,
		.owner_gid = config->owner_gid,
		.budget = monitor->budget,
	};

	return mon_store_new(&options, &monitor->store, error);
}

static int load_programs(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_config *config = &monitor->config;
	struct mon_features features;
	struct mon_capture_options options = {
		.function_count = (uint32_t)monitor->watched.set.function_count,
		.ring_bytes = monitor->plan.ring_bytes,
		.threads_max = monitor->plan.threads,
		.arg_count = config->arg_count,
		.text_count = config->text_count,
		.capture_bytes = config->capture_bytes,
		.text_calls = monitor->returns ? monitor->plan.text_calls : 1,
		.returns = monitor->returns,
		.all_processes = config->binary != NULL,
	};
	struct mon_ring_options ring;
	int result = mon_features_detect(&features, error);

	if (!result)
		result = mon_features_choose(&features, config->mode, &monitor->mode, error);
	if (result)
		return result;
	options.mode = monitor->mode;
	options.wide_links = monitor->mode == MON_MODE_MULTI && features.multi_pid_filter;
	for (size_t i = 0; i < monitor->watched.set.function_count; i++)
		options.allowance |= !config->keep_none && monitor->rules[i]->automatic;
	memcpy(options.texts, config->texts, sizeof(options.texts));
	result = mon_capture_new(&options, &monitor->capture, error);
	if (result)
		return result;
	ring = (struct mon_ring_options){
		.map_fd = mon_capture_ring_fd(monitor->capture),
		.size_bytes = options.ring_bytes,
		.function_count = options.function_count,
		.arg_count = options.arg_count,
		.text_count = options.text_count,
		.capture_bytes = options.capture_bytes,
	};
	result = mon_ring_new(&ring, &monitor->ring);
	return result ? mon_error_set(error, MON_EXIT_RUNTIME, -result, "cannot map the ring: %s",
				      strerror(-result))
		      : 0;
}

static struct mon_policy policy_of(const struct mon_monitor *monitor, size_t function,
				   uint64_t calls_per_s)
{
	if (monitor->config.keep_none)
		return (struct mon_policy){.sample = MON_SAMPLE_NONE};
	return mon_sample_policy(monitor->rules[function], calls_per_s);
}

void mon_monitor_write_policy(struct mon_monitor *monitor, uint32_t function, uint64_t calls_per_s)
{
	struct mon_policy policy = policy_of(monitor, function, calls_per_s);

	monitor->one_in[function] = mon_sample_word_n(policy.sample);
	mon_capture_write_policy(monitor->capture, function, policy);
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
		       "returns=%s records=%s args=%u texts=%u capture_bytes=%u sample_rules=%zu "
		       "memory_budget=%llu "
		       "ring_size=%llu threads_max=%u max_size=%llu durability=%s",
		       monitor->returns ? "yes" : "no", config->keep_none ? "no" : "yes",
		       config->arg_count, config->text_count, config->capture_bytes,
		       config->rule_count, (unsigned long long)mon_budget_limit(monitor->budget),
		       (unsigned long long)monitor->plan.ring_bytes, monitor->plan.threads,
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

static void on_size_reached(void *monitor)
{
	mon_monitor_set_gate(monitor, MON_REASON_SIZE_CAP, true);
}

static void on_gate(void *context, bool closed)
{
	mon_monitor_set_gate(context, MON_REASON_GATE_CLOSED, closed);
	if (closed)
		mon_log(MON_LOG_WARNING,
			"ring and spool are full: no more calls are kept (gate_closed), exact "
			"statistics go on");
	else
		mon_log(MON_LOG_INFO, "there is room in the ring again: calls are kept");
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

static int open_spool(struct mon_monitor *monitor, struct mon_error *error)
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

	if (config->keep_none)
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
			"an earlier run left calls in %s: monbpf spool drain %s writes them into "
			"its own run",
			MON_ESCAPED(monitor->spool_path), MON_ESCAPED(monitor->spool_path));
	return 0;
}

/* A run without it is still a run. */
static void start_status(struct mon_monitor *monitor)
{
	const struct mon_config *config = &monitor->config;
	int result = mon_status_listen(config->output, config->owner_uid, config->owner_gid,
				       &monitor->status);

	if (result)
		mon_log(MON_LOG_WARNING, "monbpf status will not find this run: %s",
			strerror(-result));
}

static int start_workers(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_queue_options queue = {.budget = monitor->budget};
	const struct mon_breaker_options breaker = {
		.failures_max = monitor->config.breaker_failures,
		.timeout_ns = monitor->config.breaker_timeout_ns,
		.clock = &mon_clock_system,
	};
	struct mon_workers_options options = {
		.ring = monitor->ring,
		.store = monitor->store,
		.breaker = &breaker,
		.spool = monitor->spool,
		.budget = monitor->budget,
		.on_size_reached = on_size_reached,
		.on_gate = on_gate,
		.context = monitor,
	};
	int result = mon_queue_new(&queue, &monitor->queue);

	options.queue = monitor->queue;
	if (!result)
		result = mon_workers_new(&options, &monitor->workers);
	return result ? mon_error_set(error, MON_EXIT_RUNTIME, -result,
				      "cannot start the run's threads: %s", strerror(-result))
		      : 0;
}

static int make_tables(struct mon_monitor *monitor, struct mon_error *error)
{
	const struct mon_function_set *set = &monitor->watched.set;
	size_t count = set->function_count;
	static const struct mon_sample_rule by_auto = {.automatic = true};

	monitor->rules = calloc(count, sizeof(struct mon_sample_rule *));
	monitor->one_in = calloc(count, sizeof(*monitor->one_in));
	if (!monitor->rules || !monitor->one_in)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		monitor->rules[i] =
			mon_sample_rule_find(monitor->config.rules, monitor->config.rule_count,
					     set->functions[i].symbol, set->functions[i].name);
		if (!monitor->rules[i])
			monitor->rules[i] = &by_auto;
	}
	return 0;
}

static void note_hazard(struct mon_monitor *monitor)
{
	const struct mon_config *config = &monitor->config;

	monitor->returns =
		!config->counts_only && (!monitor->watched.hazard.found || config->force_returns);
	if (monitor->returns || config->counts_only)
		return;
	for (size_t i = 0; i < monitor->watched.set.function_count; i++)
		if (!monitor->watched.set.functions[i].note)
			monitor->watched.set.functions[i].note =
				strdup("a return probe could end the target");
}

MON_DEFINE_CLEANUP(monitor, struct mon_monitor *, mon_monitor_free)

int mon_monitor_new(const struct mon_config *config, struct mon_monitor **monitor_out,
		    struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_monitor) struct mon_monitor *monitor = calloc(1, sizeof(*monitor));
	int result;

	if (!monitor)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	monitor->config = *config;
	(void)pthread_mutex_init(&monitor->gate_lock, NULL);
	make_uuid(monitor->uuid);
	monitor->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = mon_watched_find(config, &monitor->watched, error);
	if (result)
		return result;
	note_hazard(monitor);
	result = plan_memory(monitor, error);
	if (!result)
		result = make_tables(monitor, error);
	if (!result)
		result = open_store(monitor, error);
	if (!result)
		result = open_spool(monitor, error);
	if (!result)
		result = load_programs(monitor, error);
	monitor->started_ns = mon_clock_now(&mon_clock_system);
	monitor->started_wall_ns = mon_clock_wall();
	if (!result && mon_ledger_new((uint32_t)monitor->watched.set.function_count,
				      monitor->started_ns, monitor->budget, &monitor->ledger))
		result = mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				       "out of memory; raise --memory-budget");
	if (!result && mon_look_new(&monitor->watched.set, monitor->started_ns, &monitor->look))
		result = mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	if (!result)
		result = arm(monitor, error);
	if (!result)
		result = begin_run(monitor, error);
	/* Before the threads: it sets the process's umask for a moment. */
	if (!result)
		start_status(monitor);
	if (!result)
		result = start_workers(monitor, error);
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
	mon_queue_free(monitor->queue);
	mon_spool_free(monitor->spool);
	mon_ring_free(monitor->ring);
	mon_capture_free(monitor->capture);
	mon_ledger_free(monitor->ledger);
	mon_store_free(monitor->store);
	mon_budget_free(monitor->budget);
	mon_watched_clear(&monitor->watched);
	free(monitor->rules);
	free(monitor->one_in);
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
		.function_count = (uint32_t)monitor->watched.set.function_count - monitor->left_out,
		.left_out = monitor->left_out,
		.run_id = stats.store.run_id,
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
