// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The database's files by their names, while a run is on: are they the ones we opened, what does
 * the disk say, and out of the way with what is damaged. Nothing with rows in it is ever deleted.
 * Writer thread.
 */
#include "pipeline/store_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PROBE_BYTES 65536

/* The database first, the -shm last: it holds nothing that is not in the WAL. */
static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};

#define BESIDE_BYTES (PATH_MAX + MON_STORE_SUFFIX_BYTES)

static const char *beside(const struct mon_store_file *file, const char *suffix, char *path)
{
	if (snprintf(path, BESIDE_BYTES, "%s%s", file->path, suffix) >= BESIDE_BYTES)
		path[0] = '\0'; /* no name: nothing is found there */
	return path;
}

enum mon_store_path mon_store_file_look(const struct mon_store_file *file)
{
	struct stat status;

	if (lstat(file->path, &status))
		return errno == ENOENT || errno == ENOTDIR ? MON_STORE_PATH_GONE
							   : MON_STORE_PATH_ERROR;
	return S_ISREG(status.st_mode) && status.st_dev == file->device &&
			       status.st_ino == file->inode
		       ? MON_STORE_PATH_SAME
		       : MON_STORE_PATH_OTHER;
}

void mon_store_file_remove(struct mon_store_file *file)
{
	char path[BESIDE_BYTES];

	for (size_t i = 0; i < MON_ARRAY_COUNT(suffixes); i++)
		(void)unlink(beside(file, suffixes[i], path));
	file->created = false;
	file->inode = 0;
}

/* To the same name with @middle in it. 0 also when there is none. */
static int rename_aside(const struct mon_store_file *file, const char *middle, unsigned number,
			const char *suffix)
{
	char from[BESIDE_BYTES], to[BESIDE_BYTES];

	(void)beside(file, suffix, from);
	if (snprintf(to, sizeof(to), "%s.%s-%u%s", file->path, middle, number, suffix) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return errno == ENOENT ? 0 : -errno;
	return 0;
}

static bool is_taken(const struct mon_store_file *file, const char *middle, unsigned number)
{
	char name[MON_STORE_SUFFIX_BYTES], path[BESIDE_BYTES];
	struct stat status;

	for (size_t i = 0; i < MON_ARRAY_COUNT(suffixes); i++) {
		(void)snprintf(name, sizeof(name), ".%s-%u%s", middle, number, suffixes[i]);
		if (lstat(beside(file, name, path), &status) == 0 || errno != ENOENT)
			return true;
	}
	return false;
}

static int set_aside(const struct mon_store_file *file, const char *middle, unsigned *number_out)
{
	unsigned number = 1;
	int result = 0;

	while (is_taken(file, middle, number))
		if (++number > MON_STORE_SET_ASIDE_MAX)
			return -EEXIST;
	for (size_t i = 0; i < MON_ARRAY_COUNT(suffixes) && !result; i++)
		result = rename_aside(file, middle, number, suffixes[i]);
	if (!result)
		*number_out = number;
	return result;
}

int mon_store_file_set_aside(struct mon_store_file *file, unsigned *number_out)
{
	return set_aside(file, "damaged", number_out);
}

int mon_store_file_clear(const struct mon_store_file *file)
{
	char path[BESIDE_BYTES];
	struct stat status;
	unsigned number;

	/* An empty WAL and its index tell nothing; one with frames belongs to what was moved. */
	for (size_t i = 1; i < MON_ARRAY_COUNT(suffixes) - 1; i++)
		if (lstat(beside(file, suffixes[i], path), &status) == 0 && status.st_size > 0)
			return set_aside(file, "moved", &number);
	for (size_t i = 1; i < MON_ARRAY_COUNT(suffixes); i++)
		(void)unlink(beside(file, suffixes[i], path));
	return 0;
}

bool mon_store_file_companions(const struct mon_store_file *file, uint64_t wal_used_bytes,
			       struct mon_store_companions *companions, bool *shm_cut_out)
{
	char path[BESIDE_BYTES];
	struct stat wal = {0}, shm = {0};

	(void)lstat(beside(file, "-wal", path), &wal);
	(void)lstat(beside(file, "-shm", path), &shm);
	*shm_cut_out = shm.st_ino && companions->shm == shm.st_ino &&
		       (uint64_t)shm.st_size < companions->shm_bytes;
	if (*shm_cut_out || (companions->shm && companions->shm != shm.st_ino) ||
	    (companions->wal && companions->wal != wal.st_ino) ||
	    (uint64_t)wal.st_size < wal_used_bytes)
		return false;
	companions->wal = wal.st_ino;
	companions->shm = shm.st_ino;
	companions->shm_bytes = shm.st_size;
	return true;
}

/* The directory the database is in; the file itself may be gone. */
static int open_directory(const struct mon_store_file *file, int flags)
{
	char path[PATH_MAX];
	char *slash;

	memcpy(path, file->path, sizeof(path));
	slash = strrchr(path, '/');
	slash[slash == path] = '\0';
	return open(path, flags | O_CLOEXEC, 0600);
}

bool mon_store_file_is_mounted(const struct mon_store_file *file)
{
	MON_CLOSE int directory = open_directory(file, O_DIRECTORY | O_RDONLY);
	struct stat status;

	return directory >= 0 && fstat(directory, &status) == 0 && status.st_dev == file->device;
}

void mon_store_file_sync_directory(const struct mon_store_file *file)
{
	MON_CLOSE int directory = open_directory(file, O_DIRECTORY | O_RDONLY);

	if (directory >= 0)
		(void)fsync(directory);
}

static int as_space(int error)
{
	return error == EDQUOT || error == EFBIG ? -ENOSPC : -error;
}

int mon_store_file_probe(const struct mon_store_file *file)
{
	static const char bytes[PROBE_BYTES];
	MON_CLOSE int fd = open_directory(file, O_TMPFILE | O_RDWR);
	char path[BESIDE_BYTES];
	struct statvfs system;
	struct stat status;
	off_t end = 0;
	ssize_t written;

	if (fd < 0)
		return errno == EOPNOTSUPP || errno == EISDIR ? 0 : as_space(errno);
	if (fstatvfs(fd, &system) == 0 &&
	    (uint64_t)system.f_bavail * system.f_frsize < sizeof(bytes))
		return -ENOSPC;
	/* As far out as the next write may be: a limit on the size of a file shows only there. */
	for (size_t i = 0; i < MON_ARRAY_COUNT(suffixes); i++)
		if (lstat(beside(file, suffixes[i], path), &status) == 0 && status.st_size > end)
			end = status.st_size;
	written = pwrite(fd, bytes, sizeof(bytes), end);
	if (written < 0)
		return as_space(errno);
	return (size_t)written < sizeof(bytes) ? -ENOSPC : 0;
}
