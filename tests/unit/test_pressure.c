// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When memory is short: the files of a cgroup and of the process are the test's own. It began at 90
 * % and ended below it, so near the limit it began and ended each second; and once a megabyte was
 * swapped out it never ended, because what is not touched stays in swap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "monitor/pressure.h"
#include "tests/harness/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *directory, *status;
static struct mon_pressure pressure;

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void set(uint64_t usage, uint64_t cache, const char *limit, uint64_t swapped_kib)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%llu\n", (unsigned long long)usage);
	write_text(pressure.usage_path, text);
	write_text(pressure.limit_path, limit);
	(void)snprintf(text, sizeof(text), "cache 7\ninactive_file %llu\nunevictable 0\n",
		       (unsigned long long)cache);
	write_text(pressure.stat_path, text);
	(void)snprintf(text, sizeof(text), "VmRSS:\t 10 kB\nVmSwap:\t   %llu kB\n",
		       (unsigned long long)swapped_kib);
	write_text(status, text);
}

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	status = scratch_path(directory, "status");
	pressure = (struct mon_pressure){.status_path = status};
	(void)snprintf(pressure.usage_path, sizeof(pressure.usage_path), "%s/usage", directory);
	(void)snprintf(pressure.limit_path, sizeof(pressure.limit_path), "%s/limit", directory);
	(void)snprintf(pressure.stat_path, sizeof(pressure.stat_path), "%s/stat", directory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove(directory);
	free(status);
	return 0;
}

/* True each time until it was calm for long enough. */
static void assert_ends_when_calm(void)
{
	for (unsigned i = 1; i < MON_PRESSURE_CALM; i++)
		assert_true(mon_pressure_now(&pressure));
	assert_false(mon_pressure_now(&pressure));
	assert_false(mon_pressure_now(&pressure));
}

static void M05_near_the_limit(void **state)
{
	(void)state;
	set(899, 0, "1000\n", 0);
	assert_false(mon_pressure_now(&pressure));
	set(1000, 101, "1000\n", 0); /* the page cache goes when it has to */
	assert_false(mon_pressure_now(&pressure));
	set(1000, 100, "1000\n", 0);
	assert_true(mon_pressure_now(&pressure));
	for (unsigned i = 0; i < 3 * MON_PRESSURE_CALM; i++) { /* near it is no calm */
		set(i % 2 ? 850 : 950, 0, "1000\n", 0);
		assert_true(mon_pressure_now(&pressure));
	}
	set(799, 0, "1000\n", 0);
	assert_true(mon_pressure_now(&pressure));
	set(801, 0, "1000\n", 0);
	assert_true(mon_pressure_now(&pressure));
	set(799, 0, "1000\n", 0);
	assert_ends_when_calm();
}

static void M05_swapped_out(void **state)
{
	(void)state;
	set(0, 0, "max\n", 1023);
	assert_false(mon_pressure_now(&pressure));
	set(0, 0, "max\n", 1024);
	assert_true(mon_pressure_now(&pressure));
	assert_ends_when_calm(); /* what is out may stay out */
	set(0, 0, "max\n", 2047);
	assert_false(mon_pressure_now(&pressure));
	set(0, 0, "max\n", 2048); /* little by little is growth, too */
	assert_true(mon_pressure_now(&pressure));
	assert_ends_when_calm();
	set(0, 0, "max\n", 100);
	assert_false(mon_pressure_now(&pressure));
	set(0, 0, "max\n", 1124);
	assert_true(mon_pressure_now(&pressure));
}

static void no_limit_is_no_pressure(void **state)
{
	(void)state;
	set(1000, 0, "max\n", 0);
	assert_false(mon_pressure_now(&pressure));
	set(1000, 0, "0\n", 0);
	assert_false(mon_pressure_now(&pressure));
	set(1000, 0, "1000\n", 0);
	pressure.usage_path[0] = '\0';
	assert_false(mon_pressure_now(&pressure));
	mon_pressure_find(&pressure); /* whatever is here */
	(void)mon_pressure_now(&pressure);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(M05_near_the_limit),
		TEST(M05_swapped_out),
		TEST(no_limit_is_no_pressure),
	};

	return cmocka_run_group_tests_name("unit/pressure", tests, NULL, NULL);
}
