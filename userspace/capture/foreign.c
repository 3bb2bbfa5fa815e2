// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Children that a watched process forked. Each has links of its own, so that its hits are told from
 * the target's. A link that is left behind by a child that ended stays a consumer of the probe, and
 * every hit of the target walks all of them: links live no longer than the child.
 */
#include "capture/state.h"

#include "capture/closer.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void forget(struct mon_foreign *foreign)
{
	(void)close(foreign->pidfd);
	foreign->used = false;
}

void mon_capture_forget_foreign(struct mon_capture *capture)
{
	for (size_t i = 0; i < MON_CAPTURE_FOREIGN_MAX; i++)
		if (capture->foreign[i].used)
			forget(&capture->foreign[i]);
}

static struct mon_foreign *find_free(struct mon_capture *capture)
{
	for (size_t i = 0; i < MON_CAPTURE_FOREIGN_MAX; i++)
		if (!capture->foreign[i].used)
			return &capture->foreign[i];
	return NULL;
}

int mon_capture_attach_foreign(struct mon_capture *capture, const struct mon_function_set *set,
			       pid_t pid)
{
	MON_CLOSE int pidfd = -1;
	struct mon_foreign *foreign;
	int result;

	/* A link without a pid is one of every process: each call would count twice. */
	if (pid <= 0)
		return -ESRCH;
	/* A link of every process has them already. */
	if (capture->options.all_processes || capture->options.wide_links ||
	    capture->options.mode == MON_MODE_PERF)
		return 0;
	if (capture->pins)
		return -ENOTSUP;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return -errno;
	if (mon_pidfd_has_ended(pidfd))
		return -ESRCH;
	foreign = find_free(capture);
	if (!foreign)
		return -ENOSPC;
	result = mon_capture_arm_foreign(
		capture, set, pid, MON_PROBE_FOREIGN + (uint32_t)(foreign - capture->foreign));
	if (result)
		return result;
	*foreign = (struct mon_foreign){.used = true, .pidfd = TAKE_FD(pidfd)};
	return 0;
}

static int close_links(struct mon_capture *capture, uint32_t owner)
{
	struct mon_closing closing = {0};
	int result = mon_capture_take_probes(capture, owner, &closing.probes, &closing.probe_count);

	if (result)
		return result;
	if (mon_capture_need_closer(capture)) {
		mon_probes_close(closing.probes, closing.probe_count);
		free(closing.probes);
		return 0;
	}
	mon_closer_close(capture->closer, &closing);
	return 0;
}

void mon_capture_reap_foreign(struct mon_capture *capture)
{
	for (uint32_t i = 0; i < MON_CAPTURE_FOREIGN_MAX; i++) {
		struct mon_foreign *foreign = &capture->foreign[i];

		/* What there is no memory for now is closed at a later tick. */
		if (foreign->used && mon_pidfd_has_ended(foreign->pidfd) &&
		    !close_links(capture, MON_PROBE_FOREIGN + i))
			forget(foreign);
	}
}
