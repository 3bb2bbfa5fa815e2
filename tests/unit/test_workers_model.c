// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random life on the data's way, held against the naive model "what the ring accepted arrives,
 * once, in order": bursts, a disk that fails, hangs and recovers, a breaker forced by hand, memory
 * pressure, a spool that gets full, ends of every kind. What one life leaves, the next one
 * delivers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "monitor/workers_internal.h"
#include "tests/harness/store.h"
#include "tests/harness/workers.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 24
#define STEPS 600
#define KILLS 25

static unsigned seed_of_test(void)
{
	const char *given = getenv("MON_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	return seed;
}

static unsigned below(unsigned *seed, unsigned bound)
{
	return (unsigned)rand_r(seed) % bound;
}

static struct path_options random_options(unsigned *seed)
{
	static const size_t slots[] = {1, 7, 64, 1000, 10000};
	static const size_t overflows[] = {1, 50, 500, 5000};
	static const size_t rings[] = {4096, 16384, 65536, 1 << 20, 4 << 20};
	static const uint64_t spools[] = {0, 128 << 10, 256 << 10, 64 << 20};

	return (struct path_options){
		.ring_bytes = rings[below(seed, MON_ARRAY_COUNT(rings))],
		.slots = slots[below(seed, MON_ARRAY_COUNT(slots))],
		.overflow_slots = overflows[below(seed, MON_ARRAY_COUNT(overflows))],
		.spool_max_bytes = spools[below(seed, MON_ARRAY_COUNT(spools))],
		.breaker = {.failures_max = 1 + below(seed, 4)},
		.durability = below(seed, 2) ? MON_DURABILITY_FULL : MON_DURABILITY_NORMAL,
		.large = below(seed, 2),
	};
}

static void a_moment(unsigned *seed)
{
	const struct timespec pause = {.tv_nsec = below(seed, 500000)};

	(void)nanosleep(&pause, NULL);
}

static void heal(struct path *path)
{
	atomic_store(&path_disk.hang_write, false);
	atomic_store(&path_disk.write_code, SQLITE_OK);
	atomic_store(&path_disk.sync_code, SQLITE_OK);
	mon_breaker_force(path->workers->breaker, MON_BREAKER_CLOSED);
}

static void step(struct path *path, unsigned *seed)
{
	static const int codes[] = {SQLITE_IOERR_WRITE, SQLITE_FULL, SQLITE_IOERR_FSYNC};

	switch (below(seed, 24)) {
	case 0:
		atomic_store(&path_disk.write_code, codes[below(seed, MON_ARRAY_COUNT(codes))]);
		break;
	case 1:
	case 2:
		atomic_store(&path_disk.write_code, SQLITE_OK);
		atomic_store(&path_disk.sync_code, SQLITE_OK);
		break;
	case 16: /* then a COMMIT that failed may be in the file */
		atomic_store(&path_disk.sync_code, SQLITE_IOERR_FSYNC);
		break;
	case 3:
		atomic_store(&path_disk.hang_write, true);
		break;
	case 4:
	case 5:
		atomic_store(&path_disk.hang_write, false);
		break;
	case 6:
		mon_breaker_force(path->workers->breaker, MON_BREAKER_FORCED_OPEN);
		break;
	case 7:
	case 8:
		mon_breaker_force(path->workers->breaker, MON_BREAKER_CLOSED);
		break;
	case 9:
		mon_workers_set_pressure(path->workers, below(seed, 2));
		break;
	case 10:
		(void)path_offer(path);
		break;
	case 11:
		heal(path);
		break;
	case 12:
		(void)path_produce(path, 1 + below(seed, 20000));
		break;
	case 13:
	case 14:
	case 15:
		a_moment(seed);
		break;
	default:
		(void)path_produce(path, 1 + below(seed, 200));
	}
	(void)mon_workers_tick(path->workers);
}

static void live(struct path *path, unsigned *seed)
{
	path_start(path);
	for (unsigned i = 0; i < STEPS; i++) {
		struct mon_workers_stats stats;

		step(path, seed);
		stats = path_stats(path);
		assert_true(stats.ring.acknowledged <= stats.ring.read);
		assert_true(stats.level >= 0 && stats.level <= 1);
	}
}

/* All is well at the end: everything is written, and nothing said to be left. */
static void end_well(struct path *path)
{
	heal(path);
	assert_int_equal(path_drain(path, 20 * MON_NS_PER_S), 0);
	path_stop(path);
	assert_path_delivered(path);
}

/* It fails to the end: what could not be written waits in the spool, or in the ring. */
static void end_badly(struct path *path, bool hurried)
{
	struct mon_workers_stats stats;
	int result;

	atomic_store(&path_disk.hang_write, false);
	atomic_store(&path_disk.write_code, SQLITE_IOERR_WRITE);
	(void)path_produce(path, 5000); /* unread when the end comes */
	if (hurried)
		mon_workers_hurry(path->workers);
	result = path_drain(path, 50 * MON_NS_PER_MS);
	stats = path_stats(path);
	if (!result)
		assert_int_equal(stats.ring.acknowledged, stats.ring.produced);
	if (path->spool && !stats.gate_closed && stats.spool.max_bytes > (32 << 20))
		assert_int_equal(stats.ring.acknowledged, stats.ring.produced);
	path_stop(path);
	atomic_store(&path_disk.write_code, SQLITE_OK);
	atomic_store(&path_disk.sync_code, SQLITE_OK);
	(void)assert_path_prefix(path);
}

static void random_lives(void **state)
{
	unsigned seed = seed_of_test();

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct path path;
		const struct path_options options = random_options(&seed);

		(void)store_setup(state);
		path_open(&path, &options, seed);
		for (unsigned life = below(&seed, 3); life > 0; life--) {
			live(&path, &seed);
			end_badly(&path, below(&seed, 2));
		}
		live(&path, &seed);
		end_well(&path);
		path_close(&path);
		(void)store_teardown(state);
	}
}

/* In a child, until it is killed: the kernel, in the parent, goes on filling the ring. */
static void live_until_killed(struct path *path, unsigned seed)
{
	if (!path_try_start(path))
		_exit(3);
	for (;;) {
		switch (below(&seed, 12)) {
		case 0:
			atomic_store(&path_disk.write_code, SQLITE_IOERR_WRITE);
			break;
		case 4:
			atomic_store(&path_disk.sync_code, SQLITE_IOERR_FSYNC);
			break;
		case 1:
			mon_breaker_force(path->workers->breaker, MON_BREAKER_FORCED_OPEN);
			break;
		case 2:
		case 3:
			heal(path);
			break;
		default:
			a_moment(&seed);
		}
		(void)mon_workers_tick(path->workers);
	}
}

/* As an adopting monitor does: the next one finds ring, spool and database as they were left. */
static void kill_lives(unsigned *seed, const struct path_options *options)
{
	struct path path;

	path_open(&path, options, *seed);
	path_start(&path);
	(void)path_produce(&path, 10);
	end_well(&path);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t child = fork();
		unsigned bursts = below(seed, 120);
		int status;

		assert_true(child >= 0);
		if (!child)
			live_until_killed(&path, *seed);
		for (unsigned burst = 0; burst < bursts; burst++) {
			(void)path_produce(&path, 1 + below(seed, 2000));
			a_moment(seed);
		}
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	path_start(&path);
	end_well(&path);
	path_close(&path);
}

static void M06_killed_and_adopted(void **state)
{
	static const uint64_t spools[] = {64 << 20, 128 << 10, 0};
	unsigned seed = seed_of_test();

	for (size_t i = 0; i < MON_ARRAY_COUNT(spools); i++) {
		struct path_options options = random_options(&seed);

		options.spool_max_bytes = spools[i];
		options.ring_bytes = 65536;
		(void)store_setup(state);
		kill_lives(&seed, &options);
		(void)store_teardown(state);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_lives),
		cmocka_unit_test(M06_killed_and_adopted),
	};

	return cmocka_run_group_tests_name("workers_model", tests, NULL, NULL);
}
