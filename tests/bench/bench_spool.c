// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the spool costs and what it saves: records into it, beside a plain write(2) of as many
 * bytes; out of it into the store, beside the store alone; and how many calls the ring refuses
 * while the database hangs, with the spool and without it.
 *
 * The last one is the real thing: probes on one pinned thread that calls at a given rate, the BPF
 * ring, and the monitor's two threads on the other CPU. The hang is in SQLite's way to the disk, so
 * the breaker does not see it: the writer waits inside a write for as long as the calls go on.
 * Spools and databases are on the build's file system. MON_BENCH_QUICK=1 in the environment does
 * less of everything: to see that it works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "base/cleanup.h"
#include "monitor/workers.h"
#include "tests/harness/functions.h"
#include "tests/harness/scratch.h"
#include "tests/harness/stderr.h"
#include "tests/harness/target.h"
#include "tests/harness/vfs.h"
#include "tests/harness/watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define PUSH_BATCH 512 /* as the reader does */
#define CALL_BATCH MON_STORE_BATCH_MAX
#define ROUNDS_MAX 5
#define FUNCTIONS 8
#define FRAME_BYTES 32 /* what the spool adds to a record of a multiple of 8 bytes */
#define HEADER_BYTES 8 /* what the ring adds */
#define SPOOL_BYTES (4ull << 30)
#define STORE_BYTES (64ull << 30)

static bool quick;
static char *directory;
static struct mon_call_event calls[CALL_BATCH];
static struct mon_record records[CALL_BATCH];

static double seconds_since(mon_ns from_ns)
{
	return (double)(mon_clock_now(&mon_clock_system) - from_ns) / 1e9;
}

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(const double *values, int count)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, values, (size_t)count * sizeof(*sorted));
	qsort(sorted, (size_t)count, sizeof(*sorted), by_size);
	return sorted[count / 2];
}

/* ---- Records, a spool, a store ---- */

static uint64_t next_random(void)
{
	static uint64_t state = 88172645463325252ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* As bench_store makes them: a server's, of a few functions. Number @first and on of the ring. */
static void fill(uint64_t first, size_t count, uint32_t size_bytes)
{
	static uint64_t now_ns = 1000000000;
	const uint64_t step = size_bytes + HEADER_BYTES;

	for (size_t i = 0; i < count; i++) {
		uint64_t random = next_random();

		now_ns += 300 + random % 2000;
		calls[i] = (struct mon_call_event){
			.kind = MON_EVENT_CALL,
			.version = MON_EVENT_VERSION,
			.function = random % FUNCTIONS,
			.start_ns = now_ns,
			.duration_ns = 200 + (random >> 20) % 3000,
			.ret = random & 1 ? 0x7f1234560000 + (random >> 40) : 0,
			.born_ns = 12345,
			.pid = 4242,
			.tid = 4242,
			.caller = random % 3 ? 0 : MON_FUNCTION_NONE,
			.weight = 1,
			.depth = random % 3,
		};
		records[i] = (struct mon_record){
			.position = (first + i) * step,
			.end = (first + i + 1) * step,
			.data = &calls[i],
			.size_bytes = size_bytes,
		};
	}
}

static struct mon_spool *open_spool(const char *name, bool sync)
{
	char *path = scratch_path(directory, name);
	const struct mon_spool_options options = {
		.path = path,
		.run_uuid = UUID,
		.max_bytes = SPOOL_BYTES,
		.sync = sync,
		.owner_uid = getuid(),
		.owner_gid = getgid(),
	};
	struct mon_error error;
	struct mon_spool *spool;

	if (mon_spool_new(&options, &spool, &error))
		fail_msg("%s", error.text);
	free(path);
	return spool;
}

static struct mon_store *open_store(const char *path, const struct mon_function_set *set)
{
	const struct mon_store_options options = {
		.path = path,
		.size_max_bytes = STORE_BYTES,
		.owner_uid = getuid(),
		.owner_gid = getgid(),
	};
	const struct mon_run_info run = {.uuid = UUID, .mode = MON_MODE_SESSION};
	struct mon_error error;
	struct mon_store *store;

	if (mon_store_new(&options, &store, &error) || mon_store_begin(store, &run, set, &error))
		fail_msg("%s", error.text);
	return store;
}

/* What a round left does not weigh on the next one. */
static void start_afresh(void)
{
	scratch_remove(directory);
	directory = scratch_new();
}

/* ---- Into the spool ---- */

struct pushed {
	double rate, plain, bytes, longest_s;
};

static double plain_rate(uint64_t count, uint32_t size_bytes, bool sync)
{
	const size_t bytes = (size_t)PUSH_BATCH * (size_bytes + FRAME_BYTES);
	char *path = scratch_path(directory, "plain");
	char *memory = malloc(bytes);
	MON_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	mon_ns from_ns = mon_clock_now(&mon_clock_system);

	assert_true(memory && fd >= 0);
	memset(memory, 1, bytes);
	for (uint64_t done = 0; done < count; done += PUSH_BATCH) {
		assert_int_equal(write(fd, memory, bytes), bytes);
		if (sync)
			assert_int_equal(fdatasync(fd), 0);
	}
	free(memory);
	free(path);
	return (double)count / seconds_since(from_ns);
}

static struct pushed push_round(uint64_t count, uint32_t size_bytes, bool sync)
{
	struct pushed pushed = {.plain = plain_rate(count, size_bytes, sync)};
	struct mon_spool *spool;
	struct mon_spool_stats stats;
	double spent_s = 0;
	mon_ns from_ns;

	start_afresh();
	spool = open_spool("spool", sync);
	for (uint64_t done = 0; done < count; done += PUSH_BATCH) {
		double push_s;
		size_t taken;

		fill(done, PUSH_BATCH, size_bytes);
		from_ns = mon_clock_now(&mon_clock_system);
		assert_int_equal(mon_spool_push(spool, 0, records, PUSH_BATCH, &taken), 0);
		push_s = seconds_since(from_ns);
		spent_s += push_s;
		if (push_s > pushed.longest_s)
			pushed.longest_s = push_s;
	}
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.pushed, count);
	pushed.bytes = (double)stats.used_bytes / (double)count;
	from_ns = mon_clock_now(&mon_clock_system);
	mon_spool_free(spool);
	pushed.rate = (double)count / (spent_s + seconds_since(from_ns));
	start_afresh();
	return pushed;
}

static void measure_push(uint32_t size_bytes, bool sync)
{
	/* A disk that is waited for takes its time. */
	const uint64_t whole = sync ? 400 : 4000, batches = quick ? whole / 10 : whole;
	const int rounds = quick ? 1 : ROUNDS_MAX;
	double rate[ROUNDS_MAX], plain[ROUNDS_MAX], ratio[ROUNDS_MAX], longest_s = 0, bytes = 0;

	for (int round = 0; round < rounds; round++) {
		struct pushed pushed = push_round(batches * PUSH_BATCH, size_bytes, sync);

		rate[round] = pushed.rate;
		plain[round] = pushed.plain;
		ratio[round] = pushed.rate / pushed.plain;
		bytes = pushed.bytes;
		if (pushed.longest_s > longest_s)
			longest_s = pushed.longest_s;
	}
	(void)printf("spool: records of %u bytes, %u in a push%s\n"
		     "  records/s               %10.0f%s\n"
		     "  of a plain write        %10.2f x (of as many bytes: %.0f records/s)\n"
		     "  bytes a record          %10.1f   on disk\n"
		     "  longest push            %10.1f ms\n",
		     size_bytes, PUSH_BATCH, sync ? ", each on the disk before it returns" : "",
		     median(rate, rounds), sync ? "" : "   (goal 1,000,000)", median(ratio, rounds),
		     median(plain, rounds), bytes, longest_s * 1e3);
}

/* ---- Out of the spool ---- */

static const struct mon_function_set *server(void)
{
	static struct mon_module module = {.path = (char *)"/usr/bin/redis-server"};
	static struct mon_function functions[FUNCTIONS];
	static const struct mon_function_set set = {&module, 1, functions, FUNCTIONS};

	for (unsigned i = 0; i < FUNCTIONS; i++)
		functions[i] = (struct mon_function){
			.offset = i, .symbol = (char *)"f", .name = (char *)"f"};
	return &set;
}

static void push_to_store(struct mon_store *store, const struct mon_record *from, size_t count)
{
	const struct mon_batch batch = {.records = from, .count = count};

	if (mon_store_push(store, &batch))
		fail_msg("%s", mon_store_error_text(store));
}

static void end_store(struct mon_store *store)
{
	const struct mon_run_end end = {.reason = "bench", .target_status = -1, .complete = true};

	assert_int_equal(mon_store_end(store, &end), 0);
}

static double store_rate(uint64_t count)
{
	char *path = scratch_path(directory, "alone.db");
	struct mon_store *store = open_store(path, server());
	double spent_s = 0;
	mon_ns from_ns;

	for (uint64_t first = 0; first < count; first += CALL_BATCH) {
		fill(first, CALL_BATCH, MON_CALL_EVENT_BARE_BYTES);
		from_ns = mon_clock_now(&mon_clock_system);
		push_to_store(store, records, CALL_BATCH);
		spent_s += seconds_since(from_ns);
	}
	from_ns = mon_clock_now(&mon_clock_system);
	end_store(store);
	spent_s += seconds_since(from_ns);
	mon_store_free(store);
	free(path);
	return (double)count / spent_s;
}

/* Also how fast they come out when nobody writes them. */
static double drain_rate(uint64_t count, double *pop_rate_out)
{
	char *path = scratch_path(directory, "drained.db");
	struct mon_store *store = open_store(path, server());
	struct mon_spool *spool = open_spool("spool", false);
	void *memory = malloc(MON_BUDGET_BATCH_BYTES);
	struct mon_spool_stats stats;
	double pop_s = 0, spent_s;
	mon_ns from_ns;

	assert_non_null(memory);
	for (uint64_t first = 0; first < count; first += CALL_BATCH) {
		size_t taken;

		fill(first, CALL_BATCH, MON_CALL_EVENT_BARE_BYTES);
		assert_int_equal(mon_spool_push(spool, 0, records, CALL_BATCH, &taken), 0);
	}
	from_ns = mon_clock_now(&mon_clock_system);
	for (;;) {
		const mon_ns pop_ns = mon_clock_now(&mon_clock_system);
		size_t popped = mon_spool_pop(spool, records, CALL_BATCH, memory,
					      MON_BUDGET_BATCH_BYTES);

		pop_s += seconds_since(pop_ns);
		if (!popped)
			break;
		push_to_store(store, records, popped);
		mon_spool_release(spool, 0, records[popped - 1].end);
	}
	end_store(store);
	spent_s = seconds_since(from_ns);
	mon_spool_stats(spool, &stats);
	assert_int_equal(stats.released, count);
	mon_spool_free(spool);
	mon_store_free(store);
	free(memory);
	free(path);
	*pop_rate_out = (double)count / pop_s;
	return (double)count / spent_s;
}

static void measure_drain(void)
{
	const uint64_t count = CALL_BATCH * (quick ? 20ull : 200ull);
	const int rounds = quick ? 1 : ROUNDS_MAX;
	double rate[ROUNDS_MAX], alone[ROUNDS_MAX], pop[ROUNDS_MAX], ratio[ROUNDS_MAX];

	for (int round = 0; round < rounds; round++) {
		alone[round] = store_rate(count);
		rate[round] = drain_rate(count, &pop[round]);
		ratio[round] = rate[round] / alone[round];
		start_afresh();
	}
	(void)printf("spool to store: %llu records of %d bytes, until it is empty\n"
		     "  records/s               %10.0f\n"
		     "  of the store alone      %10.2f x (%.0f records/s)\n"
		     "  reading alone           %10.0f records/s\n",
		     (unsigned long long)count, MON_CALL_EVENT_BARE_BYTES, median(rate, rounds),
		     median(ratio, rounds), median(alone, rounds), median(pop, rounds));
}

/* ---- Loss ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool hangs;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER};

/* By the writer, before each write of SQLite's. */
static void wait_for_disk(void)
{
	pthread_mutex_lock(&disk.lock);
	while (disk.hangs)
		pthread_cond_wait(&disk.over, &disk.lock);
	pthread_mutex_unlock(&disk.lock);
}

/* It hangs at the writer's next write, until it does not. */
static void set_hang(bool hangs)
{
	pthread_mutex_lock(&disk.lock);
	disk.hangs = hangs;
	pthread_cond_broadcast(&disk.over);
	pthread_mutex_unlock(&disk.lock);
}

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(pid, sizeof(set), &set);
}

/* How many calls it made. */
static uint64_t let_call(struct target *target, uint64_t calls_per_s, unsigned for_ms)
{
	unsigned long long made = 0;
	char line[64];

	(void)snprintf(line, sizeof(line), "%llu %u", (unsigned long long)calls_per_s, for_ms);
	process_say(target_process(target), line);
	if (sscanf(target_wait_line(target, "made ", PROCESS_TIMEOUT_MS + (int)for_ms), "made %llu",
		   &made) != 1)
		fail_msg("the target does not tell its calls");
	return made;
}

struct load {
	uint32_t ring_bytes;
	unsigned hang_ms;     /* 0: the disk does not hang */
	uint64_t calls_per_s; /* 0: as many as there can be */
	bool with_spool;
};

struct loss {
	uint64_t offered, refused;
	double seconds;
};

/* Everything that the ring took has to be somewhere. */
static void check_kept(struct watch *watch, struct mon_store *store, struct mon_spool *spool)
{
	const struct mon_counters counters = watch_counters(watch, 0);
	struct mon_spool_stats spooled;
	struct mon_store_stats stored;

	assert_int_equal(counters.emitted + counters.ring_full, counters.calls);
	if (!spool)
		return;
	mon_store_stats(store, &stored);
	mon_spool_stats(spool, &spooled);
	if (stored.rows + spooled.waiting < counters.emitted)
		fail_msg("%llu of %llu calls are rows, %llu in the spool",
			 (unsigned long long)stored.rows, counters.emitted,
			 (unsigned long long)spooled.waiting);
}

static void offer(struct target *target, struct watch *watch, const struct load *load,
		  struct loss *loss_out)
{
	const unsigned for_ms = load->hang_ms ? load->hang_ms : 1000;
	struct mon_counters before, after;
	uint64_t made;

	(void)let_call(target, load->calls_per_s, 20); /* all is warm, the dictionary written */
	before = watch_counters(watch, 0);
	set_hang(load->hang_ms);
	made = let_call(target, load->calls_per_s, for_ms);
	after = watch_counters(watch, 0);
	set_hang(false);
	assert_int_equal(after.calls - before.calls, made);
	*loss_out = (struct loss){
		.offered = made,
		.refused = after.ring_full - before.ring_full,
		.seconds = for_ms / 1e3,
	};
}

static bool listening;

/* A failed assertion ends the program while its words are in our file. */
static void say_what_was_heard(void)
{
	if (listening)
		(void)fputs(heard(), stderr);
}

static struct loss measure_load(struct target *target, const struct load *load)
{
	static struct watch watch;
	const struct mon_breaker_options breaker = {.clock = &mon_clock_system};
	struct mon_capture_options capture = watch_options(MON_MODE_SESSION);
	struct mon_spool *spool = load->with_spool ? open_spool("spool", false) : NULL;
	char *database = scratch_path(directory, "loss.db"), path[4096];
	struct mon_workers_options options = {.breaker = &breaker, .spool = spool};
	struct mon_workers *workers;
	struct loss loss;

	capture.ring_bytes = load->ring_bytes;
	functions_add(&watch.set, target_path("paced", path, sizeof(path)),
		      (const char *const[]){"watched_paced", NULL});
	watch_open(&watch, &capture);
	vfs_install();
	vfs_write = (struct vfs_fault){
		.nth = 1, .code = SQLITE_OK, .persistent = true, .hook = wait_for_disk};
	listen_to_stderr(); /* each rise of the level is told: not between the table's lines */
	listening = true;
	options.store = open_store(database, &watch.set);
	options.rings = watch.rings;
	assert_int_equal(mon_queue_new(&(struct mon_queue_options){0}, &options.queue), 0);
	assert_int_equal(mon_workers_new(&options, &workers), 0);
	watch_attach(&watch, target_pid(target));
	offer(target, &watch, load, &loss);
	assert_int_equal(mon_capture_detach(watch.capture), 0);
	/* What waits is not of interest any more. */
	mon_workers_hurry(workers);
	(void)mon_workers_drain(workers, 1);
	check_kept(&watch, options.store, spool);
	mon_workers_free(workers);
	listening = false;
	(void)heard();
	mon_queue_free(options.queue);
	mon_store_free(options.store);
	mon_spool_free(spool);
	vfs_remove();
	watch_free(&watch);
	free(database);
	start_afresh();
	return loss;
}

static void print_loss(const struct loss *loss)
{
	(void)printf("  %10.0f  %8llu %6.2f %%", (double)loss->offered / loss->seconds,
		     (unsigned long long)loss->refused,
		     100.0 * (double)loss->refused / (double)loss->offered);
}

static void measure_loss_at(struct target *target, struct load load)
{
	struct loss with, without;

	load.with_spool = true;
	with = measure_load(target, &load);
	load.with_spool = false;
	without = measure_load(target, &load);
	if (load.hang_ms)
		(void)printf("  %2u MiB  %6.1f s", load.ring_bytes >> 20, load.hang_ms / 1e3);
	else
		(void)printf("  %2u MiB      none", load.ring_bytes >> 20);
	print_loss(&with);
	print_loss(&without);
	(void)printf("\n");
}

static void measure_loss(void)
{
	static const unsigned rings_mib[] = {1, 4, 8, 16}, hangs_ms[] = {0, 100, 1000, 10000};
	struct target *target = target_start("paced", NULL);
	const int rounds = quick ? 1 : 3;
	double most = 0; /* calls/s */

	pin(target_pid(target), 0);
	pin(0, 1); /* the two threads inherit it */
	for (int round = 0; round < rounds; round++) {
		struct loss loss = measure_load(target, &(struct load){16u << 20, 0, 0, true});

		if ((double)loss.offered / loss.seconds > most)
			most = (double)loss.offered / loss.seconds;
	}
	(void)printf(
		"loss while the disk hangs: a thread with real probes on one CPU, the workers on "
		"the other\n"
		"  %-16s  %27s  %27s\n"
		"  %-16s  %10s  %8s %8s  %10s  %8s\n",
		"", "with the spool", "without it", "ring  disk hangs", "calls/s", "refused", "",
		"calls/s", "refused");
	for (size_t hang = 0; hang < sizeof(hangs_ms) / sizeof(*hangs_ms); hang++) {
		/* The long one at the highest rate only. */
		const unsigned divisor_max = quick || hangs_ms[hang] > 1000 ? 1 : 4;

		if (quick && hangs_ms[hang] > 1000)
			break;
		for (size_t ring = 0; ring < sizeof(rings_mib) / sizeof(*rings_mib); ring++)
			for (unsigned divisor = 1; divisor <= divisor_max; divisor *= 2) {
				struct load load = {.ring_bytes = rings_mib[ring] << 20,
						    .hang_ms = hangs_ms[hang]};

				if (divisor > 1)
					load.calls_per_s = (uint64_t)(most / divisor);
				measure_loss_at(target, load);
			}
	}
	(void)target_finish(target);
}

int main(void)
{
	quick = getenv("MON_BENCH_QUICK");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)atexit(say_what_was_heard);
	directory = scratch_new();
	measure_push(MON_CALL_EVENT_BARE_BYTES, false);
	measure_push(sizeof(struct mon_call_event), false);
	measure_push(MON_CALL_EVENT_BARE_BYTES, true);
	measure_push(sizeof(struct mon_call_event), true);
	measure_drain();
	measure_loss();
	scratch_remove(directory);
	return 0;
}
