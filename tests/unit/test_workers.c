// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows of the fault matrix on the two threads and what they connect: what is full, what hangs, who
 * is in a hurry. In each of them what the ring accepted arrives once, in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "monitor/workers_internal.h"
#include "tests/harness/database.h"
#include "tests/harness/store.h"
#include "tests/harness/vfs.h"
#include "tests/harness/workers.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE (64ull << 20)
#define DRAIN_NS (20 * MON_NS_PER_S)

static struct path path;

static void start(struct path_options options)
{
	path_open(&path, &options, 1);
	path_start(&path);
}

static void finish(void)
{
	assert_int_equal(mon_workers_drain(path.workers, DRAIN_NS), 0);
	path_stop(&path);
	assert_path_delivered(&path);
	path_close(&path);
}

/* What an end left in spool and ring is the next life's. */
static void finish_in_a_second_life(void)
{
	path_stop(&path);
	atomic_store(&path_disk.write_code, SQLITE_OK);
	path_start(&path);
	finish();
}

static void force(enum mon_breaker_state state)
{
	mon_breaker_force(path.workers->breaker, state);
}

static void hang_the_writer(void)
{
	atomic_store(&path_disk.hang_write, true);
	(void)path_produce(&path, 1);
	path_wait(atomic_load(&path_disk.hangs));
}

/* 10,000 and 50,000 of them; the ring still has room. */
static void M04_queue_and_overflow_full(void **state)
{
	struct mon_workers_stats stats;

	(void)state;
	start((struct path_options){.ring_bytes = 16 << 20, .spool_max_bytes = LARGE});
	hang_the_writer();
	assert_true(path_produce_all(&path, 100000));
	path_wait(path_stats(&path).spool.pushed > 0);
	path_wait(path_stats(&path).ring.read == path_stats(&path).ring.produced);
	path_wait(path_stats(&path).level < MON_LEVEL_HIGH);
	stats = path_stats(&path);
	assert_true(stats.spooling);
	assert_true(stats.queue.slots == 60000 && stats.queue.used_peak >= 54000);
	assert_true(stats.queue.dropped > 0);
	assert_false(stats.gate_closed);
	force(MON_BREAKER_FORCED_OPEN);
	atomic_store(&path_disk.hang_write, false);
	assert_true(path_produce_all(&path, 100000));
	/* While the breaker is open all goes to the spool, and the ring is empty. */
	path_wait(path_stats(&path).ring.acknowledged == path_stats(&path).ring.produced);
	assert_true(path_stats(&path).queue.used == 0);
	force(MON_BREAKER_CLOSED);
	path_wait(!path_stats(&path).spooling);
	finish();
}

/* The overflow is not taken then: a full base is full. Once this counted as 10,000 of 60,000. */
static void M05_pressure_spools_earlier(void **state)
{
	struct mon_workers_stats stats;

	(void)state;
	start((struct path_options){.ring_bytes = 16 << 20, .spool_max_bytes = LARGE});
	mon_workers_set_pressure(path.workers, true);
	hang_the_writer();
	assert_true(path_produce_all(&path, 25000));
	path_wait(path_stats(&path).spool.pushed > 0);
	stats = path_stats(&path);
	assert_int_equal(stats.queue.overflow_used, 0);
	assert_true(stats.ring.produced - stats.ring.acknowledged < stats.ring.size_bytes / 4);
	atomic_store(&path_disk.hang_write, false);
	mon_workers_set_pressure(path.workers, false);
	finish();
}

static void B05_an_idle_target_recovers(void **state)
{
	(void)state;
	start((struct path_options){.spool_max_bytes = LARGE, .plain = true});
	atomic_store(&path_disk.write_code, SQLITE_IOERR_WRITE);
	assert_int_equal(path_produce(&path, 10), 10);
	path_wait(path_stats(&path).breaker.state == MON_BREAKER_OPEN);
	atomic_store(&path_disk.write_code, SQLITE_OK);
	/* Nobody calls anything now. */
	path_wait(mon_workers_tick(path.workers) == MON_BREAKER_CLOSED);
	path_wait(path_stats(&path).store.rows == 10);
	finish();
}

static void S18_writer_stuck_in_fsync(void **state)
{
	struct mon_workers_stats stats;

	(void)state;
	start((struct path_options){.ring_bytes = 1 << 20,
				    .spool_max_bytes = LARGE,
				    .durability = MON_DURABILITY_FULL});
	atomic_store(&path_disk.hang_sync, true);
	(void)path_produce(&path, 1);
	path_wait(atomic_load(&path_disk.hangs));
	assert_true(path_produce_all(&path, 200000)); /* fifteen times the ring */
	stats = path_stats(&path);
	assert_true(atomic_load(&path_disk.hangs));
	assert_true(stats.spooling && stats.spool.pushed > 100000);
	assert_false(stats.gate_closed);
	atomic_store(&path_disk.hang_sync, false);
	finish();
}

static bool ring_is_produced(uint64_t bytes)
{
	return __atomic_load_n(path.producer, __ATOMIC_ACQUIRE) >= bytes;
}

/* In a child: its threads hang for ever. Exits 0 when the drain ended soon all the same. */
static void hang_and_hurry(uint64_t bytes)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	mon_ns from_ns;

	(void)alarm(30);
	if (!path_try_start(&path))
		_exit(3);
	while (!atomic_load(&path_disk.hangs) || !ring_is_produced(bytes))
		(void)nanosleep(&pause, NULL);
	from_ns = mon_clock_now(&mon_clock_system);
	mon_workers_hurry(path.workers);
	if (mon_workers_drain(path.workers, DRAIN_NS) != -EINPROGRESS)
		_exit(4);
	if (mon_clock_now(&mon_clock_system) - from_ns > 2 * MON_NS_PER_S)
		_exit(5);
	/* Nothing is left in the ring: it could be gone with this process. */
	_exit(ring_is_produced(bytes + 1) || *path.consumer != *path.producer ? 6 : 0);
}

static void L02_hurry_while_the_writer_hangs(void **state)
{
	const size_t count = 50000;
	uint64_t bytes;
	int status;
	pid_t child;

	(void)state;
	start((struct path_options){.ring_bytes = 8 << 20,
				    .spool_max_bytes = LARGE,
				    .durability = MON_DURABILITY_FULL,
				    .plain = true});
	assert_int_equal(mon_workers_drain(path.workers, DRAIN_NS), 0);
	path_stop(&path);
	atomic_store(&path_disk.hang_sync, true); /* of the next life's writer */
	bytes = *path.producer + count * 80;
	child = fork();
	assert_true(child >= 0);
	if (!child)
		hang_and_hurry(bytes);
	assert_true(path_produce_all(&path, count));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	atomic_store(&path_disk.hang_sync, false);
	path_start(&path);
	assert_true(path_stats(&path).spool.waiting > 0 || path_stats(&path).store.rows == count);
	finish();
}

static void for_ever(void)
{
	for (;;)
		(void)pause();
}

/* As if the spool's disk hung. What is in the ring then is for the next life, if it is pinned. */
static void L02_hurry_while_the_reader_hangs(void **state)
{
	int status;
	pid_t child;

	(void)state;
	start((struct path_options){.spool_max_bytes = LARGE});
	assert_int_equal(mon_workers_drain(path.workers, DRAIN_NS), 0);
	path_stop(&path);
	assert_int_equal(path_produce(&path, 500), 500);
	atomic_store(&path.on_alive, for_ever);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		(void)alarm(30);
		if (!path_try_start(&path))
			_exit(3);
		mon_workers_hurry(path.workers);
		_exit(mon_workers_drain(path.workers, DRAIN_NS) == -ETIMEDOUT ? 0 : 4);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	atomic_store(&path.on_alive, NULL);
	path_start(&path);
	finish();
}

static atomic_bool flooding;

static void *flood(void *argument)
{
	while (atomic_load(&flooding))
		if (!path_produce(&path, 300))
			(void)sched_yield();
	return argument;
}

/* Pinned programs outlive their monitor: it does not wait for them to have nothing to say. */
static void a_drain_ends_while_calls_go_on(void **state)
{
	mon_ns from_ns, drained_ns;
	pthread_t thread;

	(void)state;
	start((struct path_options){.ring_bytes = 1 << 20});
	atomic_store(&flooding, true);
	assert_int_equal(pthread_create(&thread, NULL, flood, NULL), 0);
	path_wait(path_stats(&path).store.rows > 20000);
	from_ns = mon_clock_now(&mon_clock_system);
	(void)mon_workers_drain(path.workers, DRAIN_NS);
	drained_ns = mon_clock_now(&mon_clock_system) - from_ns;
	atomic_store(&flooding, false);
	pthread_join(thread, NULL);
	assert_true(drained_ns < 5 * MON_NS_PER_S);
	finish_in_a_second_life();
}

/*
 * Once the reader went on to spool where it was, while the writer had committed what lies beyond:
 * that was given back to the kernel and written over, and what was read there was believed. The
 * window is small: ThreadSanitizer sees it.
 */
static void spooling_goes_on_behind_what_was_committed(void **state)
{
	pthread_t thread;

	(void)state;
	start((struct path_options){.ring_bytes = 128 << 10, .spool_max_bytes = LARGE});
	atomic_store(&flooding, true);
	assert_int_equal(pthread_create(&thread, NULL, flood, NULL), 0);
	path_wait(path_stats(&path).store.rows > 100000);
	atomic_store(&flooding, false);
	pthread_join(thread, NULL);
	finish();
}

static void the_gate_closes_when_ring_and_spool_are_full(void **state)
{
	(void)state;
	start((struct path_options){.spool_max_bytes = 128 << 10});
	force(MON_BREAKER_FORCED_OPEN);
	while (!atomic_load(&path.gate_closed))
		(void)path_produce(&path, 1000);
	assert_true(path_stats(&path).gate_closed);
	assert_true(path_stats(&path).level >= MON_LEVEL_HIGH);
	force(MON_BREAKER_CLOSED);
	path_wait(!atomic_load(&path.gate_closed));
	assert_int_equal(atomic_load(&path.gate_closings), 1);
	assert_true(path_produce_all(&path, 5000));
	finish();
}

/* Once it waited for room in the queue, and said nothing. */
static void a_full_queue_does_not_silence_the_reader(void **state)
{
	unsigned before;

	(void)state;
	start((struct path_options){.slots = 1, .overflow_slots = 1});
	hang_the_writer();
	(void)path_produce(&path, 500);
	path_wait(path_stats(&path).queue.refused > 0);
	before = atomic_load(&path.alive);
	path_wait(atomic_load(&path.alive) > before + 3);
	atomic_store(&path_disk.hang_write, false);
	finish();
}

static atomic_bool held;

static void until_the_queue_is_closed(void)
{
	atomic_store(&held, true);
	while (!mon_queue_closed(path.queue))
		(void)sched_yield();
}

/* Once up to a quarter of the ring was neither written nor spooled. */
static void L01_what_was_not_read_yet_is_spooled(void **state)
{
	struct mon_workers_stats stats;

	(void)state;
	start((struct path_options){.ring_bytes = 8 << 20, .spool_max_bytes = LARGE});
	assert_true(path_produce_all(&path, 100));
	path_wait(path_stats(&path).store.rows == 100);
	atomic_store(&held, false);
	atomic_store(&path.on_alive, until_the_queue_is_closed); /* as if it came late */
	path_wait(atomic_load(&held));
	assert_true(path_produce_all(&path, 50000));
	mon_workers_hurry(path.workers);
	assert_int_equal(mon_workers_drain(path.workers, DRAIN_NS), -EINTR);
	stats = path_stats(&path);
	assert_int_equal(stats.ring.acknowledged, stats.ring.produced);
	assert_true(stats.spool.waiting > 49000);
	atomic_store(&path.on_alive, NULL);
	finish_in_a_second_life();
}

/* Once that was called a success when no batch was in hand. */
static void an_end_without_a_spool_says_what_is_left(void **state)
{
	(void)state;
	start((struct path_options){.plain = true});
	mon_workers_hurry(path.workers);
	pthread_join(path.workers->writer, NULL);
	path.workers->writer_runs = false;
	assert_int_equal(path_produce(&path, 300), 300);
	assert_int_equal(mon_workers_drain(path.workers, DRAIN_NS), -EINTR);
	assert_int_equal(path_stats(&path).ring.acknowledged, 0);
	finish_in_a_second_life();
}

/* The first write ends, refused, after the drain has begun; from the second on the disk is well. */
static void refuse_until_the_drain(void)
{
	static atomic_int writes;

	if (atomic_fetch_add(&writes, 1)) {
		atomic_store(&path_disk.write_code, SQLITE_OK);
		return;
	}
	atomic_store(&path_disk.hangs, true);
	while (!atomic_load(&path.workers->draining))
		path_pause(0, "the drain");
}

/*
 * The drain looked at the breaker when it began, and took it out of the way if it was open. A try
 * that was under way could open it right after: without a timer's tick it stayed open, and the end
 * of a sound disk was -EAGAIN, with everything left.
 */
static void a_breaker_that_opens_in_the_drain_is_no_answer(void **state)
{
	(void)state;
	start((struct path_options){
		.breaker = {.failures_max = 1, .timeout_ns = 3600 * MON_NS_PER_S}});
	atomic_store(&path_disk.write_code, SQLITE_IOERR_WRITE);
	path_disk.on_write = refuse_until_the_drain;
	(void)path_produce(&path, 100);
	path_wait(atomic_load(&path_disk.hangs));
	finish();
}

/* They wait while the breaker is open, and the last tick once dropped them. */
static void transitions_come_with_the_last_tick(void **state)
{
	const struct mon_tick tick = {.at_ns = STARTED_NS + 7, .clock_row = true};

	(void)state;
	start((struct path_options){
		.spool_max_bytes = LARGE, .breaker = {.failures_max = 1}, .plain = true});
	atomic_store(&path_disk.write_code, SQLITE_IOERR_WRITE);
	(void)path_produce(&path, 10);
	path_wait(path_stats(&path).breaker.state == MON_BREAKER_OPEN);
	path_wait(path_stats(&path).breaker.not_permitted > 1); /* they are in the batch */
	assert_true(mon_workers_drain(path.workers, DRAIN_NS) < 0);
	atomic_store(&path_disk.write_code, SQLITE_OK);
	assert_int_equal(mon_workers_write(path.workers, &tick), 0);
	path.ticks++;
	path_stop(&path);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM breaker_event"), 2);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM clock WHERE at_ns = 7"), 1);
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM call"), 0);
	path_start(&path);
	finish();
}

/* A batch has a bound in bytes: the writer then keeps positions in hand, which get spooled. */
static void positions_in_hand_are_spooled(void **state)
{
	(void)state;
	start((struct path_options){
		.ring_bytes = 2 << 20, .spool_max_bytes = LARGE, .large = true});
	for (unsigned i = 0; i < 5; i++) {
		atomic_store(&path_disk.hang_write, true);
		(void)path_produce(&path, 3000); /* more than a batch can hold */
		path_wait(atomic_load(&path_disk.hangs));
		assert_true(path_produce_all(&path, 5000));
		atomic_store(&path_disk.hang_write, false);
	}
	finish();
}

static void ticks_are_written_without_calls(void **state)
{
	(void)state;
	start((struct path_options){.spool_max_bytes = LARGE});
	for (unsigned i = 0; i < 20; i++)
		path_wait(path_offer(&path));
	path_wait(mon_workers_tick_written(path.workers));
	finish();
	assert_int_equal(db_int(store_path, "SELECT count(*) FROM clock"), 21);
}

static int teardown(void **state)
{
	vfs_remove();
	return store_teardown(state);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, teardown)
		TEST(M04_queue_and_overflow_full),
		TEST(M05_pressure_spools_earlier),
		TEST(B05_an_idle_target_recovers),
		TEST(S18_writer_stuck_in_fsync),
		TEST(L01_what_was_not_read_yet_is_spooled),
		TEST(L02_hurry_while_the_writer_hangs),
		TEST(L02_hurry_while_the_reader_hangs),
		TEST(a_drain_ends_while_calls_go_on),
		TEST(spooling_goes_on_behind_what_was_committed),
		TEST(the_gate_closes_when_ring_and_spool_are_full),
		TEST(a_full_queue_does_not_silence_the_reader),
		TEST(an_end_without_a_spool_says_what_is_left),
		TEST(a_breaker_that_opens_in_the_drain_is_no_answer),
		TEST(transitions_come_with_the_last_tick),
		TEST(positions_in_hand_are_spooled),
		TEST(ticks_are_written_without_calls),
	};

	return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
