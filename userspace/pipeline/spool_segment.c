// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One segment: its header, its frames, and reading them when not all of them are whole.
 *
 * A frame's CRC begins with the header's, which holds the run, the sequence and a random number. So
 * bytes of an earlier life of the file never pass for a frame, wherever the reader looks for one.
 * After a damaged frame the next one is where its length says, if a whole frame or the end is
 * there; else it is looked for at every multiple of 8.
 */
#include "pipeline/spool_internal.h"

#include "base/cleanup.h"
#include "base/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_BYTES 8

void mon_spool_header_fill(struct mon_spool_header *header, const char *run_uuid, uint64_t sequence,
			   uint64_t salt)
{
	*header = (struct mon_spool_header){
		.byte_order = MON_SPOOL_BYTE_ORDER,
		.version = MON_SPOOL_VERSION,
		.header_bytes = sizeof(*header),
		.sequence = sequence,
		.salt = salt,
	};
	memcpy(header->magic, MON_SPOOL_MAGIC, sizeof(header->magic));
	memcpy(header->run_uuid, run_uuid, MON_SPOOL_UUID_BYTES - 1);
	header->crc = mon_crc32c(0, header, offsetof(struct mon_spool_header, crc));
}

int mon_spool_header_check(const struct mon_spool_header *header, const char *run_uuid,
			   uint64_t sequence)
{
	if (memcmp(header->magic, MON_SPOOL_MAGIC, sizeof(header->magic)) != 0 ||
	    header->byte_order != MON_SPOOL_BYTE_ORDER)
		return -EBADMSG;
	/* Another version may keep its CRC elsewhere. */
	if (header->version != MON_SPOOL_VERSION)
		return -EPROTONOSUPPORT;
	if (header->header_bytes != sizeof(*header) ||
	    header->crc != mon_crc32c(0, header, offsetof(struct mon_spool_header, crc)) ||
	    header->sequence != sequence ||
	    memcmp(header->run_uuid, run_uuid, MON_SPOOL_UUID_BYTES) != 0)
		return -EBADMSG;
	return 0;
}

static uint16_t stored_bytes(const struct mon_record *record)
{
	if (!record->data)
		return 0;
	return (uint16_t)(record->size_bytes < MON_RING_READABLE_BYTES ? record->size_bytes
								       : MON_RING_READABLE_BYTES);
}

size_t mon_spool_frame_size(const struct mon_record *record)
{
	return mon_spool_frame_bytes(stored_bytes(record));
}

/* Says how much is stored what the other fields say? A flipped bit in either is found by that. */
static bool is_consistent(const struct mon_spool_frame *frame)
{
	uint32_t size = frame->size_bytes < MON_RING_READABLE_BYTES ? frame->size_bytes
								    : MON_RING_READABLE_BYTES;

	return frame->mark == MON_SPOOL_MARK &&
	       (frame->stored_bytes ? frame->stored_bytes == size : frame->invalid != 0);
}

static uint32_t frame_crc(uint32_t seed, const struct mon_spool_frame *frame)
{
	return mon_crc32c(seed, &frame->mark,
			  mon_spool_frame_bytes(frame->stored_bytes) - sizeof(frame->crc));
}

void mon_spool_frame_fill(void *memory, uint32_t seed, uint32_t ring,
			  const struct mon_record *record)
{
	struct mon_spool_frame *frame = memory;
	uint16_t stored = stored_bytes(record);
	uint8_t *payload = (uint8_t *)(frame + 1);

	*frame = (struct mon_spool_frame){
		.mark = MON_SPOOL_MARK,
		.position = record->position,
		.length = (uint32_t)(record->end - record->position),
		.size_bytes = record->size_bytes,
		.invalid = stored || record->invalid ? record->invalid : EBADMSG,
		.stored_bytes = stored,
		.ring = (uint16_t)ring,
	};
	if (stored)
		memcpy(payload, record->data, stored);
	memset(payload + stored, 0, mon_spool_frame_bytes(stored) - sizeof(*frame) - stored);
	frame->crc = frame_crc(seed, frame);
}

bool mon_spool_is_uuid(const char *text)
{
	static const char pattern[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(pattern) - 1; i++)
		if (pattern[i] == '-' ? text[i] != '-'
				      : !text[i] || !strchr("0123456789abcdef", text[i]))
			return false;
	return true;
}

void mon_spool_name_fill(char name[MON_SPOOL_NAME_BYTES], const char *run_uuid, uint64_t sequence)
{
	(void)snprintf(name, MON_SPOOL_NAME_BYTES, "%s.%016llx.seg", run_uuid,
		       (unsigned long long)sequence);
}

bool mon_spool_name_parse(const char *name, char run_uuid[MON_SPOOL_UUID_BYTES],
			  uint64_t *sequence_out)
{
	const char *digits = name + MON_SPOOL_UUID_BYTES;
	uint64_t sequence = 0;

	if (!mon_spool_is_uuid(name) || name[MON_SPOOL_UUID_BYTES - 1] != '.')
		return false;
	for (size_t i = 0; i < 16; i++) {
		static const char hex[] = "0123456789abcdef";
		const char *digit = digits[i] ? strchr(hex, digits[i]) : NULL;

		if (!digit)
			return false;
		sequence = sequence << 4 | (uint64_t)(digit - hex);
	}
	if (strcmp(digits + 16, ".seg") != 0)
		return false;
	memcpy(run_uuid, name, MON_SPOOL_UUID_BYTES - 1);
	run_uuid[MON_SPOOL_UUID_BYTES - 1] = '\0';
	*sequence_out = sequence;
	return true;
}

int mon_spool_segment_open(int directory_fd, const char *run_uuid, uint64_t sequence, int *fd_out,
			   uint32_t *seed_out, uint64_t *size_out)
{
	char name[MON_SPOOL_NAME_BYTES];
	struct mon_spool_header header;
	struct stat status;
	MON_CLOSE int fd = -1;
	ssize_t bytes;
	int result;

	mon_spool_name_fill(name, run_uuid, sequence);
	/* Looked at before: opening a FIFO or a device can do things. */
	if (fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -ENOTSUP;
	fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -ENOTSUP;
	bytes = pread(fd, &header, sizeof(header), 0);
	if (bytes < 0)
		return -errno;
	result = (size_t)bytes < sizeof(header)
			 ? -EBADMSG
			 : mon_spool_header_check(&header, run_uuid, sequence);
	if (result)
		return result;
	*fd_out = TAKE_FD(fd);
	*seed_out = header.crc;
	*size_out = (uint64_t)status.st_size;
	return 0;
}

/* What of a frame's size is in the buffer then, or -errno. A file that ended early is shorter. */
static ssize_t look(struct mon_spool_reader *reader, uint64_t at, const void **bytes_out)
{
	uint64_t there = at < reader->limit ? reader->limit - at : 0;
	uint64_t want = there < MON_SPOOL_FRAME_MAX ? there : MON_SPOOL_FRAME_MAX;

	if (at < reader->window_at || at + want > reader->window_at + reader->window_bytes) {
		size_t room = there < MON_SPOOL_BUFFER_BYTES ? there : MON_SPOOL_BUFFER_BYTES;

		reader->window_at = at;
		reader->window_bytes = 0;
		while (reader->window_bytes < room) {
			ssize_t bytes = pread(reader->fd, reader->buffer + reader->window_bytes,
					      room - reader->window_bytes,
					      (off_t)(at + reader->window_bytes));

			if (bytes < 0 && errno == EINTR)
				continue;
			if (bytes < 0) {
				reader->window_bytes = 0;
				return -errno;
			}
			if (bytes == 0) {
				reader->limit = at + reader->window_bytes;
				break;
			}
			reader->window_bytes += (size_t)bytes;
		}
		if (want > reader->window_bytes)
			want = reader->window_bytes;
	}
	*bytes_out = reader->buffer + (at - reader->window_at);
	return (ssize_t)want;
}

/* 1: a whole frame is there. */
static int is_whole(struct mon_spool_reader *reader, uint64_t at,
		    const struct mon_spool_frame **frame_out)
{
	const struct mon_spool_frame *frame;
	const void *bytes;
	ssize_t there = look(reader, at, &bytes);

	if (there < 0)
		return (int)there;
	frame = bytes;
	if ((size_t)there < sizeof(*frame) || !is_consistent(frame) ||
	    (size_t)there < mon_spool_frame_bytes(frame->stored_bytes) ||
	    frame->crc != frame_crc(reader->seed, frame))
		return 0;
	*frame_out = frame;
	return 1;
}

/* 1: nothing but zeros there, as much as a frame's header or until the limit. */
static int is_end(struct mon_spool_reader *reader, uint64_t at)
{
	static const uint8_t zeros[MON_SPOOL_END_BYTES];
	const void *bytes;
	ssize_t there = look(reader, at, &bytes);

	if (there < 0)
		return (int)there;
	if ((size_t)there > sizeof(zeros))
		there = sizeof(zeros);
	return memcmp(bytes, zeros, (size_t)there) == 0;
}

/* Where a frame that is not whole says that the next one is; 0: it cannot be believed. */
static int stated_end(struct mon_spool_reader *reader, uint64_t *end_out)
{
	const struct mon_spool_frame *frame;
	const void *bytes;
	ssize_t there = look(reader, reader->at, &bytes);

	if (there < 0)
		return (int)there;
	frame = bytes;
	if ((size_t)there < sizeof(*frame) || !is_consistent(frame))
		return 0;
	*end_out = reader->at + mon_spool_frame_bytes(frame->stored_bytes);
	return 1;
}

static void count_damage(struct mon_spool_reader *reader)
{
	if (!reader->damaged++)
		reader->damaged_at = reader->at;
}

/* There is no whole frame here: goes to the next one. 1; 0: there is none; -errno. */
static int resynchronise(struct mon_spool_reader *reader)
{
	const struct mon_spool_frame *frame;
	int ends = is_end(reader, reader->at), result;
	uint64_t next = reader->at;

	if (ends < 0)
		return ends;
	result = stated_end(reader, &next);
	if (result > 0) {
		result = is_whole(reader, next, &frame);
		if (!result)
			result = is_end(reader, next);
	}
	if (result < 0)
		return result;
	/* Zeros are the end, unless a page in the middle was never written. */
	if (!result)
		for (next = reader->at + STEP_BYTES; next < reader->limit; next += STEP_BYTES) {
			result = is_whole(reader, next, &frame);
			if (result < 0)
				return result;
			if (result)
				break;
		}
	if (result || !ends)
		count_damage(reader);
	reader->at = result ? next : reader->limit;
	return result;
}

int mon_spool_reader_peek(struct mon_spool_reader *reader, const struct mon_spool_frame **frame_out)
{
	while (reader->at < reader->limit) {
		int result = is_whole(reader, reader->at, frame_out);

		if (!result)
			result = resynchronise(reader);
		else
			return result;
		if (result <= 0)
			return result;
	}
	return 0;
}

void mon_spool_reader_next(struct mon_spool_reader *reader, const struct mon_spool_frame *frame)
{
	reader->at += mon_spool_frame_bytes(frame->stored_bytes);
}
