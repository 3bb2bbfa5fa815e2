// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls that are open, found by a walk over all tasks of the machine (iter/task): read for the
 * live view, or ended with a record each when the run is over.
 */
#include "capture/state.h"

#include "bpf/frames.h"
#include "capture/link.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

/*
 * Runs an iterator and hands each whole struct that it wrote to @each (NULL: it writes nothing).
 * Reading yields at most a kernel buffer at a time, always from where the last read ended.
 */
static int iterate(int program_fd, void (*each)(const struct mon_thread *thread, void *context),
		   void *context)
{
	MON_CLOSE int link = -1;
	MON_CLOSE int iterator = -1;
	struct mon_thread threads[4];
	size_t used = 0;

	link = mon_link_iterator(program_fd);
	if (link < 0)
		return link;
	iterator = bpf_iter_create(link);
	if (iterator < 0)
		return -errno;
	for (;;) {
		ssize_t got = read(iterator, (char *)threads + used, sizeof(threads) - used);
		size_t whole;

		/* EAGAIN: a long way without anything to write. */
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return 0;
		used += (size_t)got;
		whole = used / sizeof(*threads);
		for (size_t i = 0; each && i < whole; i++)
			each(&threads[i], context);
		used -= whole * sizeof(*threads);
		memmove(threads, &threads[whole], used);
	}
}

struct opened {
	uint32_t function_count;
	struct mon_open_calls *open;
};

/* The thread may run meanwhile: anything can be torn, nothing may lead out of bounds. */
static void count_open(const struct mon_thread *thread, void *context)
{
	const struct opened *opened = context;

	for (uint32_t i = 0; i < thread->depth && i < MON_FRAMES_MAX; i++) {
		uint32_t function = thread->frames[i].function;
		mon_ns start_ns = thread->frames[i].start_ns;

		struct mon_open_calls *open;

		if (function >= opened->function_count)
			continue;
		open = &opened->open[function];
		open->count++;
		if (!open->oldest_ns || start_ns < open->oldest_ns) {
			open->oldest_ns = start_ns;
			open->tid = (pid_t)thread->tid;
		}
	}
}

int mon_capture_read_open(struct mon_capture *capture, struct mon_open_calls *open_out)
{
	struct opened opened = {
		.function_count = capture->options.function_count,
		.open = open_out,
	};
	int program = capture->object.fds[MON_PROGRAM_OPEN];

	memset(open_out, 0, opened.function_count * sizeof(*open_out));
	return program < 0 ? 0 : iterate(program, count_open, &opened);
}

int mon_capture_flush_open(struct mon_capture *capture)
{
	int program = capture->object.fds[MON_PROGRAM_FLUSH], result;

	if (capture->probe_count) /* a thread could push while its frames are taken */
		return -EBUSY;
	result = program < 0 ? 0 : iterate(program, NULL, NULL);
	if (!result)
		result = mon_capture_unpin_tracepoints(capture);
	mon_capture_close_tracepoints(capture);
	return result;
}
