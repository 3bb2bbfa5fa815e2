// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads a whole spool directory, of whatever runs, and changes nothing: no lock, no name. One
 * segment is open at a time. Main thread of `monbpf spool check`.
 */
#include "pipeline/spool_internal.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 1000000
#define ASIDE_SUFFIX ".bad"

struct file {
	char run_uuid[MON_SPOOL_UUID_BYTES];
	uint64_t sequence;
	bool is_aside;
};

struct listing {
	struct file *files;
	size_t count, room;
};

static int compare_files(const void *a, const void *b)
{
	const struct file *one = a, *other = b;
	int order = strcmp(one->run_uuid, other->run_uuid);

	if (order)
		return order;
	return (one->sequence > other->sequence) - (one->sequence < other->sequence);
}

static int add_file(void *context, const char *name)
{
	struct listing *listing = context;
	char stem[MON_SPOOL_NAME_BYTES];
	const char *aside = strstr(name, ASIDE_SUFFIX);
	struct file file = {.is_aside = aside != NULL};

	(void)snprintf(stem, sizeof(stem), "%.*s", aside ? (int)(aside - name) : (int)strlen(name),
		       name);
	if (!mon_spool_name_parse(stem, file.run_uuid, &file.sequence))
		return 0;
	if (listing->count == FILES_MAX)
		return -EFBIG;
	if (listing->count == listing->room) {
		size_t room = listing->room ? listing->room * 2 : 64;
		struct file *grown = realloc(listing->files, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		listing->files = grown;
		listing->room = room;
	}
	listing->files[listing->count++] = file;
	return 0;
}

static void first_damage(struct mon_spool_found *found, const struct file *file, uint64_t at)
{
	if (found->damaged_name[0])
		return;
	mon_spool_name_fill(found->damaged_name, file->run_uuid, file->sequence);
	if (file->is_aside)
		(void)strcat(found->damaged_name, ASIDE_SUFFIX);
	found->damaged_at = at;
}

static void add_record(struct mon_spool_found *found, const struct mon_spool_frame *frame)
{
	found->records++;
	if (frame->ring != 0)
		return;
	if (!found->end_position)
		found->first_position = frame->position;
	found->end_position = frame->position + frame->length;
}

static int read_file(int directory_fd, const struct file *file, uint8_t *buffer,
		     struct mon_spool_found *found)
{
	struct mon_spool_reader reader = {
		.at = sizeof(struct mon_spool_header),
		.buffer = buffer,
	};
	const struct mon_spool_frame *frame;
	MON_CLOSE int fd = -1;
	int result;

	if (file->is_aside) {
		found->set_aside++;
		first_damage(found, file, 0);
		return 0;
	}
	result = mon_spool_segment_open(directory_fd, file->run_uuid, file->sequence, &fd,
					&reader.seed, &reader.limit);
	if (result == -ENOENT) /* released in the meantime */
		return 0;
	if (result == -EBADMSG || result == -EPROTONOSUPPORT || result == -ENOTSUP) {
		found->set_aside++;
		first_damage(found, file, 0);
		return 0;
	}
	if (result)
		return result;
	found->segments++;
	found->bytes += reader.limit;
	reader.fd = fd;
	while ((result = mon_spool_reader_peek(&reader, &frame)) > 0) {
		add_record(found, frame);
		mon_spool_reader_next(&reader, frame);
	}
	found->damaged += reader.damaged;
	if (reader.damaged)
		first_damage(found, file, reader.damaged_at);
	return result;
}

static int read_files(int directory_fd, const struct listing *listing, uint8_t *buffer,
		      struct mon_spool_found *found, size_t max, size_t *count_out)
{
	size_t count = 0;

	for (size_t i = 0; i < listing->count; i++) {
		const struct file *file = &listing->files[i];
		int result;

		if (!count || strcmp(found[count - 1].run_uuid, file->run_uuid) != 0) {
			if (count == max)
				return -E2BIG;
			found[count] = (struct mon_spool_found){0};
			memcpy(found[count++].run_uuid, file->run_uuid, MON_SPOOL_UUID_BYTES);
		}
		result = read_file(directory_fd, file, buffer, &found[count - 1]);
		if (result)
			return result;
	}
	*count_out = count;
	return 0;
}

int mon_spool_check(const char *path, struct mon_spool_found *found_out, size_t max,
		    size_t *count_out, struct mon_error *error)
{
	MON_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MON_FREE uint8_t *buffer = malloc(MON_SPOOL_BUFFER_BYTES);
	struct listing listing = {0};
	int result = fd < 0 ? -errno : 0;

	if (!result && !buffer)
		result = -ENOMEM;
	if (!result)
		result = mon_spool_directory_list(fd, add_file, &listing);
	if (!result && listing.count)
		qsort(listing.files, listing.count, sizeof(*listing.files), compare_files);
	if (!result)
		result = read_files(fd, &listing, buffer, found_out, max, count_out);
	free(listing.files);
	if (result)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "the spool directory %s cannot be read: %s", MON_ESCAPED(path),
				     strerror(-result));
	return 0;
}
