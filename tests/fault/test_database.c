// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows S of the fault matrix that need a file system of their own, or somebody who lays hands on
 * the database of a running monitor.
 *
 * Power loss is an ext4 on a loop device that is shut down without its log (EXT4_IOC_SHUTDOWN):
 * what had not reached the device by then is gone, and the next mount replays the journal, as after
 * a cable was pulled. All in a mount namespace of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/database.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/store.h"
#include "tests/harness/target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define EXT4_GOING_FLAGS_NOLOGFLUSH 2u
#define IMAGE_BYTES (64l << 20)
#define CALLS 1000
#define CALLS_TEXT "1000"

static char *directory, *image, *mount_point;
static char device[64];
static int loop_fd = -1;
static bool mounted;

static int group_setup(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNS))
		return -1;
	/* In a chroot "/" is no mount; each test takes away what it mounted in any case. */
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && errno != EINVAL;
}

static void mount_disk(void)
{
	if (mount(device, mount_point, "ext4", 0, ""))
		fail_msg("ext4 on %s: %s", device, strerror(errno));
	mounted = true;
}

static void unmount_disk(void)
{
	assert_int_equal(umount2(mount_point, 0), 0);
	mounted = false;
}

static void run_tool(const char *const argv[])
{
	struct process *process = process_start(argv);

	if (process_wait(process, PROCESS_TIMEOUT_MS))
		fail_msg("%s: %s", argv[0], process_text(process, PROCESS_STDERR));
	process_free(process);
}

/* A disk of our own: an image, a loop device that stays between mounts, an ext4. */
static int disk_setup(void **state)
{
	MON_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	MON_CLOSE int image_fd = -1;
	int number;

	(void)state;
	directory = scratch_new();
	image = scratch_path(directory, "image");
	mount_point = scratch_path(directory, "disk");
	image_fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (control < 0 || image_fd < 0 || ftruncate(image_fd, IMAGE_BYTES) ||
	    mkdir(mount_point, 0700))
		return -1;
	/* Another one may take it between the two calls. */
	for (unsigned i = 0; i < 16 && loop_fd < 0; i++) {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		(void)snprintf(device, sizeof(device), "/dev/loop%d", number);
		loop_fd = open(device, O_RDWR | O_CLOEXEC);
		if (loop_fd >= 0 && ioctl(loop_fd, LOOP_SET_FD, image_fd)) {
			(void)close(loop_fd);
			loop_fd = -1;
		}
	}
	if (loop_fd < 0)
		return -1;
	run_tool((const char *const[]){"mkfs.ext4", "-q", "-F", "-m", "0", device, NULL});
	mount_disk();
	store_directory = mount_point;
	store_path = scratch_path(mount_point, "monbpf.db");
	memset(&store_feed, 0, sizeof(store_feed));
	return 0;
}

static int disk_teardown(void **state)
{
	int result = process_teardown(state);

	if (mounted)
		(void)umount2(mount_point, MNT_DETACH);
	mounted = false;
	if (loop_fd >= 0) {
		(void)ioctl(loop_fd, LOOP_CLR_FD, 0);
		(void)close(loop_fd);
	}
	loop_fd = -1;
	scratch_remove(directory);
	free(image);
	free(mount_point);
	free(store_path);
	return result;
}

/* Takes the power away. */
static void cut_power(void)
{
	MON_CLOSE int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t flags = EXT4_GOING_FLAGS_NOLOGFLUSH;

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, EXT4_IOC_SHUTDOWN, &flags), 0);
}

/* And gives it back; nobody may have a file open there. */
static void restart(struct mon_store *store)
{
	mon_store_free(store);
	unmount_disk();
	mount_disk();
}

static void assert_the_file_agrees_with_its_mark(int64_t rows, uint64_t record_bytes)
{
	assert_store_sound("", rows);
	assert_int_equal(store_ask("", "SELECT position FROM mark"), rows * record_bytes);
	assert_int_equal(store_ask("", "SELECT sum(count) FROM ledger"), rows);
}

/* What was lost is given again by the ring or the spool, and the run goes on. */
static void go_on_from(uint64_t pushed, uint64_t record_bytes)
{
	const struct mon_store_options chosen = store_options();
	struct mon_run_resumed resumed = {0};
	struct mon_error error = {0};
	struct mon_store *store = store_open(&chosen);

	if (mon_store_resume(store, "u", &resumed, &error))
		fail_msg("%s", error.text);
	store_feed.position = mon_store_mark(store, 0);
	store_push_calls(store, pushed - store_feed.position / record_bytes + 10);
	store_end(store);
	mon_run_resumed_clear(&resumed);
	assert_the_file_agrees_with_its_mark((int64_t)pushed + 10, record_bytes);
}

static void S06_power_loss_with_full_durability(void **state)
{
	struct mon_store *store = store_begun_with(MON_DURABILITY_FULL, 0);
	uint64_t record_bytes = MON_CALL_EVENT_BARE_BYTES + 8;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		store_push_calls(store, 100);
	cut_power();
	restart(store);
	assert_the_file_agrees_with_its_mark(4000, record_bytes);
	go_on_from(4000, record_bytes);
}

static void S06_power_loss_with_normal_durability(void **state)
{
	struct mon_store *store = store_begun_with(MON_DURABILITY_NORMAL, 8 << 20);
	uint64_t record_bytes = MON_CALL_EVENT_BARE_BYTES + 8;
	uint64_t pushed = 0, checkpointed = 0, checkpoints = 0;
	int64_t found;

	(void)state;
	while (checkpoints < 2 || pushed < checkpointed + 3000) {
		store_push_calls(store, 300);
		/* Made at the start of a push: it holds what was there before. */
		if (store_stats_of(store).checkpoints > checkpoints)
			checkpointed = pushed;
		checkpoints = store_stats_of(store).checkpoints;
		pushed += 300;
		assert_true(pushed < 1000000);
	}
	cut_power();
	restart(store);
	found = store_ask("", "SELECT count(*) FROM call");
	print_message("%llu acknowledged, %llu as of the last checkpoint, %lld found\n",
		      (unsigned long long)pushed, (unsigned long long)checkpointed,
		      (long long)found);
	assert_true(found >= (int64_t)checkpointed && found <= (int64_t)pushed);
	assert_the_file_agrees_with_its_mark(found, record_bytes);
	go_on_from(pushed, record_bytes);
}

/* Whatever SQLite makes of a disk that is away, the file is not taken for a damaged one. */
static void S13_outage_of_the_disk(void **state)
{
	struct mon_store *store = store_begun_with(MON_DURABILITY_FULL, 0);
	uint64_t record_bytes = MON_CALL_EVENT_BARE_BYTES + 8;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		store_push_calls(store, 100);
	cut_power();
	for (unsigned i = 0; i < 5; i++) {
		const struct mon_batch batch = feed_calls_batch(30);
		int result = mon_store_push(store, &batch);

		print_message("%s\n", mon_store_error_text(store));
		assert_true(result < 0);
		assert_int_equal(store_stats_of(store).part, 1);
	}
	restart(store);
	assert_false(store_exists(".damaged-1"));
	assert_the_file_agrees_with_its_mark(1000, record_bytes);
	go_on_from(1000, record_bytes);
}

static char *database;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	scratch_remove(directory);
	free(database);
	return result;
}

static struct monitor *watch_calls(struct target *target)
{
	return monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			      "1", "--breaker-timeout", "2s", "watched_*", NULL);
}

/* All of the calls come after the first file was lost, so all are in the second. */
static void assert_all_is_in_the_second_part(void)
{
	assert_ledger_closed(database);
	assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 2 * CALLS);
	assert_int_equal(db_int(database, "SELECT count(DISTINCT arg1) FROM calls WHERE function="
					  "'watched_call'"),
			 CALLS);
	assert_int_equal(db_int(database, "SELECT count(*) FROM functions WHERE calls=" CALLS_TEXT
					  " AND stored=" CALLS_TEXT),
			 2);
	assert_int_equal(db_int(database, "SELECT part FROM run"), 2);
	assert_int_equal(db_int(database, "SELECT count(*) FROM breaker_event"), 3);
}

static void lose_and_go_on(struct monitor *monitor, struct target *target, const char *cause)
{
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	(void)monitor_wait_line(monitor, "breaker half-open -> closed", PROCESS_TIMEOUT_MS);
	assert_int_equal(monitor_count_lines(monitor, "breaker closed -> open ("), 1);
	assert_int_equal(monitor_count_lines(monitor, cause), 1);
	monitor_end(monitor, 0);
	assert_all_is_in_the_second_part();
	assert_int_equal(target_finish(target), 0);
}

static void S10_removed_while_running(void **state)
{
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	struct monitor *monitor = watch_calls(target);

	(void)state;
	assert_int_equal(unlink(database), 0);
	lose_and_go_on(monitor, target, "database was moved or removed");
}

static void S12_overwritten_while_running(void **state)
{
	static const char garbage[8192] = {1, 2, 3};
	struct target *target = target_start("calls", CALLS_TEXT, NULL);
	struct monitor *monitor = watch_calls(target);
	MON_FREE char *wal = scratch_path(directory, "monbpf.db-wal");
	MON_FREE char *aside = scratch_path(directory, "monbpf.db.damaged-1");
	MON_CLOSE int fd = open(database, O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, garbage, sizeof(garbage), 0), sizeof(garbage));
	assert_int_equal(truncate(wal, 0), 0);
	lose_and_go_on(monitor, target, "database damaged");
	assert_int_equal(access(aside, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define ON_A_DISK(name) cmocka_unit_test_setup_teardown(name, disk_setup, disk_teardown)
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		ON_A_DISK(S06_power_loss_with_full_durability),
		ON_A_DISK(S06_power_loss_with_normal_durability),
		ON_A_DISK(S13_outage_of_the_disk),
		TEST(S10_removed_while_running),
		TEST(S12_overwritten_while_running),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
