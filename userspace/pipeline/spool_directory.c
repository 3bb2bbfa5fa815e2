// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The spool's directory: found or made, judged, locked; and the files in it. Opened once; what
 * follows goes by its descriptor and never through a symbolic link. The lock is flock() on the
 * directory itself, so that nothing is left of it. The reader thread makes files, the writer thread
 * gives them back.
 */
#include "pipeline/spool_internal.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_TRIES 8
#define ASIDE_MAX 1000

static int refuse(struct mon_error *error, int number, const char *path, const char *why)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, number, "the spool directory %s %s",
			     MON_ESCAPED(path), why);
}

static int judge(const struct mon_spool_options *options, const struct stat *status,
		 struct mon_error *error)
{
	if (status->st_uid != geteuid() && status->st_uid != 0 &&
	    status->st_uid != options->owner_uid)
		return refuse(error, EPERM, options->path,
			      "belongs to another user; name another with --spool-dir");
	if (status->st_mode & (S_IWGRP | S_IWOTH))
		return refuse(error, EPERM, options->path,
			      "can be written to by others; chmod 700 it, or name another with "
			      "--spool-dir");
	return 0;
}

/* 1: it went away while we looked, try again. */
static int open_once(const struct mon_spool_options *options, bool *made, int *fd_out,
		     struct mon_error *error)
{
	const char *path = options->path;
	struct stat status;
	MON_CLOSE int fd = -1;
	int result;

	if (mkdir(path, 0700) == 0)
		*made = true;
	else if (errno != EEXIST)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "the spool directory %s cannot be made: %s; name another with "
				     "--spool-dir",
				     MON_ESCAPED(path), strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 1;
	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
		return refuse(error, errno, path,
			      "is not a directory (symbolic links are not followed); name another "
			      "with --spool-dir");
	if (fd < 0 || fstat(fd, &status))
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "the spool directory %s cannot be opened: %s",
				     MON_ESCAPED(path), strerror(errno));
	result = judge(options, &status, error);
	if (result)
		return result;
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno == EWOULDBLOCK)
			return refuse(error, EBUSY, path,
				      "is used by another monitor; end it, or name another with "
				      "--spool-dir");
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, errno,
				     "the spool directory %s cannot be locked: %s",
				     MON_ESCAPED(path), strerror(errno));
	}
	/* The one who had the lock before may have removed it in the end. */
	if (fstat(fd, &status))
		return -errno;
	if (status.st_nlink == 0)
		return 1;
	if (*made && status.st_uid != options->owner_uid)
		(void)!fchown(fd, options->owner_uid, options->owner_gid);
	*fd_out = TAKE_FD(fd);
	return 0;
}

int mon_spool_directory_open(const struct mon_spool_options *options, int *fd_out,
			     struct mon_error *error)
{
	for (int i = 0; i < OPEN_TRIES; i++) {
		bool made = false;
		int result = open_once(options, &made, fd_out, error);

		if (result < 0 && made)
			(void)rmdir(options->path);
		if (result <= 0)
			return result;
	}
	return refuse(error, EBUSY, options->path, "comes and goes; name another with --spool-dir");
}

int mon_spool_directory_list(int directory_fd, int (*each)(void *context, const char *name),
			     void *context)
{
	/* Opened anew: a duplicate would share the place in the list. */
	MON_CLOSE int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *entry;
	int result = 0;
	DIR *directory;

	if (fd < 0)
		return -errno;
	directory = fdopendir(fd);
	if (!directory)
		return -errno;
	(void)TAKE_FD(fd);
	for (;;) {
		errno = 0;
		entry = readdir(directory);
		if (!entry) {
			result = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		result = each(context, entry->d_name);
		if (result)
			break;
	}
	(void)closedir(directory);
	return result;
}

int mon_spool_set_aside(int directory_fd, const char *name)
{
	char aside[MON_SPOOL_NAME_BYTES + 16];

	(void)snprintf(aside, sizeof(aside), "%s.bad", name);
	for (unsigned i = 2; i < ASIDE_MAX; i++) {
		if (renameat2(directory_fd, name, directory_fd, aside, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno == EINVAL) /* this file system cannot tell; ours is the only process */
			return faccessat(directory_fd, aside, F_OK, AT_SYMLINK_NOFOLLOW) &&
					       !renameat(directory_fd, name, directory_fd, aside)
				       ? 0
				       : -EEXIST;
		if (errno != EEXIST)
			return -errno;
		(void)snprintf(aside, sizeof(aside), "%s.bad.%u", name, i);
	}
	return -EEXIST;
}

int mon_spool_file_make(int directory_fd, const char *name, uint64_t bytes, uid_t uid, gid_t gid,
			int *fd_out)
{
	MON_CLOSE int fd = openat(directory_fd, name,
				  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int result;

	if (fd < 0)
		return -errno;
	do
		result = fallocate(fd, 0, 0, (off_t)bytes) ? -errno : 0;
	while (result == -EINTR);
	if (result && result != -EOPNOTSUPP && result != -ENOSYS) {
		(void)unlinkat(directory_fd, name, 0);
		return result;
	}
	if (uid != geteuid())
		(void)!fchown(fd, uid, gid);
	*fd_out = TAKE_FD(fd);
	return 0;
}

int mon_spool_write(int fd, const void *bytes, size_t size_bytes, uint64_t offset)
{
	const uint8_t *from = bytes;

	while (size_bytes) {
		ssize_t written = pwrite(fd, from, size_bytes, (off_t)offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		from += written;
		offset += (uint64_t)written;
		size_bytes -= (size_t)written;
	}
	return 0;
}
