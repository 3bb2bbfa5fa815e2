// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows S of the fault matrix through the whole program: a real target is watched while the storage
 * below the database fails. Each time the target is unharmed, the books balance, the rows are in
 * their order and none is there twice, and the breaker says when it opens and when it closes.
 *
 * All in a mount namespace of its own, so that a file system made here goes away with the test.
 * System calls are made to fail from outside, by strace: the program is the one that is shipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/database.h"
#include "tests/harness/inject.h"
#include "tests/harness/memory.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS 1000
#define CALLS_TEXT "1000"
#define INODES_MAX 64

static char *directory, *database;
static bool mounted;

static int group_setup(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNS))
		return -1;
	/* In a chroot "/" is no mount; each test takes away what it mounted in any case. */
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && errno != EINVAL;
}

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	return 0;
}

static void unmount(void)
{
	if (mounted)
		assert_int_equal(umount2(directory, MNT_DETACH), 0);
	mounted = false;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	unmount();
	scratch_remove(directory);
	free(database);
	return result;
}

static void mount_tmpfs(const char *options)
{
	if (mount("none", directory, "tmpfs", 0, options))
		fail_msg("tmpfs: %s", strerror(errno));
	mounted = true;
}

/* The breaker opened once, for this cause, and closed once: in the log and in the database. */
static void assert_one_outage(struct monitor *monitor, const char *cause)
{
	char line[128];

	(void)snprintf(line, sizeof(line), "breaker closed -> open (%s", cause);
	assert_int_equal(monitor_count_lines(monitor, "-> open ("), 1);
	assert_int_equal(monitor_count_lines(monitor, line), 1);
	assert_int_equal(monitor_count_lines(monitor, "-> half-open ("), 1);
	assert_int_equal(monitor_count_lines(monitor, "breaker half-open -> closed ("), 1);
	assert_int_equal(db_int(database, "SELECT count(*) FROM breaker_event"), 3);
	assert_int_equal(db_int(database, "SELECT count(*) FROM breaker_event WHERE from_state="
					  "'closed' AND to_state='open' AND error_code<0"),
			 1);
}

static void assert_no_outage(struct monitor *monitor)
{
	assert_int_equal(monitor_count_lines(monitor, "breaker closed ->"), 0);
	assert_int_equal(db_int(database, "SELECT count(*) FROM breaker_event"), 0);
}

/* Arguments count up from call to call: none twice, none before its time. */
static void assert_in_order(const char *function)
{
	char sql[512];

	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM (SELECT arg1-lag(arg1) OVER (ORDER BY id) AS step "
		       "FROM calls WHERE function='%s') WHERE step<=0",
		       function);
	assert_int_equal(db_int(database, sql), 0);
}

/* Each call of the `calls` target is two rows, one of each function. */
static void assert_every_call_is_a_row(void)
{
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM functions WHERE calls=" CALLS_TEXT
					  " AND stored=" CALLS_TEXT),
			 2);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 2 * CALLS);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT arg1) FROM calls WHERE function="
					  "'watched_call'"),
			 CALLS);
	assert_in_order("watched_call");
	assert_in_order("watched_inner");
}

static struct monitor *watch_calls(struct target *target)
{
	return monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			      "1", "--breaker-timeout", "2s", "watched_*", NULL);
}

static sqlite3 *take_lock(void)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
	assert_int_equal(sqlite3_busy_timeout(db, 5000), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void release_lock(sqlite3 *db)
{
	assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static bool a_thread_sleeps(pid_t pid)
{
	char path[512], text[128];
	bool sleeps = false;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);

	assert_non_null(tasks);
	for (struct dirent *task; (task = readdir(tasks)) && !sleeps;) {
		(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", (int)pid,
			       task->d_name);
		FILE *file = fopen(path, "re");

		if (file && fgets(text, sizeof(text), file))
			sleeps = strtol(text, NULL, 10) == SYS_clock_nanosleep;
		if (file)
			(void)fclose(file);
	}
	(void)closedir(tasks);
	return sleeps;
}

/* SQLite's busy handler sleeps; nothing else in the program does while the breaker is closed. */
static void wait_until_the_writer_waits(struct monitor *monitor)
{
	int left_ms = PROCESS_TIMEOUT_MS;

	while (!a_thread_sleeps(monitor_pid(monitor))) {
		assert_true(left_ms-- > 0);
		(void)poll(NULL, 0, 1);
	}
}

/* For less than the busy timeout: nobody has to know. */
static void S08_locked_by_another(void **state)
{
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	struct monitor *monitor = watch_calls(target);
	sqlite3 *lock = take_lock();

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	wait_until_the_writer_waits(monitor);
	release_lock(lock);
	monitor_end(monitor, 0);
	assert_no_outage(monitor);
	assert_every_call_is_a_row();
	assert_int_equal(target_finish(target), 0);
}

/* Longer than the breaker allows: the spool takes it; what the ring refuses meanwhile is counted.
 */
static void S08_locked_for_longer(void **state)
{
	struct target *target = target_start("flood", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			       "1", "--ring-size", "1M", "--breaker-failures", "1",
			       "--breaker-timeout", "1s", "--strict", "watched_*", NULL);
	sqlite3 *lock = take_lock();
	int64_t stored;
	int status;
	long calls;

	(void)state;
	target_go(target);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	process_say(target_process(target), "stop");
	calls = target_done(target);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker open -> half-open",
				PROCESS_TIMEOUT_MS);
	release_lock(lock);
	(void)monitor_wait_line(monitor, "breaker half-open -> closed", PROCESS_TIMEOUT_MS);
	monitor_assert_within_budget(monitor);
	status = monitor_stop(monitor);
	assert_one_outage(monitor, "1 failure");
	assert_ledger_closed(database);
	assert_in_order("watched_flood");
	assert_int_equal(db_int(database, "SELECT calls FROM functions"), calls);
	stored = db_int(database, "SELECT stored FROM functions");
	assert_true(stored > 1000);
	assert_int_equal(db_int(database, "SELECT sum(weight) FROM call"), stored);
	assert_int_equal(db_int(database, "SELECT coalesce(sum(count),0) FROM losses WHERE "
					  "reason='ring_full'"),
			 calls - stored);
	assert_int_equal(db_int(database, "SELECT count(*) FROM losses WHERE reason<>'ring_full'"),
			 0);
	assert_int_equal(status, calls == stored ? 0 : 7);
	assert_int_equal(target_finish(target), 0);
}

/* Takes every byte that is left. */
static void fill(const char *path)
{
	static const char bytes[4096] = {1};
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (size_t size = sizeof(bytes); size; size /= 2)
		while (write(fd, bytes, size) > 0)
			;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(close(fd), 0);
}

/* On a tmpfs of 8 MB, which refuses a write as a full disk does and needs no loop device. */
static void S01_disk_full(void **state)
{
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	struct monitor *monitor;
	char *filler = scratch_path(directory, "filler");

	(void)state;
	mount_tmpfs("size=8m");
	monitor = watch_calls(target);
	fill(filler);
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	assert_int_equal(unlink(filler), 0);
	(void)monitor_wait_line(monitor, "breaker half-open -> closed", PROCESS_TIMEOUT_MS);
	monitor_end(monitor, 0);
	assert_one_outage(monitor, "5 failures in a row: disk full");
	assert_every_call_is_a_row();
	assert_int_equal(target_finish(target), 0);
	free(filler);
}

static size_t count_files(void)
{
	DIR *files = opendir(directory);
	size_t count = 0;

	assert_non_null(files);
	while (readdir(files))
		count++;
	(void)closedir(files);
	return count - 2;
}

static struct monitor *try_briefly(struct target *target)
{
	char pid[16];

	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	return monitor_start((const char *const[]){"attach", "-p", pid, "-o", database, "-d",
						   "100ms", "watched_*", NULL});
}

static void S14_read_only_directory(void **state)
{
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	struct monitor *monitor;

	(void)state;
	assert_int_equal(mount(directory, directory, NULL, MS_BIND, NULL), 0);
	mounted = true;
	assert_int_equal(mount(NULL, directory, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
	monitor = try_briefly(target);
	assert_int_equal(monitor_wait(monitor, PROCESS_TIMEOUT_MS), 5);
	assert_int_equal(monitor_count_lines(monitor, "Read-only file system"), 1);
	assert_int_equal(monitor_count_lines(monitor, database), 1);
	assert_int_equal(monitor_count_lines(monitor, "watching"), 0);
	assert_int_equal(count_files(), 0);
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	assert_int_equal(target_finish(target), 0);
}

/* Room for one file more each time, until it is enough: the k-th that cannot be made. */
static void S14_no_inodes(void **state)
{
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	int refused = 0, status = -1;
	char options[64];

	(void)state;
	for (int inodes = 1; status && inodes < INODES_MAX; inodes++) {
		(void)snprintf(options, sizeof(options), "size=8m,nr_inodes=%d", inodes);
		mount_tmpfs(options);

		struct monitor *monitor = try_briefly(target);

		status = monitor_wait(monitor, PROCESS_TIMEOUT_MS);
		if (status) {
			refused++;
			if (status != 5 || monitor_count_lines(monitor, "") != 1 ||
			    monitor_count_lines(monitor, database) != 1)
				fail_msg("%d inodes: exit %d: %s", inodes, status,
					 monitor_stderr(monitor));
			assert_int_equal(count_files(), 0);
		} else {
			assert_ledger_closed(database);
			assert_int_equal(count_files(), 1);
		}
		monitor_free(monitor);
		unmount();
	}
	assert_int_equal(status, 0);
	assert_true(refused >= 3); /* lock, database, what SQLite makes beside it */
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	assert_int_equal(target_finish(target), 0);
}

/*
 * The file may pass the bound by what was on its way when it was reached: the ring, and what a
 * flood adds until the gate is closed. A row is at most half of its record in the ring.
 */
static void S19_max_size(void **state)
{
	const int64_t bound = 8 << 20, ring = 1 << 20;
	struct target *target = target_start("flood", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "--max-overhead", "0",
			       "--ring-size", "1M", "--max-size", "8M", "watched_*", NULL);
	struct stat file;
	int64_t stored, capped, lost;
	long calls;

	(void)state;
	target_go(target);
	(void)monitor_wait_line(monitor, "monbpf: warning: the database reached --max-size",
				PROCESS_TIMEOUT_MS);
	process_say(target_process(target), "stop");
	calls = target_done(target);
	monitor_end(monitor, 0);
	assert_int_equal(monitor_count_lines(monitor, "size_cap"), 1);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT calls FROM functions"), calls);
	assert_int_equal(db_int(database, "SELECT returns FROM functions"), calls);
	stored = db_int(database, "SELECT stored FROM functions");
	capped = db_int(database, "SELECT count FROM ledger JOIN reason ON reason.id=reason_id "
				  "WHERE name='size_cap'");
	lost = db_int(database, "SELECT coalesce(sum(count),0) FROM losses");
	assert_int_equal(stored + capped + lost, calls);
	assert_true(capped > 0);
	assert_int_equal(stat(database, &file), 0);
	print_message("%lld rows, %lld bytes, %lld capped, %lld lost\n", (long long)stored,
		      (long long)file.st_size, (long long)capped, (long long)lost);
	assert_true(file.st_size <= bound + ring);
	assert_int_equal(target_finish(target), 0);
}

/* One error on the way to the disk: the batch is written again, and nobody has to know. */
static void S02_io_error_once(void **state)
{
	static const char *const whens[] = {"error=EIO:when=1", "error=EIO:when=2",
					    "error=EIO:when=5", "error=EDQUOT:when=3"};

	(void)state;
	for (size_t i = 0; i < sizeof(whens) / sizeof(whens[0]); i++) {
		struct target *target = target_start("calls", CALLS_TEXT, NULL);
		struct monitor *monitor = watch_calls(target);
		struct process *strace =
			inject_start(monitor_pid(monitor), "pwrite64", whens[i], NULL);

		target_go(target);
		assert_int_equal(target_done(target), CALLS);
		monitor_end(monitor, 0);
		inject_end(strace);
		assert_no_outage(monitor);
		assert_every_call_is_a_row();
		assert_int_equal(target_finish(target), 0);
		monitor_free(monitor);
		assert_int_equal(unlink(database), 0);
	}
}

/* The 5th in a row opens the breaker; when the disk is back, the probe closes it. */
static void S03_io_error_persistent(void **state)
{
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	struct monitor *monitor = watch_calls(target);
	struct process *strace = inject_start(monitor_pid(monitor), "pwrite64", "error=EIO", NULL);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	inject_end(strace);
	(void)monitor_wait_line(monitor, "breaker half-open -> closed", PROCESS_TIMEOUT_MS);
	monitor_end(monitor, 0);
	assert_one_outage(monitor, "5 failures in a row: I/O error");
	assert_every_call_is_a_row();
	assert_int_equal(target_finish(target), 0);
}

/*
 * The writer hangs two seconds in each fdatasync. The reader goes on: what the ring has no room for
 * any more is a fraction of what came, and what was taken is written, each once, in order.
 */
static void S18_slow_disk(void **state)
{
	const long calls = 100000;
	struct target *target = target_start("sequence", "100000", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			       "1", "--durability", "full", "watched_*", NULL);
	struct process *strace =
		inject_start(monitor_pid(monitor), "fdatasync", "delay_enter=2000000", NULL);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), calls);
	/* All has come, and the writer is stuck with it. */
	assert_true(db_int(database, "SELECT count(*) FROM call") < calls);
	inject_end(strace);
	monitor_end(monitor, 0);
	assert_no_outage(monitor);
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT calls FROM functions"), calls);
	assert_int_equal(db_int(database, "SELECT stored FROM functions"), calls);
	assert_in_order("watched_sequence");
	assert_int_equal(db_int(database, "SELECT max(arg1) FROM call"), calls - 1);
	assert_int_equal(target_finish(target), 0);
}

/* Probes that fail are told when they are twice as many: 1, 2, 4, 8. */
static void a_long_outage_is_told_seldom(void **state)
{
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	struct monitor *monitor = monitor_attach(
		target, database, "--sample", "1", "--max-overhead", "0", "--args", "1",
		"--breaker-failures", "1", "--breaker-timeout", "200ms", "watched_*", NULL);
	struct process *strace = inject_start(monitor_pid(monitor), "pwrite64", "error=EIO", NULL);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	for (int told = 0; told < 4; told++)
		(void)monitor_wait_line(monitor, "monbpf: warning: breaker half-open -> open",
					PROCESS_TIMEOUT_MS);
	inject_end(strace);
	(void)monitor_wait_line(monitor, "breaker half-open -> closed", PROCESS_TIMEOUT_MS);
	monitor_end(monitor, 0);
	assert_true(monitor_count_lines(monitor, ", 8 probes failed so far") >= 1);
	assert_true(db_int(database, "SELECT count(*) FROM breaker_event WHERE from_state="
				     "'half-open' AND to_state='open'") >= 8);
	assert_true(monitor_count_lines(monitor, "half-open -> open") <= 5);
	assert_every_call_is_a_row();
	assert_int_equal(target_finish(target), 0);
}

/* It is full many times a second: once that is told, and at the end how often it was. */
static void a_tiny_ring_is_told_once(void **state)
{
	struct target *target = target_start("sequence", "300000", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			       "1", "--ring-size", "4K", "watched_*", NULL);

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), 300000);
	monitor_end(monitor, 0);
	print_message("%s", monitor_stderr(monitor));
	assert_true(monitor_count_lines(monitor, "go to the spool") >= 1);
	assert_true(monitor_count_lines(monitor, "go to the spool") <= 2);
	assert_true(monitor_count_lines(monitor, "the spool is empty again") <= 2);
	assert_int_equal(monitor_count_lines(monitor, "the oldest calls went to the spool "), 1);
	assert_ledger_closed(database);
	assert_int_equal(target_finish(target), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(S01_disk_full),
		TEST(S02_io_error_once),
		TEST(S03_io_error_persistent),
		TEST(S08_locked_by_another),
		TEST(S08_locked_for_longer),
		TEST(S14_read_only_directory),
		TEST(S14_no_inodes),
		TEST(S18_slow_disk),
		TEST(S19_max_size),
		TEST(a_long_outage_is_told_seldom),
		TEST(a_tiny_ring_is_told_once),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
