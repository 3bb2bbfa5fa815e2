// SPDX-License-Identifier: GPL-2.0-or-later
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"

#include <string.h>
#include <time.h>

/* RFC 3720, B.4, and the check value that every catalogue of CRCs gives. */
static void the_known_vectors(void **state)
{
	uint8_t bytes[32] = {0};

	(void)state;
	assert_int_equal(mon_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(mon_crc32c_by_table(0, "123456789", 9), 0xe3069283);
	assert_int_equal(mon_crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(mon_crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	assert_int_equal(mon_crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
	assert_int_equal(mon_crc32c(7, bytes, 0), 7);
}

static void instruction_and_table_agree(void **state)
{
	uint64_t random = (uint64_t)time(NULL) | 1;
	uint8_t bytes[300];

	(void)state;
	print_message("seed %llu\n", (unsigned long long)random);
	for (unsigned step = 0; step < 20000; step++) {
		size_t from, size, half;
		uint32_t crc;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		bytes[step % sizeof(bytes)] = (uint8_t)(random >> 56);
		from = (random >> 20) % 16;
		size = (random >> 30) % (sizeof(bytes) - from);
		half = size ? (random >> 40) % size : 0;
		crc = (uint32_t)(random >> 24);
		assert_int_equal(mon_crc32c(crc, bytes + from, size),
				 mon_crc32c_by_table(crc, bytes + from, size));
		assert_int_equal(mon_crc32c(crc, bytes + from, size),
				 mon_crc32c(mon_crc32c(crc, bytes + from, half),
					    bytes + from + half, size - half));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_known_vectors),
		cmocka_unit_test(instruction_and_table_agree),
	};

	return cmocka_run_group_tests_name("base/crc32c", tests, NULL, NULL);
}
