// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The hot path allocates nothing: a million records go from the ring to the database while each
 * malloc and mmap is counted by the thread that makes it. This program's malloc is in front of the
 * C library's; SQLite's own are told apart by asking it for its allocator and standing before that.
 * A sanitizer has an allocator of its own: then nothing is counted, the records still must arrive.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "monitor/workers_internal.h"
#include "tests/harness/store.h"
#include "tests/harness/vfs.h"
#include "tests/harness/workers.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECORDS 1000000
#define DRAIN_NS (40 * MON_NS_PER_S)
/* Of SQLite's, in one batch of up to 10,000 records. Some 370 were seen. */
#define SQLITE_OF_A_BATCH 1000
/* As many records at most are on their way: the overflow, which is allocated, is not needed. */
#define IN_FLIGHT 9000
#define RECORD_BYTES 80

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS 0
#else
#define COUNTS 1
#endif

enum role { OTHER, READER, WRITER, ROLES };

static __thread enum role role;
static struct {
	atomic_ulong allocations, maps, of_sqlite;
} counted[ROLES];

#if COUNTS
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void count_allocation(void)
{
	atomic_fetch_add_explicit(&counted[role].allocations, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
	count_allocation();
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	count_allocation();
	return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	count_allocation();
	return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	count_allocation();
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory_out, size_t alignment, size_t size)
{
	void *memory = aligned_alloc(alignment, size);

	if (!memory)
		return ENOMEM;
	*memory_out = memory;
	return 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	atomic_fetch_add_explicit(&counted[role].maps, 1, memory_order_relaxed);
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
#endif

static sqlite3_mem_methods system_memory;

static void *sqlite_malloc(int size)
{
	atomic_fetch_add(&counted[role].of_sqlite, 1);
	return system_memory.xMalloc(size);
}

static void *sqlite_realloc(void *memory, int size)
{
	atomic_fetch_add(&counted[role].of_sqlite, 1);
	return system_memory.xRealloc(memory, size);
}

static void count_sqlite(void)
{
	sqlite3_mem_methods counting;

	assert_int_equal(sqlite3_shutdown(), SQLITE_OK);
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_memory), SQLITE_OK);
	counting = system_memory;
	counting.xMalloc = sqlite_malloc;
	counting.xRealloc = sqlite_realloc;
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &counting), SQLITE_OK);
	assert_int_equal(sqlite3_initialize(), SQLITE_OK);
}

static void this_is_the_reader(void)
{
	role = READER;
}

static void this_is_the_writer(void)
{
	role = WRITER;
}

static struct path path;

static size_t in_flight(void)
{
	struct mon_workers_stats stats = path_stats(&path);

	return (stats.ring.produced - stats.ring.acknowledged) / RECORD_BYTES;
}

static void produce(size_t count)
{
	while (count) {
		size_t burst = count < IN_FLIGHT / 3 ? count : IN_FLIGHT / 3;

		path_wait(in_flight() < IN_FLIGHT - IN_FLIGHT / 3);
		assert_true(path_produce_all(&path, burst));
		count -= burst;
	}
}

static void forget_counts(void)
{
	for (unsigned i = 0; i < ROLES; i++) {
		atomic_store(&counted[i].allocations, 0);
		atomic_store(&counted[i].maps, 0);
		atomic_store(&counted[i].of_sqlite, 0);
	}
}

static void assert_counts(const char *what, uint64_t commits)
{
	unsigned long writers = atomic_load(&counted[WRITER].allocations);
	unsigned long sqlites = atomic_load(&counted[WRITER].of_sqlite);

	print_message("%s: reader %lu malloc, %lu mmap; writer %lu malloc (SQLite %lu), %lu mmap "
		      "in %llu batches\n",
		      what, atomic_load(&counted[READER].allocations),
		      atomic_load(&counted[READER].maps), writers, sqlites,
		      atomic_load(&counted[WRITER].maps), (unsigned long long)commits);
	if (!COUNTS)
		return;
	assert_int_equal(atomic_load(&counted[READER].allocations), 0);
	assert_int_equal(atomic_load(&counted[READER].maps), 0);
	assert_int_equal(atomic_load(&counted[READER].of_sqlite), 0);
	assert_int_equal(writers, sqlites);
	assert_true(sqlites <= commits * SQLITE_OF_A_BATCH);
	assert_true(atomic_load(&counted[WRITER].maps) <= commits);
}

static void no_allocation_per_record(void **state)
{
	uint64_t commits;

	(void)state;
	count_sqlite();
	path_open(&path,
		  &(struct path_options){
			  .ring_bytes = 4 << 20, .spool_max_bytes = 256 << 20, .plain = true},
		  1);
	path_start(&path);
	path_disk.on_write = this_is_the_writer;
	atomic_store(&path.on_alive, this_is_the_reader);
	produce(20000);
	path_wait(path_stats(&path).store.rows == 20000);
	assert_true(path_stats(&path).ring.acknowledged > 0);
	forget_counts();
	commits = path_stats(&path).store.commits;
	produce(RECORDS);
	path_wait(path_stats(&path).store.rows == 20000 + RECORDS);
	assert_int_equal(path_stats(&path).queue.overflow_used, 0);
	assert_counts("ring to database", path_stats(&path).store.commits - commits);

	/* The same by way of the spool. Its segments are files; their table is there already. */
	forget_counts();
	commits = path_stats(&path).store.commits;
	mon_breaker_force(path.workers->breaker, MON_BREAKER_FORCED_OPEN);
	produce(RECORDS / 10);
	path_wait(path_stats(&path).spool.pushed >= RECORDS / 10);
	mon_breaker_force(path.workers->breaker, MON_BREAKER_CLOSED);
	path_wait(path_stats(&path).store.rows == 20000 + RECORDS + RECORDS / 10);
	assert_counts("by way of the spool", path_stats(&path).store.commits - commits);
	path_disk.on_write = NULL;
	assert_int_equal(mon_workers_drain(path.workers, DRAIN_NS), 0);
	path_stop(&path);
	assert_path_delivered(&path);
	path_close(&path);
}

static int teardown(void **state)
{
	vfs_remove();
	return store_teardown(state);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_allocation_per_record, store_setup, teardown),
	};

	return cmocka_run_group_tests_name("allocations", tests, NULL, NULL);
}
