// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where pins live: mounted once, by whoever is first; only in a directory that is ours; and which
 * names are runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "capture/pins.h"
#include "tests/harness/scratch.h"
#include "tests/harness/tool.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define OTHER_UUID "fedcba98-7654-3210-fedc-ba9876543210"

static char *directory, *base;

static int set_up(void **state)
{
	(void)state;
	directory = scratch_new();
	base = scratch_path(directory, "pins");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	while (!umount2(base, MNT_DETACH | UMOUNT_NOFOLLOW)) {
	}
	scratch_remove(directory);
	free(base);
	return 0;
}

static size_t pinned_runs(void)
{
	MON_FREE struct mon_pins_run *runs = NULL;
	size_t count;

	assert_int_equal(mon_pins_list(base, &runs, &count, NULL), 0);
	return count;
}

static size_t mounts(void)
{
	MON_FCLOSE FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[8192];
	size_t count = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, base) != NULL;
	return count;
}

/* Symbolic links and directories that others may enter are refused; what is mounted is used. */
static void R13_hostile_directory(void **state)
{
	struct mon_error error = {0};
	struct mon_pins *pins = NULL;
	char *elsewhere = scratch_path(directory, "elsewhere");

	(void)state;
	assert_int_equal(mkdir(elsewhere, 0700), 0);
	assert_int_equal(symlink(elsewhere, base), 0);
	assert_true(mon_pins_create(base, UUID, &pins, &error) < 0);
	assert_sentence(&error, MON_EXIT_UNAVAILABLE, "symbolic link");
	assert_int_equal(unlink(base), 0);
	assert_int_equal(mkdir(base, 0755), 0);
	assert_int_equal(mon_pins_create(base, UUID, &pins, &error), -EPERM);
	assert_sentence(&error, MON_EXIT_PERMISSION, "0700");
	assert_int_equal(chmod(base, 0700), 0);
	assert_int_equal(mounts(), 0);
	assert_int_equal(mon_pins_create("pins", UUID, &pins, &error), -EINVAL);
	assert_int_equal(mon_pins_create(base, "../../etc", &pins, &error), -EINVAL);
	assert_int_equal(mounts(), 0);
	assert_int_equal(mon_pins_create(base, UUID, &pins, &error), 0);
	mon_pins_close(pins);
	assert_int_equal(mon_pins_create(base, OTHER_UUID, &pins, &error), 0);
	mon_pins_close(pins);
	assert_int_equal(mounts(), 1);
	/* The second sweeps the first, which has no identity and no monitor. */
	assert_int_equal(pinned_runs(), 1);
	assert_int_equal(mon_pins_sweep(base), 0);
	assert_int_equal(pinned_runs(), 0);
	free(elsewhere);
}

enum { MONITORS = 6, ROUNDS = 20 };

/* Waits until the other end of @start is closed; then holds a run until it is killed. */
static void monitor_main(pid_t parent, const char *uuid, const int *start, int ready)
{
	struct mon_pins *pins;
	char byte;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)close(start[1]);
	if (getppid() != parent || read(start[0], &byte, 1) != 0 ||
	    mon_pins_create(base, uuid, &pins, NULL) || write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		(void)pause();
}

static void start_at_once(void)
{
	pid_t pids[MONITORS], parent = getpid();
	int start[2], ready[2];
	char byte;

	assert_int_equal(pipe(start), 0);
	assert_int_equal(pipe(ready), 0);
	for (int i = 0; i < MONITORS; i++) {
		char uuid[] = UUID;

		uuid[0] = (char)('0' + i);
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (!pids[i])
			monitor_main(parent, uuid, start, ready[1]);
	}
	(void)close(start[0]);
	(void)close(start[1]);
	(void)close(ready[1]);
	for (int i = 0; i < MONITORS; i++)
		assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	assert_int_equal(mounts(), 1);
	assert_int_equal(pinned_runs(), MONITORS);
	assert_int_equal(mon_pins_sweep(base), 0);
	assert_int_equal(pinned_runs(), MONITORS);
	for (int i = 0; i < MONITORS; i++) {
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
	}
	assert_int_equal(mon_pins_sweep(base), 0);
	assert_int_equal(pinned_runs(), 0);
}

/* Six monitors start at once: one file system, and nobody sweeps what another is making. */
static void R14_started_at_once(void **state)
{
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		start_at_once();
		assert_int_equal(umount2(base, UMOUNT_NOFOLLOW), 0);
	}
}

static void names_of_runs(void **state)
{
	(void)state;
	assert_true(mon_pins_is_uuid(UUID));
	assert_false(mon_pins_is_uuid(""));
	assert_false(mon_pins_is_uuid("01234567-89ab-cdef-0123-456789abcde"));
	assert_false(mon_pins_is_uuid(UUID "0"));
	assert_false(mon_pins_is_uuid("01234567089ab-cdef-0123-456789abcdef"));
	assert_false(mon_pins_is_uuid("../34567-89ab-cdef-0123-456789abcdef"));
	assert_false(mon_pins_is_uuid("01234567-89AB-cdef-0123-456789abcdef"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(R13_hostile_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(R14_started_at_once, set_up, tear_down),
		cmocka_unit_test(names_of_runs),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("kernel/pins_directory", tests, NULL, NULL);
}
