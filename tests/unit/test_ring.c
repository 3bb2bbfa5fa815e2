// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ring on pages laid out as the kernel lays them: a consumer page, a producer page, and one
 * data area mapped twice. The test plays the kernel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pipeline/ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE 4096u
#define FUNCTIONS 5u
#define ARGS 2u

struct fake {
	struct mon_ring *ring;
	uint64_t *consumer;
	char *producer_pages;
	uint64_t *producer;
	char *data;
	size_t page;
};

static void fake_open_texts(struct fake *fake, uint64_t first_position, uint32_t arg_count,
			    uint32_t text_count, uint32_t capture_bytes)
{
	struct mon_ring_options options = {
		.map_fd = -1,
		.size_bytes = SIZE,
		.function_count = FUNCTIONS,
		.arg_count = arg_count,
		.text_count = text_count,
		.capture_bytes = capture_bytes,
	};
	int fd = memfd_create("ring", MFD_CLOEXEC);

	fake->page = (size_t)sysconf(_SC_PAGESIZE);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(fake->page + SIZE)), 0);
	/* A page that may not be touched follows: reading further than the ring maps is a crash. */
	fake->producer_pages =
		mmap(NULL, fake->page * 3 + SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(fake->producer_pages != MAP_FAILED);
	assert_true(mmap(fake->producer_pages, fake->page + SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	assert_true(mmap(fake->producer_pages + fake->page + SIZE, fake->page,
			 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 (off_t)fake->page) != MAP_FAILED);
	close(fd);
	fake->consumer = aligned_alloc(fake->page, fake->page);
	assert_non_null(fake->consumer);
	fake->producer = (uint64_t *)fake->producer_pages;
	fake->data = fake->producer_pages + fake->page;
	*fake->consumer = *fake->producer = first_position;
	options.consumer_page = fake->consumer;
	options.producer_pages = fake->producer_pages;
	assert_int_equal(mon_ring_new(&options, &fake->ring), 0);
}

static void fake_open(struct fake *fake, uint64_t first_position, uint32_t arg_count)
{
	fake_open_texts(fake, first_position, arg_count, 0, 0);
}

static void fake_close(struct fake *fake)
{
	mon_ring_free(fake->ring);
	munmap(fake->producer_pages, fake->page * 3 + SIZE);
	free(fake->consumer);
}

static uint64_t total(uint32_t length)
{
	return (length + 8ull + 7) & ~7ull;
}

static uint32_t *header_at(const struct fake *fake, uint64_t position)
{
	return (uint32_t *)(fake->data + (position & (SIZE - 1)));
}

/* As bpf_ringbuf_reserve(): busy header, producer moved. False: no room. */
static bool reserve(struct fake *fake, uint32_t length, uint64_t *position_out)
{
	uint64_t position = *fake->producer;

	if (position + total(length) - __atomic_load_n(fake->consumer, __ATOMIC_ACQUIRE) > SIZE)
		return false;
	header_at(fake, position)[0] = length | BPF_RINGBUF_BUSY_BIT;
	header_at(fake, position)[1] = 1;
	__atomic_store_n(fake->producer, position + total(length), __ATOMIC_RELEASE);
	*position_out = position;
	return true;
}

static void commit(struct fake *fake, uint64_t position, uint32_t flags)
{
	uint32_t *header = header_at(fake, position);

	__atomic_store_n(header, (*header & ~BPF_RINGBUF_BUSY_BIT) | flags, __ATOMIC_SEQ_CST);
}

static uint64_t put(struct fake *fake, const void *data, uint32_t length)
{
	uint64_t position;

	assert_true(reserve(fake, length, &position));
	memcpy(header_at(fake, position) + 2, data, length);
	commit(fake, position, 0);
	return position;
}

static struct mon_call_event good_call(void)
{
	return (struct mon_call_event){
		.kind = MON_EVENT_CALL,
		.version = MON_EVENT_VERSION,
		.function = FUNCTIONS - 1,
		.caller = MON_FUNCTION_NONE,
		.start_ns = 1000,
		.duration_ns = 500,
		.child_ns = 200,
		.ret = 7,
		.pid = 10,
		.tid = 11,
		.weight = 1,
	};
}

static void test_pop_peek_acknowledge(void **state)
{
	struct fake fake;
	struct mon_record record, again;
	struct mon_ring_stats stats;
	struct mon_call_event call = good_call();
	uint64_t position;

	(void)state;
	fake_open(&fake, 0, 0);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), -EAGAIN);
	position = put(&fake, &call, MON_CALL_EVENT_BARE_BYTES);
	call.function = 2;
	put(&fake, &call, MON_CALL_EVENT_BARE_BYTES);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
	assert_int_equal(record.invalid, 0);
	assert_int_equal(record.position, position);
	assert_int_equal(record.end, 80);
	assert_int_equal(record.size_bytes, MON_CALL_EVENT_BARE_BYTES);
	assert_int_equal(((const struct mon_call_event *)record.data)->function, FUNCTIONS - 1);
	mon_ring_peek(fake.ring, position, &again);
	assert_memory_equal(&again, &record, sizeof(record));
	assert_int_equal(*fake.consumer, 0); /* reading gives nothing back */
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
	assert_int_equal(((const struct mon_call_event *)record.data)->function, 2);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), -EAGAIN);
	mon_ring_acknowledge(fake.ring, record.end);
	assert_int_equal(*fake.consumer, 160);
	mon_ring_acknowledge(fake.ring, 80); /* lower: ignored */
	assert_int_equal(*fake.consumer, 160);
	mon_ring_stats(fake.ring, &stats);
	assert_int_equal(stats.produced, 160);
	assert_int_equal(stats.read, 160);
	assert_int_equal(stats.acknowledged, 160);
	assert_int_equal(stats.records, 2);
	assert_int_equal(stats.size_bytes, SIZE);
	fake_close(&fake);
}

static void test_busy_then_commit(void **state)
{
	struct fake fake;
	struct mon_record record;
	struct mon_call_event call = good_call();
	uint64_t busy = 0;

	(void)state;
	fake_open(&fake, 0, 0);
	assert_true(reserve(&fake, MON_CALL_EVENT_BARE_BYTES, &busy));
	put(&fake, &call, MON_CALL_EVENT_BARE_BYTES); /* a later one that is ready waits */
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), -EAGAIN);
	memcpy(header_at(&fake, busy) + 2, &call, MON_CALL_EVENT_BARE_BYTES);
	commit(&fake, busy, 0);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
	assert_int_equal(record.position, busy);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), -EAGAIN);
	fake_close(&fake);
}

/* A ring that holds nothing but discarded records must come free without anybody's help. */
static void test_discarded_gives_space_back(void **state)
{
	struct fake fake;
	struct mon_record record;
	struct mon_ring_stats stats;
	struct mon_call_event call = good_call();
	uint64_t position, count = 0;

	(void)state;
	fake_open(&fake, 0, 0);
	put(&fake, &call, MON_CALL_EVENT_BARE_BYTES);
	while (reserve(&fake, MON_CALL_EVENT_BARE_BYTES, &position)) {
		commit(&fake, position, BPF_RINGBUF_DISCARD_BIT);
		count++;
	}
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), -EAGAIN);
	assert_int_equal(*fake.consumer, 0); /* the call before them is not safe yet */
	mon_ring_acknowledge(fake.ring, record.end);
	assert_int_equal(mon_ring_try_pop(fake.ring, &record), -EAGAIN);
	assert_int_equal(*fake.consumer, *fake.producer);
	mon_ring_stats(fake.ring, &stats);
	assert_int_equal(stats.discarded, count);
	assert_int_equal(stats.records, 1);
	fake_close(&fake);
}

struct field_case {
	const char *what;
	size_t offset, bytes;
	uint64_t value;
	int invalid;
};

#define FIELD(member, number, result)                                                \
	{                                                                            \
#member " = " #number, offsetof(struct mon_call_event, member),      \
			sizeof(((struct mon_call_event *)0)->member), number, result \
	}

static void test_fields(void **state)
{
	static const struct field_case cases[] = {
		FIELD(kind, 0, EPROTO),
		FIELD(kind, 3, EPROTO),
		FIELD(kind, MON_EVENT_TASK, EBADMSG),
		FIELD(version, 0, EPROTO),
		FIELD(version, MON_EVENT_VERSION + 1, EPROTO),
		FIELD(function, 0, 0),
		FIELD(function, FUNCTIONS, EPROTO),
		FIELD(function, MON_FUNCTION_NONE, EPROTO),
		FIELD(caller, FUNCTIONS - 1, 0),
		FIELD(caller, FUNCTIONS, EPROTO),
		FIELD(weight, 0, EPROTO),
		FIELD(weight, 1000000, 0),
		FIELD(flags, MON_CALL_UNWOUND, EPROTO), /* has a duration */
		FIELD(flags, 0x40, EPROTO),
		FIELD(child_ns, 500, 0),
		FIELD(child_ns, 501, 0), /* clocks of two CPUs */
		FIELD(child_ns, 1ull << 40, EPROTO),
		FIELD(arg_count, 1, EPROTO),
		FIELD(arg_count, 0, 0),
		FIELD(arg_count, MON_EVENT_ARGS_MAX, EPROTO),
	};
	struct fake fake;
	struct mon_record record;
	struct mon_ring_stats stats;
	uint64_t invalid = 0;

	(void)state;
	fake_open(&fake, 0, ARGS);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mon_call_event call = good_call();

		call.arg_count = ARGS;
		memcpy((char *)&call + cases[i].offset, &cases[i].value, cases[i].bytes);
		put(&fake, &call, MON_CALL_EVENT_BARE_BYTES + 8 * ARGS);
		assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
		if (record.invalid != cases[i].invalid)
			fail_msg("%s gave %d", cases[i].what, record.invalid);
		invalid += record.invalid != 0;
		mon_ring_acknowledge(fake.ring, record.end);
	}
	mon_ring_stats(fake.ring, &stats);
	assert_int_equal(stats.invalid, invalid);
	fake_close(&fake);
}

static int verdict(struct fake *fake, const void *data, uint32_t length)
{
	struct mon_record record;

	put(fake, data, length);
	assert_int_equal(mon_ring_try_pop(fake->ring, &record), 0);
	assert_int_equal(record.size_bytes, length);
	mon_ring_acknowledge(fake->ring, record.end);
	return record.invalid;
}

static void test_flags(void **state)
{
	struct fake fake;

	(void)state;
	fake_open(&fake, 0, 0);
	for (uint32_t flags = 1; flags < 0x100; flags++) {
		struct mon_call_event call = good_call();
		uint32_t ends = flags & ~(uint32_t)MON_CALL_CALLER_UNKNOWN;
		bool fine = (ends & (ends - 1)) == 0 && ends <= MON_CALL_IN_FLIGHT;

		if (!(flags & MON_CALL_UNFINISHED)) /* test_record */
			continue;
		call.flags = (uint16_t)flags;
		call.caller = MON_FUNCTION_NONE;
		call.duration_ns = call.child_ns = call.ret = 0;
		assert_int_equal(verdict(&fake, &call, MON_CALL_EVENT_BARE_BYTES),
				 fine ? 0 : EPROTO);
		call.ret = 1;
		assert_int_equal(verdict(&fake, &call, MON_CALL_EVENT_BARE_BYTES), EPROTO);
	}
	fake_close(&fake);
}

static void test_sizes(void **state)
{
	struct mon_call_event call = good_call();
	struct mon_task_event task = {.kind = MON_EVENT_TASK, .version = MON_EVENT_VERSION};
	char bytes[256] = {0};
	struct fake fake;

	(void)state;
	fake_open(&fake, 0, 0);
	for (uint32_t length = 0; length < sizeof(bytes); length++) {
		memcpy(bytes, &call, sizeof(call));
		assert_int_equal(verdict(&fake, bytes, length),
				 length == MON_CALL_EVENT_BARE_BYTES ? 0 : EBADMSG);
		memcpy(bytes, &task, sizeof(task));
		assert_int_equal(verdict(&fake, bytes, length),
				 length == sizeof(task) ? 0 : EBADMSG);
	}
	task.reserved2 = 1;
	assert_int_equal(verdict(&fake, &task, sizeof(task)), EPROTO);
	fake_close(&fake);

	fake_open(&fake, 0, ARGS);
	assert_int_equal(verdict(&fake, &call, MON_CALL_EVENT_BARE_BYTES), 0); /* without */
	assert_int_equal(verdict(&fake, &call, sizeof(call)), 0);
	call.arg_count = ARGS;
	assert_int_equal(verdict(&fake, &call, MON_CALL_EVENT_BARE_BYTES), EBADMSG);
	assert_int_equal(verdict(&fake, &call, MON_CALL_EVENT_BARE_BYTES + 8), EBADMSG);
	assert_int_equal(verdict(&fake, &call, MON_CALL_EVENT_BARE_BYTES + 8 * ARGS), 0);
	assert_int_equal(verdict(&fake, &call, sizeof(call)), 0);
	fake_close(&fake);
}

#define TEXTS 2u
#define CAPTURE 10u
#define STRIDE MON_TEXT_STRIDE_BYTES(CAPTURE)

/* A call of ARGS arguments with TEXTS texts of CAPTURE bytes, as the programs write it. */
struct call_text {
	struct mon_call_event call;
	char texts[TEXTS * STRIDE];
};

static struct mon_text *text_at(struct call_text *record, unsigned which)
{
	return (struct mon_text *)(record->texts + which * STRIDE);
}

static struct call_text good_texts(void)
{
	struct call_text record = {.call = good_call()};

	record.call.kind = MON_EVENT_CALL_TEXT;
	record.call.arg_count = ARGS;
	for (unsigned i = 0; i < TEXTS; i++)
		*text_at(&record, i) = (struct mon_text){
			.slot = (uint8_t)(MON_EVENT_ARGS_MAX - i),
			.room_bytes = MON_TEXT_ROOM_BYTES(CAPTURE),
			.stored_bytes = CAPTURE,
			.true_bytes = 80000000,
		};
	return record;
}

static void test_texts(void **state)
{
	const struct text_case {
		const char *what;
		struct mon_text text;
		int invalid;
	} cases[] = {
#define TEXT(slot, flags, room, stored, reserved, known, result)          \
	{#slot "," #flags "," #room "," #stored "," #reserved "," #known, \
	 {slot, flags, room, stored, reserved, known},                    \
	 result}
		TEXT(1, 0, 16, CAPTURE, 0, CAPTURE, 0),
		TEXT(6, 0, 16, 0, 0, 0, EPROTO), /* the first one's */
		TEXT(0, 0, 16, 0, 0, 0, EPROTO),
		TEXT(7, 0, 16, 0, 0, 0, EPROTO),
		TEXT(33, 0, 16, 0, 0, 0, EPROTO), /* 1, if bits were dropped */
		TEXT(255, 0, 16, 0, 0, 0, EPROTO),
		TEXT(1, 0, 16, CAPTURE + 1, 0, 100, EPROTO),
		TEXT(1, 0, 16, 65535, 0, 80000000, EPROTO),
		TEXT(1, 0, 8, 1, 0, 1, EPROTO),
		TEXT(1, 0, 65528, 1, 0, 1, EPROTO),
		TEXT(1, 0, 16, 1, 1, 1, EPROTO),
		TEXT(1, 0, 16, 5, 0, 4, EPROTO), /* more than there was */
		TEXT(1, 0, 16, 5, 0, UINT64_MAX, 0),
		TEXT(1, MON_TEXT_TRUE_UNKNOWN, 16, CAPTURE, 0, 0, 0),
		TEXT(1, MON_TEXT_TRUE_UNKNOWN, 16, CAPTURE, 0, CAPTURE, EPROTO),
		TEXT(1, MON_TEXT_READ_FAILED, 16, 0, 0, 80000000, 0),
		TEXT(1, MON_TEXT_READ_FAILED, 16, 1, 0, 80000000, EPROTO),
		TEXT(1, MON_TEXT_READ_FAILED | MON_TEXT_TRUE_UNKNOWN, 16, 0, 0, 0, 0),
		TEXT(1, 4, 16, 0, 0, 0, EPROTO),
		TEXT(1, 0xff, 16, 0, 0, 0, EPROTO),
	};
	struct call_text record = good_texts();
	struct fake fake;

	(void)state;
	fake_open_texts(&fake, 0, ARGS, TEXTS, CAPTURE);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int invalid;

		record = good_texts();
		*text_at(&record, 1) = cases[i].text;
		invalid = verdict(&fake, &record, sizeof(record));
		if (invalid != cases[i].invalid)
			fail_msg("text %s gave %d", cases[i].what, invalid);
	}
	/* The call in front is checked as any other. */
	record = good_texts();
	record.call.function = FUNCTIONS;
	assert_int_equal(verdict(&fake, &record, sizeof(record)), EPROTO);
	record = good_texts();
	record.call.flags = MON_CALL_UNWOUND;
	assert_int_equal(verdict(&fake, &record, sizeof(record)), EPROTO);
	record = good_texts();
	record.call.arg_count = ARGS + 1;
	assert_int_equal(verdict(&fake, &record, sizeof(record)), EPROTO);
	record.call.arg_count = 0;
	assert_int_equal(verdict(&fake, &record, sizeof(record)), 0);
	/* One size for the run; and a call whose texts could not be kept. */
	record = good_texts();
	for (uint32_t size = sizeof(record.call); size < sizeof(record); size++)
		assert_int_equal(verdict(&fake, &record, size), EBADMSG);
	record.call.kind = MON_EVENT_CALL;
	assert_int_equal(verdict(&fake, &record, sizeof(record)), EBADMSG);
	assert_int_equal(verdict(&fake, &record, sizeof(record.call)), 0);
	fake_close(&fake);
	/* A run without texts knows no such record. */
	record = good_texts();
	fake_open(&fake, 0, ARGS);
	assert_int_equal(verdict(&fake, &record, sizeof(record)), EPROTO);
	fake_close(&fake);
}

/* A length that cannot be true: one invalid record up to the producer, and reading goes on. */
static void test_hostile_lengths(void **state)
{
	static const uint32_t lengths[] = {0x3fffffff, SIZE, SIZE - 7, 73, 0x3ffffff9};
	struct mon_call_event call = good_call();
	struct mon_record record, again;
	struct fake fake;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (uint32_t discard = 0; discard < 2; discard++) {
			uint64_t first, position, end;

			fake_open(&fake, (1ull << 33) + SIZE - 96,
				  0); /* near the end of the data */
			first = put(&fake, &call, MON_CALL_EVENT_BARE_BYTES);
			position = put(&fake, &call, MON_CALL_EVENT_BARE_BYTES);
			header_at(&fake, position)[0] =
				lengths[i] | (discard ? BPF_RINGBUF_DISCARD_BIT : 0);
			end = *fake.producer;
			assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
			assert_int_equal(record.position, first);
			assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
			assert_int_equal(record.invalid, EBADMSG);
			assert_int_equal(record.size_bytes, 0);
			assert_int_equal(record.position, position);
			assert_int_equal(record.end, end);
			mon_ring_peek(fake.ring, position, &again);
			assert_memory_equal(&again, &record, sizeof(record));
			/* A second one waits for the first. */
			position = put(&fake, &call, MON_CALL_EVENT_BARE_BYTES);
			header_at(&fake, position)[0] = lengths[i];
			assert_int_equal(mon_ring_try_pop(fake.ring, &again), -EAGAIN);
			mon_ring_acknowledge(fake.ring, record.end);
			assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
			assert_int_equal(record.position, position);
			assert_int_equal(record.invalid, EBADMSG);
			mon_ring_acknowledge(fake.ring, record.end);
			put(&fake, &call, MON_CALL_EVENT_BARE_BYTES);
			assert_int_equal(mon_ring_try_pop(fake.ring, &record), 0);
			assert_int_equal(record.invalid, 0);
			fake_close(&fake);
		}
}

/* Pages full of noise and any producer position: no crash (ASan, the guard page), no endless loop.
 */
static void test_noise(void **state)
{
	unsigned seed = (unsigned)mon_clock_now(&mon_clock_system);
	struct mon_record record, again;
	struct fake fake;

	(void)state;
	print_message("seed %u\n", seed);
	for (int round = 0; round < 200; round++) {
		uint64_t start = (uint64_t)rand_r(&seed) * 8;
		int popped = 0;

		fake_open_texts(&fake, start, round % 7, round % 4,
				1 + (uint32_t)rand_r(&seed) % MON_CAPTURE_BYTES_MAX(MON_TEXTS_MAX));
		for (size_t i = 0; i < SIZE; i++)
			fake.data[i] = (char)(rand_r(&seed) % (round % 2 ? 4 : 256));
		*fake.producer = start + (uint64_t)rand_r(&seed) % (4 * SIZE) / 8 * 8;
		while (!mon_ring_try_pop(fake.ring, &record)) {
			uint64_t sum = 0;

			mon_ring_peek(fake.ring, record.position, &again);
			assert_int_equal(again.end, record.end);
			assert_true(record.end > record.position && record.end <= *fake.producer);
			for (uint32_t i = 0; i < record.size_bytes; i++)
				sum += ((const unsigned char *)record.data)[i];
			assert_true(sum <= 255ull * record.size_bytes);
			assert_true(++popped <= (int)(4 * SIZE / 8));
		}
		fake_close(&fake);
	}
}

/*
 * Random reserve, commit, discard, pop, peek and acknowledge against a plain list of what was put
 * in. The positions go many times round the ring and across 2^32.
 */
static void test_random_operations(void **state)
{
	enum { LIST = 1 << 16 };
	struct put {
		uint64_t position;
		uint32_t length, tag;
		enum { BUSY, READY, DISCARDED } is;
	} *list = calloc(LIST, sizeof(*list));
	unsigned seed = (unsigned)mon_clock_now(&mon_clock_system);
	size_t produced = 0, read = 0, acknowledged = 0, kept = 0, discarded = 0;
	struct mon_ring_stats stats;
	struct mon_record record;
	struct fake fake;

	(void)state;
	assert_non_null(list);
	print_message("seed %u\n", seed);
	fake_open(&fake, (1ull << 32) - 10 * SIZE, 0);
	while (produced < LIST) {
		int dice = rand_r(&seed) % 10;

		if (dice < 4) {
			struct mon_call_event call = good_call();
			uint32_t length = rand_r(&seed) % 4 ? MON_CALL_EVENT_BARE_BYTES
							    : 8 + (uint32_t)rand_r(&seed) % 200;
			char bytes[256] = {0};
			struct put *new = &list[produced];

			if (!reserve(&fake, length, &new->position))
				continue;
			call.ret = produced;
			memcpy(bytes, &call, sizeof(call));
			memcpy(header_at(&fake, new->position) + 2, bytes, length);
			new->length = length;
			new->is = BUSY;
			produced++;
		} else if (dice < 7) {
			size_t which =
				read +
				(produced > read ? (size_t)rand_r(&seed) % (produced - read) : 0);

			for (; which < produced && list[which].is != BUSY; which++)
				;
			if (which == produced)
				continue;
			list[which].is = rand_r(&seed) % 8 ? READY : DISCARDED;
			commit(&fake, list[which].position,
			       list[which].is == DISCARDED ? BPF_RINGBUF_DISCARD_BIT : 0);
		} else if (dice < 9) {
			struct mon_record again;
			int result = mon_ring_try_pop(fake.ring, &record);

			for (; read < produced && list[read].is == DISCARDED; read++)
				discarded++;
			if (read == produced || list[read].is == BUSY) {
				assert_int_equal(result, -EAGAIN);
				continue;
			}
			assert_int_equal(result, 0);
			assert_int_equal(record.position, list[read].position);
			assert_int_equal(record.size_bytes, list[read].length);
			assert_int_equal(record.end, record.position + total(record.size_bytes));
			assert_int_equal(record.invalid,
					 list[read].length == MON_CALL_EVENT_BARE_BYTES ? 0
											: EBADMSG);
			if (!record.invalid)
				assert_int_equal(((const struct mon_call_event *)record.data)->ret,
						 read);
			mon_ring_peek(fake.ring, record.position, &again);
			assert_memory_equal(&again, &record, sizeof(record));
			read++;
			kept++;
		} else if (read > acknowledged) {
			size_t which = acknowledged + (size_t)rand_r(&seed) % (read - acknowledged);

			mon_ring_acknowledge(fake.ring,
					     list[which].position + total(list[which].length));
			acknowledged = which + 1;
			mon_ring_stats(fake.ring, &stats);
			assert_true(stats.acknowledged <= stats.read);
			assert_true(stats.read <= stats.produced);
			assert_true(stats.produced <= stats.acknowledged + SIZE);

			uint64_t position = stats.acknowledged;

			for (size_t i = acknowledged; i < read; i++) {
				if (list[i].is == DISCARDED)
					continue;
				assert_int_equal(mon_ring_walk(fake.ring, &position, &record), 0);
				assert_int_equal(record.position, list[i].position);
				assert_int_equal(record.size_bytes, list[i].length);
			}
			assert_int_equal(mon_ring_walk(fake.ring, &position, &record), -EAGAIN);
		}
	}
	mon_ring_stats(fake.ring, &stats);
	assert_int_equal(stats.records, kept);
	assert_int_equal(stats.discarded, discarded);
	assert_true(stats.produced > 1ull << 32);
	fake_close(&fake);
	free(list);
}

#define HANDOVER 20000

static void *produce(void *context)
{
	struct fake *fake = context;
	struct mon_call_event call = good_call();
	uint64_t position;

	for (uint64_t i = 0; i < HANDOVER; i++) {
		call.ret = i;
		while (!reserve(fake, MON_CALL_EVENT_BARE_BYTES, &position))
			sched_yield();
		memcpy(header_at(fake, position) + 2, &call, MON_CALL_EVENT_BARE_BYTES);
		commit(fake, position, 0);
	}
	return NULL;
}

/* One thread produces, this one reads and acknowledges: for TSan, and no byte may be torn. */
static void test_two_threads(void **state)
{
	struct fake fake;
	pthread_t thread;

	(void)state;
	fake_open(&fake, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, produce, &fake), 0);
	for (uint64_t i = 0; i < HANDOVER;) {
		struct mon_record record;

		if (mon_ring_try_pop(fake.ring, &record)) {
			sched_yield();
			continue;
		}
		assert_int_equal(record.invalid, 0);
		assert_int_equal(((const struct mon_call_event *)record.data)->ret, i++);
		mon_ring_acknowledge(fake.ring, record.end);
	}
	pthread_join(thread, NULL);
	fake_close(&fake);
}

static void test_wait(void **state)
{
	uint64_t one = 1;
	int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mon_ns before;
	struct fake fake;

	(void)state;
	assert_true(wake_fd >= 0);
	fake_open(&fake, 0, 0);
	assert_int_equal(mon_ring_wait(fake.ring, -1, 0), 0);
	assert_int_equal(mon_ring_wait(fake.ring, wake_fd, 0), 0);
	for (int i = 0; i < 3; i++) { /* each write wakes once, read by us or not */
		assert_int_equal(write(wake_fd, &one, sizeof(one)), sizeof(one));
		before = mon_clock_now(&mon_clock_system);
		assert_int_equal(mon_ring_wait(fake.ring, wake_fd, 20000), 0);
		assert_true(mon_clock_now(&mon_clock_system) - before < 10 * MON_NS_PER_S);
	}
	before = mon_clock_now(&mon_clock_system);
	assert_int_equal(mon_ring_wait(fake.ring, wake_fd, 5), 0); /* an old edge is no news */
	assert_true(mon_clock_now(&mon_clock_system) - before >= 4 * MON_NS_PER_MS);
	fake_close(&fake);
	close(wake_fd);
}

static void test_bad_options(void **state)
{
	struct mon_ring_options options = {.map_fd = -1, .size_bytes = SIZE};
	struct mon_ring *ring = NULL;

	(void)state;
	assert_int_equal(mon_ring_new(&options, &ring), -EINVAL); /* neither fd nor pages */
	options.map_fd = 0;
	options.size_bytes = SIZE + 8;
	assert_int_equal(mon_ring_new(&options, &ring), -EINVAL);
	options.size_bytes = 0;
	assert_int_equal(mon_ring_new(&options, &ring), -EINVAL);
	options.size_bytes = SIZE;
	options.arg_count = MON_EVENT_ARGS_MAX + 1;
	assert_int_equal(mon_ring_new(&options, &ring), -EINVAL);
	options.arg_count = 0;
	options.capture_bytes = 1;
	options.text_count = MON_TEXTS_MAX + 1;
	assert_int_equal(mon_ring_new(&options, &ring), -EINVAL);
	for (uint32_t count = 1; count <= MON_TEXTS_MAX; count++) {
		options.text_count = count;
		options.capture_bytes = 0;
		assert_int_equal(mon_ring_new(&options, &ring), -EINVAL);
		options.capture_bytes = MON_CAPTURE_BYTES_MAX(count) + 1;
		assert_int_equal(mon_ring_new(&options, &ring), -EINVAL);
	}
	options.text_count = 0;
	options.map_fd = eventfd(0, EFD_CLOEXEC); /* no ring buffer: mmap refuses */
	assert_true(mon_ring_new(&options, &ring) < 0);
	close(options.map_fd);
	assert_null(ring);
	mon_ring_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pop_peek_acknowledge),
		cmocka_unit_test(test_busy_then_commit),
		cmocka_unit_test(test_discarded_gives_space_back),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_hostile_lengths),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_random_operations),
		cmocka_unit_test(test_two_threads),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
