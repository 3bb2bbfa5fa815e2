/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the spool's files share: the bytes on disk (docs/spool-format.md draws them), reading one
 * segment, and the directory. Nothing of this leaves pipeline/spool*.c, but tests may look.
 */
#ifndef MON_SPOOL_INTERNAL_H
#define MON_SPOOL_INTERNAL_H

#include "pipeline/spool.h"

#include <pthread.h>

#define MON_SPOOL_VERSION 1
#define MON_SPOOL_BYTE_ORDER 0x01020304u
#define MON_SPOOL_BUFFER_BYTES ((size_t)256 << 10)
#define MON_SPOOL_UUID_BYTES 37
#define MON_SPOOL_NAME_BYTES 80 /* of any file that we make */

/* First bytes of a segment. */
struct mon_spool_header {
	char magic[8];
	uint32_t byte_order;
	uint16_t version;
	uint16_t header_bytes;
	uint64_t sequence;
	uint64_t salt;	   /* random: a file that is used again has another seed */
	char run_uuid[40]; /* filled up with zeros */
	uint32_t reserved;
	uint32_t crc; /* CRC32C of what is before it; also what the CRC of each frame begins with */
};

/* One record; `stored_bytes` of payload follow, filled up with zeros to a multiple of 8. */
struct mon_spool_frame {
	uint32_t crc; /* CRC32C of the rest and the payload and its filling, from the seed */
	uint32_t mark;
	uint64_t position;
	uint32_t length; /* end - position */
	uint32_t size_bytes;
	int32_t invalid;
	uint16_t stored_bytes; /* as size_bytes, but at most MON_RING_READABLE_BYTES; or 0 */
	uint16_t ring;
};

#define MON_SPOOL_MAGIC "MONSPOOL"
#define MON_SPOOL_MARK 0x52464d53u

_Static_assert(sizeof(struct mon_spool_header) == 80, "layout");
_Static_assert(sizeof(struct mon_spool_frame) == 32, "layout");

/* On disk: a frame with its payload. */
static inline size_t mon_spool_frame_bytes(uint16_t stored_bytes)
{
	return sizeof(struct mon_spool_frame) + (((size_t)stored_bytes + 7) & ~(size_t)7);
}
#define MON_SPOOL_FRAME_MAX (sizeof(struct mon_spool_frame) + MON_RING_READABLE_BYTES)

/* So many zeros follow the last frame: they end a segment whose file was used before. */
#define MON_SPOOL_END_BYTES sizeof(struct mon_spool_frame)

/* ---- spool_segment.c: one segment ---- */

void mon_spool_header_fill(struct mon_spool_header *header, const char *run_uuid, uint64_t sequence,
			   uint64_t salt);
/* 0; -EBADMSG: not a header, or of another run or sequence; -EPROTONOSUPPORT: another version. */
int mon_spool_header_check(const struct mon_spool_header *header, const char *run_uuid,
			   uint64_t sequence);

/* So many bytes will a frame of the record take. */
size_t mon_spool_frame_size(const struct mon_record *record);
/* Writes it there. The record's end is at most 4 GiB after its position. */
void mon_spool_frame_fill(void *memory, uint32_t seed, uint32_t ring,
			  const struct mon_record *record);

/* "<uuid>.<16 hex digits>.seg": false when it is not one. */
bool mon_spool_name_parse(const char *name, char run_uuid[MON_SPOOL_UUID_BYTES],
			  uint64_t *sequence_out);
void mon_spool_name_fill(char name[MON_SPOOL_NAME_BYTES], const char *run_uuid, uint64_t sequence);
bool mon_spool_is_uuid(const char *text);

/*
 * Opens it for reading and checks its header. -ENOTSUP: not a regular file, and never opened; else
 * as header_check, or what open(2) says.
 */
int mon_spool_segment_open(int directory_fd, const char *run_uuid, uint64_t sequence, int *fd_out,
			   uint32_t *seed_out, uint64_t *size_out);

/* Reads frame after frame; one thread. */
struct mon_spool_reader {
	int fd; /* the caller's */
	uint32_t seed;
	uint64_t at, limit;  /* file offsets: the next frame, the end of what may be read */
	uint8_t *buffer;     /* MON_SPOOL_BUFFER_BYTES, the caller's */
	uint64_t window_at;  /* what of the file is in the buffer */
	size_t window_bytes; /* 0: nothing */
	uint64_t damaged, damaged_at; /* stretches that were skipped; where the first one is */
};
/*
 * The next frame that is whole, in the buffer until the next call: 1; 0: there is none before the
 * limit; or what read(2) says. Skips what is damaged and counts it.
 */
int mon_spool_reader_peek(struct mon_spool_reader *reader, const struct mon_spool_frame **frame);
/* Goes behind the frame that peek gave. */
void mon_spool_reader_next(struct mon_spool_reader *reader, const struct mon_spool_frame *frame);

/* ---- spool_directory.c: the directory and the names in it ---- */

/*
 * Opens and locks it; makes it when it is missing. On failure nothing that was made is left.
 * -EBUSY: locked. -ELOOP, -ENOTDIR: not a directory. -EPERM: others may write to it.
 */
int mon_spool_directory_open(const struct mon_spool_options *options, int *fd_out,
			     struct mon_error *error);
/* Calls @each for every name. Stops when it returns other than 0, and returns that. */
int mon_spool_directory_list(int directory_fd, int (*each)(void *context, const char *name),
			     void *context);
/* Renames to NAME.bad, or NAME.bad.2 and so on: never over another. */
int mon_spool_set_aside(int directory_fd, const char *name);
/* A new file with its space taken, where the file system can. */
int mon_spool_file_make(int directory_fd, const char *name, uint64_t bytes, uid_t uid, gid_t gid,
			int *fd_out);
/* All of it: 0 or -errno. */
int mon_spool_write(int fd, const void *bytes, size_t size_bytes, uint64_t offset);

/* ---- The spool itself: spool.c and spool_files.c, spool_open.c ---- */

#define MON_SPOOL_BATCHES_MAX 16 /* popped and not released, of each ring; then they are merged */

struct mon_spool_segment {
	uint64_t sequence;
	uint64_t size_bytes;
	uint32_t seed;
	int fd;		  /* -1: closed. Opened by who appends it, or by the writer at the cursor */
	bool sealed;	  /* lock: nothing will be appended */
	uint64_t written; /* lock: offset after what was acknowledged */
	uint64_t records; /* lock: in it */
	uint64_t seen;	  /* lock: popped, skipped or counted as damaged */
	uint64_t ends[MON_SPOOL_RINGS_MAX]; /* lock: newest record of each ring, its end; 0: none */
};

struct mon_spool_batch {
	uint64_t end, count;
};

struct mon_spool {
	struct mon_spool_options options;
	char *path;
	char run_uuid[MON_SPOOL_UUID_BYTES];
	int directory_fd; /* the number stays when the directory is made again */
	size_t open_max, spares_max;
	uint64_t next_sequence;		  /* reader */
	struct mon_spool_segment *active; /* reader: appended to; NULL: none */
	uint8_t *push_buffer;		  /* reader */
	uint8_t *pop_buffer;		  /* writer, as are these: */
	struct mon_spool_reader reader;
	uint64_t reading; /* sequence of the segment that `reader` is in */
	bool is_reading;
	unsigned read_failures;

	pthread_mutex_t lock; /* of everything below */
	struct mon_spool_segment *segments;
	size_t capacity, head, count;
	size_t cursor; /* entries that pop is done with */
	size_t open;
	uint64_t spares[MON_SPOOL_SEGMENTS_MAX]; /* numbers of the reserve's files */
	size_t spare_count;
	uint64_t next_spare;
	uint64_t marks[MON_SPOOL_RINGS_MAX], ends[MON_SPOOL_RINGS_MAX];
	struct mon_spool_batch batches[MON_SPOOL_RINGS_MAX][MON_SPOOL_BATCHES_MAX];
	size_t batch_counts[MON_SPOOL_RINGS_MAX];
	uint64_t unread, unreleased; /* records: not popped; popped and not released */
	struct mon_spool_stats stats;
};

static inline struct mon_spool_segment *mon_spool_entry(struct mon_spool *spool, size_t index)
{
	return &spool->segments[(spool->head + index) % spool->capacity];
}

/* spool_files.c: segments and the reserve come and go. */

/* Fills the reserve up, as far as the bound and the disk allow. */
void mon_spool_make_reserve(struct mon_spool *spool);
/* False: it is full. */
bool mon_spool_add_spare(struct mon_spool *spool, uint64_t number);
/* A new active segment; makes the directory again when it is gone. Reader thread. */
int mon_spool_start_segment(struct mon_spool *spool);
/* Nothing more goes into the active segment. Reader thread. */
void mon_spool_seal(struct mon_spool *spool);
/* A segment that is out of the table: to the reserve, or away. */
void mon_spool_give_back(struct mon_spool *spool, const struct mon_spool_segment *segment);
bool mon_spool_is_removed(int fd);
void mon_spool_spare_name(char name[MON_SPOOL_NAME_BYTES], uint64_t number);
bool mon_spool_spare_parse(const char *name, uint64_t *number_out);

#define MON_SPOOL_NEW_NAME "new.seg" /* a segment that has no header yet */

#endif
