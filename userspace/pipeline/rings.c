// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One epoll set over all rings and the descriptor that wakes the reader. The reader thread waits;
 * any thread may ask for the stats. Nothing allocates after the last add.
 */
#include "pipeline/rings.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sys/epoll.h>

struct mon_rings {
	struct mon_ring *rings[MON_RINGS_MAX];
	uint32_t count;
	int epoll_fd;
	int wake_fd; /* the one in the epoll set, or -1 */
};

int mon_rings_new(struct mon_rings **rings_out)
{
	MON_FREE struct mon_rings *rings = calloc(1, sizeof(*rings));

	if (!rings)
		return -ENOMEM;
	rings->wake_fd = -1;
	rings->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (rings->epoll_fd < 0)
		return -errno;
	*rings_out = TAKE_PTR(rings);
	return 0;
}

void mon_rings_free(struct mon_rings *rings)
{
	if (!rings)
		return;
	for (uint32_t i = 0; i < rings->count; i++)
		mon_ring_free(rings->rings[i]);
	(void)close(rings->epoll_fd);
	free(rings);
}

static int watch(const struct mon_rings *rings, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};

	return epoll_ctl(rings->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int mon_rings_add(struct mon_rings *rings, const struct mon_ring_options *options)
{
	struct mon_ring_options numbered = *options;
	struct mon_ring *ring;
	int result;

	if (rings->count == MON_RINGS_MAX)
		return -E2BIG;
	numbered.number = (uint16_t)rings->count;
	result = mon_ring_new(&numbered, &ring);
	if (result)
		return result;
	if (options->map_fd >= 0)
		result = watch(rings, options->map_fd);
	if (result) {
		mon_ring_free(ring);
		return result;
	}
	rings->rings[rings->count++] = ring;
	return 0;
}

uint32_t mon_rings_count(const struct mon_rings *rings)
{
	return rings->count;
}

struct mon_ring *mon_rings_at(const struct mon_rings *rings, uint32_t number)
{
	return number < rings->count ? rings->rings[number] : NULL;
}

int mon_rings_wait(struct mon_rings *rings, int wake_fd, int timeout_ms)
{
	struct epoll_event events[MON_RINGS_MAX + 1];

	if (wake_fd != rings->wake_fd) {
		int result = 0;

		if (rings->wake_fd >= 0) /* may be closed by now; then it left the set by itself */
			(void)epoll_ctl(rings->epoll_fd, EPOLL_CTL_DEL, rings->wake_fd, NULL);
		rings->wake_fd = -1;
		if (wake_fd >= 0)
			result = watch(rings, wake_fd);
		if (result)
			return result;
		rings->wake_fd = wake_fd;
	}
	return epoll_wait(rings->epoll_fd, events, MON_RINGS_MAX + 1, timeout_ms) < 0 ? -errno : 0;
}

double mon_ring_level(const struct mon_ring_stats *stats)
{
	return stats->size_bytes
		       ? (double)(stats->produced - stats->acknowledged) / (double)stats->size_bytes
		       : 0;
}

static void add(struct mon_ring_stats *sum, const struct mon_ring_stats *one)
{
	sum->produced += one->produced;
	sum->read += one->read;
	sum->acknowledged += one->acknowledged;
	sum->size_bytes += one->size_bytes;
	sum->records += one->records;
	sum->discarded += one->discarded;
	sum->invalid += one->invalid;
}

void mon_rings_stats(const struct mon_rings *rings, struct mon_rings_stats *stats_out)
{
	struct mon_rings_stats stats = {0};

	for (uint32_t i = 0; i < rings->count; i++) {
		struct mon_ring_stats one;

		mon_ring_stats(rings->rings[i], &one);
		add(&stats.sum, &one);
		if (!i || mon_ring_level(&one) > mon_ring_level(&stats.fullest))
			stats.fullest = one;
	}
	*stats_out = stats;
}
