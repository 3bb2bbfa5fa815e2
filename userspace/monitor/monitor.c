// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The main thread of a run. Order matters: what can be refused without a trace comes first (the
 * targets, the plan, the output), the probes last; at the end the probes go first, then the open
 * calls, the ring, the last counters, and the row that says the run is complete.
 */
#include "monitor/monitor.h"

#include "attach/modules.h"
#include "base/budget.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "capture/capture.h"
#include "monitor/watched.h"
#include "monitor/workers.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/utsname.h>

#define TICK_NS MON_NS_PER_S
#define CLOCK_ROW_NS (60 * MON_NS_PER_S)
#define CLOCK_STEP_NS MON_NS_PER_MS
#define DRAIN_NS (5 * MON_NS_PER_S)

struct mon_monitor {
	struct mon_config config;
	struct mon_watched watched;
	enum mon_mode mode;
	bool returns;
	struct mon_budget *budget;
	struct mon_budget_plan plan;
	struct mon_store *store;
	struct mon_capture *capture;
	struct mon_ring *ring;
	struct mon_queue *queue;
	struct mon_ledger *ledger;
	struct mon_workers *workers;
	const struct mon_sample_rule **rules; /* one for each function */
	int stop_fd;
	mon_ns started_ns, armed_ns, ended_ns, last_clock_ns;
	mon_wall_ns started_wall_ns;
	uint64_t forks_seen, bpf_bytes;
	bool size_told, command;
	uint32_t left_out;
	struct mon_look *look;
	uint32_t *one_in; /* what each function's policy keeps now */
};

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

static void write_policy(struct mon_monitor *monitor, uint32_t function, uint64_t calls_per_s)
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
		write_policy(monitor, (uint32_t)i, 0);
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
	make_uuid(run.uuid);
	describe_options(monitor, options, sizeof(options));
	run.options = options;
	return mon_store_begin(monitor->store, &run, &monitor->watched.set, error);
}

static void close_gate(void *capture)
{
	mon_capture_set_gate(capture, MON_REASON_SIZE_CAP);
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
		.on_size_reached = close_gate,
		.context = monitor->capture,
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
	if (!result)
		result = start_workers(monitor, error);
	if (result)
		return result;
	*monitor_out = TAKE_PTR(monitor);
	return 0;
}

void mon_monitor_free(struct mon_monitor *monitor)
{
	if (!monitor)
		return;
	mon_workers_free(monitor->workers);
	mon_queue_free(monitor->queue);
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
	free(monitor);
}

void mon_monitor_describe(const struct mon_monitor *monitor, struct mon_description *out)
{
	struct mon_store_stats stats;
	struct mon_breaker_stats breaker;

	mon_workers_stats(monitor->workers, &stats,
			  &breaker); /* the store itself is the writer's */
	*out = (struct mon_description){
		.title = monitor->watched.title,
		.output = monitor->config.output,
		.hazard = monitor->watched.hazard.found ? monitor->watched.hazard.why : NULL,
		.mode = monitor->mode,
		.function_count = (uint32_t)monitor->watched.set.function_count - monitor->left_out,
		.left_out = monitor->left_out,
		.run_id = stats.run_id,
		.earlier_runs = stats.earlier_runs,
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

	(void)!write(monitor->stop_fd, &one, sizeof(one));
}

static void read_counters(struct mon_monitor *monitor, mon_ns now)
{
	for (uint32_t i = 0; i < monitor->watched.set.function_count; i++) {
		struct mon_counters counters;
		const uint32_t *histogram;

		mon_capture_read_counters(monitor->capture, i, &counters, &histogram);
		mon_ledger_update(monitor->ledger, i, &counters, histogram,
				  now - monitor->armed_ns);
	}
}

/* A policy from each function's rate, where the rule leaves it open. */
static void write_policies(struct mon_monitor *monitor)
{
	for (uint32_t i = 0; i < monitor->watched.set.function_count; i++)
		if (monitor->rules[i]->automatic)
			write_policy(monitor, i, (uint64_t)mon_look_rate(monitor->look, i));
}

/* A child that was forked is not followed: its hits are counted as foreign, and said once. */
static void look_at_forks(struct mon_monitor *monitor)
{
	struct mon_run_counters run;

	mon_capture_read_run_counters(monitor->capture, &run);
	if (run.forks == monitor->forks_seen)
		return;
	if (!monitor->forks_seen)
		mon_log(MON_LOG_WARNING,
			"the target forked: children are not followed, their calls are counted as "
			"foreign, and each costs them a trap (about 1 us)");
	for (uint64_t i = monitor->forks_seen; i < run.forks; i++) {
		if (run.forks - i > MON_FORKS_REMEMBERED)
			continue;
		(void)mon_capture_attach_foreign(monitor->capture, &monitor->watched.set,
						 (pid_t)run.fork_pids[i % MON_FORKS_REMEMBERED]);
	}
	monitor->forks_seen = run.forks;
}

static void look_at_size(struct mon_monitor *monitor, const struct mon_store_stats *stats)
{
	if (stats->size_reached == monitor->size_told)
		return;
	monitor->size_told = stats->size_reached;
	mon_capture_set_gate(monitor->capture, stats->size_reached ? MON_REASON_SIZE_CAP : 0);
	if (stats->size_reached)
		mon_log(MON_LOG_WARNING,
			"%s: no more calls are kept (size_cap), exact statistics go on",
			stats->size_why);
	else
		mon_log(MON_LOG_INFO, "there is room again: calls are kept");
}

static void tick(struct mon_monitor *monitor,
		 void (*on_tick)(const struct mon_view *view, void *context), void *context)
{
	mon_ns now = mon_clock_now(&mon_clock_system);
	struct mon_view view;
	struct mon_store_stats stats;
	struct mon_breaker_stats breaker;
	struct mon_ring_stats ring;
	struct mon_queue_stats queue;
	struct mon_tick rows;

	(void)mon_workers_tick(monitor->workers);
	read_counters(monitor, now);
	mon_look_at(monitor->look, monitor->capture, monitor->ledger, monitor->one_in, now, &view);
	write_policies(monitor);
	look_at_forks(monitor);
	if (mon_workers_tick_written(monitor->workers))
		mon_ledger_commit(monitor->ledger);
	if (mon_ledger_take(monitor->ledger, now, false, &rows) == 0) {
		mon_wall_ns wall = mon_clock_wall();
		int64_t step =
			(wall - monitor->started_wall_ns) - (int64_t)(now - monitor->started_ns);

		rows.wall_ns = wall;
		if (step > (int64_t)CLOCK_STEP_NS || step < -(int64_t)CLOCK_STEP_NS ||
		    now - monitor->last_clock_ns >= CLOCK_ROW_NS) {
			rows.clock_row = true;
			monitor->last_clock_ns = now;
		}
		if (!mon_workers_offer(monitor->workers, &rows))
			mon_ledger_give_back(monitor->ledger);
	}
	mon_workers_stats(monitor->workers, &stats, &breaker);
	look_at_size(monitor, &stats);
	mon_ring_stats(monitor->ring, &ring);
	mon_queue_stats(monitor->queue, &queue);
	view.rows = stats.rows;
	view.file_bytes = stats.file_bytes + stats.wal_bytes;
	view.breaker = breaker.state;
	view.ring_used = (double)(ring.produced - ring.acknowledged) / (double)ring.size_bytes;
	view.queue_used = queue.slots ? (double)queue.used / (double)queue.slots : 0;
	view.memory_bytes = mon_look_at_memory(monitor->bpf_bytes, ring.size_bytes);
	view.memory_limit_bytes = mon_budget_limit(monitor->budget);
	view.elapsed_ns = now - monitor->started_ns;
	if (on_tick)
		on_tick(&view, context);
}

/* Until there is a reason to end, which is returned. */
static const char *watch(struct mon_monitor *monitor,
			 void (*on_tick)(const struct mon_view *view, void *context), void *context)
{
	struct pollfd fds[MON_TARGETS_MAX + 1] = {{.fd = monitor->stop_fd, .events = POLLIN}};
	size_t alive = monitor->watched.target_count;
	mon_ns next_ns = monitor->started_ns + TICK_NS;
	mon_ns end_ns = monitor->config.duration_ns
				? monitor->armed_ns + monitor->config.duration_ns
				: UINT64_MAX;

	for (size_t i = 0; i < alive; i++)
		fds[i + 1] =
			(struct pollfd){.fd = monitor->watched.targets[i].pidfd, .events = POLLIN};
	for (;;) {
		mon_ns now = mon_clock_now(&mon_clock_system);
		mon_ns until = next_ns < end_ns ? next_ns : end_ns;
		int timeout_ms = until > now ? (int)((until - now) / MON_NS_PER_MS) + 1 : 0;

		if (now >= end_ns)
			return "duration";
		if (now >= next_ns) {
			tick(monitor, on_tick, context);
			next_ns += TICK_NS;
			continue;
		}
		if (poll(fds, monitor->watched.target_count + 1, timeout_ms) <= 0)
			continue;
		if (fds[0].revents)
			return "interrupted";
		for (size_t i = 1; i <= monitor->watched.target_count; i++)
			if (fds[i].revents) {
				fds[i].fd = -1;
				if (--alive == 0)
					return "target exited";
			}
	}
}

static uint64_t credited(const void *context, uint32_t function, enum mon_reason reason)
{
	return mon_store_credited(context, function, reason);
}

static int finish(struct mon_monitor *monitor, struct mon_outcome_of_run *outcome)
{
	struct mon_run_counters run;
	struct mon_run_end end = {.reason = outcome->reason, .target_status = -1};
	struct mon_store_stats stats;
	struct mon_tick rows;
	int result;

	(void)mon_capture_detach(monitor->capture);
	end.ended_ns = mon_clock_now(&mon_clock_system);
	result = mon_capture_flush_open(monitor->capture);
	if (result)
		mon_log(MON_LOG_WARNING, "open calls could not be read: %s", strerror(-result));
	outcome->command_status = -1;
	if (monitor->command)
		(void)mon_command_reap(&monitor->watched.command, false, &outcome->command_status);
	end.target_status = outcome->command_status;
	outcome->store_result = mon_workers_drain(monitor->workers, DRAIN_NS);
	if (mon_workers_tick_written(monitor->workers))
		mon_ledger_commit(monitor->ledger);
	else
		mon_ledger_give_back(monitor->ledger);
	read_counters(monitor, end.ended_ns);
	result = mon_ledger_take(monitor->ledger, end.ended_ns, true, &rows);
	if (!result)
		result = mon_workers_write(monitor->workers, &rows);
	if (!outcome->store_result)
		outcome->store_result = result;
	mon_ledger_check(monitor->ledger, credited, monitor->store, &outcome->sum);
	outcome->complete = !outcome->store_result && !outcome->sum.unbalanced;
	end.complete = outcome->complete;
	result = mon_store_end(monitor->store, &end);
	if (!outcome->store_result)
		outcome->store_result = result;
	mon_store_stats(monitor->store, &stats);
	if (stats.wal_left)
		mon_log(MON_LOG_WARNING,
			"another process reads the database: it stays in WAL mode until it is "
			"written again");
	mon_capture_read_run_counters(monitor->capture, &run);
	if (run.texts_refused)
		mon_log(MON_LOG_WARNING,
			"%llu kept calls are without their strings and buffers: more calls were "
			"open than there is room for",
			(unsigned long long)run.texts_refused);
	outcome->foreign_hits = run.foreign_hits;
	outcome->missed = mon_capture_missed(monitor->capture);
	return outcome->store_result;
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
	result = finish(monitor, &outcome);
	*outcome_out = outcome;
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "%s was not written to its end: %s; what it has is kept",
				     MON_ESCAPED(monitor->config.output),
				     mon_store_error_text(monitor->store));
	return 0;
}
