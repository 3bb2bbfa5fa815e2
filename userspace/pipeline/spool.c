// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The table of segments, and push, pop and release on it. The table is a ring of entries, oldest
 * first: the reader thread appends (push), the writer thread reads along it (pop, the cursor) and
 * takes away at the other end (release). An entry does not move while it is in the table, so either
 * thread uses its own without the lock; the lock guards the table's ends and the counters.
 *
 * A push is one pwrite for each buffer, at the offset after what was acknowledged, with zeros
 * behind it that say "the end". Only when it succeeded is that offset moved: what failed is written
 * over. Segments stay open until they were read, so that removing the directory loses nothing
 * that this process still has to read; beyond MON_SPOOL_OPEN_MAX those in the middle are closed.
 */
#include "pipeline/spool_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define READ_TRIES 3

/* ---- Push ---- */

/* Frames of as many records as fit in the buffer and in the segment. */
static size_t assemble(struct mon_spool *spool, uint32_t ring, const struct mon_record *records,
		       size_t count, size_t *bytes_out)
{
	const struct mon_spool_segment *segment = spool->active;
	size_t room = MON_SPOOL_BUFFER_BYTES - MON_SPOOL_END_BYTES, bytes = 0, taken = 0;

	if (room > segment->size_bytes - segment->written)
		room = segment->size_bytes - segment->written;
	while (taken < count) {
		size_t size = mon_spool_frame_size(&records[taken]);

		if (size > room - bytes)
			break;
		mon_spool_frame_fill(spool->push_buffer + bytes, segment->seed, ring,
				     &records[taken]);
		bytes += size;
		taken++;
	}
	*bytes_out = bytes;
	return taken;
}

static int write_out(struct mon_spool *spool, size_t bytes)
{
	const struct mon_spool_segment *segment = spool->active;
	uint64_t at = segment->written, left = segment->size_bytes - at - bytes;
	size_t end_bytes = left < MON_SPOOL_END_BYTES ? left : MON_SPOOL_END_BYTES;
	int result;

	memset(spool->push_buffer + bytes, 0, end_bytes);
	result = mon_spool_write(segment->fd, spool->push_buffer, bytes + end_bytes, at);
	if (!result && spool->options.sync && fdatasync(segment->fd))
		result = -errno;
	/* A part of it may be there and would be found after a crash. Asks for its space anew. */
	if (result && ftruncate(segment->fd, (off_t)at) == 0)
		(void)fallocate(segment->fd, 0, 0, (off_t)segment->size_bytes);
	return result;
}

static void acknowledge(struct mon_spool *spool, uint32_t ring, size_t bytes, size_t count,
			uint64_t end)
{
	pthread_mutex_lock(&spool->lock);
	spool->active->written += bytes;
	spool->active->records += count;
	spool->active->ends[ring] = end;
	spool->ends[ring] = end;
	spool->unread += count;
	spool->stats.pushed += count;
	pthread_mutex_unlock(&spool->lock);
}

int mon_spool_push(struct mon_spool *spool, uint32_t ring, const struct mon_record *records,
		   size_t count, size_t *taken_out)
{
	size_t taken = 0;
	int result = ring < MON_SPOOL_RINGS_MAX ? 0 : -EINVAL;

	if (spool->active && mon_spool_is_removed(spool->active->fd))
		mon_spool_seal(spool);
	while (!result && taken < count) {
		size_t bytes, fit;

		if (!spool->active)
			result = mon_spool_start_segment(spool);
		if (result)
			break;
		fit = assemble(spool, ring, records + taken, count - taken, &bytes);
		if (!fit) {
			mon_spool_seal(spool);
			continue;
		}
		result = write_out(spool, bytes);
		if (result)
			break;
		acknowledge(spool, ring, bytes, fit, records[taken + fit - 1].end);
		taken += fit;
	}
	*taken_out = taken;
	/* A quota or a size limit is space, too. */
	return result == -EDQUOT || result == -EFBIG ? -ENOSPC : result;
}

/* ---- Pop ---- */

/* What a pop of one call has so far. */
struct taking {
	struct mon_record *records;
	size_t max, count;
	uint8_t *memory;
	size_t memory_bytes;
	uint64_t ends[MON_SPOOL_RINGS_MAX], counts[MON_SPOOL_RINGS_MAX]; /* of each ring */
	uint64_t skipped;						 /* at or before the mark */
	bool full;							 /* no more in this call */
};

static void take(struct taking *taking, const struct mon_spool_frame *frame)
{
	struct mon_record *record = &taking->records[taking->count++];
	size_t padded = mon_spool_frame_bytes(frame->stored_bytes) - sizeof(*frame);

	*record = (struct mon_record){
		.position = frame->position,
		.end = frame->position + frame->length,
		.size_bytes = frame->stored_bytes ? frame->size_bytes : 0,
		.invalid = (int16_t)frame->invalid,
		.ring = frame->ring,
		.data = frame->stored_bytes ? taking->memory : NULL,
	};
	memcpy(taking->memory, frame + 1, padded);
	taking->memory += padded;
	taking->memory_bytes -= padded;
	taking->ends[frame->ring] = record->end;
	taking->counts[frame->ring]++;
}

static bool has_room(const struct taking *taking, const struct mon_spool_frame *frame)
{
	return taking->count < taking->max &&
	       mon_spool_frame_bytes(frame->stored_bytes) - sizeof(*frame) <= taking->memory_bytes;
}

/* Reads on in the segment until @written: 0, or -errno. */
static int take_from(struct mon_spool *spool, uint64_t written, const uint64_t *marks,
		     struct taking *taking)
{
	const struct mon_spool_frame *frame;
	int result;

	spool->reader.limit = written;
	while ((result = mon_spool_reader_peek(&spool->reader, &frame)) > 0) {
		if (frame->ring >= MON_SPOOL_RINGS_MAX ||
		    frame->position + frame->length <= marks[frame->ring]) {
			taking->skipped++;
		} else if (has_room(taking, frame)) {
			take(taking, frame);
		} else {
			taking->full = true;
			return 0;
		}
		mon_spool_reader_next(&spool->reader, frame);
	}
	return result;
}

static int begin_segment(struct mon_spool *spool, struct mon_spool_segment *segment)
{
	uint64_t size;
	int result = 0;

	if (spool->is_reading && spool->reading == segment->sequence)
		return 0;
	if (segment->fd < 0) {
		result = mon_spool_segment_open(spool->directory_fd, spool->run_uuid,
						segment->sequence, &segment->fd, &segment->seed,
						&size);
		if (result)
			return result;
		pthread_mutex_lock(&spool->lock);
		spool->open++;
		pthread_mutex_unlock(&spool->lock);
	}
	spool->reader = (struct mon_spool_reader){
		.fd = segment->fd,
		.seed = segment->seed,
		.at = sizeof(struct mon_spool_header),
		.buffer = spool->pop_buffer,
	};
	spool->reading = segment->sequence;
	spool->is_reading = true;
	spool->read_failures = 0;
	return 0;
}

/* The disk does not give it: later, unless it was tried often enough or the file is gone. */
static bool is_given_up(struct mon_spool *spool, int error)
{
	if (error == -EMFILE || error == -ENFILE || error == -ENOMEM)
		return false;
	if (error != -EIO)
		return true;
	if (++spool->read_failures < READ_TRIES)
		return false;
	spool->read_failures = 0;
	return true;
}

static void remember_batch(struct mon_spool *spool, uint32_t ring, uint64_t end, uint64_t count)
{
	struct mon_spool_batch *batches = spool->batches[ring];
	size_t *used = &spool->batch_counts[ring];

	if (*used < MON_SPOOL_BATCHES_MAX) {
		batches[(*used)++] = (struct mon_spool_batch){end, count};
	} else {
		batches[*used - 1].end = end;
		batches[*used - 1].count += count;
	}
}

/* With the lock held, but for a moment. It was read to its end: only its name is needed now. */
static void pass_segment(struct mon_spool *spool, struct mon_spool_segment *segment)
{
	spool->cursor++;
	spool->is_reading = false;
	if (segment->fd < 0)
		return;
	spool->open--;
	pthread_mutex_unlock(&spool->lock);
	(void)close(TAKE_FD(segment->fd));
	pthread_mutex_lock(&spool->lock);
}

size_t mon_spool_pop(struct mon_spool *spool, struct mon_record *records, size_t max, void *memory,
		     size_t memory_bytes)
{
	size_t misaligned = -(uintptr_t)memory % 8;
	struct taking taking = {
		.records = records,
		.max = max,
		.memory = (uint8_t *)memory + misaligned,
		.memory_bytes = memory_bytes > misaligned ? memory_bytes - misaligned : 0,
	};
	bool more = true;

	pthread_mutex_lock(&spool->lock);
	while (more && !taking.full && spool->cursor < spool->count) {
		struct mon_spool_segment *segment = mon_spool_entry(spool, spool->cursor);
		uint64_t written = segment->written, before = taking.count, lost;
		uint64_t marks[MON_SPOOL_RINGS_MAX];
		bool sealed = segment->sealed, at_end = false;
		uint64_t records_there = segment->records;
		int result = 0;

		memcpy(marks, spool->marks, sizeof(marks));
		pthread_mutex_unlock(&spool->lock);
		taking.skipped = 0;
		result = begin_segment(spool, segment);
		if (!result)
			result = take_from(spool, written, marks, &taking);
		if (!result)
			at_end = !taking.full;
		else
			at_end = sealed && is_given_up(spool, result);
		pthread_mutex_lock(&spool->lock);
		segment->seen += taking.count - before + taking.skipped;
		spool->unread -= taking.count - before + taking.skipped;
		spool->unreleased += taking.count - before;
		spool->stats.popped += taking.count - before;
		spool->stats.released += taking.skipped;
		if (at_end) { /* what it held and did not give is lost */
			lost = records_there > segment->seen ? records_there - segment->seen : 0;
			segment->seen += lost;
			spool->unread -= lost;
			spool->stats.damaged += lost;
		}
		more = at_end && sealed;
		if (more)
			pass_segment(spool, segment);
	}
	for (uint32_t ring = 0; ring < MON_SPOOL_RINGS_MAX; ring++)
		if (taking.counts[ring])
			remember_batch(spool, ring, taking.ends[ring], taking.counts[ring]);
	pthread_mutex_unlock(&spool->lock);
	return taking.count;
}

/* ---- Release ---- */

static void settle_batches(struct mon_spool *spool, uint32_t ring)
{
	struct mon_spool_batch *batches = spool->batches[ring];
	size_t kept = 0;

	for (size_t i = 0; i < spool->batch_counts[ring]; i++)
		if (batches[i].end <= spool->marks[ring]) {
			spool->unreleased -= batches[i].count;
			spool->stats.released += batches[i].count;
		} else {
			batches[kept++] = batches[i];
		}
	spool->batch_counts[ring] = kept;
}

static bool is_committed(const struct mon_spool *spool, const struct mon_spool_segment *segment)
{
	for (size_t i = 0; i < MON_SPOOL_RINGS_MAX; i++)
		if (segment->ends[i] > spool->marks[i])
			return false;
	return true;
}

/* With the lock held. Takes the oldest out of the table. */
static void detach_oldest(struct mon_spool *spool, struct mon_spool_segment *segment_out)
{
	struct mon_spool_segment *segment = mon_spool_entry(spool, 0);
	uint64_t unread = segment->records - segment->seen;

	*segment_out = *segment;
	if (segment->fd >= 0)
		spool->open--;
	if (spool->is_reading && spool->reading == segment->sequence)
		spool->is_reading = false;
	spool->unread -= unread;
	spool->stats.released += unread;
	spool->head = (spool->head + 1) % spool->capacity;
	spool->count--;
	if (spool->cursor)
		spool->cursor--;
}

void mon_spool_release(struct mon_spool *spool, uint32_t ring, uint64_t mark)
{
	struct mon_spool_segment segment;

	if (ring >= MON_SPOOL_RINGS_MAX)
		return;
	pthread_mutex_lock(&spool->lock);
	if (mark > spool->marks[ring])
		spool->marks[ring] = mark;
	settle_batches(spool, ring);
	while (spool->count && mon_spool_entry(spool, 0)->sealed &&
	       is_committed(spool, mon_spool_entry(spool, 0))) {
		detach_oldest(spool, &segment);
		pthread_mutex_unlock(&spool->lock);
		mon_spool_give_back(spool, &segment);
		pthread_mutex_lock(&spool->lock);
	}
	pthread_mutex_unlock(&spool->lock);
}

void mon_spool_release_all(struct mon_spool *spool)
{
	for (uint32_t ring = 0; ring < MON_SPOOL_RINGS_MAX; ring++)
		mon_spool_release(spool, ring, UINT64_MAX);
}

/* ---- Questions ---- */

bool mon_spool_drained(struct mon_spool *spool)
{
	bool drained;

	pthread_mutex_lock(&spool->lock);
	drained = spool->unread == 0;
	pthread_mutex_unlock(&spool->lock);
	return drained;
}

uint64_t mon_spool_end(struct mon_spool *spool, uint32_t ring)
{
	uint64_t end = 0;

	pthread_mutex_lock(&spool->lock);
	if (ring < MON_SPOOL_RINGS_MAX)
		end = spool->ends[ring];
	pthread_mutex_unlock(&spool->lock);
	return end;
}

void mon_spool_stats(struct mon_spool *spool, struct mon_spool_stats *stats_out)
{
	pthread_mutex_lock(&spool->lock);
	*stats_out = spool->stats;
	stats_out->waiting = spool->unread + spool->unreleased;
	stats_out->segments = spool->count;
	stats_out->max_bytes = spool->options.max_bytes;
	stats_out->reserve_bytes = spool->spare_count * spool->options.segment_bytes;
	pthread_mutex_unlock(&spool->lock);
}
