// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The BPF programs on real calls: this process is the target, in each mode. Every call is kept, so
 * the counters, the records and what the functions themselves counted must all agree.
 */
#include "base/cleanup.h"
#include "bpf/event.h"
#include "bpf/frames.h"
#include "bpf/policy.h"
#include "bpf/setup.h"
#include "pipeline/ring.h"

#include "bpf/monbpf.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#define RING_BYTES (1u << 20)
#define TRACE_UPROBE_SESSION 57 /* enum bpf_attach_type, since 6.13 */
#define FUNCTIONS 5

enum mode { SESSION, MULTI, PERF };
enum function { INNER, OUTER, RECURSIVE, JUMPER, FIRST };

extern const char __executable_start[];
static volatile int sink;
static jmp_buf landing;

__attribute__((noinline)) static void watched_inner(int value)
{
	sink += value;
}

__attribute__((noinline)) static void watched_outer(int value)
{
	watched_inner(value);
	sink++;
}

__attribute__((noinline)) static void watched_recursive(int depth)
{
	if (depth > 1)
		watched_recursive(depth - 1);
	sink++;
}

__attribute__((noinline)) static void watched_jumper(int value)
{
	sink += value;
	longjmp(landing, 1);
}

__attribute__((noinline)) static void watched_first(int value)
{
	sink += value;
}

struct fixture {
	struct monbpf_bpf *programs;
	struct mon_ring *ring;
	struct bpf_link *links[2 * FUNCTIONS];
	int link_fds[FUNCTIONS];
	uint64_t calls[FUNCTIONS], finished[FUNCTIONS], unreturned[FUNCTIONS], unwound[FUNCTIONS];
	uint64_t tasks, nested, inner_ns, outer_child_ns;
};
static struct fixture fixture;

static const uint64_t *offsets(void)
{
	static uint64_t at[FUNCTIONS];
	void *const functions[] = {(void *)watched_inner, (void *)watched_outer,
				   (void *)watched_recursive, (void *)watched_jumper,
				   (void *)watched_first};

	for (size_t i = 0; i < FUNCTIONS; i++)
		at[i] = (uint64_t)((const char *)functions[i] - __executable_start);
	return at;
}

/* libbpf 1.4 cannot make this link: bpf(2) by hand, layout of the kernel's union bpf_attr. */
static int link_session(int program_fd)
{
	static const uint64_t cookies[FUNCTIONS] = {0, 1, 2, 3, 4};
	struct {
		uint32_t program_fd, target_fd, attach_type, flags;
		uint64_t path, offsets, ref_counter_offsets, cookies;
		uint32_t count, multi_flags, pid, reserved;
	} attributes = {.program_fd = (uint32_t)program_fd,
			.attach_type = TRACE_UPROBE_SESSION,
			.path = (uint64_t)(uintptr_t) "/proc/self/exe",
			.offsets = (uint64_t)(uintptr_t)offsets(),
			.cookies = (uint64_t)(uintptr_t)cookies,
			.count = FUNCTIONS,
			.pid = (uint32_t)getpid()};

	return (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attributes, sizeof(attributes));
}

static void attach_multi(void)
{
	const unsigned long *at = (const unsigned long *)offsets();
	static const __u64 cookies[FUNCTIONS] = {0, 1, 2, 3, 4};
	LIBBPF_OPTS(bpf_uprobe_multi_opts, options, .offsets = at, .cookies = cookies,
		    .cnt = FUNCTIONS);

	/* The return first: no call may be entered that nobody sees leave. */
	options.retprobe = true;
	fixture.links[0] =
		bpf_program__attach_uprobe_multi(fixture.programs->progs.mon_multi_return, getpid(),
						 "/proc/self/exe", NULL, &options);
	options.retprobe = false;
	fixture.links[1] =
		bpf_program__attach_uprobe_multi(fixture.programs->progs.mon_multi_entry, getpid(),
						 "/proc/self/exe", NULL, &options);
	assert_non_null(fixture.links[0]);
	assert_non_null(fixture.links[1]);
}

static void attach_perf(void)
{
	for (size_t i = 0; i < FUNCTIONS; i++)
		for (size_t entry = 0; entry < 2; entry++) {
			LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = i, .retprobe = !entry);
			struct bpf_link *link = bpf_program__attach_uprobe_opts(
				entry ? fixture.programs->progs.mon_perf_entry
				      : fixture.programs->progs.mon_perf_return,
				getpid(), "/proc/self/exe", offsets()[i], &options);

			assert_non_null(link);
			fixture.links[2 * i + entry] = link;
		}
}

static void arm(enum mode mode)
{
	struct monbpf_bpf *programs = monbpf_bpf__open();
	const __u32 cpus = (__u32)libbpf_num_possible_cpus();
	struct mon_ring_options ring;
	struct bpf_program *program;

	assert_non_null(programs);
	fixture = (struct fixture){.programs = programs, .link_fds = {-1, -1, -1, -1, -1}};
	bpf_object__for_each_program(program, programs->obj)(void)
		bpf_program__set_autoload(program, false);
	(void)bpf_program__set_autoload(programs->progs.mon_session, mode == SESSION);
	(void)bpf_program__set_autoload(programs->progs.mon_multi_entry, mode == MULTI);
	(void)bpf_program__set_autoload(programs->progs.mon_multi_return, mode == MULTI);
	(void)bpf_program__set_autoload(programs->progs.mon_perf_entry, mode == PERF);
	(void)bpf_program__set_autoload(programs->progs.mon_perf_return, mode == PERF);
	assert_int_equal(bpf_program__set_expected_attach_type(programs->progs.mon_session,
							       TRACE_UPROBE_SESSION),
			 0);
	programs->rodata->setup.cpu_count = cpus;
	programs->rodata->setup.function_count = FUNCTIONS;
	programs->rodata->setup.threads_max = 16;
	programs->rodata->setup.wakeup_bytes = RING_BYTES / 4;
	programs->rodata->setup.returns = 1;
	programs->rodata->setup.filter = 1;
	programs->bss->live.tgid_count = 1;
	programs->bss->live.tgid = (__u32)getpid();
	assert_int_equal(bpf_map__set_max_entries(programs->maps.policies, FUNCTIONS), 0);
	assert_int_equal(bpf_map__set_max_entries(programs->maps.counters, FUNCTIONS * cpus), 0);
	assert_int_equal(bpf_map__set_max_entries(programs->maps.histograms, FUNCTIONS), 0);
	assert_int_equal(bpf_map__set_max_entries(programs->maps.ring, RING_BYTES), 0);
	assert_int_equal(monbpf_bpf__load(programs), 0);
	for (__u32 i = 0; i < FUNCTIONS; i++) {
		const struct mon_policy all = {.sample = MON_SAMPLE_ALL};

		assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.policies), &i, &all,
						     BPF_ANY),
				 0);
	}
	ring = (struct mon_ring_options){.map_fd = bpf_map__fd(programs->maps.ring),
					 .size_bytes = RING_BYTES,
					 .function_count = FUNCTIONS};
	assert_int_equal(mon_ring_new(&ring, &fixture.ring), 0);
	if (mode == SESSION) {
		fixture.link_fds[0] = link_session(bpf_program__fd(programs->progs.mon_session));
		assert_true(fixture.link_fds[0] >= 0);
	} else if (mode == MULTI) {
		attach_multi();
	} else {
		attach_perf();
	}
	watched_first(0);
}

static void disarm(void)
{
	for (size_t i = 0; i < MON_ARRAY_COUNT(fixture.links); i++)
		if (fixture.links[i])
			(void)bpf_link__destroy(fixture.links[i]);
	for (size_t i = 0; i < FUNCTIONS; i++)
		if (fixture.link_fds[i] >= 0)
			(void)close(fixture.link_fds[i]);
}

static void read_records(void)
{
	struct mon_record record;

	while (mon_ring_try_pop(fixture.ring, &record) == 0) {
		const struct mon_call_event *call = record.data;

		assert_int_equal(record.invalid, 0);
		if (call->kind == MON_EVENT_TASK) {
			fixture.tasks++;
			continue;
		}
		assert_int_equal(call->pid, getpid());
		assert_int_equal(call->tid, gettid());
		assert_int_equal(call->weight, 1);
		fixture.calls[call->function]++;
		if (call->flags & MON_CALL_UNRETURNED)
			fixture.unreturned[call->function]++;
		else if (call->flags & MON_CALL_UNWOUND)
			fixture.unwound[call->function]++;
		else
			fixture.finished[call->function]++;
		if (call->function == INNER) {
			assert_int_equal(call->caller, OUTER);
			assert_int_equal(call->depth, 1);
			fixture.inner_ns += call->duration_ns;
			fixture.nested++;
		}
		if (call->function == OUTER) {
			assert_int_equal(call->caller, MON_FUNCTION_NONE);
			assert_int_equal(call->depth, 0);
			fixture.outer_child_ns += call->child_ns;
		}
		mon_ring_acknowledge(fixture.ring, record.end);
	}
}

static struct mon_counters sum_counters(__u32 function)
{
	const __u32 cpus = (__u32)libbpf_num_possible_cpus();
	struct mon_counters sum = {0};

	for (__u32 cpu = 0; cpu < cpus; cpu++) {
		__u32 key = function * cpus + cpu;
		struct mon_counters one;

		assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(fixture.programs->maps.counters),
						     &key, &one),
				 0);
		sum.calls += one.calls;
		sum.returns += one.returns;
		sum.total_ns += one.total_ns;
		sum.self_ns += one.self_ns;
		sum.emitted += one.emitted;
		sum.sampled_out += one.sampled_out + one.rate_cap + one.size_cap;
		sum.ring_full += one.ring_full + one.gate_closed;
		sum.frame_refused += one.frame_refused;
	}
	return sum;
}

static void free_all(void)
{
	const struct mon_counters first = sum_counters(FIRST);

	/*
	 * The story: 3 of 30 runs of these tests missed a first call. The kernel refused to make
	 * this thread's storage soon after an earlier capture of the same thread, and once only.
	 */
	assert_int_equal(first.calls, 1);
	assert_int_equal(first.frame_refused, 0);
	assert_int_equal(fixture.calls[FIRST], 1);
	mon_ring_free(fixture.ring);
	monbpf_bpf__destroy(fixture.programs);
}

static void calls_give_rows_and_counts(enum mode mode)
{
	struct mon_counters inner, outer;

	arm(mode);
	for (int i = 0; i < 23; i++)
		watched_outer(i);
	disarm();
	watched_outer(0); /* unseen */
	read_records();
	inner = sum_counters(INNER);
	outer = sum_counters(OUTER);
	assert_int_equal(inner.calls, 23);
	assert_int_equal(inner.returns, 23);
	assert_int_equal(inner.emitted, 23);
	assert_int_equal(inner.sampled_out + inner.ring_full + inner.frame_refused, 0);
	assert_int_equal(outer.calls, 23);
	assert_int_equal(outer.returns, 23);
	assert_int_equal(fixture.finished[INNER], 23);
	assert_int_equal(fixture.finished[OUTER], 23);
	assert_int_equal(fixture.tasks, 1);
	/* What was spent in callees is what the callees took. */
	assert_int_equal(fixture.outer_child_ns, fixture.inner_ns);
	assert_int_equal(outer.self_ns, outer.total_ns - inner.total_ns);
	assert_int_equal(sum_counters(RECURSIVE).calls, 0);
	free_all();
}

/* The kernel follows 64 returns: the other 37 calls are counted and kept, without a duration. */
static void recursion_beyond_64(enum mode mode)
{
	struct mon_counters counters;

	arm(mode);
	watched_recursive(101);
	disarm();
	read_records();
	counters = sum_counters(RECURSIVE);
	assert_int_equal(counters.calls, 101);
	assert_int_equal(counters.returns, 64);
	assert_int_equal(counters.emitted, 101);
	assert_int_equal(fixture.finished[RECURSIVE], 64);
	assert_int_equal(fixture.unreturned[RECURSIVE], 37);
	free_all();
}

/* Calls left by longjmp have no duration, and those after them are right. */
static void longjmp_across_frames(enum mode mode)
{
	struct mon_counters counters;
	volatile int round;

	arm(mode);
	for (round = 0; round < 23; round++)
		if (setjmp(landing) == 0)
			watched_jumper(round);
	watched_outer(1); /* finds the last one dead: it is accounted for here */
	disarm();
	read_records();
	counters = sum_counters(JUMPER);
	assert_int_equal(counters.calls, 23);
	assert_int_equal(counters.returns, 0);
	assert_int_equal(counters.frame_refused, 0);
	assert_int_equal(counters.emitted, 23);
	assert_int_equal(fixture.unwound[JUMPER], 23);
	assert_int_equal(fixture.finished[OUTER], 1);
	free_all();
}

#define IN_EACH_MODE(name, body)                 \
	static void name##_session(void **state) \
	{                                        \
		(void)state;                     \
		body(SESSION);                   \
	}                                        \
	static void name##_multi(void **state)   \
	{                                        \
		(void)state;                     \
		body(MULTI);                     \
	}                                        \
	static void name##_perf(void **state)    \
	{                                        \
		(void)state;                     \
		body(PERF);                      \
	}

IN_EACH_MODE(calls, calls_give_rows_and_counts)
IN_EACH_MODE(K04_recursion, recursion_beyond_64)
IN_EACH_MODE(K05_longjmp, longjmp_across_frames)

static bool has_tail_call(const struct bpf_program *program)
{
	const struct bpf_insn *code = bpf_program__insns(program);

	for (size_t i = 0; i < bpf_program__insn_cnt(program); i++)
		if (code[i].code == (BPF_JMP | BPF_CALL) && !code[i].src_reg &&
		    code[i].imm == BPF_FUNC_tail_call)
			return true;
	return false;
}

/* Else a preemptible kernel gives it a stack that another thread writes over (monbpf.bpf.c). */
static void no_probe_has_a_private_stack(void **state)
{
	struct monbpf_bpf *programs = monbpf_bpf__open();
	struct bpf_program *program;
	unsigned probes = 0;

	(void)state;
	assert_non_null(programs);
	bpf_object__for_each_program(program, programs->obj)
	{
		if (bpf_program__type(program) != BPF_PROG_TYPE_KPROBE)
			continue;
		probes++;
		if (!has_tail_call(program))
			fail_msg("%s", bpf_program__name(program));
	}
	assert_int_equal(probes, 10);
	monbpf_bpf__destroy(programs);
}

#define TEST_EACH_MODE(name)                                              \
	cmocka_unit_test(name##_session), cmocka_unit_test(name##_multi), \
		cmocka_unit_test(name##_perf)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_EACH_MODE(calls),
		TEST_EACH_MODE(K04_recursion),
		TEST_EACH_MODE(K05_longjmp),
		cmocka_unit_test(no_probe_has_a_private_stack),
	};

	return cmocka_run_group_tests_name("kernel/programs", tests, NULL, NULL);
}
