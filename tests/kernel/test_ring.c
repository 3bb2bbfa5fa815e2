// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ring reader against the kernel's own ring buffer: a program that copies its input into the
 * ring is run by BPF_PROG_TEST_RUN, so every record is made by the kernel and not by a model.
 */
#include "base/cleanup.h"
#include "pipeline/ring.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define RING_BYTES 4096u
#define RECORD_BYTES (MON_CALL_EVENT_BARE_BYTES + 8u) /* with the kernel's header */

struct fixture {
	int map_fd;
	int program_fd;
	struct mon_ring *ring;
};

/*
 * XDP program: bpf_xdp_load_bytes(ctx, 0, stack, 72), then bpf_ringbuf_output(ring, stack, 72, 0),
 * whose result is the return value. (The ring helper does not take packet memory itself.)
 */
static int load_copier(int map_fd)
{
	const int size = MON_CALL_EVENT_BARE_BYTES;
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 10},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 3, .imm = -size},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4, .imm = size},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_xdp_load_bytes},
		{.code = BPF_LD | BPF_DW | BPF_IMM,
		 .dst_reg = 1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = map_fd},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -size},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = size},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4, .imm = 0},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_output},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "copier", "GPL", code, MON_ARRAY_COUNT(code), NULL);
}

static int set_up(void **state)
{
	static struct fixture fixture;
	struct mon_ring_options options;

	fixture = (struct fixture){.map_fd = -1, .program_fd = -1};
	*state = &fixture;
	fixture.map_fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, RING_BYTES, NULL);
	if (fixture.map_fd < 0)
		return -1;
	fixture.program_fd = load_copier(fixture.map_fd);
	if (fixture.program_fd < 0)
		return -1;
	options = (struct mon_ring_options){
		.map_fd = fixture.map_fd, .size_bytes = RING_BYTES, .function_count = 1000000};
	return mon_ring_new(&options, &fixture.ring);
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	mon_ring_free(fixture->ring);
	if (fixture->program_fd >= 0)
		(void)close(fixture->program_fd);
	if (fixture->map_fd >= 0)
		(void)close(fixture->map_fd);
	return 0;
}

/* One record through the kernel: what bpf_ringbuf_output() returned. */
static int produce(const struct fixture *fixture, uint32_t function)
{
	struct mon_call_event event = {.kind = MON_EVENT_CALL,
				       .version = MON_EVENT_VERSION,
				       .function = function,
				       .start_ns = 1000 + function,
				       .duration_ns = 5,
				       .pid = 1,
				       .tid = 1,
				       .caller = MON_FUNCTION_NONE,
				       .weight = 1};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = &event,
		    .data_size_in = MON_CALL_EVENT_BARE_BYTES, .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(fixture->program_fd, &run), 0);
	return (int)run.retval;
}

static void kernel_records_arrive_in_order(void **state)
{
	const struct fixture *fixture = *state;
	struct mon_record record;

	for (uint32_t i = 0; i < 23; i++)
		assert_int_equal(produce(fixture, i), 0);
	for (uint32_t i = 0; i < 23; i++) {
		const struct mon_call_event *event;

		assert_int_equal(mon_ring_try_pop(fixture->ring, &record), 0);
		assert_int_equal(record.invalid, 0);
		assert_int_equal(record.position, (uint64_t)i * RECORD_BYTES);
		assert_int_equal(record.size_bytes, MON_CALL_EVENT_BARE_BYTES);
		event = record.data;
		assert_int_equal(event->function, i);
		assert_int_equal(event->start_ns, 1000 + i);
	}
	assert_int_equal(mon_ring_try_pop(fixture->ring, &record), -EAGAIN);
}

/* Reading alone gives nothing back: the kernel refuses until the reader has acknowledged. */
static void K01_ring_full(void **state)
{
	const struct fixture *fixture = *state;
	struct mon_ring_stats stats;
	struct mon_record record;
	uint32_t sent = 0, refused = 0;

	while (produce(fixture, sent) == 0)
		sent++;
	assert_int_equal(sent, RING_BYTES / RECORD_BYTES);
	for (uint32_t i = 0; i < sent; i++)
		assert_int_equal(mon_ring_try_pop(fixture->ring, &record), 0);
	for (uint32_t i = 0; i < 10; i++)
		refused += produce(fixture, sent) != 0;
	assert_int_equal(refused, 10);

	mon_ring_acknowledge(fixture->ring, record.end);
	mon_ring_stats(fixture->ring, &stats);
	assert_int_equal(stats.acknowledged, stats.produced);
	assert_int_equal(produce(fixture, 7), 0);
	assert_int_equal(mon_ring_try_pop(fixture->ring, &record), 0);
	assert_int_equal(((const struct mon_call_event *)record.data)->function, 7);
}

/* A thousand times round the ring, acknowledging late: every record once, in order, intact. */
static void wraps_a_thousand_times(void **state)
{
	const struct fixture *fixture = *state;
	const uint32_t total = 1000 * (RING_BYTES / RECORD_BYTES);
	struct mon_ring_stats stats;
	uint32_t sent = 0, seen = 0;

	while (seen < total) {
		struct mon_record record = {0};
		uint32_t before = seen;

		while (sent < total && produce(fixture, sent) == 0)
			sent++;
		while (mon_ring_try_pop(fixture->ring, &record) == 0) {
			assert_int_equal(record.invalid, 0);
			assert_int_equal(((const struct mon_call_event *)record.data)->function,
					 seen);
			seen++;
		}
		assert_true(seen > before);
		mon_ring_acknowledge(fixture->ring, record.end);
	}
	mon_ring_stats(fixture->ring, &stats);
	assert_int_equal(stats.records, total);
	assert_int_equal(stats.invalid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kernel_records_arrive_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(K01_ring_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(wraps_a_thousand_times, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("kernel/ring", tests, NULL, NULL);
}
