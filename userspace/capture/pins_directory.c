// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where pins live, and which runs are there; see pins.h. The directory's own lock (on the root of
 * the file system) is held for moments only, while a run's directory is made, swept or entered.
 */
#include "capture/pins_directory.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
/* Whoever lists the runs locks each for a moment: a monitor that meets that tries again. */
#define LOCK_TRIES 20
#define LOCK_WAIT_MS 5

bool mon_pins_is_uuid(const char *text)
{
	for (size_t i = 0; i < MON_UUID_BYTES - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !text[i] || !strchr("0123456789abcdef", text[i]))
			return false;
	}
	return !text[MON_UUID_BYTES - 1];
}

static bool is_bpf(int fd)
{
	struct statfs file_system;

	return !fstatfs(fd, &file_system) && file_system.f_type == BPF_FS_MAGIC;
}

/* Ours and nobody else's. */
static int check_owner(int fd)
{
	struct stat status;

	if (fstat(fd, &status))
		return -errno;
	return status.st_uid != geteuid() || (status.st_mode & 077) ? -EPERM : 0;
}

/* The name below its parent, which is the administrator's business. */
static int open_parent(const char *base_dir, const char **name_out)
{
	const char *slash = strrchr(base_dir, '/');
	char parent[PATH_MAX];
	int fd;

	if (base_dir[0] != '/' || strlen(base_dir) >= sizeof(parent) || !slash[1] ||
	    !strcmp(slash, "/.") || !strcmp(slash, "/.."))
		return -EINVAL;
	memcpy(parent, base_dir, (size_t)(slash - base_dir) + 1);
	parent[slash - base_dir + 1] = '\0';
	fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*name_out = slash + 1;
	return fd < 0 ? -errno : fd;
}

/* A descriptor of the directory, or of the root of what is mounted there by now. */
static int open_name(int parent, const char *name)
{
	int fd = openat(parent, name, DIRECTORY_FLAGS), result;

	if (fd < 0)
		return -errno;
	result = check_owner(fd);
	if (result) {
		(void)close(fd);
		return result;
	}
	return fd;
}

/* Two that start at once must not both mount: the second would hide the first one's pins. */
static int mount_there(int parent, const char *name, int *fd)
{
	MON_CLOSE int below = TAKE_FD(*fd);
	char path[64];

	if (flock(below, LOCK_EX))
		return -errno;
	*fd = open_name(parent, name);
	if (*fd < 0 || is_bpf(*fd))
		return *fd < 0 ? *fd : 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
	if (mount("monbpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return -errno;
	(void)close(TAKE_FD(*fd));
	*fd = open_name(parent, name);
	if (*fd < 0)
		return *fd;
	return is_bpf(*fd) ? 0 : -ENODEV;
}

static int explain(int result, const char *base_dir, struct mon_error *error)
{
	const char *path = MON_ESCAPED(base_dir);

	switch (-result) {
	case ELOOP:
	case ENOTDIR:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "%s is a symbolic link or no directory: pins are not kept "
				     "there",
				     path);
	case EPERM:
	case EACCES:
		return mon_error_set(error, MON_EXIT_PERMISSION, -result,
				     "%s cannot hold pins: it must be a directory of the user who "
				     "runs monbpf, closed to others (mode 0700), and mounting a "
				     "bpf file system there needs CAP_SYS_ADMIN (sudo)",
				     path);
	default:
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "no bpf file system for pins can be mounted at %s: %s", path,
				     strerror(-result));
	}
}

int mon_pins_directory_open(const char *base_dir, bool make, int *fd_out, struct mon_error *error)
{
	MON_CLOSE int parent = -1;
	MON_CLOSE int fd = -1;
	const char *name;
	int result = 0;

	parent = open_parent(base_dir, &name);
	if (parent == -ENOENT && !make)
		return -ENOENT;
	if (parent < 0)
		return explain(parent, base_dir, error);
	fd = open_name(parent, name);
	if (fd == -ENOENT && !make)
		return -ENOENT;
	if (fd == -ENOENT) {
		if (mkdirat(parent, name, 0700) && errno != EEXIST)
			return explain(-errno, base_dir, error);
		fd = open_name(parent, name);
	}
	if (fd < 0)
		return explain(fd, base_dir, error);
	if (!is_bpf(fd)) {
		if (!make)
			return -ENOENT;
		result = mount_there(parent, name, &fd);
	}
	if (result)
		return explain(result, base_dir, error);
	*fd_out = TAKE_FD(fd);
	return 0;
}

int mon_pins_directory_lock(int dir_fd)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!flock(dir_fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		(void)poll(NULL, 0, LOCK_WAIT_MS);
	}
	return -EBUSY;
}

int mon_pins_directory_enter(int base_fd, const char *uuid, int *fd_out)
{
	int fd = openat(base_fd, uuid, DIRECTORY_FLAGS);

	if (fd < 0)
		return -errno;
	*fd_out = fd;
	return 0;
}

int mon_pins_directory_make(int base_fd, const char *uuid, int *fd_out)
{
	MON_CLOSE int fd = -1;
	int result = 0;

	if (flock(base_fd, LOCK_EX))
		return -errno;
	if (mkdirat(base_fd, uuid, 0700))
		result = -errno;
	if (!result)
		result = mon_pins_directory_enter(base_fd, uuid, &fd);
	if (!result)
		result = mon_pins_directory_lock(fd);
	(void)flock(base_fd, LOCK_UN);
	if (!result)
		*fd_out = TAKE_FD(fd);
	return result;
}

static int look_at(int base_fd, const char *uuid, struct mon_pins_run *run)
{
	MON_CLOSE int fd = -1;
	int result = mon_pins_directory_enter(base_fd, uuid, &fd);

	if (result)
		return result;
	memset(run, 0, sizeof(*run));
	memcpy(run->uuid, uuid, sizeof(run->uuid));
	run->busy = flock(fd, LOCK_SH | LOCK_NB) != 0;
	result = mon_pins_read_identity(fd, &run->identity);
	run->state = result == -EBADMSG ? -ENOENT : result;
	/* Out of memory or descriptors says nothing of the run: it must not be taken for garbage.
	 */
	return run->state && run->state != -ENOENT && run->state != -ENOTSUP ? result : 0;
}

static int list(int base_fd, struct mon_pins_run **runs_out, size_t *count_out)
{
	MON_FREE struct mon_pins_run *runs = NULL;
	struct dirent *entry;
	DIR *directory;
	size_t count = 0;
	int fd = openat(base_fd, ".", DIRECTORY_FLAGS), result = 0;

	if (fd < 0)
		return -errno;
	directory = fdopendir(fd);
	if (!directory) {
		(void)close(fd);
		return -ENOMEM;
	}
	while (!result && count < MON_PINS_RUNS_MAX && (entry = readdir(directory))) {
		struct mon_pins_run *more;

		if (!mon_pins_is_uuid(entry->d_name))
			continue;
		more = reallocarray(runs, count + 1, sizeof(*runs));
		result = more ? 0 : -ENOMEM;
		if (more) {
			runs = more;
			count += !look_at(base_fd, entry->d_name, &runs[count]);
		}
	}
	(void)closedir(directory);
	if (result)
		return result;
	*runs_out = TAKE_PTR(runs);
	*count_out = count;
	return 0;
}

int mon_pins_list(const char *base_dir, struct mon_pins_run **runs_out, size_t *count_out,
		  struct mon_error *error)
{
	MON_CLOSE int base_fd = -1;
	int result = mon_pins_directory_open(base_dir, false, &base_fd, error);

	if (result == -ENOENT) {
		*runs_out = NULL;
		*count_out = 0;
		return 0;
	}
	if (result)
		return result;
	result = list(base_fd, runs_out, count_out);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result, "cannot list %s: %s",
				     MON_ESCAPED(base_dir), strerror(-result));
	return 0;
}

int mon_pins_find(const char *base_dir, const char *database, char uuid_out[MON_UUID_BYTES],
		  struct mon_error *error)
{
	MON_FREE struct mon_pins_run *runs = NULL;
	size_t count;
	int result = mon_pins_list(base_dir, &runs, &count, error);

	if (result)
		return result;
	for (size_t i = 0; i < count; i++)
		if (runs[i].state != -ENOENT && !strcmp(runs[i].identity.head.database, database)) {
			memcpy(uuid_out, runs[i].uuid, MON_UUID_BYTES);
			return 0;
		}
	return -ENOENT;
}

int mon_pins_sweep(const char *base_dir)
{
	MON_FREE struct mon_pins_run *runs = NULL;
	MON_CLOSE int base_fd = -1;
	size_t count;
	int result = mon_pins_directory_open(base_dir, false, &base_fd, NULL);

	if (result == -ENOENT)
		return 0;
	if (!result && flock(base_fd, LOCK_EX)) /* until closed: nobody makes a run meanwhile */
		result = -errno;
	if (!result)
		result = list(base_fd, &runs, &count);
	for (size_t i = 0; !result && i < count; i++) {
		struct mon_pins_removed removed;

		if (runs[i].state == -ENOENT && !runs[i].busy)
			(void)mon_pins_remove(base_dir, runs[i].uuid, &removed, NULL);
	}
	return result;
}
