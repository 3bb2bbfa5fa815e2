// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "bpf/event.h"
#include "monitor/workers_internal.h"
#include "tests/harness/database.h"
#include "tests/harness/scratch.h"
#include "tests/harness/spool.h"
#include "tests/harness/store.h"
#include "tests/harness/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FUNCTIONS 3
#define TIMEOUT_NS (20 * MON_NS_PER_MS)
#define PROBE_NS (50 * MON_NS_PER_MS)
#define PAUSE_NS (200 * 1000)
#define PAUSES_MAX 100000 /* 20 s */
#define RESERVED_MAX 4	  /* by so many CPUs at the same time */

struct path_disk path_disk;

static void pause_a_little(void)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	(void)nanosleep(&pause, NULL);
}

void path_pause(unsigned round, const char *what)
{
	if (round >= PAUSES_MAX)
		fail_msg("never: %s", what);
	pause_a_little();
}

/* ---- The disk ---- */

static void hang(atomic_bool *hanging)
{
	while (atomic_load(hanging)) {
		atomic_store(&path_disk.hangs, true);
		pause_a_little();
	}
	atomic_store(&path_disk.hangs, false);
}

/* In the thread that uses the file, which is the only one that may touch vfs_*. */
static void on_write(void)
{
	if (path_disk.on_write)
		path_disk.on_write();
	hang(&path_disk.hang_write);
	vfs_write.code = atomic_load(&path_disk.write_code);
}

static void on_sync(void)
{
	hang(&path_disk.hang_sync);
	vfs_sync.code = atomic_load(&path_disk.sync_code);
}

/* ---- The kernel's side ---- */

void path_open(struct path *path, const struct path_options *options, unsigned seed)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size;
	int fd = memfd_create("ring", MFD_CLOEXEC);

	*path = (struct path){.options = *options, .seed = seed, .page = page};
	if (!path->options.ring_bytes)
		path->options.ring_bytes = 64 << 10;
	if (!path->options.breaker.timeout_ns)
		path->options.breaker.timeout_ns = TIMEOUT_NS;
	if (!path->options.breaker.probe_ns)
		path->options.breaker.probe_ns = PROBE_NS;
	path->options.breaker.clock = options->clock ? options->clock : &mon_clock_system;
	size = path->options.ring_bytes;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(2 * page + size)), 0);
	path->memory = mmap(NULL, 3 * page + size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(path->memory != MAP_FAILED);
	assert_true(mmap(path->memory, 2 * page + size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	assert_true(mmap(path->memory + 2 * page + size, page, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, (off_t)(2 * page)) != MAP_FAILED);
	(void)close(fd);
	path->consumer = (uint64_t *)path->memory;
	path->producer = (uint64_t *)(path->memory + page);
	memset(&path_disk, 0, sizeof(path_disk));
	vfs_install();
}

void path_close(struct path *path)
{
	vfs_remove();
	(void)munmap(path->memory, 3 * path->page + path->options.ring_bytes);
}

static uint64_t total(uint32_t length)
{
	return (length + 8ull + 7) & ~7ull;
}

static uint32_t *header_at(const struct path *path, uint64_t position)
{
	return (uint32_t *)(path->memory + 2 * path->page +
			    (position & (path->options.ring_bytes - 1)));
}

/* As bpf_ringbuf_reserve() and bpf_ringbuf_submit() do. */
static bool reserve(const struct path *path, uint32_t length, uint64_t *position_out)
{
	uint64_t position = *path->producer;
	uint64_t consumed = __atomic_load_n(path->consumer, __ATOMIC_ACQUIRE);

	if (position + total(length) - consumed > path->options.ring_bytes)
		return false;
	__atomic_store_n(header_at(path, position), length | BPF_RINGBUF_BUSY_BIT,
			 __ATOMIC_RELAXED);
	__atomic_store_n(path->producer, position + total(length), __ATOMIC_RELEASE);
	*position_out = position;
	return true;
}

static void submit(const struct path *path, uint64_t position, uint32_t flags)
{
	uint32_t *header = header_at(path, position);

	__atomic_store_n(header, (*header & ~BPF_RINGBUF_BUSY_BIT) | flags, __ATOMIC_SEQ_CST);
}

static unsigned random_below(struct path *path, unsigned bound)
{
	return (unsigned)rand_r(&path->seed) % bound;
}

static void fill_call(struct path *path, uint64_t position)
{
	struct mon_call_event call = {
		.kind = MON_EVENT_CALL,
		.version = MON_EVENT_VERSION,
		.function = (uint32_t)(path->calls % FUNCTIONS),
		.caller = MON_FUNCTION_NONE,
		.start_ns = STARTED_NS + path->calls,
		.duration_ns = 1000,
		.child_ns = 400,
		.ret = path->calls,
		.born_ns = 5,
		.pid = 10,
		.tid = (uint32_t)(11 + path->calls % 5),
		.weight = 1,
	};

	memcpy(header_at(path, position) + 2, &call, MON_CALL_EVENT_BARE_BYTES);
	path->calls++;
}

/* One record that counts as nothing: returns false when it does not fit. */
static bool add_oddity(struct path *path, unsigned kind, uint64_t *position_out,
		       uint32_t *flags_out)
{
	struct mon_task_event task = {.kind = MON_EVENT_TASK,
				      .version = MON_EVENT_VERSION,
				      .born_ns = 5,
				      .pid = 10,
				      .tid = 11 + random_below(path, 5),
				      .comm = "target"};
	uint32_t length =
		kind == 0 ? sizeof(task) : 8 + random_below(path, path->options.large ? 2000 : 300);

	if (!reserve(path, length, position_out))
		return false;
	memset(header_at(path, *position_out) + 2, 0, length);
	if (kind == 0)
		memcpy(header_at(path, *position_out) + 2, &task, sizeof(task));
	*flags_out = kind == 1 ? BPF_RINGBUF_DISCARD_BIT : 0;
	path->invalid += kind == 2;
	return true;
}

/* Some CPUs reserve, then submit in any order. False: no room for all. */
static bool produce_some(struct path *path, size_t *count)
{
	uint64_t positions[RESERVED_MAX];
	uint32_t flags[RESERVED_MAX] = {0};
	size_t reserved = 0, wanted = 1 + random_below(path, RESERVED_MAX);
	bool room = true;

	while (reserved < wanted && *count && room) {
		unsigned kind =
			path->options.plain ? 3 : random_below(path, path->options.large ? 6 : 100);

		if (kind < 3) {
			room = add_oddity(path, kind, &positions[reserved], &flags[reserved]);
		} else {
			room = reserve(path, MON_CALL_EVENT_BARE_BYTES, &positions[reserved]);
			if (room) {
				fill_call(path, positions[reserved]);
				(*count)--;
			}
		}
		reserved += room;
	}
	while (reserved) {
		size_t i = random_below(path, (unsigned)reserved--);

		submit(path, positions[i], flags[i]);
		positions[i] = positions[reserved];
		flags[i] = flags[reserved];
	}
	return room;
}

size_t path_produce(struct path *path, size_t count)
{
	uint64_t one = 1;
	size_t left = count;

	while (left && produce_some(path, &left))
		;
	if (path->workers)
		(void)!write(path->workers->wake_fd, &one, sizeof(one));
	return count - left;
}

bool path_produce_all(struct path *path, size_t count)
{
	for (unsigned round = 0; count && round < PAUSES_MAX; round++) {
		size_t made = path_produce(path, count);

		count -= made;
		if (made)
			round = 0;
		else
			pause_a_little();
	}
	return !count;
}

/* ---- A life ---- */

static void on_gate(void *context, bool closed)
{
	struct path *path = context;

	atomic_store(&path->gate_closed, closed);
	atomic_fetch_add(&path->gate_closings, closed);
}

static void on_alive(void *context, mon_ns now)
{
	struct path *path = context;
	void (*hook)(void) = atomic_load(&path->on_alive);

	(void)now;
	atomic_fetch_add(&path->alive, 1);
	if (hook)
		hook();
}

static int start_store(struct path *path, struct mon_error *error)
{
	struct mon_store_options options = store_options();
	int result;

	options.durability = path->options.durability;
	if (!path->begun) {
		path->store = store_begun_with(options.durability, 0);
		path->begun = true;
		return 0;
	}
	result = mon_store_new(&options, &path->store, error);
	if (!result)
		result = mon_store_resume(path->store, "u", &path->resumed, error);
	return result;
}

static int start_spool(struct path *path, struct mon_error *error)
{
	MON_FREE char *directory = scratch_path(store_directory, "spool");
	const struct mon_spool_options options = {
		.path = directory,
		.run_uuid = SPOOL_TEST_UUID,
		.max_bytes = path->options.spool_max_bytes,
		.segment_bytes = MON_SPOOL_SEGMENT_BYTES_MIN,
		.no_reserve = true,
		.owner_uid = geteuid(),
		.owner_gid = getegid(),
	};

	return options.max_bytes ? mon_spool_new(&options, &path->spool, error) : 0;
}

static unsigned threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;

	assert_non_null(tasks);
	while (readdir(tasks))
		count++;
	(void)closedir(tasks);
	return count;
}

static int start_workers(struct path *path)
{
	const struct mon_ring_options ring = {
		.map_fd = -1,
		.size_bytes = path->options.ring_bytes,
		.function_count = FUNCTIONS,
		.consumer_page = path->consumer,
		.producer_pages = path->producer,
	};
	const struct mon_queue_options queue = {
		.slots = path->options.slots,
		.overflow_slots = path->options.overflow_slots,
	};
	struct mon_workers_options options = {
		.breaker = &path->options.breaker,
		.store = path->store,
		.spool = path->spool,
		.on_gate = on_gate,
		.on_alive = on_alive,
		.context = path,
	};
	int result = mon_ring_new(&ring, &path->ring);

	if (!result)
		result = mon_queue_new(&queue, &path->queue);
	options.ring = path->ring;
	options.queue = path->queue;
	path->threads = threads();
	/* From here on the writer thread alone writes. */
	vfs_write = (struct vfs_fault){.nth = 1, .persistent = true, .hook = on_write};
	vfs_sync = (struct vfs_fault){.nth = 1, .persistent = true, .hook = on_sync};
	return result ? result : mon_workers_new(&options, &path->workers);
}

bool path_try_start(struct path *path)
{
	struct mon_error error = {0};
	int result = start_store(path, &error);

	if (!result)
		result = start_spool(path, &error);
	if (!result)
		result = start_workers(path);
	if (result)
		(void)fprintf(stderr, "no start: %s: %s\n", strerror(-result), error.text);
	return !result;
}

void path_start(struct path *path)
{
	assert_true(path_try_start(path));
}

int path_drain(struct path *path, uint64_t timeout_ns)
{
	int result = mon_workers_drain(path->workers, timeout_ns);

	path_wait(threads() <= path->threads);
	path->workers->hangs = false;
	return result;
}

void path_stop(struct path *path)
{
	vfs_write = vfs_sync = (struct vfs_fault){0};
	mon_workers_free(path->workers);
	mon_spool_free(path->spool);
	mon_store_free(path->store);
	mon_queue_free(path->queue);
	mon_ring_free(path->ring);
	mon_run_resumed_clear(&path->resumed);
	path->workers = NULL;
	path->spool = NULL;
	path->store = NULL;
	path->queue = NULL;
	path->ring = NULL;
}

bool path_offer(struct path *path)
{
	struct mon_tick tick = {.at_ns = STARTED_NS + path->ticks + 1, .clock_row = true};

	(void)mon_workers_tick_written(path->workers);
	if (!mon_workers_offer(path->workers, &tick))
		return false;
	path->ticks++;
	return true;
}

struct mon_workers_stats path_stats(struct path *path)
{
	struct mon_workers_stats stats;

	mon_workers_stats(path->workers, &stats);
	return stats;
}

uint64_t assert_path_prefix(const struct path *path)
{
	uint64_t rows = (uint64_t)db_int(store_path, "SELECT count(*) FROM call");

	if (db_int(store_path, "SELECT count(*) FROM (SELECT ret - lag(ret, 1, -1) "
			       "OVER (ORDER BY id) AS step FROM call) WHERE step <> 1"))
		fail_msg("missing, twice or out of order after call %lld of %llu",
			 (long long)db_int(store_path,
					   "SELECT before FROM (SELECT ret, lag(ret, 1, -1) OVER "
					   "(ORDER BY id) AS before FROM call) "
					   "WHERE ret - before <> 1 LIMIT 1"),
			 (unsigned long long)path->calls);
	assert_true(rows <= path->calls);
	return rows;
}

void assert_path_delivered(const struct path *path)
{
	MON_FREE char *check = db_text(store_path, "PRAGMA quick_check");

	assert_string_equal(check, "ok");
	assert_int_equal(assert_path_prefix(path), path->calls);
	assert_int_equal(db_int(store_path, "SELECT count(DISTINCT position) FROM set_aside"),
			 path->invalid);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM set_aside"), path->invalid);
	assert_int_equal(db_int(store_path, "SELECT sum(count) FROM ledger WHERE reason_id = 1"),
			 path->calls);
	assert_true((uint64_t)db_int(store_path, "SELECT count(*) FROM clock") <= path->ticks + 1);
	assert_int_equal(db_int(store_path,
				"SELECT count(*) - count(DISTINCT at_ns || from_state || to_state) "
				"FROM breaker_event"),
			 0);
}
