// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One run's pins; see pins.h. Names are reached through /proc/self/fd/DIRECTORY/NAME, so that what
 * was checked when the directory was opened is what is used.
 *
 * A pin that is removed lets go of what it named only when the kernel destroys its inode: at once
 * on newer kernels, after an RCU grace period on older ones (bpf_free_inode). Only then is the
 * descriptor that is closed next the last, and the detach complete when close() returns. So after
 * unlinking we pin and unlink one more thing, on the same CPU, and wait until that is gone: RCU
 * callbacks of one CPU run in the order in which they were queued.
 */
#include "capture/pins.h"

#include "capture/pins_directory.h"
#include "capture/state.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "bpf/event.h"
#include "bpf/frames.h"

#define IDENTITY "identity"
#define CANARY "canary"
#define CANARY_WAITS 2000 /* of a millisecond; a grace period takes tens of them */
#define NAMES_MAX 1000000

struct mon_pins {
	int base_fd, dir_fd; /* the second is the one that is locked */
	int identity_fd;     /* -1: not sealed yet */
	char uuid[MON_UUID_BYTES];
};

MON_DEFINE_CLEANUP(pins, struct mon_pins *, mon_pins_close)

static void path_of(char *path, size_t size, int dir_fd, const char *name)
{
	(void)snprintf(path, size, "/proc/self/fd/%d/%s", dir_fd, name);
}

static void fill_head(struct mon_pins_head *head, const char *uuid)
{
	const uint32_t sizes[MON_PINS_SIZES] = {
		sizeof(struct mon_pins_identity), sizeof(struct mon_capture_options),
		sizeof(struct mon_setup),	  sizeof(struct mon_live),
		sizeof(struct mon_call_event),	  sizeof(struct mon_task_event),
		sizeof(struct mon_counters),	  sizeof(struct mon_histogram),
		sizeof(struct mon_policy),	  sizeof(struct mon_thread),
	};

	head->magic = MON_PINS_MAGIC;
	head->abi = MON_PINS_ABI;
	memcpy(head->sizes, sizes, sizeof(sizes));
	head->monitor_pid = getpid();
	(void)snprintf(head->version, sizeof(head->version), "%s", MON_VERSION);
	(void)snprintf(head->run_uuid, sizeof(head->run_uuid), "%s", uuid);
}

static bool is_ours(const struct mon_pins_head *head, uint32_t bytes)
{
	struct mon_pins_head ours;

	fill_head(&ours, "");
	return bytes == sizeof(struct mon_pins_identity) && head->abi == ours.abi &&
	       !memcmp(head->sizes, ours.sizes, sizeof(ours.sizes));
}

/* Whatever is there, nothing is believed: type and size of the map, the ends of strings, counts. */
int mon_pins_read_identity(int dir_fd, struct mon_pins_identity *identity_out)
{
	MON_FREE char *bytes = NULL;
	MON_CLOSE int fd = -1;
	struct bpf_map_info info = {0};
	uint32_t info_bytes = sizeof(info), key = 0;
	struct mon_pins_head *head;
	char path[128];

	path_of(path, sizeof(path), dir_fd, IDENTITY);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	/* A program or a link would not be a map. */
	if (bpf_obj_get_info_by_fd(fd, &info, &info_bytes) || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.key_size != sizeof(key) || info.value_size < sizeof(*head) ||
	    info.value_size > MON_PINS_IDENTITY_MAX || info.max_entries != 1)
		return -EBADMSG;
	bytes = malloc(info.value_size);
	if (!bytes)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &key, bytes))
		return -errno;
	head = (struct mon_pins_head *)(void *)bytes;
	head->version[sizeof(head->version) - 1] = '\0';
	head->run_uuid[sizeof(head->run_uuid) - 1] = '\0';
	head->database[sizeof(head->database) - 1] = '\0';
	if (head->magic != MON_PINS_MAGIC)
		return -EBADMSG;
	memset(identity_out, 0, sizeof(*identity_out));
	identity_out->head = *head;
	if (!is_ours(head, info.value_size))
		return -ENOTSUP;
	memcpy(identity_out, bytes, sizeof(*identity_out));
	identity_out->spool[sizeof(identity_out->spool) - 1] = '\0';
	return identity_out->target_count > MON_TGIDS_MAX ? -EBADMSG : 0;
}

static int new_pins(const char *base_dir, const char *uuid, bool make, struct mon_pins **pins_out,
		    struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_pins) struct mon_pins *pins = NULL;
	int result;

	if (!mon_pins_is_uuid(uuid))
		return mon_error_set(error, MON_EXIT_USAGE, EINVAL, "%s is not the UUID of a run",
				     MON_ESCAPED(uuid));
	pins = malloc(sizeof(*pins));
	if (!pins)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	*pins = (struct mon_pins){.base_fd = -1, .dir_fd = -1, .identity_fd = -1};
	memcpy(pins->uuid, uuid, sizeof(pins->uuid));
	result = mon_pins_directory_open(base_dir, make, &pins->base_fd, error);
	if (result)
		return result;
	*pins_out = TAKE_PTR(pins);
	return 0;
}

int mon_pins_create(const char *base_dir, const char *uuid, struct mon_pins **pins_out,
		    struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_pins) struct mon_pins *pins = NULL;
	int result = new_pins(base_dir, uuid, true, &pins, error);

	if (result)
		return result;
	(void)mon_pins_sweep(base_dir);
	result = mon_pins_directory_make(pins->base_fd, uuid, &pins->dir_fd);
	if (result == -EEXIST)
		return mon_error_set(
			error, MON_EXIT_UNAVAILABLE, EEXIST,
			"run %s is pinned already: `monbpf detach --run %s` removes it", uuid,
			uuid);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "cannot make a directory for pins in %s: %s",
				     MON_ESCAPED(base_dir), strerror(-result));
	*pins_out = TAKE_PTR(pins);
	return 0;
}

static int explain_busy(const struct mon_pins *pins, struct mon_error *error)
{
	struct mon_pins_identity identity;
	int result = mon_pins_read_identity(pins->dir_fd, &identity);

	if (result && result != -ENOTSUP)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, EBUSY,
				     "the monitor of run %s still runs: end it first", pins->uuid);
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, EBUSY,
			     "the monitor of run %s still runs (pid %d): end it first (kill -INT "
			     "%d)",
			     pins->uuid, identity.head.monitor_pid, identity.head.monitor_pid);
}

/* The run's directory, locked. */
static int hold(const char *base_dir, const char *uuid, struct mon_pins **pins_out,
		struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_pins) struct mon_pins *pins = NULL;
	int result = new_pins(base_dir, uuid, false, &pins, error);

	if (!result)
		result = mon_pins_directory_enter(pins->base_fd, uuid, &pins->dir_fd);
	else if (result != -ENOENT)
		return result;
	if (result == -ENOENT)
		return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT, "no run %s is pinned in %s",
				     uuid, MON_ESCAPED(base_dir));
	if (!result)
		result = mon_pins_directory_lock(pins->dir_fd);
	if (result == -EBUSY)
		return explain_busy(pins, error);
	if (result)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "cannot open the pins of run %s: %s", uuid, strerror(-result));
	*pins_out = TAKE_PTR(pins);
	return 0;
}

int mon_pins_open(const char *base_dir, const char *uuid, struct mon_pins **pins_out,
		  struct mon_pins_identity *identity_out, struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_pins) struct mon_pins *pins = NULL;
	struct mon_pins_identity identity;
	int result = hold(base_dir, uuid, &pins, error);

	if (result)
		return result;
	result = mon_pins_read_identity(pins->dir_fd, &identity);
	if (result == -ENOTSUP)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, ENOTSUP,
				     "run %s was pinned by monbpf %s, with which this version (%s) "
				     "cannot go on: go on with that one, or remove it with `monbpf "
				     "detach --run %s`",
				     uuid, MON_ESCAPED(identity.head.version), MON_VERSION, uuid);
	if (!result && strcmp(identity.head.run_uuid, uuid) != 0)
		result = -EBADMSG;
	if (!result) {
		pins->identity_fd = mon_pins_get(pins, IDENTITY);
		if (pins->identity_fd < 0)
			result = pins->identity_fd;
	}
	if (result)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "what is pinned of run %s is not whole (%s): remove it with "
				     "`monbpf detach --run %s`",
				     uuid, strerror(-result), uuid);
	*identity_out = identity;
	*pins_out = TAKE_PTR(pins);
	return 0;
}

void mon_pins_close(struct mon_pins *pins)
{
	if (!pins)
		return;
	if (pins->identity_fd >= 0)
		(void)close(pins->identity_fd);
	if (pins->dir_fd >= 0)
		(void)close(pins->dir_fd);
	if (pins->base_fd >= 0)
		(void)close(pins->base_fd);
	free(pins);
}

int mon_pins_add(struct mon_pins *pins, const char *name, int fd)
{
	char path[128];

	path_of(path, sizeof(path), pins->dir_fd, name);
	return bpf_obj_pin(fd, path) ? -errno : 0;
}

int mon_pins_get(const struct mon_pins *pins, const char *name)
{
	char path[128];
	int fd;

	path_of(path, sizeof(path), pins->dir_fd, name);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

int mon_pins_seal(struct mon_pins *pins, struct mon_pins_identity *identity)
{
	MON_CLOSE int made = -1;
	uint32_t key = 0;
	int fd = pins->identity_fd, result = 0;

	fill_head(&identity->head, pins->uuid);
	if (fd < 0) {
		made = bpf_map_create(BPF_MAP_TYPE_ARRAY, "mon_identity", sizeof(key),
				      sizeof(*identity), 1, NULL);
		if (made < 0)
			return -errno;
		fd = made;
	}
	if (bpf_map_update_elem(fd, &key, identity, BPF_ANY))
		return -errno;
	if (made >= 0)
		result = mon_pins_add(pins, IDENTITY, made);
	if (!result && made >= 0)
		pins->identity_fd = TAKE_FD(made);
	return result;
}

static int compare(const void *left, const void *right)
{
	return strcmp(left, right);
}

int mon_pins_names(const struct mon_pins *pins, const char *prefix, char (**names_out)[64],
		   size_t *count_out)
{
	MON_FREE char(*names)[64] = NULL;
	size_t count = 0, capacity = 0;
	struct dirent *entry;
	DIR *directory;
	int fd = openat(pins->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	directory = fdopendir(fd);
	if (!directory) {
		(void)close(fd);
		return -ENOMEM;
	}
	while ((entry = readdir(directory)) && count < NAMES_MAX) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof(*names) ||
		    (prefix && strncmp(entry->d_name, prefix, strlen(prefix)) != 0))
			continue;
		if (count == capacity) {
			char(*more)[64];

			capacity = capacity ? 2 * capacity : 64;
			more = reallocarray(names, capacity, sizeof(*names));
			if (!more) {
				(void)closedir(directory);
				return -ENOMEM;
			}
			names = more;
		}
		memcpy(names[count++], entry->d_name, strlen(entry->d_name) + 1);
	}
	(void)closedir(directory);
	if (count)
		qsort(names, count, sizeof(*names), compare);
	*names_out = TAKE_PTR(names);
	*count_out = count;
	return 0;
}

int mon_pins_unlink_one(struct mon_pins *pins, const char *name)
{
	return unlinkat(pins->dir_fd, name, 0) ? -errno : 0;
}

/* Is the map of this id gone? Holding it for a moment does no harm: then we are the last. */
static bool is_gone(uint32_t id)
{
	int fd = bpf_map_get_fd_by_id(id);

	if (fd >= 0)
		(void)close(fd);
	return fd < 0 && errno == ENOENT;
}

/* Comes back when what was unlinked by this thread, on this CPU, let go of what it named. */
static void wait_for_inodes(struct mon_pins *pins)
{
	MON_CLOSE int fd = -1;
	struct bpf_map_info info = {0};
	uint32_t bytes = sizeof(info);
	int result;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "mon_canary", 4, 4, 1, NULL);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &bytes))
		return;
	result = mon_pins_add(pins, CANARY, fd);
	if (result == -EEXIST && !mon_pins_unlink_one(pins, CANARY)) /* a crash left it */
		result = mon_pins_add(pins, CANARY, fd);
	if (result || mon_pins_unlink_one(pins, CANARY))
		return;
	(void)close(TAKE_FD(fd));
	for (int i = 0; i < CANARY_WAITS && !is_gone(info.id); i++)
		(void)poll(NULL, 0, 1);
}

int mon_pins_unlink(struct mon_pins *pins, const char *prefix)
{
	MON_FREE char(*names)[64] = NULL;
	cpu_set_t before, here;
	bool moved = false;
	size_t count;
	int result = mon_pins_names(pins, prefix, &names, &count), cpu = sched_getcpu();

	if (result || !count)
		return result;
	if (cpu >= 0 && cpu < CPU_SETSIZE && !sched_getaffinity(0, sizeof(before), &before)) {
		CPU_ZERO(&here);
		CPU_SET((size_t)cpu, &here);
		moved = !sched_setaffinity(0, sizeof(here), &here);
	}
	for (size_t i = 0; i < count; i++) {
		int failed = mon_pins_unlink_one(pins, names[i]);

		if (failed && failed != -ENOENT)
			result = failed;
	}
	wait_for_inodes(pins);
	if (moved)
		(void)sched_setaffinity(0, sizeof(before), &before);
	return result;
}

/* As many as can be opened are held meanwhile: closing the last descriptor detaches at once. */
static int unlink_links(struct mon_pins *pins, const char *prefix, uint32_t *removed)
{
	MON_FREE char(*names)[64] = NULL;
	MON_FREE struct mon_probe *probes = NULL;
	size_t count, held = 0;
	int result = mon_pins_names(pins, prefix, &names, &count);

	if (result)
		return result;
	mon_probes_want_descriptors(count);
	probes = calloc(count + 1, sizeof(*probes));
	for (size_t i = 0; probes && i < count; i++) {
		int fd = mon_pins_get(pins, names[i]);

		if (fd < 0)
			continue;
		probes[held].at_return = mon_probes_is_return(names[i]);
		probes[held++].fd = fd;
	}
	result = mon_pins_unlink(pins, prefix);
	if (probes)
		mon_probes_close(probes, held);
	*removed += (uint32_t)count;
	return result;
}

int mon_pins_unlink_all(struct mon_pins *pins, struct mon_pins_removed *removed_out)
{
	struct mon_pins_removed removed = {0};
	MON_FREE char(*names)[64] = NULL;
	size_t count;
	int result = mon_pins_unlink_one(pins, IDENTITY);

	if (!result)
		removed.others++;
	else if (result != -ENOENT)
		return result;
	result = unlink_links(pins, MON_PIN_LINK, &removed.probes);
	if (!result)
		result = unlink_links(pins, MON_PIN_TRACEPOINT, &removed.others);
	if (!result)
		result = mon_pins_names(pins, NULL, &names, &count);
	for (size_t i = 0; !result && i < count; i++, removed.others++)
		result = mon_pins_unlink_one(pins, names[i]);
	if (!result && unlinkat(pins->base_fd, pins->uuid, AT_REMOVEDIR))
		result = -errno;
	if (removed_out)
		*removed_out = removed;
	return result;
}

int mon_pins_remove(const char *base_dir, const char *uuid, struct mon_pins_removed *removed_out,
		    struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_pins) struct mon_pins *pins = NULL;
	struct mon_pins_removed removed = {0};
	int result = hold(base_dir, uuid, &pins, error);

	if (result)
		return result;
	result = mon_pins_unlink_all(pins, &removed);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "cannot remove the pins of run %s in %s: %s", uuid,
				     MON_ESCAPED(base_dir), strerror(-result));
	*removed_out = removed;
	return 0;
}
