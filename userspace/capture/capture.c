// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A capture's life and its shared memory. Counters, histograms, policies and the gate are arrays
 * mapped into this process: reading them costs no system call and disturbs no CPU.
 */
#include "capture/state.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>

#include "capture/closer.h"
#include "capture/link.h"

static int map_array(int fd, size_t bytes, void *memory_out, size_t *bytes_out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory;

	bytes = (bytes + page - 1) & ~(page - 1);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	memcpy(memory_out, &memory, sizeof(memory));
	*bytes_out = bytes;
	return 0;
}

int mon_capture_map_arrays(struct mon_capture *capture)
{
	const int *fds = capture->object.fds;
	size_t functions = (size_t)capture->options.function_count + capture->options.own_functions;
	size_t histograms = capture->options.returns ? functions : 1;
	int result;

	result = map_array(fds[MON_MAP_LIVE], sizeof(*capture->live), &capture->live,
			   &capture->live_bytes);
	if (!result)
		result = map_array(fds[MON_MAP_POLICIES], functions * sizeof(*capture->policies),
				   &capture->policies, &capture->policies_bytes);
	if (!result)
		result = map_array(fds[MON_MAP_COUNTERS],
				   functions * capture->object.cpu_count *
					   sizeof(*capture->counters),
				   &capture->counters, &capture->counters_bytes);
	if (!result)
		result = map_array(fds[MON_MAP_HISTOGRAMS],
				   histograms * sizeof(*capture->histograms), &capture->histograms,
				   &capture->histograms_bytes);
	if (!result && capture->options.movable)
		result = map_array(fds[MON_MAP_ARMINGS], functions * sizeof(*capture->armings),
				   &capture->armings, &capture->armings_bytes);
	/* Of a capture that is taken over some may be set. */
	for (size_t i = 0; !result && i < functions; i++)
		capture->skipping += (capture->policies[i].flags & MON_POLICY_NO_RETURN) != 0;
	return result;
}

/* Before any probe, so that no thread that got frames can end unseen. */
static int link_tracepoints(struct mon_capture *capture)
{
	const enum mon_object_fd programs[] = {MON_PROGRAM_THREAD_EXIT, MON_PROGRAM_EXEC,
					       MON_PROGRAM_FORK};

	for (size_t i = 0; i < MON_ARRAY_COUNT(programs); i++) {
		int program = capture->object.fds[programs[i]], fd;

		if (program < 0)
			continue;
		fd = mon_link_tracepoint(program);
		if (fd < 0)
			return fd;
		capture->tracepoints[i] = fd;
	}
	return 0;
}

MON_DEFINE_CLEANUP(capture, struct mon_capture *, mon_capture_free)

struct mon_capture *mon_capture_allocate(const struct mon_capture_options *options)
{
	struct mon_capture *capture = calloc(1, sizeof(*capture));

	if (!capture)
		return NULL;
	capture->options = *options;
	if (!capture->options.ring_count)
		capture->options.ring_count = 1;
	for (size_t i = 0; i < MON_OBJECT_FDS; i++)
		capture->object.fds[i] = -1;
	for (size_t i = 0; i < MON_ARRAY_COUNT(capture->tracepoints); i++)
		capture->tracepoints[i] = -1;
	capture->armed = calloc(options->function_count, sizeof(*capture->armed));
	if (!capture->armed) {
		free(capture);
		return NULL;
	}
	return capture;
}

int mon_capture_new(const struct mon_capture_options *options, struct mon_capture **capture_out,
		    struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_capture) struct mon_capture *capture = NULL;
	int result;

	result = mon_object_check_capabilities(options->mode == MON_MODE_PERF, error);
	if (result)
		return result;
	capture = mon_capture_allocate(options);
	if (!capture)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	result = mon_object_load(options, &capture->object, error);
	if (result)
		return result;
	result = mon_capture_map_arrays(capture);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "cannot map the BPF arrays: %s", strerror(-result));
	for (uint32_t i = 0; i < options->function_count; i++)
		capture->policies[i].sample = MON_SAMPLE_ALL;
	mon_capture_heartbeat(capture, mon_clock_now(&mon_clock_system));
	result = link_tracepoints(capture);
	if (result)
		return mon_error_set(error, MON_EXIT_KERNEL, -result,
				     "cannot follow ends of threads (sched tracepoints): %s",
				     strerror(-result));
	*capture_out = TAKE_PTR(capture);
	return 0;
}

void mon_capture_free(struct mon_capture *capture)
{
	if (!capture)
		return;
	mon_capture_stop_meter(capture);
	mon_capture_close_probes(capture, 0);
	mon_capture_forget_foreign(capture);
	mon_closer_free(capture->closer);
	mon_capture_close_tracepoints(capture);
	if (capture->live)
		(void)munmap(capture->live, capture->live_bytes);
	if (capture->policies)
		(void)munmap(capture->policies, capture->policies_bytes);
	if (capture->counters)
		(void)munmap(capture->counters, capture->counters_bytes);
	if (capture->histograms)
		(void)munmap(capture->histograms, capture->histograms_bytes);
	if (capture->armings)
		(void)munmap(capture->armings, capture->armings_bytes);
	mon_object_clear(&capture->object);
	mon_pins_close(capture->pins); /* after everything else: the next one waits for it */
	free(capture->identity);
	free(capture->probes);
	free(capture->armed);
	free(capture);
}

static uint64_t load(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

void mon_capture_read_counters(struct mon_capture *capture, uint32_t function,
			       struct mon_counters *counters_out, const uint32_t **histogram_out)
{
	/* Every field is a u64; the sums are what is left when min and the maxima are replaced. */
	enum { FIELDS = sizeof(struct mon_counters) / sizeof(uint64_t) };
	uint64_t sums[FIELDS] = {0}, min_ns = 0, max_ns = 0, recent_max_ns = 0;
	struct mon_counters *of_cpu =
		capture->counters + (size_t)function * capture->object.cpu_count;

	for (uint32_t cpu = 0; cpu < capture->object.cpu_count; cpu++, of_cpu++) {
		const uint64_t *fields = (const uint64_t *)(const void *)of_cpu;
		uint64_t min = load((const uint64_t *)&of_cpu->min_ns);
		uint64_t max = load((const uint64_t *)&of_cpu->max_ns);
		uint64_t recent = load((const uint64_t *)&of_cpu->recent_max_ns);

		for (size_t i = 0; i < FIELDS; i++)
			sums[i] += load(&fields[i]);
		if (min && (!min_ns || min < min_ns))
			min_ns = min;
		if (max > max_ns)
			max_ns = max;
		if (recent)
			recent = __atomic_exchange_n(&of_cpu->recent_max_ns, 0, __ATOMIC_RELAXED);
		if (recent > recent_max_ns)
			recent_max_ns = recent;
	}
	memcpy(counters_out, sums, sizeof(*counters_out));
	counters_out->min_ns = min_ns;
	counters_out->max_ns = max_ns;
	counters_out->recent_max_ns = recent_max_ns;
	if (histogram_out)
		*histogram_out = mon_capture_histogram(capture, function);
}

void mon_capture_read_calls(const struct mon_capture *capture, uint32_t function,
			    uint64_t *calls_out, uint64_t *returns_out, uint64_t *emitted_out)
{
	const struct mon_counters *of_cpu =
		capture->counters + (size_t)function * capture->object.cpu_count;
	uint64_t calls = 0, returns = 0, emitted = 0;

	for (uint32_t cpu = 0; cpu < capture->object.cpu_count; cpu++, of_cpu++) {
		calls += load((const uint64_t *)&of_cpu->calls);
		returns += load((const uint64_t *)&of_cpu->returns);
		emitted += load((const uint64_t *)&of_cpu->emitted);
	}
	*calls_out = calls;
	*returns_out = returns;
	*emitted_out = emitted;
}

const uint32_t *mon_capture_histogram(const struct mon_capture *capture, uint32_t function)
{
	/* Without returns there is one histogram for all, and it stays empty. */
	return capture->histograms[capture->options.returns ? function : 0].buckets;
}

void mon_capture_read_run_counters(const struct mon_capture *capture,
				   struct mon_run_counters *counters_out)
{
	const volatile struct mon_run_counters *run = &capture->live->run;

	counters_out->foreign_hits = run->foreign_hits;
	counters_out->threads = run->threads;
	counters_out->threads_refused = run->threads_refused;
	counters_out->orphan_returns = run->orphan_returns;
	counters_out->tasks_unnamed = run->tasks_unnamed;
	counters_out->execs = run->execs;
	counters_out->forks = run->forks;
	counters_out->texts_refused = run->texts_refused;
	counters_out->stacks_refused = run->stacks_refused;
	for (size_t i = 0; i < MON_FORKS_REMEMBERED; i++)
		counters_out->fork_pids[i] = run->fork_pids[i];
}

uint64_t mon_capture_missed(const struct mon_capture *capture)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < MON_PROGRAMS; i++) {
		struct bpf_prog_info info = {0};
		uint32_t bytes = sizeof(info);

		if (capture->object.fds[i] >= 0 &&
		    !bpf_prog_get_info_by_fd(capture->object.fds[i], &info, &bytes))
			sum += info.recursion_misses;
	}
	return sum;
}

static bool can_skip_returns(const struct mon_capture *capture)
{
	return capture->options.may_skip_returns && capture->options.returns &&
	       capture->options.mode == MON_MODE_SESSION;
}

/* The programs hear of it before the first return is skipped, and after the last one was. */
static void tell_skipping(struct mon_capture *capture, mon_ns until_ns)
{
	__atomic_store_n(&capture->live->skipped_until_ns, until_ns, __ATOMIC_SEQ_CST);
}

void mon_capture_write_policy(struct mon_capture *capture, uint32_t function,
			      struct mon_policy policy)
{
	struct mon_policy *slot = &capture->policies[function];
	bool skipped = slot->flags & MON_POLICY_NO_RETURN, skips;

	if (!can_skip_returns(capture))
		policy.flags &= ~(uint32_t)MON_POLICY_NO_RETURN;
	skips = policy.flags & MON_POLICY_NO_RETURN;
	if (skips && !skipped && capture->skipping++ == 0)
		tell_skipping(capture, UINT64_MAX);
	__atomic_store_n(&slot->slow_ns, policy.slow_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->records_per_s, policy.records_per_s, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->failed_if, policy.failed_if, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->flags, policy.flags, __ATOMIC_SEQ_CST);
	__atomic_store_n(&slot->sample, policy.sample, __ATOMIC_RELEASE);
	if (skipped && !skips && --capture->skipping == 0)
		tell_skipping(capture, mon_clock_now(&mon_clock_system));
}

void mon_capture_set_gate(struct mon_capture *capture, enum mon_reason closed_reason)
{
	__atomic_store_n(&capture->live->gate.closed_reason, (uint32_t)closed_reason,
			 __ATOMIC_RELEASE);
}

void mon_capture_heartbeat(struct mon_capture *capture, mon_ns now)
{
	__atomic_store_n(&capture->live->heartbeat_ns, now, __ATOMIC_RELAXED);
}

int mon_capture_ring_fd(const struct mon_capture *capture, uint32_t ring)
{
	return capture->object.fds[MON_MAP_RING + ring];
}

void mon_capture_cost(const struct mon_capture *capture, struct mon_capture_cost *cost_out)
{
	*cost_out = (struct mon_capture_cost){
		.load_ns = capture->object.load_ns,
		.verifier_ns = capture->object.verifier_ns,
		.attach_ns = capture->attach_ns,
		.detach_ns = capture->detach_ns,
		.bpf_bytes = mon_object_bytes(&capture->object),
	};
}
