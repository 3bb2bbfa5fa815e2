// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The output's path before SQLite sees it: what is there, may we have it, is it ours, and are we
 * alone. All of it is decided before anything is changed, so a refusal leaves no trace.
 *
 * The lock is flock() on `PATH-lock`, not on the database: SQLite's own locks are POSIX ones, which
 * a process loses when it closes any descriptor of the file. The lock file holds our pid and goes
 * away with us; one that was left by a SIGKILL is unlocked and simply taken over.
 */
#include "pipeline/store_internal.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEADER_BYTES 100
#define RESERVE_BYTES (1ull << 30)

static int refuse(struct mon_error *error, int number, const char *path, const char *why)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, number, "%s %s", MON_ESCAPED(path), why);
}

/* Directories may be symlinks and are resolved here; the file itself may not. */
static int resolve(const char *path, struct mon_store_file *file, struct mon_error *error)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	MON_FREE char *parent =
		slash ? strndup(path, slash == path ? 1 : slash - path) : strdup(".");
	MON_FREE char *real = NULL;
	int length;

	if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return refuse(error, EISDIR, path, "is a directory; name a file with --output");
	if (!parent)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	real = realpath(parent, NULL);
	if (!real)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "cannot write %s: its directory cannot be reached (%s)",
				     MON_ESCAPED(path), strerror(errno));
	length = snprintf(file->path, sizeof(file->path), "%s/%s", strcmp(real, "/") ? real : "",
			  base);
	if (length < 0 || (size_t)length >= sizeof(file->path) - MON_STORE_SUFFIX_BYTES ||
	    strlen(base) > NAME_MAX - MON_STORE_SUFFIX_BYTES)
		return refuse(error, ENAMETOOLONG, path, "is too long a name for --output");
	memcpy(file->lock_path, file->path, length);
	memcpy(file->lock_path + length, "-lock", sizeof("-lock"));
	return 0;
}

/* What is there already, without touching it. */
static int inspect(struct mon_store_file *file, struct mon_error *error)
{
	struct stat status;

	file->empty = true;
	if (lstat(file->path, &status)) {
		if (errno == ENOENT)
			return 0;
		return refuse(error, errno, file->path,
			      "cannot be looked at; try another --output");
	}
	if (S_ISLNK(status.st_mode))
		return refuse(error, ELOOP, file->path,
			      "is a symbolic link, which is never followed; give the real path");
	if (S_ISDIR(status.st_mode))
		return refuse(error, EISDIR, file->path,
			      "is a directory; name a file with --output");
	if (!S_ISREG(status.st_mode))
		return refuse(error, EINVAL, file->path,
			      "is not a regular file; name another with --output");
	if (faccessat(AT_FDCWD, file->path, R_OK | W_OK, AT_EACCESS))
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "cannot write %s: %s; name another file with --output",
				     MON_ESCAPED(file->path), strerror(errno));
	file->empty = status.st_size == 0;
	file->device = status.st_dev;
	file->inode = status.st_ino;
	return 0;
}

static int read_pid(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return atoi(text);
}

static int lock(const struct mon_store_options *options, struct mon_store_file *file,
		struct mon_error *error)
{
	/* Again when the holder took the file away between our open and our lock. */
	for (int attempt = 0; attempt < 16; attempt++) {
		MON_CLOSE int fd =
			open(file->lock_path,
			     O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
		struct stat ours, there;
		char pid[16];
		int length;

		if (fd < 0)
			return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
					     "cannot create %s: %s; try another --output",
					     MON_ESCAPED(file->lock_path), strerror(errno));
		if (fstat(fd, &ours) || !S_ISREG(ours.st_mode) || ours.st_nlink > 1)
			return refuse(error, EINVAL, file->lock_path,
				      "is in the way (not a plain file); remove it");
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int holder = read_pid(fd);

			if (errno != EWOULDBLOCK)
				return refuse(error, errno, file->lock_path, "cannot be locked");
			if (holder > 0)
				return mon_error_set(
					error, MON_EXIT_UNAVAILABLE, EBUSY,
					"%s is being written by another monbpf (pid %d); end it "
					"or choose another --output",
					MON_ESCAPED(file->path), holder);
			return refuse(error, EBUSY, file->path,
				      "is being written by another monbpf; end it or choose "
				      "another --output");
		}
		if (lstat(file->lock_path, &there) || there.st_ino != ours.st_ino ||
		    there.st_dev != ours.st_dev)
			continue;
		/* The pid is for the other one's message only: a full disk may refuse it. */
		length = snprintf(pid, sizeof(pid), "%d\n", getpid());
		if (ftruncate(fd, 0) || pwrite(fd, pid, length, 0) != length)
			(void)!ftruncate(fd, 0);
		(void)!fchown(fd, options->owner_uid, options->owner_gid);
		file->lock_fd = TAKE_FD(fd);
		return 0;
	}
	return refuse(error, EBUSY, file->lock_path, "keeps changing; is another monbpf starting?");
}

/* Whoever removed the database may have removed the lock file too: then it is made again. */
static int keep_lock(const struct mon_store_options *options, struct mon_store_file *file)
{
	struct mon_error error;
	struct stat ours, there;
	int old = file->lock_fd, result;

	if (fstat(old, &ours) == 0 && lstat(file->lock_path, &there) == 0 &&
	    there.st_ino == ours.st_ino && there.st_dev == ours.st_dev)
		return 0;
	result = lock(options, file, &error);
	if (result)
		return result;
	(void)close(old);
	return 0;
}

static uint32_t big_endian(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/*
 * Ours and known, by the file's header (https://www.sqlite.org/fileformat.html, 1.3): before
 * SQLite opens it, because opening may already write (a hot journal, a WAL to recover).
 */
static int identify(const struct mon_store_file *file, struct mon_error *error)
{
	MON_CLOSE int fd = open(file->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	unsigned char header[HEADER_BYTES];
	ssize_t length;

	if (fd < 0)
		return refuse(error, errno, file->path, "cannot be opened; try another --output");
	length = pread(fd, header, sizeof(header), 0);
	if (length != sizeof(header) || memcmp(header, "SQLite format 3", 16) != 0)
		return refuse(error, EUCLEAN, file->path,
			      "exists and is not a database; name another file with --output");
	if (big_endian(header + 68) != MON_STORE_APPLICATION_ID)
		return refuse(error, EUCLEAN, file->path,
			      "is a database of another program; name another file with --output");
	if (big_endian(header + 60) > MON_STORE_USER_VERSION)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EUCLEAN,
				     "%s was written by a newer monbpf (schema %u, this one knows "
				     "%d); name another file with --output",
				     MON_ESCAPED(file->path), big_endian(header + 60),
				     MON_STORE_USER_VERSION);
	if (big_endian(header + 60) != MON_STORE_USER_VERSION)
		return refuse(error, EUCLEAN, file->path,
			      "has no known schema; name another file with --output");
	return 0;
}

static int create(const struct mon_store_options *options, struct mon_store_file *file,
		  struct mon_error *error)
{
	MON_CLOSE int fd =
		open(file->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat status;

	if (fd < 0)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "cannot create %s: %s; try another --output",
				     MON_ESCAPED(file->path), strerror(errno));
	file->created = true;
	if (fchmod(fd, 0600) || fchown(fd, options->owner_uid, options->owner_gid) ||
	    fstat(fd, &status))
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "cannot give %s to its owner: %s", MON_ESCAPED(file->path),
				     strerror(errno));
	file->device = status.st_dev;
	file->inode = status.st_ino;
	return 0;
}

int mon_store_file_create_again(const struct mon_store_options *options,
				struct mon_store_file *file)
{
	struct mon_store_file made = *file;
	struct mon_error error;
	int result = keep_lock(options, file);

	made.lock_fd = file->lock_fd;
	if (!result)
		result = create(options, &made, &error);
	if (result) {
		if (made.created)
			mon_store_file_remove(&made);
		return result == -EEXIST || result == -EBUSY ? -ESTALE : result;
	}
	made.empty = true;
	*file = made;
	return 0;
}

int mon_store_file_claim(const struct mon_store_options *options, struct mon_store_file *file,
			 struct mon_error *error)
{
	int result;

	*file = (struct mon_store_file){.lock_fd = -1};
	result = resolve(options->path, file, error);
	/* Before the lock for a clear sentence, after it because only then it stays so. */
	if (!result)
		result = inspect(file, error);
	if (!result)
		result = lock(options, file, error);
	if (!result)
		result = inspect(file, error);
	if (!result && !file->inode)
		result = create(options, file, error);
	else if (!result && !file->empty)
		result = identify(file, error);
	if (result)
		mon_store_file_release(file, true);
	return result;
}

void mon_store_file_release(struct mon_store_file *file, bool remove_created)
{
	if (remove_created && file->created)
		mon_store_file_remove(file);
	if (file->lock_fd >= 0) {
		(void)unlink(file->lock_path); /* while it is still locked */
		(void)close(file->lock_fd);
	}
	file->lock_fd = -1;
	file->created = false;
}

const char *mon_store_file_full(const struct mon_store_file *file, uint64_t size_max_bytes,
				uint64_t *file_bytes, uint64_t *wal_bytes)
{
	char wal_path[PATH_MAX + MON_STORE_SUFFIX_BYTES];
	struct statvfs system;
	struct stat status;
	uint64_t total, reserve;

	(void)snprintf(wal_path, sizeof(wal_path), "%s-wal", file->path);
	*file_bytes = lstat(file->path, &status) ? 0 : (uint64_t)status.st_size;
	*wal_bytes = lstat(wal_path, &status) ? 0 : (uint64_t)status.st_size;
	if (*file_bytes + *wal_bytes >= size_max_bytes)
		return "the database reached --max-size";
	if (statvfs(file->path, &system))
		return NULL;
	/* At least 1 GiB or 5 % stay free; of a file system under 4 GiB, a quarter. */
	total = (uint64_t)system.f_blocks * system.f_frsize;
	reserve = total / 4 < RESERVE_BYTES ? total / 4 : RESERVE_BYTES;
	if (reserve < total / 20)
		reserve = total / 20;
	if ((uint64_t)system.f_bavail * system.f_frsize < reserve)
		return "the file system is nearly full";
	return NULL;
}
