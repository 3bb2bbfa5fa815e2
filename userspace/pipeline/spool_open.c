// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A spool begins and ends. What an earlier monitor of the same run left is walked once, frame by
 * frame, to know how many records wait and where each ring ended; it is read again by pop. New
 * records go into a new segment always: nothing is appended to what may be torn. Main thread.
 */
#include "pipeline/spool_internal.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096ull
#define LEFT_MAX 65536 /* segments of an earlier monitor */

/* Sequences of our run's segments. */
struct left {
	struct mon_spool *spool;
	uint64_t *sequences;
	size_t count, room;
};

static int compare_sequences(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return (one > other) - (one < other);
}

/* A file of the reserve that is what it should be is kept: the disk may be full by now. */
static void adopt_spare(struct mon_spool *spool, const char *name, uint64_t number)
{
	struct stat status;

	if (fstatat(spool->directory_fd, name, &status, AT_SYMLINK_NOFOLLOW))
		return;
	if (S_ISREG(status.st_mode) && (uint64_t)status.st_size == spool->options.segment_bytes &&
	    (uint64_t)status.st_blocks * 512 >= spool->options.segment_bytes &&
	    mon_spool_add_spare(spool, number)) {
		if (number >= spool->next_spare)
			spool->next_spare = number + 1;
		return;
	}
	(void)unlinkat(spool->directory_fd, name, 0);
}

static int sort_out(void *context, const char *name)
{
	struct left *left = context;
	struct mon_spool *spool = left->spool;
	char run_uuid[MON_SPOOL_UUID_BYTES];
	uint64_t number;

	if (mon_spool_spare_parse(name, &number)) {
		adopt_spare(spool, name, number);
	} else if (strcmp(name, MON_SPOOL_NEW_NAME) == 0) {
		(void)unlinkat(spool->directory_fd, name, 0);
	} else if (mon_spool_name_parse(name, run_uuid, &number)) {
		if (strcmp(run_uuid, spool->run_uuid) != 0) {
			spool->stats.foreign_segments++;
			return 0;
		}
		if (left->count == LEFT_MAX)
			return -EFBIG;
		if (left->count == left->room) {
			size_t room = left->room ? left->room * 2 : 64;
			uint64_t *grown = realloc(left->sequences, room * sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			left->sequences = grown;
			left->room = room;
		}
		left->sequences[left->count++] = number;
	}
	return 0;
}

/* Learns what is in it: 0, or -errno when it cannot be read. */
static int walk(struct mon_spool *spool, struct mon_spool_segment *segment)
{
	struct mon_spool_reader reader = {
		.fd = segment->fd,
		.seed = segment->seed,
		.at = sizeof(struct mon_spool_header),
		.limit = segment->size_bytes,
		.buffer = spool->pop_buffer,
	};
	const struct mon_spool_frame *frame;
	int result;

	while ((result = mon_spool_reader_peek(&reader, &frame)) > 0) {
		uint64_t end = frame->position + frame->length;

		if (frame->ring < MON_SPOOL_RINGS_MAX && end > segment->ends[frame->ring])
			segment->ends[frame->ring] = end;
		segment->records++;
		mon_spool_reader_next(&reader, frame);
		segment->written = reader.at;
	}
	spool->stats.damaged += reader.damaged;
	return result;
}

/* It is not ours to read, or not to be read: renamed, so that a look at it is still possible. */
static int set_aside(struct mon_spool *spool, uint64_t sequence)
{
	char name[MON_SPOOL_NAME_BYTES];
	int result;

	mon_spool_name_fill(name, spool->run_uuid, sequence);
	result = mon_spool_set_aside(spool->directory_fd, name);
	spool->stats.segments_set_aside += !result;
	return result;
}

static int find_segment(struct mon_spool *spool, uint64_t sequence)
{
	struct mon_spool_segment segment = {
		.sequence = sequence,
		.fd = -1,
		.sealed = true,
		.written = sizeof(struct mon_spool_header),
	};
	int result = mon_spool_segment_open(spool->directory_fd, spool->run_uuid, sequence,
					    &segment.fd, &segment.seed, &segment.size_bytes);

	if (sequence >= spool->next_sequence)
		spool->next_sequence = sequence + 1;
	if (!result)
		result = walk(spool, &segment);
	if (result && segment.fd >= 0)
		(void)close(segment.fd);
	if (result == -ENOMEM || result == -EMFILE || result == -ENFILE)
		return result;
	if (result)
		return set_aside(spool, sequence);
	if (spool->open < spool->open_max)
		spool->open++;
	else
		(void)close(TAKE_FD(segment.fd));
	for (size_t i = 0; i < MON_SPOOL_RINGS_MAX; i++)
		if (segment.ends[i] > spool->ends[i])
			spool->ends[i] = segment.ends[i];
	spool->unread += segment.records;
	spool->stats.used_bytes += segment.size_bytes;
	*mon_spool_entry(spool, spool->count++) = segment;
	return 0;
}

static int find_left(struct mon_spool *spool, struct left *left)
{
	int result = mon_spool_directory_list(spool->directory_fd, sort_out, left);

	if (result)
		return result;
	spool->capacity = spool->options.max_bytes / spool->options.segment_bytes + 1 + left->count;
	spool->segments = mon_budget_calloc(spool->options.budget, MON_BUDGET_SPOOL,
					    spool->capacity * sizeof(*spool->segments));
	if (!spool->segments)
		return -ENOMEM;
	if (left->count)
		qsort(left->sequences, left->count, sizeof(*left->sequences), compare_sequences);
	for (size_t i = 0; !result && i < left->count; i++)
		result = find_segment(spool, left->sequences[i]);
	return result;
}

static uint64_t at_least(uint64_t value, uint64_t normal, uint64_t least)
{
	if (!value)
		value = normal;
	return value < least ? least : value;
}

static void settle_options(struct mon_spool_options *options)
{
	uint64_t least;

	options->max_bytes = at_least(options->max_bytes, MON_SPOOL_MAX_BYTES_DEFAULT,
				      MON_SPOOL_SEGMENT_BYTES_MIN);
	least = options->max_bytes / MON_SPOOL_SEGMENTS_MAX;
	if (least < MON_SPOOL_SEGMENT_BYTES_MIN)
		least = MON_SPOOL_SEGMENT_BYTES_MIN;
	options->segment_bytes =
		at_least(options->segment_bytes, MON_SPOOL_SEGMENT_BYTES_DEFAULT, least);
	options->segment_bytes = (options->segment_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	if (options->segment_bytes > options->max_bytes)
		options->segment_bytes = options->max_bytes & ~(PAGE_BYTES - 1);
	if (!options->reserve_bytes && !options->no_reserve)
		options->reserve_bytes = MON_SPOOL_RESERVE_BYTES_DEFAULT;
	if (options->no_reserve)
		options->reserve_bytes = 0;
	if (options->reserve_bytes > options->max_bytes)
		options->reserve_bytes = options->max_bytes;
}

static size_t open_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 4 > MON_SPOOL_OPEN_MAX)
		return MON_SPOOL_OPEN_MAX;
	return limit.rlim_cur / 4;
}

static int fill(struct mon_spool *spool, struct mon_error *error)
{
	struct left left = {.spool = spool};
	int result = mon_spool_directory_open(&spool->options, &spool->directory_fd, error);

	if (result)
		return result;
	spool->push_buffer =
		mon_budget_calloc(spool->options.budget, MON_BUDGET_SPOOL, MON_SPOOL_BUFFER_BYTES);
	spool->pop_buffer =
		mon_budget_calloc(spool->options.budget, MON_BUDGET_SPOOL, MON_SPOOL_BUFFER_BYTES);
	if (spool->push_buffer && spool->pop_buffer)
		result = find_left(spool, &left);
	else
		result = -ENOMEM;
	free(left.sequences);
	if (result == -ENOMEM)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				     "no memory for the spool; raise --memory-budget");
	if (result)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "the spool in %s cannot be read: %s; move its files away, or "
				     "name another directory with --spool-dir",
				     MON_ESCAPED(spool->path), strerror(-result));
	mon_spool_make_reserve(spool);
	return 0;
}

int mon_spool_new(const struct mon_spool_options *options, struct mon_spool **spool_out,
		  struct mon_error *error)
{
	struct mon_spool *spool;
	int result;

	if (!mon_spool_is_uuid(options->run_uuid) ||
	    options->run_uuid[MON_SPOOL_UUID_BYTES - 1] != '\0')
		return mon_error_set(error, MON_EXIT_RUNTIME, EINVAL,
				     "the spool was given no UUID but '%s'",
				     MON_ESCAPED(options->run_uuid));
	spool = calloc(1, sizeof(*spool));
	if (!spool)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "no memory for the spool");
	(void)pthread_mutex_init(&spool->lock, NULL); /* cannot fail without attributes */
	spool->directory_fd = -1;
	spool->options = *options;
	settle_options(&spool->options);
	spool->spares_max = spool->options.reserve_bytes / spool->options.segment_bytes;
	spool->open_max = open_max();
	memcpy(spool->run_uuid, options->run_uuid, MON_SPOOL_UUID_BYTES);
	spool->path = strdup(options->path);
	spool->options.path = spool->path;
	result = spool->path ? fill(spool, error)
			     : mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
					     "no memory for the spool");
	if (result) {
		mon_spool_free(spool);
		return result;
	}
	*spool_out = spool;
	return 0;
}

/* What waits in it stays, without the space behind it; what does not wait goes. */
static void leave(struct mon_spool *spool, struct mon_spool_segment *segment)
{
	char name[MON_SPOOL_NAME_BYTES];
	bool waits = false;

	mon_spool_name_fill(name, spool->run_uuid, segment->sequence);
	for (size_t i = 0; i < MON_SPOOL_RINGS_MAX; i++)
		waits = waits || segment->ends[i] > spool->marks[i];
	if (!waits)
		(void)unlinkat(spool->directory_fd, name, 0);
	else if (segment == spool->active)
		(void)!ftruncate(segment->fd, (off_t)segment->written);
	if (segment->fd >= 0)
		(void)close(segment->fd);
}

/* Only if it is still the one that we opened; not when something is in it. */
static void remove_directory(const struct mon_spool *spool)
{
	struct stat ours, there;

	if (fstat(spool->directory_fd, &ours) == 0 && lstat(spool->path, &there) == 0 &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		(void)rmdir(spool->path);
}

void mon_spool_free(struct mon_spool *spool)
{
	if (!spool)
		return;
	for (size_t i = 0; i < spool->count; i++)
		leave(spool, mon_spool_entry(spool, i));
	for (size_t i = 0; i < spool->spare_count; i++) {
		char name[MON_SPOOL_NAME_BYTES];

		mon_spool_spare_name(name, spool->spares[i]);
		(void)unlinkat(spool->directory_fd, name, 0);
	}
	if (spool->directory_fd >= 0) {
		remove_directory(spool);
		(void)close(spool->directory_fd);
	}
	mon_budget_free_bytes(spool->options.budget, MON_BUDGET_SPOOL, spool->segments,
			      spool->capacity * sizeof(*spool->segments));
	mon_budget_free_bytes(spool->options.budget, MON_BUDGET_SPOOL, spool->push_buffer,
			      MON_SPOOL_BUFFER_BYTES);
	mon_budget_free_bytes(spool->options.budget, MON_BUDGET_SPOOL, spool->pop_buffer,
			      MON_SPOOL_BUFFER_BYTES);
	(void)pthread_mutex_destroy(&spool->lock);
	free(spool->path);
	free(spool);
}
