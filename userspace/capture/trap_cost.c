// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a hit costs: measured, because it differs tenfold between machines and kernels. A child of
 * ours calls two functions, one that begins with an instruction that the kernel emulates and one
 * that it single-steps, in batches, and times them by its own CPU clock; the median counts. Between
 * the calls it does some work, as programs do: a loop of nothing but traps finds all of the
 * kernel's code in the caches, and costs 3 to 6 % less. The programs are those of the run, its last
 * two functions are these, whose counters nobody reads.
 *
 * A machine is not always equally fast, and 20 ms may fall on a bad moment, so the child of a run
 * that may have to scale counts by these costs stays and is asked again now and then.
 * Bounds: 2 x 2 x BATCHES batches, about 20 ms, and a link or two; 1 to 3 ms each time later.
 */
#include "capture/state.h"

#include "base/cleanup.h"
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
#include <unistd.h>

#define BATCHES 9
#define BATCHES_LATER 5
#define WORK_STEPS 3000 /* with the lines about 1 us */
#define WORK_LINES 64
#define LINE_BYTES 64
#define OURSELVES "/proc/self/exe"

enum form { FORM_EMULATED, FORM_STEPPED, FORMS };

static const unsigned calls_of_batch[FORMS] = {200, 30};

struct request {
	uint8_t form;	 /* enum form */
	uint8_t batches; /* at most BATCHES */
};

struct mon_trap_meter {
	pid_t child;
	int socket;
	bool waiting; /* an answer is due */
	struct mon_trap_reading asked;
};

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

static void work(void)
{
	static volatile uint8_t room[WORK_LINES * LINE_BYTES];

	for (size_t line = 0; line < WORK_LINES; line++)
		room[line * LINE_BYTES]++;
	for (unsigned step = 0; step < WORK_STEPS; step++)
		__asm__ volatile("" : : "r"(step) : "memory");
}

static uint64_t time_calls(enum form form, bool work_only)
{
	uint64_t from = cpu_ns();

	for (unsigned call = 0; call < calls_of_batch[form]; call++) {
		work();
		if (work_only)
			continue;
		if (form == FORM_EMULATED)
			mon_trap_emulated();
		else
			mon_trap_stepped();
	}
	return cpu_ns() - from;
}

static uint32_t time_form(enum form form, size_t count)
{
	uint32_t batches[BATCHES];

	for (size_t i = 0; i <= count; i++) {
		uint64_t work_ns = time_calls(form, true), both_ns = time_calls(form, false);

		if (i) /* the first one finds its pages */
			batches[i - 1] =
				both_ns > work_ns
					? (uint32_t)((both_ns - work_ns) / calls_of_batch[form])
					: 0;
	}
	qsort(batches, count, sizeof(*batches), by_size);
	return batches[count / 2];
}

/* Child: requests in, ns out, until the other end closes. */
static void serve(int socket, pid_t parent)
{
	struct request request;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "monbpf-meter");
	if (getppid() != parent)
		_exit(1);
	/* Whoever waits for the end of the monitor's files waits for the monitor, not for this. */
	if (socket)
		(void)close_range(0, (unsigned)socket - 1, 0);
	(void)close_range((unsigned)socket + 1, ~0u, 0);
	while (read(socket, &request, sizeof(request)) == sizeof(request) && request.form < FORMS &&
	       request.batches && request.batches <= BATCHES) {
		uint32_t ns = time_form((enum form)request.form, request.batches);

		if (write(socket, &ns, sizeof(ns)) != sizeof(ns))
			break;
	}
	_exit(0);
}

static int send_request(const struct mon_trap_meter *meter, enum form form, unsigned batches)
{
	const struct request request = {.form = (uint8_t)form, .batches = (uint8_t)batches};

	if (send(meter->socket, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		return -errno;
	return 0;
}

/* -EAGAIN: not yet (with MSG_DONTWAIT). */
static int receive(const struct mon_trap_meter *meter, int flags, uint32_t *ns_out)
{
	ssize_t got;

	do
		got = recv(meter->socket, ns_out, sizeof(*ns_out), flags);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (got != sizeof(*ns_out))
		return -ECHILD;
	if (!*ns_out)
		*ns_out = 1;
	return 0;
}

static int ask(const struct mon_trap_meter *meter, uint32_t ns_out[FORMS])
{
	for (enum form form = 0; form < FORMS; form++) {
		int result = send_request(meter, form, BATCHES);

		if (!result)
			result = receive(meter, 0, &ns_out[form]);
		if (result)
			return result;
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
 * Hits shall do what those of the run do: draw whether they are kept, look at an allowance, of
 * which these functions get nothing but what is taken here. None is kept (one in 2^32 would) or
 * followed, and the gate is shut in case.
 */
static void act_as_sampled(struct mon_capture *capture)
{
	struct mon_policy *own = capture->policies + capture->options.function_count;
	const struct allowance used = {.kept_run = MON_ALLOWANCE_RUN};
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

static void mark_no_return(struct mon_capture *capture, bool skip)
{
	struct mon_policy *own = capture->policies + capture->options.function_count;
	uint32_t flags = own[0].flags & ~(uint32_t)MON_POLICY_NO_RETURN;

	if (skip)
		flags |= MON_POLICY_NO_RETURN;
	for (size_t i = 0; i < FORMS; i++)
		__atomic_store_n(&own[i].flags, flags, __ATOMIC_RELEASE);
}

/* In session mode one link is both; where no return can be skipped, as a foreigner's it has none.
 */
static void skip_returns(struct mon_capture *capture, pid_t child, bool skip)
{
	if (capture->options.may_skip_returns)
		mark_no_return(capture, skip);
	else
		__atomic_store_n(&capture->live->meter_tgid, skip ? 0 : (uint32_t)child,
				 __ATOMIC_RELEASE);
}

static int measure(struct mon_capture *capture, struct mon_probe *probes, size_t *count,
		   struct mon_trap_cost *cost)
{
	const struct mon_trap_meter *meter = capture->meter;
	bool session = capture->options.mode == MON_MODE_SESSION && capture->options.returns;
	uint64_t foreign_hits = capture->live->run.foreign_hits;
	int result = link_own(capture, false, meter->child, probes, count);

	act_as_sampled(capture);
	if (!result && session)
		skip_returns(capture, meter->child, true);
	if (!result)
		result = ask(meter, cost->entry_ns);
	if (session)
		skip_returns(capture, meter->child, false);
	capture->live->run.foreign_hits = foreign_hits;
	memcpy(cost->full_ns, cost->entry_ns, sizeof(cost->full_ns));
	if (result || !capture->options.returns)
		return result;
	if (!session)
		result = link_own(capture, true, meter->child, probes, count);
	return result ? result : ask(meter, cost->full_ns);
}

static int start_child(struct mon_trap_meter *meter)
{
	pid_t parent = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	meter->child = fork();
	if (!meter->child) {
		(void)close(pair[0]);
		serve(pair[1], parent);
	}
	(void)close(pair[1]);
	if (meter->child > 0) {
		meter->socket = pair[0];
		return 0;
	}
	(void)close(pair[0]);
	return -errno;
}

void mon_capture_stop_meter(struct mon_capture *capture)
{
	struct mon_trap_meter *meter = capture->meter;
	int status;

	if (!meter)
		return;
	(void)close(meter->socket);
	(void)kill(meter->child, SIGKILL);
	while (waitpid(meter->child, &status, 0) < 0 && errno == EINTR) {
	}
	__atomic_store_n(&capture->live->meter_tgid, 0, __ATOMIC_RELEASE);
	free(meter);
	capture->meter = NULL;
}

/* Its links become the capture's, and go when it detaches. */
static int keep_links(struct mon_capture *capture, struct mon_probe *probes, size_t *count)
{
	while (*count) {
		struct mon_probe *probe = &probes[*count - 1];
		int result = mon_capture_keep_probe(capture, probe->fd, probe->at_return);

		(*count)--; /* taken in any case */
		if (result)
			return result;
		capture->probes[capture->probe_count - 1].function = MON_PROBE_METER;
	}
	return 0;
}

static int close_links(struct mon_capture *capture, struct mon_probe **probes, size_t count)
{
	struct mon_closing closing = {.probe_count = count};
	int result;

	if (!count)
		return 0;
	result = mon_capture_need_closer(capture);
	if (result) {
		mon_probes_close(*probes, count);
		return result;
	}
	closing.probes = TAKE_PTR(*probes);
	mon_closer_close(capture->closer, &closing);
	return 0;
}

int mon_capture_measure_traps(struct mon_capture *capture, struct mon_trap_cost *cost_out)
{
	MON_FREE struct mon_probe *probes = calloc(2 * FORMS, sizeof(*probes));
	struct mon_trap_cost cost = {0};
	size_t count = 0;
	int result;

	if (!probes)
		return -ENOMEM;
	if (capture->options.own_functions < FORMS || capture->live->tgid_count || capture->meter)
		return -EINVAL;
	capture->meter = calloc(1, sizeof(*capture->meter));
	if (!capture->meter)
		return -ENOMEM;
	result = start_child(capture->meter);
	if (result) {
		free(TAKE_PTR(capture->meter));
		return result;
	}
	__atomic_store_n(&capture->live->meter_tgid, (uint32_t)capture->meter->child,
			 __ATOMIC_RELEASE);
	mon_capture_set_gate(capture, MON_REASON_GATE_CLOSED);
	result = measure(capture, probes, &count, &cost);
	mon_capture_set_gate(capture, 0);
	if (!result && capture->options.movable)
		result = keep_links(capture, probes, &count);
	if (result || !capture->options.movable)
		mon_capture_stop_meter(capture);
	if (close_links(capture, &probes, count) && !result)
		result = -ENOMEM;
	if (!result)
		*cost_out = cost;
	return result;
}

int mon_capture_ask_trap(struct mon_capture *capture, bool stepped, bool with_return)
{
	struct mon_trap_meter *meter = capture->meter;
	int result;

	if (!meter)
		return -ENODEV;
	if (meter->waiting)
		return -EBUSY;
	if (!with_return && capture->options.returns && !capture->options.may_skip_returns)
		return -EINVAL;
	if (capture->options.may_skip_returns)
		mark_no_return(capture, !with_return);
	result = send_request(meter, stepped ? FORM_STEPPED : FORM_EMULATED, BATCHES_LATER);
	if (result) {
		mon_capture_stop_meter(capture);
		return result;
	}
	meter->waiting = true;
	meter->asked = (struct mon_trap_reading){.stepped = stepped, .with_return = with_return};
	return 0;
}

int mon_capture_read_trap(struct mon_capture *capture, struct mon_trap_reading *reading_out)
{
	struct mon_trap_meter *meter = capture->meter;
	int result;

	if (!meter)
		return -ENODEV;
	if (!meter->waiting)
		return -EAGAIN;
	result = receive(meter, MSG_DONTWAIT, &meter->asked.ns);
	if (result == -EAGAIN)
		return result;
	if (result) {
		mon_capture_stop_meter(capture);
		return result;
	}
	meter->waiting = false;
	*reading_out = meter->asked;
	return 0;
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
				       "what a probe costs here could not be measured (%s): attach "
				       "--max-overhead 0 goes without a limit",
				       strerror(-result));
	mon_capture_free(capture);
	return result;
}
