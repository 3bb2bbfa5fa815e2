// SPDX-License-Identifier: GPL-2.0-or-later
#include "pipeline/record.h"

#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* One way to end without a return at most; and what is not known is not told either. */
static void doubts(void **state)
{
	static const struct mon_record_shape shape = {.function_count = 3};
	static const struct {
		uint16_t flags;
		uint32_t caller;
		uint64_t duration_ns, child_ns;
		int verdict;
	} cases[] = {
		{0, 0, 5, 1, 0},
		{MON_CALL_SELF_UNKNOWN, 0, 5, 0, 0},
		{MON_CALL_SELF_UNKNOWN, 0, 5, 1, EPROTO},
		{MON_CALL_CALLER_UNKNOWN, MON_FUNCTION_NONE, 5, 1, 0},
		{MON_CALL_CALLER_UNKNOWN, 0, 5, 1, EPROTO},
		{MON_CALL_DOUBTS, MON_FUNCTION_NONE, 5, 0, 0},
		{MON_CALL_UNWOUND | MON_CALL_CALLER_UNKNOWN, MON_FUNCTION_NONE, 0, 0, 0},
		{MON_CALL_UNWOUND | MON_CALL_CALLER_UNKNOWN, MON_FUNCTION_NONE, 1, 0, EPROTO},
		{MON_CALL_UNWOUND | MON_CALL_SELF_UNKNOWN, MON_FUNCTION_NONE, 0, 0, EPROTO},
		{MON_CALL_CALLER_UNKNOWN << 1, MON_FUNCTION_NONE, 5, 1, EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(cases); i++) {
		const struct mon_call_event call = {
			.kind = MON_EVENT_CALL,
			.version = MON_EVENT_VERSION,
			.flags = cases[i].flags,
			.caller = cases[i].caller,
			.duration_ns = cases[i].duration_ns,
			.child_ns = cases[i].child_ns,
			.weight = 1,
		};

		if (mon_record_check(&shape, &call, MON_CALL_EVENT_BARE_BYTES) != cases[i].verdict)
			fail_msg("case %zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(doubts),
	};

	return cmocka_run_group_tests_name("unit/record", tests, NULL, NULL);
}
