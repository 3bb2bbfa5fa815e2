// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a hit costs: measured, because it differs tenfold between machines and kernels. A child of
 * ours calls two functions, one that begins with an instruction that the kernel emulates and one
 * that it single-steps, in batches, and times them by its own CPU clock; the median counts. The
 * programs are those of the run, its last two functions are these, whose counters nobody reads.
 * Bounds: 2 x 2 x BATCHES batches, about 10 ms, and a link or two, closed by a thread.
 */
#include "capture/state.h"

#include "capture/closer.h"
#include "capture/link.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define BATCHES 9
#define OURSELVES "/proc/self/exe"

enum form { FORM_EMULATED, FORM_STEPPED, FORMS };

static const unsigned calls_of_batch[FORMS] = {200, 30};

/* By hand, so that each begins with just that instruction. */
void mon_trap_emulated(void);
void mon_trap_stepped(void);
#if defined(__x86_64__)
__asm__(".text\n"
	".type mon_trap_emulated, @function\n"
	"mon_trap_emulated: push %rbp\n pop %rbp\n ret\n"
	".size mon_trap_emulated, .-mon_trap_emulated\n"
	".type mon_trap_stepped, @function\n"
	"mon_trap_stepped: mov %rdi, %rax\n ret\n"
	".size mon_trap_stepped, .-mon_trap_stepped\n");
#else
__asm__(".text\n"
	".type mon_trap_emulated, %function\n"
	"mon_trap_emulated: nop\n ret\n"
	".size mon_trap_emulated, .-mon_trap_emulated\n"
	".type mon_trap_stepped, %function\n"
	"mon_trap_stepped: mov x1, x0\n ret\n"
	".size mon_trap_stepped, .-mon_trap_stepped\n");
#endif

static uint64_t cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * MON_NS_PER_S + (uint64_t)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static uint32_t time_form(enum form form)
{
	uint32_t batches[BATCHES];

	for (size_t i = 0; i <= BATCHES; i++) {
		uint64_t from = cpu_ns();

		for (unsigned call = 0; call < calls_of_batch[form]; call++) {
			if (form == FORM_EMULATED)
				mon_trap_emulated();
			else
				mon_trap_stepped();
		}
		if (i) /* the first one finds its pages */
			batches[i - 1] = (uint32_t)((cpu_ns() - from) / calls_of_batch[form]);
	}
	qsort(batches, BATCHES, sizeof(*batches), by_size);
	return batches[BATCHES / 2];
}

/* Child: a form's number in, its ns out, until the other end closes. */
static void serve(int socket, pid_t parent)
{
	uint8_t form;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	while (read(socket, &form, 1) == 1 && form < FORMS) {
		uint32_t ns = time_form((enum form)form);

		if (write(socket, &ns, sizeof(ns)) != sizeof(ns))
			break;
	}
	_exit(0);
}

static int ask(int socket, uint32_t ns_out[FORMS])
{
	for (uint8_t form = 0; form < FORMS; form++) {
		ssize_t got;

		if (write(socket, &form, 1) != 1)
			return -errno;
		do
			got = read(socket, &ns_out[form], sizeof(*ns_out));
		while (got < 0 && errno == EINTR);
		if (got != sizeof(*ns_out))
			return -ECHILD;
		if (!ns_out[form])
			ns_out[form] = 1;
	}
	return 0;
}

/* Links of both functions; the caller closes what is in @probes, also when it fails. */
static int link_own(struct mon_capture *capture, bool at_return, pid_t child,
		    struct mon_probe *probes, size_t *count)
{
	int program = capture->object.fds[at_return ? MON_PROGRAM_RETURN : MON_PROGRAM_ENTRY];
	enum mon_link_kind kind = capture->options.mode == MON_MODE_SESSION ? MON_LINK_SESSION
				  : at_return				    ? MON_LINK_MULTI_RETURN
									    : MON_LINK_MULTI_ENTRY;
	uint64_t offsets[FORMS], cookies[FORMS];
	int result, fd;

	result = mon_object_own_offset((uintptr_t)mon_trap_emulated, &offsets[FORM_EMULATED]);
	if (!result)
		result = mon_object_own_offset((uintptr_t)mon_trap_stepped, &offsets[FORM_STEPPED]);
	if (result)
		return result;
	for (size_t i = 0; i < FORMS; i++)
		cookies[i] = capture->options.function_count + i;
	if (capture->options.mode != MON_MODE_PERF) {
		fd = mon_link_multi(program, kind, OURSELVES, offsets, cookies, FORMS,
				    capture->options.wide_links ? 0 : child);
		if (fd >= 0)
			probes[(*count)++] = (struct mon_probe){.fd = fd, .at_return = at_return};
		return fd < 0 ? fd : 0;
	}
	for (size_t i = 0; i < FORMS; i++) {
		fd = mon_link_perf(program, at_return, OURSELVES, offsets[i], cookies[i], child);
		if (fd < 0)
			return fd;
		probes[(*count)++] = (struct mon_probe){.fd = fd, .at_return = at_return};
	}
	return 0;
}

/* What bpf/maps.bpf.h has for each function and CPU. */
struct allowance {
	uint64_t since_ns;
	uint32_t kept_run, kept_second;
};

/*
 * Hits shall do what those of the run do: draw whether they are kept, look at an allowance that is
 * used up. None is kept (one in 2^32 would) or followed, and the gate is shut in case.
 */
static void act_as_sampled(struct mon_capture *capture)
{
	struct mon_policy *own = capture->policies + capture->options.function_count;
	const struct allowance used = {.since_ns = mon_clock_now(&mon_clock_system),
				       .kept_run = MON_ALLOWANCE_RUN,
				       .kept_second = MON_ALLOWANCE_SECOND};
	int map = capture->object.fds[MON_MAP_ALLOWANCES];

	if (map < 0)
		return;
	for (uint32_t i = 0; i < FORMS; i++) {
		uint32_t first = (capture->options.function_count + i) * capture->object.cpu_count;

		for (uint32_t cpu = 0; cpu < capture->object.cpu_count; cpu++)
			(void)bpf_map_update_elem(map, &(uint32_t){first + cpu}, &used, BPF_ANY);
		own[i].sample = 1ull << 32;
		own[i].flags = MON_POLICY_ALLOWANCE;
	}
}

/* In session mode one link is both; where no return can be skipped, as a foreigner's it has none.
 */
static void skip_returns(struct mon_capture *capture, pid_t child, bool skip)
{
	struct mon_policy *own = capture->policies + capture->options.function_count;
	uint32_t flags = own[0].flags & ~(uint32_t)MON_POLICY_NO_RETURN;

	if (skip)
		flags |= MON_POLICY_NO_RETURN;
	if (capture->options.may_skip_returns)
		for (size_t i = 0; i < FORMS; i++)
			__atomic_store_n(&own[i].flags, flags, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&capture->live->tgid, skip ? 0 : (uint32_t)child,
				 __ATOMIC_RELEASE);
}

static int measure(struct mon_capture *capture, int socket, pid_t child, struct mon_probe *probes,
		   size_t *count, struct mon_trap_cost *cost)
{
	bool session = capture->options.mode == MON_MODE_SESSION && capture->options.returns;
	uint64_t foreign_hits = capture->live->run.foreign_hits;
	int result = link_own(capture, false, child, probes, count);

	act_as_sampled(capture);
	if (!result && session)
		skip_returns(capture, child, true);
	if (!result)
		result = ask(socket, cost->entry_ns);
	if (session)
		skip_returns(capture, child, false);
	capture->live->run.foreign_hits = foreign_hits;
	memcpy(cost->full_ns, cost->entry_ns, sizeof(cost->full_ns));
	if (result || !capture->options.returns)
		return result;
	if (!session)
		result = link_own(capture, true, child, probes, count);
	return result ? result : ask(socket, cost->full_ns);
}

int mon_capture_measure_traps(struct mon_capture *capture, struct mon_trap_cost *cost_out)
{
	MON_FREE struct mon_probe *probes = calloc(2 * FORMS, sizeof(*probes));
	struct mon_trap_cost cost = {0};
	struct mon_closing closing = {0};
	pid_t parent = getpid(), child;
	int pair[2], status, result;
	size_t count = 0;

	if (!probes)
		return -ENOMEM;
	if (capture->options.own_functions < FORMS || capture->live->tgid_count)
		return -EINVAL;
	if (!capture->closer)
		result = mon_closer_new(capture->live, capture->armings, &capture->closer);
	else
		result = 0;
	if (result)
		return result;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	child = fork();
	if (!child) {
		(void)close(pair[0]);
		serve(pair[1], parent);
	}
	(void)close(pair[1]);
	result = child < 0 ? -errno : 0;
	if (!result) {
		__atomic_store_n(&capture->live->tgid, (uint32_t)child, __ATOMIC_RELEASE);
		mon_capture_set_gate(capture, MON_REASON_GATE_CLOSED);
		result = measure(capture, pair[0], child, probes, &count, &cost);
	}
	(void)close(pair[0]);
	mon_capture_set_gate(capture, 0);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
	}
	__atomic_store_n(&capture->live->tgid, 0, __ATOMIC_RELEASE);
	if (count) {
		closing.probes = TAKE_PTR(probes);
		closing.probe_count = count;
		mon_closer_close(capture->closer, &closing);
	}
	if (!result)
		*cost_out = cost;
	return result;
}

int mon_capture_measure_mode(enum mon_mode mode, struct mon_trap_cost *cost_out,
			     struct mon_error *error)
{
	const struct mon_capture_options options = {
		.mode = mode,
		.function_count = 1,
		.ring_bytes = 4096,
		.threads_max = 1,
		.returns = true,
		.may_skip_returns = mode == MON_MODE_SESSION,
		.allowance = true,
		.own_functions = MON_TRAP_FUNCTIONS,
	};
	struct mon_capture *capture = NULL;
	int result = mon_capture_new(&options, &capture, error);

	if (result)
		return result;
	result = mon_capture_measure_traps(capture, cost_out);
	if (result)
		result = mon_error_set(error, MON_EXIT_RUNTIME, -result,
				       "what a probe costs here could not be measured: %s",
				       strerror(-result));
	mon_capture_free(capture);
	return result;
}
