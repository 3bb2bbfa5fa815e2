// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The path of a Unix socket has at most 107 bytes and a database's may have more: both ends open
 * the directory and name the socket through /proc/self/fd. Main thread; one answer is about 20
 * kilobytes and fits the socket's buffer, so sending never waits.
 */
#include "monitor/status.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SUFFIX ".sock"
#define BACKLOG 16
#define ASK_SECONDS 5
#define ANSWERS_MAX 16 /* at one time; the next come with the next tick */

struct mon_status_server {
	int directory_fd, listen_fd;
	uid_t owner_uid;
	char name[NAME_MAX + 1];
};

/* Opens the directory of @database and names its socket. */
static int find_socket(const char *database, char name[NAME_MAX + 1], int *directory_out)
{
	const char *slash = strrchr(database, '/');
	MON_FREE char *directory =
		slash ? strndup(database, (size_t)(slash - database) + 1) : strdup(".");
	int fd;

	if (!directory)
		return -ENOMEM;
	if ((size_t)snprintf(name, NAME_MAX + 1, "%s" SUFFIX, slash ? slash + 1 : database) >
	    NAME_MAX)
		return -ENAMETOOLONG;
	fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*directory_out = fd;
	return 0;
}

static int fill_address(int directory_fd, const char *name, struct sockaddr_un *address)
{
	int length;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	length = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s",
			  directory_fd, name);
	return (size_t)length < sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

static void remove_stale(int directory_fd, const char *name)
{
	struct stat status;

	if (!fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) && S_ISSOCK(status.st_mode))
		(void)unlinkat(directory_fd, name, 0);
}

/* Only a socket: the directory may be the user's, who may put another file of ours there. */
static int give(const struct mon_status_server *server, uid_t uid, gid_t gid)
{
	MON_CLOSE int fd =
		openat(server->directory_fd, server->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status))
		return -errno;
	if (!S_ISSOCK(status.st_mode) || status.st_nlink != 1)
		return -EBUSY;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) ? -errno : 0;
}

MON_DEFINE_CLEANUP(server, struct mon_status_server *, mon_status_close)

int mon_status_listen(const char *database, uid_t owner_uid, gid_t owner_gid,
		      struct mon_status_server **server_out)
{
	MON_CLEANUP(mon_cleanup_server)
	struct mon_status_server *server = calloc(1, sizeof(*server));
	struct sockaddr_un address;
	mode_t mask;
	int result;

	if (!server)
		return -ENOMEM;
	server->directory_fd = server->listen_fd = -1;
	server->owner_uid = owner_uid;
	result = find_socket(database, server->name, &server->directory_fd);
	if (!result)
		result = fill_address(server->directory_fd, server->name, &address);
	if (result) {
		server->name[0] = '\0';
		return result;
	}
	server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listen_fd < 0)
		return -errno;
	remove_stale(server->directory_fd, server->name);
	/* No other thread makes files yet. */
	mask = umask(0177);
	result = bind(server->listen_fd, (const struct sockaddr *)&address, sizeof(address))
			 ? -errno
			 : 0;
	(void)umask(mask);
	if (result) {
		server->name[0] = '\0'; /* not ours */
		return result;
	}
	if (owner_uid != geteuid()) {
		result = give(server, owner_uid, owner_gid);
		if (result)
			return result;
	}
	if (listen(server->listen_fd, BACKLOG))
		return -errno;
	*server_out = TAKE_PTR(server);
	return 0;
}

void mon_status_close(struct mon_status_server *server)
{
	if (!server)
		return;
	if (server->name[0])
		remove_stale(server->directory_fd, server->name);
	if (server->listen_fd >= 0)
		(void)close(server->listen_fd);
	if (server->directory_fd >= 0)
		(void)close(server->directory_fd);
	free(server);
}

int mon_status_fd(const struct mon_status_server *server)
{
	return server->listen_fd;
}

static bool may_ask(const struct mon_status_server *server, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) &&
	       (peer.uid == 0 || peer.uid == geteuid() || peer.uid == server->owner_uid);
}

void mon_status_serve(struct mon_status_server *server, const struct mon_status *status)
{
	for (int i = 0; i < ANSWERS_MAX; i++) {
		MON_CLOSE int fd =
			accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		if (may_ask(server, fd))
			(void)send(fd, status, sizeof(*status), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

static int receive(int fd, struct mon_status *status)
{
	size_t got = 0;

	while (got < sizeof(*status)) {
		ssize_t more = recv(fd, (char *)status + got, sizeof(*status) - got, 0);

		if (more < 0 && errno == EINTR)
			continue;
		if (more <= 0)
			return more < 0 ? -errno : -EPROTO;
		got += (size_t)more;
	}
	if (status->magic != MON_STATUS_MAGIC || status->size_bytes != sizeof(*status))
		return -EPROTO;
	/* Whoever listens there is not trusted with the ends of our strings. */
	status->uuid[sizeof(status->uuid) - 1] = '\0';
	status->title[sizeof(status->title) - 1] = '\0';
	status->mode[sizeof(status->mode) - 1] = '\0';
	status->spool_path[sizeof(status->spool_path) - 1] = '\0';
	status->last_error[sizeof(status->last_error) - 1] = '\0';
	if (status->open_count > MON_STATUS_OPEN_MAX ||
	    status->windowed_listed > MON_GOVERNOR_WINDOWED_MAX ||
	    status->step > MON_GOVERNOR_BEYOND)
		return -EPROTO;
	for (uint32_t i = 0; i < status->windowed_listed; i++)
		status->windowed[i][sizeof(status->windowed[i]) - 1] = '\0';
	for (uint32_t i = 0; i < status->open_count; i++) {
		struct mon_status_open *open = &status->open[i];

		open->function[sizeof(open->function) - 1] = '\0';
		open->caller[sizeof(open->caller) - 1] = '\0';
		open->comm[sizeof(open->comm) - 1] = '\0';
	}
	return 0;
}

static int explain(int result, const char *database, struct mon_error *error)
{
	switch (-result) {
	case ENOENT:
	case ECONNREFUSED:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "no monitor writes %s now; name its database with -i",
				     MON_ESCAPED(database));
	case EACCES:
	case EPERM:
		return mon_error_set(error, MON_EXIT_PERMISSION, -result,
				     "no right to ask the monitor of %s: run as who started it, or "
				     "as root",
				     MON_ESCAPED(database));
	case EPROTO:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EPROTO,
				     "the monitor of %s is of another version, or does not answer "
				     "this user",
				     MON_ESCAPED(database));
	default:
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "the monitor of %s does not answer: %s", MON_ESCAPED(database),
				     strerror(-result));
	}
}

int mon_status_ask(const char *database, struct mon_status *status_out, struct mon_error *error)
{
	const struct timeval limit = {.tv_sec = ASK_SECONDS};
	MON_CLOSE int directory = -1;
	MON_CLOSE int fd = -1;
	struct sockaddr_un address;
	struct mon_status status;
	char name[NAME_MAX + 1];
	int result = find_socket(database, name, &directory);

	if (!result)
		result = fill_address(directory, name, &address);
	if (!result) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		result = fd < 0 ? -errno : 0;
	}
	if (!result && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
			connect(fd, (const struct sockaddr *)&address, sizeof(address))))
		result = -errno;
	if (!result)
		result = receive(fd, &status);
	if (result)
		return explain(result, database, error);
	*status_out = status;
	return 0;
}
