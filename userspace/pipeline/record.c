// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Nothing that a record says is believed before it was looked at: not its size, not its kind, not
 * the numbers that index our tables. Pure functions; any thread.
 */
#include "pipeline/record.h"

#include <errno.h>
#include <stdbool.h>

/* Clocks of two CPUs may differ a little; child time beyond the call's own by more is nonsense. */
#define CHILD_SLACK_NS 1000000ull

static int check_call_fields(const struct mon_record_shape *shape,
			     const struct mon_call_event *call)
{
	uint32_t function_count = shape->function_count, unfinished;

	if (call->function >= function_count ||
	    (call->caller >= function_count && call->caller != MON_FUNCTION_NONE) || !call->weight)
		return EPROTO;
	unfinished = call->flags & MON_CALL_UNFINISHED;
	if ((call->flags & ~(MON_CALL_UNFINISHED | MON_CALL_DOUBTS)) ||
	    (unfinished & (unfinished - 1)))
		return EPROTO;
	if ((call->flags & MON_CALL_CALLER_UNKNOWN) && call->caller != MON_FUNCTION_NONE)
		return EPROTO;
	if ((call->flags & MON_CALL_SELF_UNKNOWN) && (unfinished || call->child_ns))
		return EPROTO;
	if (unfinished)
		return call->duration_ns || call->child_ns || call->ret ? EPROTO : 0;
	return call->child_ns > call->duration_ns &&
			       call->child_ns - call->duration_ns > CHILD_SLACK_NS
		       ? EPROTO
		       : 0;
}

static bool arguments_fit(const struct mon_record_shape *shape, const struct mon_call_event *call)
{
	if (shape->any_capture)
		return call->arg_count <= MON_EVENT_ARGS_MAX;
	return !call->arg_count || call->arg_count == shape->arg_count;
}

static int check_call(const struct mon_record_shape *shape, const struct mon_call_event *call,
		      uint32_t size)
{
	uint32_t args_bytes = shape->arg_count * (uint32_t)sizeof(call->args[0]);
	bool has_arguments = shape->arg_count || shape->any_capture;

	/* Without its arguments, with the run's, or (with unused ones) the whole struct. */
	if (size != MON_CALL_EVENT_BARE_BYTES &&
	    (!has_arguments ||
	     (size != MON_CALL_EVENT_BARE_BYTES + args_bytes && size != sizeof(*call))))
		return EBADMSG;
	if (!arguments_fit(shape, call))
		return EPROTO;
	if (call->arg_count && size == MON_CALL_EVENT_BARE_BYTES)
		return EBADMSG;
	return check_call_fields(shape, call);
}

/* Arguments 1 to 6, each once. */
static bool check_text(const struct mon_record_shape *shape, const struct mon_text *text,
		       unsigned *slots)
{
	unsigned slot = 1u << (text->slot & 31);
	bool unknown = text->flags & MON_TEXT_TRUE_UNKNOWN;

	if (!text->slot || text->slot > MON_EVENT_ARGS_MAX || (*slots & slot) || text->reserved ||
	    (text->flags & ~MON_TEXT_FLAGS))
		return false;
	*slots |= slot;
	if (text->room_bytes != MON_TEXT_ROOM_BYTES(shape->capture_bytes) ||
	    text->stored_bytes > shape->capture_bytes)
		return false;
	if ((text->flags & MON_TEXT_READ_FAILED) && text->stored_bytes)
		return false;
	return unknown ? !text->true_bytes : text->true_bytes >= text->stored_bytes;
}

static int check_call_text(const struct mon_record_shape *shape, const struct mon_call_event *call,
			   uint32_t size);

/* The first text tells the room of each: then it is a run like any other. */
static int check_any_texts(const struct mon_record_shape *shape, const struct mon_call_event *call,
			   uint32_t size)
{
	const struct mon_text *first = (const struct mon_text *)(call + 1);
	struct mon_record_shape told = *shape;
	uint32_t stride;

	if (size < sizeof(*call) + sizeof(*first) || size > MON_RING_READABLE_BYTES)
		return EBADMSG;
	stride = (uint32_t)sizeof(*first) + first->room_bytes;
	if (first->room_bytes < 3 || (size - sizeof(*call)) % stride)
		return EBADMSG;
	told.any_capture = false;
	told.arg_count = call->arg_count <= MON_EVENT_ARGS_MAX ? call->arg_count : 0;
	told.text_count = (size - (uint32_t)sizeof(*call)) / stride;
	told.capture_bytes = first->room_bytes - 2u;
	if (told.text_count > MON_TEXTS_MAX ||
	    MON_TEXT_ROOM_BYTES(told.capture_bytes) != first->room_bytes)
		return EPROTO;
	return check_call_text(&told, call, size);
}

static int check_call_text(const struct mon_record_shape *shape, const struct mon_call_event *call,
			   uint32_t size)
{
	uint32_t stride = MON_TEXT_STRIDE_BYTES(shape->capture_bytes);
	const char *text = (const char *)(call + 1);
	unsigned slots = 0;

	if (shape->any_capture)
		return check_any_texts(shape, call, size);
	if (!shape->text_count)
		return EPROTO;
	if (size != sizeof(*call) + shape->text_count * stride)
		return EBADMSG;
	if (!arguments_fit(shape, call))
		return EPROTO;
	for (uint32_t i = 0; i < shape->text_count; i++, text += stride)
		if (!check_text(shape, (const struct mon_text *)text, &slots))
			return EPROTO;
	return check_call_fields(shape, call);
}

static int check_task(const struct mon_task_event *task, uint32_t size)
{
	if (size != sizeof(*task))
		return EBADMSG;
	return task->reserved || task->reserved2 ? EPROTO : 0;
}

int mon_record_check(const struct mon_record_shape *shape, const void *data, uint32_t size)
{
	const unsigned char *first = data; /* kind and version of either struct */

	if (size < 2)
		return EBADMSG;
	if (first[1] != MON_EVENT_VERSION)
		return EPROTO;
	if (first[0] == MON_EVENT_CALL)
		return check_call(shape, data, size);
	if (first[0] == MON_EVENT_TASK)
		return check_task(data, size);
	if (first[0] == MON_EVENT_CALL_TEXT)
		return check_call_text(shape, data, size);
	return EPROTO;
}
