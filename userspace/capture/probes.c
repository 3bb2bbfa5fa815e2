// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Arming and disarming. Session and multi mode take one link for all functions of a file; one that
 * cannot be probed fails the whole link, so a failing one is halved until the offenders stand
 * alone, and the good halves stay as links of their own (a function is always in exactly one).
 *
 * Returns are armed before entries and disarmed after them: the other way round, calls would be
 * seen to begin and never to end. Closing a link waits for grace periods of the kernel, so links
 * are closed by up to CLOSERS_MAX threads at once.
 */
#include "capture/state.h"

#include "capture/closer.h"
#include "capture/link.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define CLOSERS_MAX 64
#define KERNEL_ENOTSUPP 524 /* include/linux/errno.h: never meant for userspace, yet here it is */

struct closing {
	struct mon_probe *probes;
	size_t count;
	bool at_return;
	atomic_size_t next;
};

static void *close_some(void *argument)
{
	struct closing *closing = argument;
	size_t i;

	while ((i = atomic_fetch_add(&closing->next, 1)) < closing->count) {
		struct mon_probe *probe = &closing->probes[i];

		if (probe->at_return != closing->at_return || probe->fd < 0)
			continue;
		(void)close(probe->fd);
		probe->fd = -1;
	}
	return NULL;
}

static void close_kind(struct mon_probe *probes, size_t count, bool at_return)
{
	struct closing closing = {.probes = probes, .count = count, .at_return = at_return};
	pthread_t threads[CLOSERS_MAX];
	size_t started = 0;

	/* This thread is one of them, and enough when no other can be made. */
	while (started < CLOSERS_MAX && started + 1 < count &&
	       !pthread_create(&threads[started], NULL, close_some, &closing))
		started++;
	(void)close_some(&closing);
	while (started)
		(void)pthread_join(threads[--started], NULL);
}

void mon_probes_close(struct mon_probe *probes, size_t count)
{
	close_kind(probes, count, false);
	close_kind(probes, count, true);
}

void mon_capture_close_probes(struct mon_capture *capture, size_t from)
{
	if (from >= capture->probe_count)
		return;
	mon_probes_close(capture->probes + from, capture->probe_count - from);
	capture->probe_count = from;
}

void mon_capture_close_tracepoints(struct mon_capture *capture)
{
	for (size_t i = 0; i < MON_ARRAY_COUNT(capture->tracepoints); i++) {
		if (capture->tracepoints[i] >= 0)
			(void)close(capture->tracepoints[i]);
		capture->tracepoints[i] = -1;
	}
}

int mon_capture_keep_probe(struct mon_capture *capture, int fd, bool at_return)
{
	if (fd < 0)
		return fd;
	if (capture->probe_count == capture->probe_capacity) {
		size_t capacity = capture->probe_capacity ? 2 * capture->probe_capacity : 8;
		struct mon_probe *probes = reallocarray(capture->probes, capacity, sizeof(*probes));

		if (!probes) {
			(void)close(fd);
			return -ENOMEM;
		}
		capture->probes = probes;
		capture->probe_capacity = capacity;
	}
	capture->probes[capture->probe_count++] =
		(struct mon_probe){.fd = fd, .at_return = at_return, .function = MON_PROBE_SHARED};
	return 0;
}

/* The functions of one module that are to be armed, as the kernel wants them. */
struct group {
	struct mon_capture *capture;
	struct mon_function_set *set;
	const char *path;
	uint64_t *offsets;
	uint64_t *cookies; /* index of the function */
	pid_t pid;	   /* of the link; 0: every process */
	uint32_t owner;	   /* of its links; perf mode's are their functions' */
	bool foreign;	   /* entries only, and nothing is learned of the functions */
	size_t armed;
};

/* Does this error say something of a function, or of everything that would follow? */
static bool is_of_function(int error)
{
	switch (-error) {
	case KERNEL_ENOTSUPP:
	case EOPNOTSUPP:
	case EINVAL:
	case EIO:
	case ENOEXEC:
	case EFAULT:
	case EILSEQ:
	case EBUSY:
		return true;
	default:
		return false;
	}
}

static void own(const struct group *group, size_t before, uint32_t owner)
{
	for (size_t i = before; i < group->capture->probe_count; i++)
		group->capture->probes[i].function = owner;
}

/* One link, or one each for return and entry; none is left when it fails. */
static int arm_link(struct group *group, size_t from, size_t count)
{
	struct mon_capture *capture = group->capture;
	const int *fds = capture->object.fds;
	bool session = capture->options.mode == MON_MODE_SESSION;
	size_t before = capture->probe_count;
	int result = 0;

	if (fds[MON_PROGRAM_RETURN] >= 0 && !group->foreign)
		result = mon_capture_keep_probe(
			capture,
			mon_link_multi(fds[MON_PROGRAM_RETURN], MON_LINK_MULTI_RETURN, group->path,
				       group->offsets + from, group->cookies + from,
				       (uint32_t)count, group->pid),
			true);
	if (!result)
		result = mon_capture_keep_probe(
			capture,
			mon_link_multi(fds[MON_PROGRAM_ENTRY],
				       session ? MON_LINK_SESSION : MON_LINK_MULTI_ENTRY,
				       group->path, group->offsets + from, group->cookies + from,
				       (uint32_t)count, group->pid),
			false);
	if (result)
		mon_capture_close_probes(capture, before);
	own(group, before, group->owner);
	return result;
}

static int arm_perf(struct group *group, size_t at)
{
	struct mon_capture *capture = group->capture;
	const int *fds = capture->object.fds;
	pid_t pid = group->pid ? group->pid : -1;
	size_t before = capture->probe_count;
	int result = 0;

	if (fds[MON_PROGRAM_RETURN] >= 0)
		result = mon_capture_keep_probe(capture,
						mon_link_perf(fds[MON_PROGRAM_RETURN], true,
							      group->path, group->offsets[at],
							      group->cookies[at], pid),
						true);
	if (!result)
		result = mon_capture_keep_probe(capture,
						mon_link_perf(fds[MON_PROGRAM_ENTRY], false,
							      group->path, group->offsets[at],
							      group->cookies[at], pid),
						false);
	if (result)
		mon_capture_close_probes(capture, before);
	own(group, before, (uint32_t)group->cookies[at]);
	return result;
}

/* A function that is watched in another process has no error to tell. */
static void refuse(struct group *group, size_t at, int error_number)
{
	uint32_t function = (uint32_t)group->cookies[at];

	if (group->foreign || !(group->capture->armed[function] & MON_ARMED_SOMEWHERE))
		group->set->functions[function].attach_error = error_number;
}

static int arm(struct group *group, size_t from, size_t count)
{
	bool perf = group->capture->options.mode == MON_MODE_PERF;
	int result;

	if (!count)
		return 0;
	if (!perf || count == 1) {
		result = perf ? arm_perf(group, from) : arm_link(group, from, count);
		if (!result) {
			group->armed += count;
			return 0;
		}
		if (!is_of_function(result))
			return result;
		if (count == 1) {
			/* Nobody else's errno has this number. */
			refuse(group, from, result == -KERNEL_ENOTSUPP ? EOPNOTSUPP : -result);
			return 0;
		}
	}
	result = arm(group, from, count / 2);
	return result ? result : arm(group, from + count / 2, count - count / 2);
}

/* Is the file itself out of reach? Then its functions are not armed, and the others may be. */
static bool is_of_module(int error)
{
	return error == -ENOENT || error == -EACCES || error == -ENOTDIR || error == -ELOOP ||
	       error == -ESTALE || error == -EBADF;
}

/* Is this function to be armed now? One whose file was out of reach may be in it now. */
static bool is_wanted(const struct group *group, size_t function)
{
	uint8_t *armed = &group->capture->armed[function];
	int *attach_error = &group->set->functions[function].attach_error;

	if (!group->foreign && (*armed & MON_ARMED_UNREACHED)) {
		*armed &= (uint8_t)~MON_ARMED_UNREACHED;
		*attach_error = 0;
	}
	return !*attach_error && !(group->pid == 0 && (*armed & MON_ARMED_WIDE));
}

/* Arms what is armable in all modules; *armed_out counts. -errno: stop, whatever was armed. */
static int arm_set(struct mon_capture *capture, struct mon_function_set *set, pid_t pid,
		   uint32_t owner, size_t *armed_out)
{
	MON_FREE uint64_t *offsets = calloc(set->function_count + 1, sizeof(*offsets));
	MON_FREE uint64_t *cookies = calloc(set->function_count + 1, sizeof(*cookies));
	struct group group = {
		.capture = capture,
		.set = set,
		.offsets = offsets,
		.cookies = cookies,
		.pid = pid,
		.owner = owner,
		.foreign = owner != MON_PROBE_SHARED,
	};

	if (!offsets || !cookies)
		return -ENOMEM;
	for (size_t module = 0; module < set->module_count; module++) {
		size_t count = 0;
		int result;

		for (size_t i = 0; i < set->function_count; i++) {
			if (set->functions[i].module != module || !is_wanted(&group, i))
				continue;
			offsets[count] = set->functions[i].probe_offset;
			cookies[count++] = i;
		}
		group.path = set->modules[module].open_path;
		result = arm(&group, 0, count);
		if (is_of_module(result)) {
			for (size_t i = 0; i < count; i++) {
				refuse(&group, i, -result);
				if (!group.foreign)
					capture->armed[cookies[i]] |= MON_ARMED_UNREACHED;
			}
			result = 0;
		}
		if (result)
			return result;
	}
	*armed_out = group.armed;
	return 0;
}

static size_t collect(struct group *group, const uint32_t *functions, size_t count, size_t module,
		      uint32_t generation)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		if (group->set->functions[functions[i]].module != module)
			continue;
		group->offsets[used] = group->set->functions[functions[i]].probe_offset;
		group->cookies[used++] = (uint64_t)generation << 32 | functions[i];
	}
	return used;
}

int mon_capture_arm_functions(struct mon_capture *capture, struct mon_function_set *set,
			      const uint32_t *functions, size_t count, uint32_t generation,
			      uint32_t owner)
{
	MON_FREE uint64_t *offsets = calloc(count + 1, sizeof(*offsets));
	MON_FREE uint64_t *cookies = calloc(count + 1, sizeof(*cookies));
	struct group group = {.capture = capture,
			      .set = set,
			      .offsets = offsets,
			      .cookies = cookies,
			      .owner = owner};
	size_t before = capture->probe_count, alive = 0;
	int result = 0;

	if (!offsets || !cookies)
		return -ENOMEM;
	for (size_t i = 0; i < capture->link_pid_count && !result; i++) {
		group.armed = 0;
		group.pid = capture->link_pids[i];
		for (size_t module = 0; module < set->module_count && !result; module++) {
			size_t used = collect(&group, functions, count, module, generation);

			if (!used)
				continue;
			group.path = set->modules[module].open_path;
			result = arm(&group, 0, used);
		}
		if (result == -ESRCH) { /* it ended; another one may live */
			result = 0;
			continue;
		}
		if (!result && group.armed < count)
			result = -EIO;
		alive++;
	}
	if (!result && !alive)
		result = -ESRCH;
	if (result)
		mon_capture_close_probes(capture, before);
	return result;
}

int mon_capture_take_probes(struct mon_capture *capture, uint32_t owner,
			    struct mon_probe **taken_out, size_t *count_out)
{
	struct mon_probe *taken = calloc(capture->probe_count + 1, sizeof(*taken));
	size_t kept = 0, count = 0;

	if (!taken)
		return -ENOMEM;
	for (size_t i = 0; i < capture->probe_count; i++) {
		if (capture->probes[i].function == owner)
			taken[count++] = capture->probes[i];
		else
			capture->probes[kept++] = capture->probes[i];
	}
	capture->probe_count = kept;
	*taken_out = taken;
	*count_out = count;
	return 0;
}

/* The filter of the programs learns @pid. */
static int watch(struct mon_capture *capture, pid_t pid)
{
	struct mon_live *live = capture->live;
	uint32_t tgid = (uint32_t)pid;
	uint8_t yes = 1;

	if (live->tgid_count >= MON_TGIDS_MAX)
		return -ENOSPC;
	if (bpf_map_update_elem(capture->object.fds[MON_MAP_TGIDS], &tgid, &yes, BPF_ANY))
		return -errno;
	if (!live->tgid_count)
		__atomic_store_n(&live->tgid, tgid, __ATOMIC_RELAXED);
	__atomic_store_n(&live->tgid_count, live->tgid_count + 1, __ATOMIC_RELEASE);
	return 0;
}

void mon_probes_want_descriptors(size_t links)
{
	struct rlimit limit;
	rlim_t wanted = links + 256;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Links of perf mode are many. */
static void want_descriptors(const struct mon_capture *capture, size_t functions)
{
	if (capture->options.mode == MON_MODE_PERF)
		mon_probes_want_descriptors(2 * functions + 2 * capture->probe_count);
}

bool mon_pidfd_has_ended(int pidfd)
{
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};

	return poll(&ended, 1, 0) > 0;
}

static int explain(int result, pid_t pid, struct mon_error *error)
{
	switch (-result) {
	case ESRCH:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
				     "process %d ended before it was watched", (int)pid);
	case EPERM:
	case EACCES:
		return mon_error_set(error, MON_EXIT_PERMISSION, -result,
				     "no right to attach to process %d (%s): run it with sudo",
				     (int)pid, strerror(-result));
	case EMFILE:
	case ENFILE:
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "too many probes for the limit of open files: watch fewer "
				     "functions, or raise it (ulimit -n)");
	case ENOSPC:
		return mon_error_set(error, MON_EXIT_USAGE, ENOSPC,
				     "at most %d processes can be watched at once", MON_TGIDS_MAX);
	default:
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "attaching to process %d failed: %s", (int)pid,
				     strerror(-result));
	}
}

static int first_error(const struct mon_function_set *set)
{
	for (size_t i = 0; i < set->function_count; i++)
		if (set->functions[i].attach_error)
			return set->functions[i].attach_error;
	return ENODEV;
}

/* For the links that a movable capture makes later. */
static void remember_pid(struct mon_capture *capture, pid_t link_pid)
{
	for (size_t i = 0; i < capture->link_pid_count; i++)
		if (capture->link_pids[i] == link_pid)
			return;
	if (capture->link_pid_count < MON_ARRAY_COUNT(capture->link_pids))
		capture->link_pids[capture->link_pid_count++] = link_pid;
}

int mon_capture_attach(struct mon_capture *capture, struct mon_function_set *set, pid_t pid,
		       struct mon_error *error)
{
	mon_ns started = mon_clock_now(&mon_clock_system);
	size_t before = capture->probe_count, armed = 0;
	MON_CLOSE int pidfd = -1;
	pid_t link_pid = 0;
	int result = 0;

	if (set->function_count > capture->options.function_count)
		return mon_error_set(error, MON_EXIT_RUNTIME, EINVAL,
				     "more functions than the capture was made for");
	if (pid > 0) {
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (pidfd < 0)
			return explain(-errno, pid, error);
		if (!capture->options.all_processes)
			result = watch(capture, pid);
		if (!capture->options.wide_links)
			link_pid = pid;
	}
	want_descriptors(capture, set->function_count);
	if (!result)
		result = arm_set(capture, set, link_pid, MON_PROBE_SHARED, &armed);
	if (!result && pidfd >= 0 && mon_pidfd_has_ended(pidfd))
		result = -ESRCH;
	if (result) {
		mon_capture_close_probes(capture, before);
		return explain(result, pid, error);
	}
	result = mon_capture_pin_probes(capture, before);
	if (result) {
		mon_capture_close_probes(capture, before);
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "the probes of process %d cannot be pinned: %s", (int)pid,
				     strerror(-result));
	}
	/* A link without a pid filter serves every process that was told, from the first on. */
	if (!armed && !(link_pid == 0 && before)) {
		int why = first_error(set);

		return mon_error_set(error, MON_EXIT_UNAVAILABLE, ENODEV,
				     "none of the %zu functions could be probed (%s)",
				     set->function_count, strerror(why));
	}
	for (size_t i = 0; i < set->function_count; i++)
		if (!set->functions[i].attach_error && !(capture->armed[i] & MON_ARMED_UNREACHED))
			capture->armed[i] |= (uint8_t)(MON_ARMED_SOMEWHERE |
						       (link_pid == 0 ? MON_ARMED_WIDE : 0));
	remember_pid(capture, link_pid);
	capture->attach_ns += mon_clock_now(&mon_clock_system) - started;
	return 0;
}

int mon_capture_arm_foreign(struct mon_capture *capture, const struct mon_function_set *set,
			    pid_t pid, uint32_t owner)
{
	size_t before = capture->probe_count, armed = 0;
	struct mon_function_set copy = *set;
	MON_FREE struct mon_function *functions = NULL;
	int result;

	functions = calloc(set->function_count + 1, sizeof(*functions));
	if (!functions)
		return -ENOMEM;
	memcpy(functions, set->functions, set->function_count * sizeof(*functions));
	copy.functions = functions; /* what fails here says nothing of the watched process */
	result = arm_set(capture, &copy, pid, owner, &armed);
	if (result)
		mon_capture_close_probes(capture, before);
	return result ? result : armed ? 0 : -ENODEV;
}

int mon_capture_detach(struct mon_capture *capture)
{
	mon_ns started = mon_clock_now(&mon_clock_system);
	int result = mon_capture_unpin_probes(capture);

	mon_capture_stop_meter(capture);
	mon_capture_close_probes(capture, 0);
	mon_capture_forget_foreign(capture);
	mon_closer_wait(capture->closer);
	memset(capture->armed, 0, capture->options.function_count * sizeof(*capture->armed));
	capture->detach_ns = mon_clock_now(&mon_clock_system) - started;
	return result;
}
