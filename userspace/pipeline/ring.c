// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel's ring buffer (kernel/bpf/ringbuf.c), read by ourselves. Its map is mapped as a
 * consumer page that we write, a producer page that we only read, the data, and the data's first
 * page once more, so that a record which wraps is still contiguous. (The kernel would map all of
 * the data twice; a record is far smaller than a page, and mapped pages count as ours in RSS.) Each
 * record is a header (u32 length with a busy
 * and a discard bit, u32 page offset), the payload, and padding to 8 bytes.
 *
 * The reader thread pops and acknowledges, the writer thread peeks; `read` and the counts are
 * written by the reader only, the consumer position by whoever acknowledges, all as atomics. A
 * length is believed only when header and payload lie inside the ring and before the producer:
 * nothing is read out of bounds whatever the pages hold. Nothing allocates after new.
 */
#include "pipeline/ring.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#define HEADER_BYTES 8
#define SIZE_MAX_BYTES (1ull << 30)

struct mon_ring {
	const char *data; /* size bytes, and the first page of them again */
	uint64_t mask;
	const uint64_t *producer;
	uint64_t *consumer;

	/* The reader's; others only load them. */
	uint64_t read;
	uint64_t produced_seen;	  /* what `producer` was when last looked at */
	uint64_t discarded_since; /* everything in [this, read) was discarded */
	uint64_t records, discarded, invalid;

	/*
	 * A header whose length cannot be true: everything up to where the producer was is one
	 * invalid record. One at a time; the next waits until this one is acknowledged.
	 */
	uint64_t broken_position, broken_end;

	struct mon_record_shape shape;
	uint16_t number;
	void *mapped[2];
	size_t mapped_bytes[2];
};

static uint64_t load_acquire(const uint64_t *position)
{
	return __atomic_load_n(position, __ATOMIC_ACQUIRE);
}

static uint64_t load(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* For values with one writing thread: no locked instruction needed. */
static void add(uint64_t *value, uint64_t amount)
{
	__atomic_store_n(value, *value + amount, __ATOMIC_RELEASE);
}

static int map_pages(struct mon_ring *ring, const struct mon_ring_options *options, size_t page)
{
	size_t bytes[2] = {page, page + options->size_bytes + page};
	off_t offsets[2] = {0, (off_t)page};
	int protections[2] = {PROT_READ | PROT_WRITE, PROT_READ};

	for (int i = 0; i < 2; i++) {
		void *memory = mmap(NULL, bytes[i], protections[i], MAP_SHARED, options->map_fd,
				    offsets[i]);

		if (memory == MAP_FAILED)
			return -errno;
		ring->mapped[i] = memory;
		ring->mapped_bytes[i] = bytes[i];
	}
	return 0;
}

MON_DEFINE_CLEANUP(ring, struct mon_ring *, mon_ring_free)

int mon_ring_new(const struct mon_ring_options *options, struct mon_ring **ring_out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size = options->size_bytes;
	MON_CLEANUP(mon_cleanup_ring) struct mon_ring *ring = NULL;
	bool fake = options->consumer_page && options->producer_pages;
	int result;

	if (options->number >= MON_RINGS_MAX || size < page || size > SIZE_MAX_BYTES ||
	    (size & (size - 1)) || options->arg_count > MON_EVENT_ARGS_MAX ||
	    (!fake && options->map_fd < 0))
		return -EINVAL;
	if (options->text_count > MON_TEXTS_MAX ||
	    (options->text_count &&
	     (!options->capture_bytes ||
	      options->capture_bytes > MON_CAPTURE_BYTES_MAX(options->text_count))))
		return -EINVAL;
	if (options->stack_frames > MON_STACK_FRAMES_MAX)
		return -EINVAL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	if (!fake) {
		result = map_pages(ring, options, page);
		if (result)
			return result;
	}
	ring->consumer = fake ? options->consumer_page : ring->mapped[0];
	ring->producer = fake ? options->producer_pages : ring->mapped[1];
	ring->data = (const char *)ring->producer + page;
	ring->mask = size - 1;
	ring->number = options->number;
	ring->shape = (struct mon_record_shape){
		.function_count = options->function_count,
		.arg_count = options->arg_count,
		.text_count = options->text_count,
		.capture_bytes = options->capture_bytes,
		.stack_frames = options->stack_frames,
	};
	ring->read = load_acquire(ring->consumer);
	ring->discarded_since = ring->read;
	ring->produced_seen = ring->read;
	ring->broken_position = UINT64_MAX;
	*ring_out = TAKE_PTR(ring);
	return 0;
}

void mon_ring_free(struct mon_ring *ring)
{
	if (!ring)
		return;
	for (int i = 0; i < 2; i++)
		if (ring->mapped[i])
			(void)munmap(ring->mapped[i], ring->mapped_bytes[i]);
	free(ring);
}

static uint32_t header_at(const struct mon_ring *ring, uint64_t position)
{
	const uint32_t *header = (const uint32_t *)(ring->data + (position & ring->mask));

	/* Pairs with the xchg of the kernel's commit: the payload is there when busy is gone. */
	return __atomic_load_n(header, __ATOMIC_ACQUIRE);
}

static uint64_t total_bytes(uint32_t length)
{
	return ((uint64_t)length + HEADER_BYTES + 7) & ~7ull;
}

static void fill(const struct mon_ring *ring, uint64_t position, uint32_t length,
		 struct mon_record *record)
{
	record->ring = ring->number;
	record->position = position;
	record->end = position + total_bytes(length);
	record->data = ring->data + (position & ring->mask) + HEADER_BYTES;
	record->size_bytes = length;
	record->invalid = mon_record_check(&ring->shape, record->data, length);
}

static void fill_broken(const struct mon_ring *ring, struct mon_record *record)
{
	record->ring = ring->number;
	record->position = ring->broken_position;
	record->end = ring->broken_end;
	record->data = ring->data + (ring->broken_position & ring->mask);
	record->size_bytes = 0;
	record->invalid = EBADMSG;
}

/* Nothing to read: space that holds only discarded records has nobody else to give it back. */
static int none_ready(struct mon_ring *ring)
{
	if (ring->discarded_since != ring->read &&
	    load_acquire(ring->consumer) == ring->discarded_since) {
		mon_ring_acknowledge(ring, ring->read);
		ring->discarded_since = ring->read;
	}
	return -EAGAIN;
}

static int pop_broken(struct mon_ring *ring, struct mon_record *record)
{
	if (ring->broken_position != UINT64_MAX && load_acquire(ring->consumer) < ring->broken_end)
		return none_ready(ring);
	ring->broken_end = ring->produced_seen;
	__atomic_store_n(&ring->broken_position, ring->read, __ATOMIC_RELEASE);
	fill_broken(ring, record);
	return 0;
}

int mon_ring_try_pop(struct mon_ring *ring, struct mon_record *record_out)
{
	for (;;) {
		uint64_t position = ring->read;
		uint64_t ready;
		uint32_t header, length;

		if (position >= ring->produced_seen) {
			ring->produced_seen = load_acquire(ring->producer);
			if (position >= ring->produced_seen)
				return none_ready(ring);
		}
		header = header_at(ring, position);
		if (header & BPF_RINGBUF_BUSY_BIT)
			return none_ready(ring);
		length = header & ~BPF_RINGBUF_DISCARD_BIT;
		ready = ring->produced_seen - position;
		if (total_bytes(length) > ready || total_bytes(length) > ring->mask + 1) {
			int result = pop_broken(ring, record_out);

			if (result)
				return result;
		} else if (header & BPF_RINGBUF_DISCARD_BIT) {
			add(&ring->read, total_bytes(length));
			add(&ring->discarded, 1);
			continue;
		} else {
			fill(ring, position, length, record_out);
		}
		add(&ring->read, record_out->end - position);
		ring->discarded_since = ring->read;
		add(&ring->records, 1);
		if (__builtin_expect(record_out->invalid != 0, 0))
			add(&ring->invalid, 1);
		return 0;
	}
}

void mon_ring_peek(const struct mon_ring *ring, uint64_t position, struct mon_record *record_out)
{
	uint32_t length = header_at(ring, position);

	if (__builtin_expect(position == load_acquire(&ring->broken_position), 0))
		fill_broken(ring, record_out);
	else /* pop saw a true length; were it to change, still nothing outside is read */
		fill(ring, position, total_bytes(length) > ring->mask + 1 ? 0 : length, record_out);
}

int mon_ring_walk(const struct mon_ring *ring, uint64_t *position, struct mon_record *record_out)
{
	uint64_t read = load_acquire(&ring->read);

	while (*position < read) {
		uint32_t length = header_at(ring, *position);

		if (*position != load_acquire(&ring->broken_position) &&
		    (length & BPF_RINGBUF_DISCARD_BIT)) {
			*position += total_bytes(length & ~BPF_RINGBUF_DISCARD_BIT);
			continue;
		}
		mon_ring_peek(ring, *position, record_out);
		*position = record_out->end;
		return 0;
	}
	return -EAGAIN;
}

const struct mon_record_shape *mon_ring_shape(const struct mon_ring *ring)
{
	return &ring->shape;
}

void mon_ring_acknowledge(struct mon_ring *ring, uint64_t end)
{
	uint64_t now = load(ring->consumer);

	/* Release: our reads of the records come before the kernel writes over them. */
	while (end > now && !__atomic_compare_exchange_n(ring->consumer, &now, end, true,
							 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

void mon_ring_stats(const struct mon_ring *ring, struct mon_ring_stats *stats_out)
{
	struct mon_ring_stats stats = {.size_bytes = ring->mask + 1};

	/* In this order, so that acknowledged <= read <= produced holds in what is returned. */
	stats.acknowledged = load_acquire(ring->consumer);
	stats.read = load_acquire(&ring->read);
	stats.produced = load_acquire(ring->producer);
	stats.records = load(&ring->records);
	stats.discarded = load(&ring->discarded);
	stats.invalid = load(&ring->invalid);
	*stats_out = stats;
}
