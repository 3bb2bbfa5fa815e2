// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Captures that outlive their monitor: a process of its own (the loader) arms, pins and is killed;
 * the target goes on while nobody lives; this process adopts what is pinned and must find every
 * call, in order and once. And what must not be adopted, and what must be gone in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/pins.h"
#include "tests/harness/functions.h"
#include "tests/harness/loader.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"
#include "tests/harness/watch.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define CALLS 1000
#define FLOOD_RING_BYTES (64u << 20) /* half a second of it */
#define MODE(state) (*(const enum mon_mode *)*(state))

static char *directory, *base, *database;
static struct watch watch;
static struct mon_pins_identity identity;

static int set_up(void **state)
{
	(void)state;
	directory = scratch_new();
	base = scratch_path(directory, "pins");
	database = scratch_path(directory, "monbpf.db");
	return 0;
}

static int tear_down(void **state)
{
	int result = process_teardown(state);

	watch_free(&watch);
	while (!umount2(base, MNT_DETACH)) { /* what is still pinned goes with it */
	}
	scratch_remove(directory);
	free(base);
	free(database);
	return result;
}

static void functions_of(const char *target, const char *const symbols[])
{
	char path[PATH_MAX];

	functions_add(&watch.set, target_path(target, path, sizeof(path)), symbols);
}

static struct mon_capture_options options_of(enum mon_mode mode)
{
	struct mon_capture_options options = watch_options(mode);

	options.arg_count = 1;
	options.function_count = (uint32_t)watch.set.function_count;
	return options;
}

static pid_t start_loader(const struct mon_capture_options *options, pid_t pid, loader_then then)
{
	return loader_start(&(struct loader){
		.options = options,
		.set = &watch.set,
		.target = pid,
		.base = base,
		.database = database,
		.uuid = UUID,
		.then = then,
	});
}

static void adopt(void)
{
	struct mon_error error = {0};

	if (mon_capture_adopt(base, UUID, &watch.capture, &identity, &error))
		fail_msg("mon_capture_adopt: %s", error.text);
	watch.options = identity.options;
	free(watch.records);
	watch.records = calloc(watch.options.function_count, sizeof(*watch.records));
	assert_non_null(watch.records);
	watch_map_rings(&watch);
}

/* As a monitor that goes away without a word. */
static void abandon(void)
{
	mon_rings_free(watch.rings);
	mon_capture_free(watch.capture);
	watch.rings = NULL;
	watch.capture = NULL;
}

static void expect_no_adoption(int expected, enum mon_exit exit_code, const char *part)
{
	struct mon_capture *capture = NULL;
	struct mon_error error = {0};

	assert_int_equal(mon_capture_adopt(base, UUID, &capture, &identity, &error), expected);
	assert_null(capture);
	assert_sentence(&error, exit_code, part);
}

/* Every record of the ring, oldest first, up to @max: arguments @from, @from + 1, … Their number.
 */
static uint64_t read_sequence(struct mon_ring *ring, uint64_t from, uint64_t max)
{
	struct mon_record record;
	uint64_t count = 0;

	while (count < max && mon_ring_try_pop(ring, &record) == 0) {
		const struct mon_call_event *call = record.data;

		assert_int_equal(record.invalid, 0);
		if (call->kind == MON_EVENT_CALL) {
			assert_int_equal(call->arg_count, 1);
			assert_int_equal(call->args[0], from + count++);
		}
		mon_ring_acknowledge(ring, record.end);
	}
	return count;
}

static uint32_t program_id(void)
{
	return loader_program(base, UUID);
}

static size_t pinned_runs(void)
{
	MON_FREE struct mon_pins_run *runs = NULL;
	size_t count;

	assert_int_equal(mon_pins_list(base, &runs, &count, NULL), 0);
	return count;
}

static void end_run(void)
{
	uint32_t program = program_id();

	assert_true(loader_links(program) > 0);
	assert_int_equal(mon_capture_detach(watch.capture), 0);
	assert_int_equal(loader_links(program), 0);
	assert_int_equal(mon_capture_flush_open(watch.capture), 0);
	assert_int_equal(pinned_runs(), 1);
	assert_int_equal(mon_capture_unpin(watch.capture), 0);
	assert_int_equal(pinned_runs(), 0);
	abandon();
	loader_wait_unloaded(program);
}

/* A target of `sequence 1000` makes its calls. */
static void let_call(struct target *target)
{
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
}

/* Nobody watches any more, and it is well. */
static void let_go(struct target *target)
{
	let_call(target);
	assert_int_equal(target_finish(target), 0);
}

static const char *const sequence_symbols[] = {"watched_sequence", NULL};

/* Kill -9, a thousand calls, adopt: they are counted and in the ring, in order, once. */
static void R01_adopted_after_kill(void **state)
{
	struct target *target = target_start("sequence", "1000", NULL);
	struct mon_capture_options options;
	char found[MON_UUID_BYTES];

	functions_of("sequence", sequence_symbols);
	options = options_of(MODE(state));
	loader_kill(start_loader(&options, target_pid(target), NULL));
	let_call(target);

	assert_int_equal(mon_pins_find(base, database, found, NULL), 0);
	assert_string_equal(found, UUID);
	assert_int_equal(mon_pins_find(base, "/elsewhere.db", found, NULL), -ENOENT);
	adopt();
	assert_string_equal(identity.head.run_uuid, UUID);
	assert_string_equal(identity.head.database, database);
	assert_int_equal(identity.head.monitor_pid, getpid());
	assert_int_equal(identity.started_ns, 23);
	assert_int_equal(identity.armed_ns, 42);
	assert_int_equal(identity.target_count, 1);
	assert_int_equal(identity.targets[0].pid, target_pid(target));
	assert_int_equal(identity.detached, 0);
	assert_memory_equal(&identity.options, &options, sizeof(options));
	assert_int_equal(watch_counters(&watch, 0).calls, CALLS);
	assert_int_equal(watch_counters(&watch, 0).returns, CALLS);
	assert_int_equal(watch_counters(&watch, 0).emitted, CALLS);
	assert_int_equal(read_sequence(watch.ring, 0, UINT64_MAX), CALLS);
	assert_int_equal(watch_run_counters(&watch).orphan_returns, 0);
	end_run();
	assert_int_equal(target_finish(target), 0);
}

/* What this loader's reader acknowledged before it died must not come again. */
static int read_a_hundred(struct mon_capture *capture)
{
	const struct mon_ring_options options = {
		.map_fd = mon_capture_ring_fd(capture, 0),
		.size_bytes = FLOOD_RING_BYTES,
		.function_count = 1,
		.arg_count = 1,
	};
	struct mon_ring *ring;
	struct mon_record record;
	uint64_t count = 0;

	if (mon_ring_new(&options, &ring))
		return -1;
	while (count < 100) {
		const struct mon_call_event *call;

		if (mon_ring_try_pop(ring, &record)) {
			(void)poll(NULL, 0, 1);
			continue;
		}
		call = record.data;
		count += call->kind == MON_EVENT_CALL;
		mon_ring_acknowledge(ring, record.end);
	}
	(void)mon_ring_try_pop(ring, &record); /* read and not acknowledged: comes again */
	return 0;
}

/* The kill in the middle of a flood: no gap where one monitor ends and the next begins. */
static void R02_killed_in_a_flood(void **state)
{
	static const char *const symbols[] = {"watched_flood", NULL};
	struct target *target = target_start("flood", NULL);
	struct mon_capture_options options;
	struct mon_counters counters;
	struct mon_record record;
	uint64_t first = 0, count = 0;
	long calls;

	functions_of("flood", symbols);
	options = options_of(MODE(state));
	options.ring_bytes = FLOOD_RING_BYTES;
	target_go(target);
	loader_kill(start_loader(&options, target_pid(target), read_a_hundred));
	adopt();
	process_say(target_process(target), "stop");
	calls = target_done(target);
	counters = watch_counters(&watch, 0);
	while (mon_ring_try_pop(watch.ring, &record) == 0) {
		const struct mon_call_event *call = record.data;

		assert_int_equal(call->kind, MON_EVENT_CALL);
		if (!count)
			first = call->args[0];
		/* A slow machine fills even this ring; then the last ones have gaps. */
		if (!counters.ring_full)
			assert_int_equal(call->args[0], first + count);
		count++;
		mon_ring_acknowledge(watch.ring, record.end);
	}
	/* The first that is left is the 101st that was seen; nothing is missing up to the end. */
	assert_int_equal(100 + count, counters.emitted);
	assert_int_equal(counters.emitted + counters.ring_full, counters.calls);
	assert_int_equal(counters.calls, (uint64_t)calls - (first - 100));
	end_run();
	assert_int_equal(target_finish(target), 0);
}

/* Two links a function in perf mode, each its own pin, and more than files may be open. */
static void R15_many_links(void **state)
{
	enum { FUNCTIONS = 20 };
	struct target *target = target_start("many", "1", NULL);
	struct mon_capture_options options;
	struct rlimit before, low;
	char path[PATH_MAX];
	uint32_t program;

	functions_add_prefix(&watch.set, target_path("many", path, sizeof(path)), "many_",
			     FUNCTIONS);
	options = options_of(MODE(state));
	loader_kill(start_loader(&options, target_pid(target), NULL));
	program = program_id();
	assert_int_equal(loader_links(program), MODE(state) == MON_MODE_PERF ? FUNCTIONS : 1);
	target_go(target);
	assert_true(target_done(target) > 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = 2 * FUNCTIONS;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	adopt();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (size_t i = 0; i < FUNCTIONS; i++)
		assert_int_equal(watch_counters(&watch, i).calls, 1);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(loader_links(program), 0);
	assert_int_equal(mon_capture_unpin(watch.capture), 0);
	assert_int_equal(target_finish(target), 0);
}

/* Another target after adoption is pinned, too; the next but one has them both. */
static void R03_attached_later(void **state)
{
	struct target *one = target_start("sequence", "1000", NULL);
	struct target *two = target_start("sequence", "1000", NULL);
	struct mon_capture_options options;
	struct mon_error error = {0};

	functions_of("sequence", sequence_symbols);
	options = options_of(MODE(state));
	loader_kill(start_loader(&options, target_pid(one), NULL));
	adopt();
	if (mon_capture_attach(watch.capture, &watch.set, target_pid(two), &error))
		fail_msg("%s", error.text);
	identity.targets[identity.target_count++].pid = target_pid(two);
	assert_int_equal(mon_capture_pin_update(watch.capture, &identity), 0);
	abandon();
	let_call(one);
	let_call(two);
	adopt();
	assert_int_equal(identity.target_count, 2);
	assert_int_equal(identity.targets[1].pid, target_pid(two));
	assert_int_equal(watch_counters(&watch, 0).calls, 2 * CALLS);
	assert_int_equal(read_sequence(watch.ring, 0, CALLS), CALLS);
	assert_int_equal(read_sequence(watch.ring, 0, UINT64_MAX), CALLS);
	assert_int_equal(watch_run_counters(&watch).foreign_hits, 0);
	end_run();
	assert_int_equal(target_finish(one), 0);
	assert_int_equal(target_finish(two), 0);
}

/* Links of children are not pinned, so there are none that nobody would close. */
static void children_have_no_pinned_links(void **state)
{
	struct target *target = target_start("sequence", "1000", NULL);
	struct target *other = target_start("sequence", "1000", NULL);
	struct mon_capture_options options;
	size_t links;

	functions_of("sequence", sequence_symbols);
	options = options_of(MODE(state));
	loader_kill(start_loader(&options, target_pid(target), NULL));
	adopt();
	links = process_count_links(getpid());
	assert_int_equal(mon_capture_attach_foreign(watch.capture, &watch.set, target_pid(other)),
			 MODE(state) == MON_MODE_PERF ? 0 : -ENOTSUP);
	assert_int_equal(process_count_links(getpid()), links);
	let_call(target);
	let_call(other);
	assert_int_equal(watch_counters(&watch, 0).calls, CALLS);
	end_run();
	assert_int_equal(target_finish(target), 0);
	assert_int_equal(target_finish(other), 0);
}

/* When detach is back, no call is counted any more, and the target still makes them. */
static void R04_detach_is_complete(void **state)
{
	static const char *const symbols[] = {"watched_flood", NULL};
	struct target *target = target_start("flood", NULL);
	struct mon_capture_options options;
	struct mon_counters before, after;
	uint32_t program;

	functions_of("flood", symbols);
	options = options_of(MODE(state));
	target_go(target);
	loader_kill(start_loader(&options, target_pid(target), NULL));
	adopt();
	program = program_id();
	for (int i = 0; i < PROCESS_TIMEOUT_MS && !watch_counters(&watch, 0).calls; i++)
		(void)poll(NULL, 0, 1);
	assert_int_equal(mon_capture_detach(watch.capture), 0);
	before = watch_counters(&watch, 0);
	assert_int_equal(loader_links(program), 0);
	(void)poll(NULL, 0, 50); /* for what must not happen there is no event */
	after = watch_counters(&watch, 0);
	assert_true(before.calls > 0);
	assert_int_equal(after.calls, before.calls);
	assert_int_equal(after.emitted, before.emitted);
	assert_int_equal(mon_capture_unpin(watch.capture), 0);
	process_say(target_process(target), "stop");
	assert_true(target_done(target) > 0);
	assert_int_equal(target_finish(target), 0);
}

static int detach_it(struct mon_capture *capture)
{
	return mon_capture_detach(capture);
}

/* Killed after detach and before the ring was read: the next one ends the run. */
static void R05_killed_while_it_ends(void **state)
{
	struct target *target = target_start("exit_mid_call", "23", NULL);
	static const char *const symbols[] = {"watched_call", NULL};
	struct mon_capture_options options;

	functions_of("exit_mid_call", symbols);
	options = options_of(MODE(state));
	loader_kill(start_loader(&options, target_pid(target), detach_it));
	target_go(target);
	assert_int_equal(target_done(target), 23);
	adopt();
	assert_int_equal(identity.detached, 1);
	assert_int_equal(watch_counters(&watch, 0).calls, 0);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(mon_capture_unpin(watch.capture), 0);
	assert_int_equal(mon_capture_unpin(watch.capture), 0);
	assert_int_equal(pinned_runs(), 0);
}

/* The tracepoints are pinned, too: a thread that ends in a call while nobody lives is told of. */
static void R06_thread_end_while_nobody_lives(void **state)
{
	static const char *const symbols[] = {"watched_exits", NULL};
	struct target *target = target_start("exit_mid_call", "23", NULL);
	struct mon_capture_options options;

	functions_of("exit_mid_call", symbols);
	options = options_of(MODE(state));
	loader_kill(start_loader(&options, target_pid(target), NULL));
	target_go(target);
	assert_int_equal(target_done(target), 23);
	process_say(target_process(target), "end");
	assert_int_equal(target_finish(target), 3);
	adopt();
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[0].thread_exit, 1);
	assert_int_equal(watch_run_counters(&watch).threads, 0);
	assert_int_equal(mon_capture_unpin(watch.capture), 0);
}

static void R07_exec_while_nobody_lives(void **state)
{
	static const char *const symbols[] = {"watched_execs", "watched_call", NULL};
	struct target *target = target_start("exec", "23", "mid", NULL);
	struct mon_capture_options options;

	functions_of("exec", symbols);
	options = options_of(MODE(state));
	loader_kill(start_loader(&options, target_pid(target), NULL));
	target_go(target);
	(void)target_wait_line(target, "done", PROCESS_TIMEOUT_MS);
	process_say(target_process(target), "exec");
	(void)target_wait_line(target, "ready", PROCESS_TIMEOUT_MS);
	adopt();
	assert_int_equal(watch_run_counters(&watch).execs, 1);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(watch.records[0].exec, 1);
	assert_int_equal(watch.records[1].finished, 23);
	assert_int_equal(mon_capture_unpin(watch.capture), 0);
}

/* Nobody beats: counted as gate_closed, and the exact counters go on. A beat opens it again. */
static void R08_heartbeat(void **state)
{
	struct target *target = target_start("timed", NULL);
	static const char *const symbols[] = {"watched_timed", NULL};
	struct mon_capture_options options;
	mon_ns now;

	functions_of("timed", symbols);
	options = options_of(MODE(state));
	options.reader_timeout_ns = 5 * MON_NS_PER_S;
	watch_open(&watch, &options);
	watch_attach(&watch, target_pid(target));
	process_say(target_process(target), "100");
	(void)target_wait_line(target, "took", PROCESS_TIMEOUT_MS);
	assert_int_equal(watch_counters(&watch, 0).emitted, 100);

	now = mon_clock_now(&mon_clock_system);
	mon_capture_heartbeat(watch.capture, now - 6 * MON_NS_PER_S);
	process_say(target_process(target), "100");
	(void)target_wait_line(target, "took", PROCESS_TIMEOUT_MS);
	assert_int_equal(watch_counters(&watch, 0).calls, 200);
	assert_int_equal(watch_counters(&watch, 0).returns, 200);
	assert_int_equal(watch_counters(&watch, 0).emitted, 100);
	assert_int_equal(watch_counters(&watch, 0).gate_closed, 100);

	/* A clock that is ahead, as when it was read after the call ended, is in time. */
	mon_capture_heartbeat(watch.capture, now + 60 * MON_NS_PER_S);
	process_say(target_process(target), "100");
	(void)target_wait_line(target, "took", PROCESS_TIMEOUT_MS);
	mon_capture_heartbeat(watch.capture, mon_clock_now(&mon_clock_system));
	process_say(target_process(target), "100");
	(void)target_wait_line(target, "took", PROCESS_TIMEOUT_MS);
	assert_int_equal(watch_counters(&watch, 0).calls, 400);
	assert_int_equal(watch_counters(&watch, 0).emitted, 300);
	assert_int_equal(watch_counters(&watch, 0).gate_closed, 100);
	watch_close_probes(&watch);
	watch_check(&watch);
	assert_int_equal(target_finish(target), 0);
}

/* One is pinned by a loader that lives no more; returns the target. */
static struct target *leave_pins(void)
{
	struct target *target = target_start("sequence", "1000", NULL);
	struct mon_capture_options options;

	functions_of("sequence", sequence_symbols);
	options = options_of(MON_MODE_SESSION);
	loader_kill(start_loader(&options, target_pid(target), NULL));
	return target;
}

static void R09_adopted_once(void **state)
{
	struct target *target = leave_pins();
	struct mon_pins_removed removed;
	struct mon_error error = {0};
	char pid[32];

	(void)state;
	(void)snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
	adopt();
	expect_no_adoption(-EBUSY, MON_EXIT_UNAVAILABLE, pid);
	assert_int_equal(mon_pins_remove(base, UUID, &removed, &error), -EBUSY);
	assert_sentence(&error, MON_EXIT_UNAVAILABLE, "still runs");
	end_run();
	expect_no_adoption(-ENOENT, MON_EXIT_NO_MATCH, "no run");
	let_go(target);
}

/* Two runs of one name are one too many; the first is not harmed. */
static void R10_pinned_once(void **state)
{
	struct target *target = leave_pins();
	struct mon_pins_identity mine = {0};
	struct mon_error error = {0};
	struct mon_capture *capture;

	(void)state;
	(void)snprintf(mine.head.run_uuid, sizeof(mine.head.run_uuid), "%s", UUID);
	watch.options = options_of(MON_MODE_SESSION);
	assert_int_equal(mon_capture_new(&watch.options, &capture, &error), 0);
	assert_int_equal(mon_capture_pin(capture, base, &mine, &error), -EEXIST);
	assert_sentence(&error, MON_EXIT_UNAVAILABLE, "pinned already");
	(void)snprintf(mine.head.run_uuid, sizeof(mine.head.run_uuid), "../%s", UUID);
	assert_int_equal(mon_capture_pin(capture, base, &mine, &error), -EINVAL);
	mon_capture_free(capture);
	adopt();
	end_run();
	let_go(target);
}

static void R11_without_identity(void **state)
{
	struct target *target = leave_pins();
	uint32_t program = program_id();
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(mon_pins_sweep(base), 0); /* a whole one stays */
	assert_int_equal(pinned_runs(), 1);
	(void)snprintf(path, sizeof(path), "%s/" UUID "/identity", base);
	assert_int_equal(unlink(path), 0);
	expect_no_adoption(-ENOENT, MON_EXIT_UNAVAILABLE, "not whole");
	assert_int_equal(pinned_runs(), 1);
	assert_int_equal(mon_pins_sweep(base), 0);
	assert_int_equal(pinned_runs(), 0);
	loader_wait_unloaded(program);
	let_go(target);
}

/* What the pinned identity says, changed. */
static void change_identity(void (*change)(struct mon_pins_identity *identity))
{
	MON_CLOSE int fd = -1;
	char path[PATH_MAX];
	uint32_t key = 0;

	(void)snprintf(path, sizeof(path), "%s/" UUID "/identity", base);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &identity), 0);
	change(&identity);
	assert_int_equal(bpf_map_update_elem(fd, &key, &identity, 0), 0);
}

static void another_abi(struct mon_pins_identity *changed)
{
	changed->head.abi++;
	(void)strcpy(changed->head.version, "9.9\x1b[2J");
}

static void another_size(struct mon_pins_identity *changed)
{
	changed->head.abi = MON_PINS_ABI;
	changed->head.sizes[3] += 8;
}

static void too_many_targets(struct mon_pins_identity *changed)
{
	changed->head.sizes[3] -= 8;
	changed->target_count = MON_TGIDS_MAX + 1;
}

static void another_magic(struct mon_pins_identity *changed)
{
	changed->head.magic++;
}

static void R12_another_version(void **state)
{
	struct target *target = leave_pins();
	MON_FREE struct mon_pins_run *runs = NULL;
	struct mon_pins_removed removed;
	char found[MON_UUID_BYTES];
	uint32_t program = program_id();
	size_t count;

	(void)state;
	change_identity(another_abi);
	expect_no_adoption(-ENOTSUP, MON_EXIT_UNAVAILABLE, "monbpf detach --run " UUID);
	expect_no_adoption(-ENOTSUP, MON_EXIT_UNAVAILABLE, "9.9\\x1b[2J");
	assert_int_equal(mon_pins_list(base, &runs, &count, NULL), 0);
	assert_int_equal(count, 1);
	assert_int_equal(runs[0].state, -ENOTSUP);
	assert_int_equal(mon_pins_find(base, database, found, NULL), 0);
	change_identity(another_size);
	expect_no_adoption(-ENOTSUP, MON_EXIT_UNAVAILABLE, "monbpf detach");
	change_identity(too_many_targets);
	expect_no_adoption(-EBADMSG, MON_EXIT_UNAVAILABLE, "not whole");
	change_identity(another_magic);
	expect_no_adoption(-EBADMSG, MON_EXIT_UNAVAILABLE, "not whole");
	assert_int_equal(mon_pins_remove(base, UUID, &removed, NULL), 0);
	assert_int_equal(removed.probes, 1);
	loader_wait_unloaded(program);
	let_go(target);
}

static void run_detach(int expected, const char *out, const char *err, const char *option)
{
	const char *const argv[] = {"detach", "--pins", base, option, option ? UUID : NULL, NULL};
	struct monitor *monitor = monitor_start(argv);

	if (monitor_wait(monitor, PROCESS_TIMEOUT_MS) != expected)
		fail_msg("%s%s", monitor_stdout(monitor), monitor_stderr(monitor));
	assert_non_null(strstr(monitor_stdout(monitor), out));
	assert_non_null(strstr(monitor_stderr(monitor), err));
	monitor_free(monitor);
}

static void detach_by_the_program(void **state)
{
	struct target *target;
	struct monitor *monitor;
	uint32_t program;
	char pid[32];

	(void)state;
	run_detach(MON_EXIT_OK, "nothing is pinned", "", NULL);
	run_detach(MON_EXIT_NO_MATCH, "", "no run " UUID, "--run");
	run_detach(MON_EXIT_USAGE, "", "there is no option --all", "--all");
	target = leave_pins();
	program = program_id();
	adopt();
	(void)snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
	run_detach(MON_EXIT_UNAVAILABLE, "", pid, NULL);
	run_detach(MON_EXIT_UNAVAILABLE, "", pid, "--run");
	assert_int_equal(loader_links(program), 1);
	abandon();
	assert_int_equal(loader_links(program), 1);
	run_detach(MON_EXIT_OK, "removed run " UUID ": 1 link, ", "", "--run");
	assert_int_equal(loader_links(program), 0);
	assert_int_equal(pinned_runs(), 0);
	loader_wait_unloaded(program);
	run_detach(MON_EXIT_OK, "nothing is pinned", "", NULL);
	monitor = monitor_start((const char *const[]){"detach", "--pins", base, "--json", NULL});
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 0);
	assert_string_equal(monitor_stdout(monitor), "{\"runs\": []}\n");
	monitor_free(monitor);
	let_go(target);
}

int main(int argc, char **argv)
{
	static enum mon_mode modes[] = {MON_MODE_SESSION, MON_MODE_MULTI, MON_MODE_PERF};
	static const struct {
		const char *name;
		CMUnitTestFunction body;
		bool each_mode;
	} bodies[] = {
		{"R01_adopted_after_kill", R01_adopted_after_kill, true},
		{"R02_killed_in_a_flood", R02_killed_in_a_flood, true},
		{"R03_attached_later", R03_attached_later, true},
		{"R04_detach_is_complete", R04_detach_is_complete, true},
		{"R05_killed_while_it_ends", R05_killed_while_it_ends, true},
		{"R06_thread_end_while_nobody_lives", R06_thread_end_while_nobody_lives, true},
		{"R07_exec_while_nobody_lives", R07_exec_while_nobody_lives, true},
		{"R08_heartbeat", R08_heartbeat, true},
		{"R15_many_links", R15_many_links, true},
		{"children_have_no_pinned_links", children_have_no_pinned_links, true},
		{"R09_adopted_once", R09_adopted_once, false},
		{"R10_pinned_once", R10_pinned_once, false},
		{"R11_without_identity", R11_without_identity, false},
		{"R12_another_version", R12_another_version, false},
		{"detach_by_the_program", detach_by_the_program, false},
	};
	static struct CMUnitTest tests[MON_ARRAY_COUNT(bodies) * MON_ARRAY_COUNT(modes)];
	static char names[MON_ARRAY_COUNT(tests)][64];
	size_t count = 0;

	for (size_t i = 0; i < MON_ARRAY_COUNT(bodies); i++)
		for (size_t mode = 0; mode < (bodies[i].each_mode ? MON_ARRAY_COUNT(modes) : 1);
		     mode++) {
			(void)snprintf(names[count], sizeof(names[count]), "%s%s%s", bodies[i].name,
				       bodies[i].each_mode ? "_" : "",
				       bodies[i].each_mode ? mon_mode_name(modes[mode]) : "");
			tests[count] = (struct CMUnitTest){
				.name = names[count],
				.test_func = bodies[i].body,
				.setup_func = set_up,
				.teardown_func = tear_down,
				.initial_state = &modes[mode],
			};
			count++;
		}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("kernel/pins", tests, NULL, NULL);
}
