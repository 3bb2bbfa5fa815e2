// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls that are open, found by a walk over tasks (iter/task): read for the live view and `status`,
 * or ended with a record each when the run is over. Reading walks the threads of the watched
 * processes only; all of the machine when every process is watched. The end always walks all.
 */
#include "capture/state.h"

#include "bpf/event.h"
#include "bpf/frames.h"
#include "capture/link.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

/*
 * Runs an iterator and hands each whole struct that it wrote to @each (NULL: it writes nothing).
 * Reading yields at most a kernel buffer at a time, always from where the last read ended.
 */
static int iterate(int program_fd, pid_t pid,
		   void (*each)(const struct mon_thread *thread, void *context), void *context)
{
	MON_CLOSE int link = -1;
	MON_CLOSE int iterator = -1;
	struct mon_thread threads[4];
	size_t used = 0;

	link = mon_link_iterator(program_fd, pid);
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
	const struct mon_arming *armings; /* NULL: no link was ever closed */
	struct mon_open_calls *open;
	struct mon_open_list *list; /* may be NULL */
};

/* Oldest first; the youngest falls out when there are more than fit. */
static void list_call(struct mon_open_list *list, const struct mon_open_call *call)
{
	size_t at = list->count;

	while (at && list->calls[at - 1].start_ns > call->start_ns)
		at--;
	if (at == MON_OPEN_LISTED_MAX)
		return;
	if (list->count < MON_OPEN_LISTED_MAX)
		list->count++;
	memmove(&list->calls[at + 1], &list->calls[at],
		(list->count - at - 1) * sizeof(list->calls[0]));
	list->calls[at] = *call;
}

/* Its link was closed: nobody will see it return, so nobody knows whether it has (bpf/arming.h). */
static bool is_cut_off(const struct mon_arming *armings, const struct mon_frame *frame)
{
	uint32_t from;

	if (!armings)
		return false;
	from = __atomic_load_n(&armings[frame->function].alive_from, __ATOMIC_ACQUIRE);
	return (int32_t)(frame->generation - from) < 0;
}

/* The thread may run meanwhile: anything can be torn, nothing may lead out of bounds. */
static void count_open(const struct mon_thread *thread, void *context)
{
	const struct opened *opened = context;
	uint32_t caller = MON_FUNCTION_NONE, depth = 0;

	for (uint32_t i = 0; i < thread->depth && i < MON_FRAMES_MAX; i++) {
		const struct mon_open_call call = {
			.pid = (pid_t)thread->tgid,
			.tid = (pid_t)thread->tid,
			.function = thread->frames[i].function,
			.caller = caller,
			.depth = depth,
			.start_ns = thread->frames[i].start_ns,
		};
		struct mon_open_calls *open;

		if (call.function >= opened->function_count ||
		    is_cut_off(opened->armings, &thread->frames[i]))
			continue;
		depth++;
		caller = call.function;
		open = &opened->open[call.function];
		open->count++;
		if (!open->oldest_ns || call.start_ns < open->oldest_ns) {
			open->oldest_ns = call.start_ns;
			open->pid = call.pid;
			open->tid = call.tid;
		}
		if (opened->list)
			list_call(opened->list, &call);
	}
}

/* One walk for each process that the programs' filter knows. One that ended has no threads. */
static int read_watched(struct mon_capture *capture, int program, struct opened *opened)
{
	int map = capture->object.fds[MON_MAP_TGIDS], result = 0;
	uint32_t tgid = 0, next;

	if (capture->options.all_processes)
		return iterate(program, 0, count_open, opened);
	for (unsigned i = 0; i < MON_TGIDS_MAX && !result; i++, tgid = next) {
		if (bpf_map_get_next_key(map, i ? &tgid : NULL, &next))
			break;
		result = iterate(program, (pid_t)next, count_open, opened);
	}
	return result;
}

bool mon_capture_follows_returns(const struct mon_capture *capture)
{
	return capture->object.fds[MON_PROGRAM_OPEN] >= 0;
}

int mon_capture_read_open(struct mon_capture *capture, struct mon_open_calls *open_out,
			  struct mon_open_list *list_out)
{
	struct opened opened = {
		.function_count = capture->options.function_count,
		.armings = capture->armings,
		.open = open_out,
		.list = list_out,
	};

	memset(open_out, 0, opened.function_count * sizeof(*open_out));
	if (list_out)
		list_out->count = 0;
	if (!mon_capture_follows_returns(capture))
		return 0;
	return read_watched(capture, capture->object.fds[MON_PROGRAM_OPEN], &opened);
}

int mon_capture_flush_open(struct mon_capture *capture)
{
	int program = capture->object.fds[MON_PROGRAM_FLUSH], result;

	if (capture->probe_count) /* a thread could push while its frames are taken */
		return -EBUSY;
	result = program < 0 ? 0 : iterate(program, 0, NULL, NULL);
	if (!result)
		result = mon_capture_unpin_tracepoints(capture);
	mon_capture_close_tracepoints(capture);
	return result;
}
