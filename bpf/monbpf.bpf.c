// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The programs. capture/ loads those of one mode (session, multi or perf) and, when returns are
 * followed, those that watch over threads that end in the middle of a call.
 */
#include "calls.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/*
 * Session: one program for entry and return; entry says 1 when the return is not wanted. Which of
 * the two it is the cookie tells: the kernel hands it to an entry as 0 (4d756095d399,
 * handler_chain), and what an entry puts there before a return that it wants is never 0. The kfunc
 * that says it costs a call more on each hit. This one takes no argument on 6.13-6.19 and the
 * context from 7.0 on; the one that the kernel does not have stays unresolved and its branch is
 * never verified. capture/ turns this program's attach type into BPF_TRACE_UPROBE_SESSION, which
 * libbpf 1.4 does not know.
 */
extern __u64 *bpf_session_cookie(void) __weak __ksym;
extern __u64 *bpf_session_cookie___ctx(void *ctx) __weak __ksym;

/*
 * Programs of probes must not get a private stack. Since 6.13 the verifier
 * gives one for each CPU to a program of type kprobe that needs much stack, and relies on
 * nothing running it twice on one CPU at a time. Nothing does so for uprobes: they run where they
 * can be preempted, and another thread's hit writes over the first one's variables: on 7.3, whose
 * kernel is preemptible, it ended in a kernel oops within a minute. A program with a tail call
 * anywhere gets none. This one is never made: the branch is on read-only data and is removed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} nowhere SEC(".maps");

static __always_inline void mon_use_the_kernel_stack(void *ctx)
{
	if (setup.never)
		bpf_tail_call(ctx, &nowhere, 0);
}

/*
 * Entry and return apart from each other and from the program, so that the stack of one is not
 * below the other's: both together need more than the 512 bytes there are, with some compilers.
 */
static __noinline bool mon_session_enter(struct pt_regs *ctx, __u64 *word)
{
	return mon_enter(ctx, word, false);
}

static __noinline bool mon_session_enter_sift(struct pt_regs *ctx, __u64 *word)
{
	return mon_enter(ctx, word, true);
}

static __noinline void mon_session_return(struct pt_regs *ctx, const __u64 *word)
{
	mon_leave(ctx, word, false);
}

static __noinline void mon_session_return_sift(struct pt_regs *ctx, const __u64 *word)
{
	mon_leave(ctx, word, true);
}

static __always_inline int mon_session_hit(struct pt_regs *ctx, const bool sift)
{
	__u64 *word;

	if (bpf_ksym_exists(bpf_session_cookie))
		word = bpf_session_cookie();
	else
		word = bpf_session_cookie___ctx(ctx);
	if (*word) {
		if (setup.returns && sift) /* without, there is no map of frames either */
			mon_session_return_sift(ctx, word);
		else if (setup.returns)
			mon_session_return(ctx, word);
		return 0;
	}
	/* The verifier wants to see 0 or 1, which clang's `w0 ^= 1` hides. */
	if (sift ? mon_session_enter_sift(ctx, word) : mon_session_enter(ctx, word))
		return 0;
	return 1;
}

static __always_inline int mon_entry_hit(struct pt_regs *ctx, const bool sift)
{
	__u64 unused;

	mon_enter(ctx, &unused, sift);
	return 0;
}

static __always_inline int mon_return_hit(struct pt_regs *ctx, const bool sift)
{
	mon_leave(ctx, NULL, sift);
	return 0;
}

#define MON_PROGRAM(section, name, hit)            \
	SEC(section) int name(struct pt_regs *ctx) \
	{                                          \
		mon_use_the_kernel_stack(ctx);     \
		return hit;                        \
	}

/*
 * Each program twice: the plain one, and the one that sifts (bpf/sift.bpf.h), which is loaded only
 * where a run asks for what it does. Two sets cost the object some kB and the plain hit nothing.
 */
#define MON_PROGRAMS(suffix, sift)                                                          \
	MON_PROGRAM("uprobe.multi", mon_session##suffix, mon_session_hit(ctx, sift))        \
	MON_PROGRAM("uprobe.multi", mon_multi_entry##suffix, mon_entry_hit(ctx, sift))      \
	MON_PROGRAM("uretprobe.multi", mon_multi_return##suffix, mon_return_hit(ctx, sift)) \
	MON_PROGRAM("uprobe", mon_perf_entry##suffix, mon_entry_hit(ctx, sift))             \
	MON_PROGRAM("uretprobe", mon_perf_return##suffix, mon_return_hit(ctx, sift))

MON_PROGRAMS(, false)
MON_PROGRAMS(_sift, true)

/* Any thread of the machine ends; those with frames are few. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(mon_thread_exit, struct task_struct *task)
{
	struct mon_thread *thread = bpf_task_storage_get(&threads, task, NULL, 0);

	if (!thread)
		return 0;
	mon_drop_all(thread, task, MON_CALL_THREAD_EXIT);
	__sync_fetch_and_add(&live.run.threads, -1);
	return 0;
}

/* The caller of exec may take over the pid and age of its group's leader. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(mon_process_exec, struct task_struct *task)
{
	struct mon_ids ids = mon_ids_of(bpf_get_current_task_btf());
	struct mon_thread *thread = NULL;

	if (setup.returns)
		thread = bpf_task_storage_get(&threads, task, NULL, 0);
	if (thread) {
		mon_drop_all(thread, task, MON_CALL_EXEC);
		if (thread->tid != ids.tid || thread->born_ns != task->start_time) {
			thread->tid = ids.tid;
			thread->born_ns = task->start_time;
			thread->named = 0;
		}
	}
	if (thread || (setup.filter && mon_is_watched(ids.tgid)))
		__sync_fetch_and_add(&live.run.execs, 1);
	return 0;
}

/* A new process, not a thread. Its hits are foreign unless it is attached too. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(mon_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct mon_ids ids = mon_ids_of(bpf_get_current_task_btf());
	__u64 slot;

	/* 0: outside of our pid namespace, which is what live.tgid says before it is set, too. */
	if (!ids.tgid || !setup.filter || !mon_is_watched(ids.tgid) || child->pid != child->tgid)
		return 0;
	slot = __sync_fetch_and_add(&live.run.forks, 1);
	live.run.fork_pids[slot % MON_FORKS_REMEMBERED] = mon_pid_of(child);
	return 0;
}

/* The end of the run: every probe is gone, so nobody pushes; threads may still end meanwhile. */
SEC("iter/task")
int mon_flush(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct mon_thread *thread;

	if (!task)
		return 0;
	thread = bpf_task_storage_get(&threads, task, NULL, 0);
	if (thread)
		mon_drop_all(thread, task, MON_CALL_IN_FLIGHT);
	return 0;
}

/* Hands out what is open now, as it is; the reader checks what it reads. */
SEC("iter/task")
int mon_open(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct mon_thread *thread;

	if (!task)
		return 0;
	thread = bpf_task_storage_get(&threads, task, NULL, 0);
	if (thread && thread->depth)
		bpf_seq_write(ctx->meta->seq, thread, sizeof(*thread));
	return 0;
}
