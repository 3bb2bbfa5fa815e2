// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The spool's files come and go: the reserve, new segments out of it, released ones back into it,
 * and the directory when it was removed. The reader thread takes, the writer thread gives back;
 * the lock is held for the table and the counters only, never around a system call that may wait.
 *
 * A file gets its header before it gets a segment's name: a crash in between leaves no segment.
 */
#include "pipeline/spool_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static uint64_t files_bytes(const struct mon_spool *spool)
{
	return spool->stats.used_bytes + spool->spare_count * spool->options.segment_bytes;
}

void mon_spool_spare_name(char name[MON_SPOOL_NAME_BYTES], uint64_t number)
{
	(void)snprintf(name, MON_SPOOL_NAME_BYTES, "reserve.%" PRIu64, number);
}

bool mon_spool_spare_parse(const char *name, uint64_t *number_out)
{
	static const char prefix[] = "reserve.";
	char again[MON_SPOOL_NAME_BYTES];
	uint64_t number;

	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return false;
	number = strtoull(name + sizeof(prefix) - 1, NULL, 10);
	mon_spool_spare_name(again, number);
	if (strcmp(name, again) != 0)
		return false;
	*number_out = number;
	return true;
}

/* ---- The reserve ---- */

bool mon_spool_add_spare(struct mon_spool *spool, uint64_t number)
{
	bool added;

	pthread_mutex_lock(&spool->lock);
	added = spool->spare_count < spool->spares_max;
	if (added)
		spool->spares[spool->spare_count++] = number;
	pthread_mutex_unlock(&spool->lock);
	return added;
}

static bool take_spare(struct mon_spool *spool, uint64_t *number_out)
{
	bool taken;

	pthread_mutex_lock(&spool->lock);
	taken = spool->spare_count > 0;
	if (taken)
		*number_out = spool->spares[--spool->spare_count];
	pthread_mutex_unlock(&spool->lock);
	return taken;
}

static uint64_t spare_number(struct mon_spool *spool)
{
	uint64_t number;

	pthread_mutex_lock(&spool->lock);
	number = spool->next_spare++;
	pthread_mutex_unlock(&spool->lock);
	return number;
}

/* Fills it up, as far as the bound and the disk allow. */
void mon_spool_make_reserve(struct mon_spool *spool)
{
	uint64_t bytes = spool->options.segment_bytes;

	for (;;) {
		char name[MON_SPOOL_NAME_BYTES];
		MON_CLOSE int fd = -1;
		struct statvfs system;
		uint64_t number, held;
		bool enough;

		pthread_mutex_lock(&spool->lock);
		enough = spool->spare_count >= spool->spares_max ||
			 files_bytes(spool) + bytes > spool->options.max_bytes;
		held = spool->spare_count * bytes;
		pthread_mutex_unlock(&spool->lock);
		if (enough || fstatvfs(spool->directory_fd, &system))
			return;
		/* A quarter of what was free without it: the database may be beside it. */
		if (((uint64_t)system.f_bavail * system.f_frsize + held) / 4 < held + bytes)
			return;
		number = spare_number(spool);
		mon_spool_spare_name(name, number);
		if (mon_spool_file_make(spool->directory_fd, name, bytes, spool->options.owner_uid,
					spool->options.owner_gid, &fd))
			return;
		if (!mon_spool_add_spare(spool, number)) {
			(void)unlinkat(spool->directory_fd, name, 0);
			return;
		}
	}
}

/* ---- Segments come and go ---- */

static uint64_t random_number(void)
{
	uint64_t number = 0;

	(void)!getrandom(&number, sizeof(number), 0);
	return number;
}

/* The directory was removed: once more, at the same path. */
static int remake(struct mon_spool *spool)
{
	struct mon_spool_options options = spool->options;
	struct mon_error error;
	int fd, result;

	options.path = spool->path;
	result = mon_spool_directory_open(&options, &fd, &error);
	if (result)
		return result;
	/* The writer thread may be using the number: it sees the old one or the new one. */
	result = dup3(fd, spool->directory_fd, O_CLOEXEC) < 0 ? -errno : 0;
	(void)close(fd);
	if (result)
		return result;
	pthread_mutex_lock(&spool->lock);
	spool->spare_count = 0;
	spool->stats.remade++;
	pthread_mutex_unlock(&spool->lock);
	mon_spool_make_reserve(spool);
	return 0;
}

/* Not another file that somebody linked there: the directory may belong to a user, and we be root.
 */
static bool is_ours(const struct mon_spool *spool, int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1 &&
	       (status.st_uid == geteuid() || status.st_uid == spool->options.owner_uid);
}

/* A file with a header under a name that is no segment's: from the reserve, or new. */
static int make_file(struct mon_spool *spool, uint64_t sequence, char name[MON_SPOOL_NAME_BYTES],
		     int *fd_out, uint32_t *seed_out)
{
	struct {
		struct mon_spool_header header;
		uint8_t end[MON_SPOOL_END_BYTES];
	} first = {0};
	MON_CLOSE int fd = -1;
	uint64_t number;
	bool over;
	int result;

	while (fd < 0 && take_spare(spool, &number)) {
		mon_spool_spare_name(name, number);
		fd = openat(spool->directory_fd, name,
			    O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		/* One that is gone or strange is forgotten, and never written to. */
		if (fd >= 0 && !is_ours(spool, fd))
			(void)close(TAKE_FD(fd));
		else if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
			result = -errno;
			(void)mon_spool_add_spare(spool, number);
			return result;
		}
	}
	if (fd < 0) {
		pthread_mutex_lock(&spool->lock);
		over = files_bytes(spool) + spool->options.segment_bytes > spool->options.max_bytes;
		pthread_mutex_unlock(&spool->lock);
		if (over)
			return -ENOSPC;
		(void)strcpy(name, MON_SPOOL_NEW_NAME);
		(void)unlinkat(spool->directory_fd, name, 0);
		result = mon_spool_file_make(spool->directory_fd, name,
					     spool->options.segment_bytes, spool->options.owner_uid,
					     spool->options.owner_gid, &fd);
		if (result)
			return result;
	}
	mon_spool_header_fill(&first.header, spool->run_uuid, sequence, random_number());
	result = mon_spool_write(fd, &first, sizeof(first), 0);
	if (result) {
		(void)unlinkat(spool->directory_fd, name, 0);
		return result;
	}
	*seed_out = first.header.crc;
	*fd_out = TAKE_FD(fd);
	return 0;
}

static int make_segment(struct mon_spool *spool, struct mon_spool_segment *segment_out)
{
	char name[MON_SPOOL_NAME_BYTES], file[MON_SPOOL_NAME_BYTES];
	uint64_t sequence = spool->next_sequence;
	MON_CLOSE int fd = -1;
	uint32_t seed = 0;
	int result = make_file(spool, sequence, file, &fd, &seed);

	if (result)
		return result;
	mon_spool_name_fill(name, spool->run_uuid, sequence);
	if (renameat(spool->directory_fd, file, spool->directory_fd, name)) {
		result = -errno;
		(void)unlinkat(spool->directory_fd, file, 0);
		return result;
	}
	if (spool->options.sync && fsync(spool->directory_fd)) {
		result = -errno;
		(void)unlinkat(spool->directory_fd, name, 0);
		return result;
	}
	spool->next_sequence++;
	*segment_out = (struct mon_spool_segment){
		.sequence = sequence,
		.size_bytes = spool->options.segment_bytes,
		.seed = seed,
		.fd = TAKE_FD(fd),
		.written = sizeof(struct mon_spool_header),
	};
	return 0;
}

bool mon_spool_is_removed(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && status.st_nlink == 0;
}

int mon_spool_start_segment(struct mon_spool *spool)
{
	struct mon_spool_segment segment;
	int result = -ENOENT;
	bool full;

	pthread_mutex_lock(&spool->lock);
	full = spool->count == spool->capacity;
	pthread_mutex_unlock(&spool->lock);
	if (full)
		return -ENOSPC;
	if (!mon_spool_is_removed(spool->directory_fd))
		result = make_segment(spool, &segment);
	if (result == -ENOENT) {
		result = remake(spool);
		if (!result)
			result = make_segment(spool, &segment);
	}
	if (result)
		return result;
	pthread_mutex_lock(&spool->lock);
	spool->active = mon_spool_entry(spool, spool->count++);
	*spool->active = segment;
	spool->open++;
	spool->stats.used_bytes += segment.size_bytes;
	pthread_mutex_unlock(&spool->lock);
	return 0;
}

void mon_spool_seal(struct mon_spool *spool)
{
	struct mon_spool_segment *segment = spool->active;

	if (!segment)
		return;
	spool->active = NULL;
	pthread_mutex_lock(&spool->lock);
	segment->sealed = true;
	if (spool->open > spool->open_max && spool->cursor < spool->count &&
	    mon_spool_entry(spool, spool->cursor) != segment) {
		(void)close(TAKE_FD(segment->fd));
		spool->open--;
	}
	pthread_mutex_unlock(&spool->lock);
}

/* What was released becomes part of the reserve again, or goes. */
void mon_spool_give_back(struct mon_spool *spool, const struct mon_spool_segment *segment)
{
	char name[MON_SPOOL_NAME_BYTES], spare[MON_SPOOL_NAME_BYTES];
	uint64_t number = spare_number(spool);
	bool wanted, kept;

	mon_spool_name_fill(name, spool->run_uuid, segment->sequence);
	mon_spool_spare_name(spare, number);
	pthread_mutex_lock(&spool->lock);
	wanted = spool->spare_count < spool->spares_max &&
		 segment->size_bytes == spool->options.segment_bytes;
	pthread_mutex_unlock(&spool->lock);
	if (segment->fd >= 0)
		(void)close(segment->fd);
	kept = wanted && !renameat(spool->directory_fd, name, spool->directory_fd, spare);
	if (!kept)
		(void)unlinkat(spool->directory_fd, name, 0);
	/* Together, so that the two never add up to more than there is. */
	pthread_mutex_lock(&spool->lock);
	spool->stats.used_bytes -= segment->size_bytes;
	if (kept && spool->spare_count < spool->spares_max) {
		spool->spares[spool->spare_count++] = number;
		kept = false;
	}
	pthread_mutex_unlock(&spool->lock);
	if (kept) /* the directory was made again just now, and the reserve with it */
		(void)unlinkat(spool->directory_fd, spare, 0);
}
