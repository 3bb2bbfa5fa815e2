/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one door to the rings. A chosen call comes here exactly once and leaves counted exactly once:
 * emitted, or refused under the reason. Every byte of a record is written before it is submitted.
 */
#ifndef MON_EMIT_BPF_H
#define MON_EMIT_BPF_H

#include "stacks.bpf.h"
#include "texts.bpf.h"

#define MON_RING_HEADER_BYTES 8

/*
 * Room in this CPU's ring. Which one a record is in means nothing: the CPU may be another than at
 * the call's entry. With one ring, which is read-only data, nothing of the choice is left. A CPU
 * that came online later than the run takes any.
 */
static __always_inline void *mon_reserve(__u32 bytes)
{
	__u32 number;
	void *chosen;

	if (setup.ring_count <= 1)
		return bpf_ringbuf_reserve(&ring, bytes, 0);
	number = bpf_get_smp_processor_id() * setup.ring_scale >> MON_RING_SCALE_SHIFT;
	if (number >= setup.ring_count)
		number %= setup.ring_count;
	chosen = bpf_map_lookup_elem(&rings, &number);
	return chosen ? bpf_ringbuf_reserve(chosen, bytes, 0) : NULL;
}

/*
 * Wakes the reader when a record reaches into the next share of the ring, else not: a wakeup costs
 * the target 9.7 us, and the kernel's own choice never fires for a reader that acknowledges late.
 * The reader's timer does the rest. The ring's data is one run of addresses (twice over, so that a
 * record may wrap), so the record's own address tells, without a word that all CPUs write. Where
 * the shares begin does not matter; the verifier wants to see a difference of pointers, not a
 * pointer.
 */
static __always_inline __u64 mon_wakeup_flag(const void *event, __u32 bytes)
{
	__u64 from = event - (const void *)&live, to = from + bytes + MON_RING_HEADER_BYTES;

	return (from ^ to) & ~(setup.wakeup_bytes - 1) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Once for a thread, before its first call record; tried again while the ring refuses. */
static __noinline void mon_emit_task(struct task_struct *task, __u32 tgid, __u32 tid, __u64 born_ns,
				     __u32 *named)
{
	struct mon_task_event *event;

	event = mon_reserve(sizeof(*event));
	if (!event) {
		__sync_fetch_and_add(&live.run.tasks_unnamed, 1);
		return;
	}
	event->kind = MON_EVENT_TASK;
	event->version = MON_EVENT_VERSION;
	event->reserved = 0;
	event->reserved2 = 0;
	event->born_ns = born_ns;
	event->pid = tgid;
	event->tid = tid;
	if (bpf_core_read(event->comm, sizeof(event->comm), &task->comm))
		__builtin_memset(event->comm, 0, sizeof(event->comm));
	*named = 1;
	bpf_ringbuf_submit(event, mon_wakeup_flag(event, sizeof(*event)));
}

static __always_inline void mon_count_closed(struct mon_counters *count, __u32 reason)
{
	if (reason == MON_REASON_SIZE_CAP)
		__sync_fetch_and_add(&count->size_cap, 1);
	else if (reason == MON_REASON_RATE_CAP)
		__sync_fetch_and_add(&count->rate_cap, 1);
	else
		__sync_fetch_and_add(&count->gate_closed, 1);
}

/* What a record says that is not in the ring's own memory yet. */
struct mon_call {
	__u64 start_ns;
	__u64 duration_ns;
	__u64 child_ns;
	__u64 ret;
	__u64 born_ns;
	const __u64 *args;     /* of [MON_EVENT_ARGS_MAX], or NULL */
	const void *texts;     /* those of its frame, or NULL */
	struct pt_regs *entry; /* it is being entered: texts and stack are read now; or NULL */
	struct pt_regs *leave; /* it returns: the stack is read now; or NULL */
	__u32 tgid;
	__u32 tid;
	__u32 function;
	__u32 caller;
	__u32 weight;
	__u32 cpu;
	__u32 depth;
	__u32 flags;
	__u32 reserved;
};

/*
 * Is nobody there to read what ends now? Setup is read-only data, so a run without a timeout has no
 * trace of this. The end of the call is known already: no clock is asked. A call without a duration
 * is taken to end where it began, so it may pass a little longer. A heartbeat from the future (its
 * clock was read after the call's end) is a difference below 0: in time.
 */
static __always_inline bool mon_reader_is_late(const struct mon_call *call)
{
	__u64 heartbeat_ns;

	if (!setup.reader_timeout_ns)
		return false;
	heartbeat_ns = *(volatile __u64 *)&live.heartbeat_ns;
	return (__s64)(call->start_ns + call->duration_ns - heartbeat_ns) >
	       (__s64)setup.reader_timeout_ns;
}

/* All of it but the arguments, which a record may not have room for. */
static __always_inline void mon_fill_call(struct mon_call_event *event, const struct mon_call *call,
					  __u8 kind)
{
	event->kind = kind;
	event->version = MON_EVENT_VERSION;
	event->flags = call->flags;
	event->function = call->function;
	event->start_ns = call->start_ns;
	event->duration_ns = call->duration_ns;
	event->child_ns = call->child_ns;
	event->ret = call->ret;
	event->born_ns = call->born_ns;
	event->pid = call->tgid;
	event->tid = call->tid;
	event->caller = call->caller;
	event->weight = call->weight;
	event->cpu = call->cpu;
	event->depth = call->depth;
	event->arg_count = 0;
}

/* Arguments beyond what the run captures are 0: six registers would leak what nobody asked for. */
static __always_inline void mon_read_arguments(struct pt_regs *ctx, __u64 *args)
{
	args[0] = setup.arg_count > 0 ? PT_REGS_PARM1(ctx) : 0;
	args[1] = setup.arg_count > 1 ? PT_REGS_PARM2(ctx) : 0;
	args[2] = setup.arg_count > 2 ? PT_REGS_PARM3(ctx) : 0;
	args[3] = setup.arg_count > 3 ? PT_REGS_PARM4(ctx) : 0;
	args[4] = setup.arg_count > 4 ? PT_REGS_PARM5(ctx) : 0;
	args[5] = setup.arg_count > 5 ? PT_REGS_PARM6(ctx) : 0;
}

static __always_inline void mon_fill_arguments(struct mon_call_event *event,
					       const struct mon_call *call)
{
	if (setup.arg_count && call->entry) {
		event->arg_count = setup.arg_count;
		mon_read_arguments(call->entry, event->args);
		return;
	}
	if (setup.arg_count && call->args)
		event->arg_count = setup.arg_count;
#pragma unroll
	for (int i = 0; i < MON_EVENT_ARGS_MAX; i++)
		event->args[i] = call->args ? call->args[i] : 0;
}

static __always_inline void mon_emit_plain(struct mon_counters *count, const struct mon_call *call)
{
	const __u32 bytes =
		setup.arg_count ? sizeof(struct mon_call_event) : MON_CALL_EVENT_BARE_BYTES;
	struct mon_call_event *event;

	if (setup.arg_count)
		event = mon_reserve(sizeof(*event));
	else
		event = mon_reserve(MON_CALL_EVENT_BARE_BYTES);
	if (!event) {
		__sync_fetch_and_add(&count->ring_full, 1);
		return;
	}
	/* Counted before it can be seen: the reader never knows of more than the counters. */
	__sync_fetch_and_add(&count->emitted, 1);
	mon_fill_call(event, call, MON_EVENT_CALL);
	if (setup.arg_count)
		mon_fill_arguments(event, call);
	bpf_ringbuf_submit(event, mon_wakeup_flag(event, bytes));
}

/*
 * Call and texts in one record, so that neither can be lost without the other. @entered, a
 * constant: it may be that it is being entered.
 */
static __always_inline void mon_emit_texts_of(struct mon_counters *count,
					      const struct mon_call *call, const bool entered)
{
	struct mon_call_event *event;

	event = mon_reserve(setup.text_record_bytes);
	if (!event) {
		__sync_fetch_and_add(&count->ring_full, 1);
		return;
	}
	__sync_fetch_and_add(&count->emitted, 1);
	mon_fill_call(event, call, MON_EVENT_CALL_TEXT);
	mon_fill_arguments(event, call);
	if (entered && call->entry) {
		bpf_probe_read_kernel(event + 1, setup.texts_bytes, mon_zeros);
		mon_read_texts(call->entry, event + 1);
	} else {
		bpf_probe_read_kernel(event + 1, setup.texts_bytes, call->texts);
	}
	bpf_ringbuf_submit(event, mon_wakeup_flag(event, setup.text_record_bytes));
}

static __noinline void mon_emit_texts(struct mon_counters *count, const struct mon_call *call)
{
	mon_emit_texts_of(count, call, true);
}

/* Call, stack and what texts there are. @bytes and @texts are constants, for the verifier. */
static __always_inline void mon_emit_stack_of(struct mon_counters *count,
					      const struct mon_call *call, const __u32 bytes,
					      const bool texts)
{
	struct mon_call_event *event;
	struct mon_stack *stack;

	event = mon_reserve(bytes);
	if (!event) {
		__sync_fetch_and_add(&count->ring_full, 1);
		return;
	}
	__sync_fetch_and_add(&count->emitted, 1);
	mon_fill_call(event, call, MON_EVENT_CALL_STACK);
	mon_fill_arguments(event, call);
	stack = (void *)(event + 1);
	if (texts && call->entry) {
		bpf_probe_read_kernel((void *)stack + setup.stack_bytes, setup.texts_bytes,
				      mon_zeros);
		mon_read_texts(call->entry, (void *)stack + setup.stack_bytes);
	} else if (texts) {
		bpf_probe_read_kernel((void *)stack + setup.stack_bytes, setup.texts_bytes,
				      call->texts);
	}
	if (call->entry)
		mon_fill_stack(stack, call->entry, false);
	else if (call->leave)
		mon_fill_stack(stack, call->leave, true);
	bpf_ringbuf_submit(event, mon_wakeup_flag(event, bytes));
}

static __noinline void mon_emit_stack(struct mon_counters *count, const struct mon_call *call)
{
	if (setup.text_count && call->texts)
		mon_emit_stack_of(count, call, setup.stack_text_record_bytes, true);
	else if (setup.text_count && call->entry)
		mon_emit_stack_of(count, call, setup.stack_text_record_bytes, true);
	else
		mon_emit_stack_of(count, call, setup.stack_record_bytes, false);
}

/*
 * Two questions: of both pointers at once clang 19 makes one number, which the verifier does not
 * allow for pointers. The empty instruction between them keeps them apart.
 */
static __always_inline bool mon_has_texts(const struct mon_call *call)
{
	if (call->texts)
		return true;
	asm volatile("");
	return call->entry;
}

/* @walk, a constant: `entry` or `leave` may be set, there is something to walk for a stack. */
static __always_inline void mon_emit_call(struct mon_counters *count, const struct mon_call *call,
					  const bool walk)
{
	__u32 closed = *(volatile __u32 *)&live.gate.closed_reason;

	if (closed)
		mon_count_closed(count, closed);
	else if (mon_reader_is_late(call))
		__sync_fetch_and_add(&count->gate_closed, 1);
	else if (walk && setup.stack_frames)
		mon_emit_stack(count, call);
	else if (walk && setup.text_count && mon_has_texts(call))
		mon_emit_texts(count, call);
	else if (!walk && setup.text_count && call->texts)
		mon_emit_texts_of(count, call, false);
	else
		mon_emit_plain(count, call);
}

#endif
