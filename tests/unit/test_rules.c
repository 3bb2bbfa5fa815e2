// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/rules.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct mon_rules rules;

struct sample {
	const char *text;
	int result;
	const char *glob;
	uint64_t value;
};

static void check(const struct sample *sample, int result)
{
	if (result != sample->result)
		fail_msg("'%s' gave %d", sample->text, result);
	assert_int_equal(rules.count, result ? 0 : 1);
	if (result)
		return;
	assert_string_equal(rules.rules[0].glob, sample->glob);
	if (rules.rules[0].value != sample->value)
		fail_msg("'%s' is %llu", sample->text, (unsigned long long)rules.rules[0].value);
}

static void slow_is_understood(void **state)
{
	static const struct sample samples[] = {
		{"5ms", 0, "", 5000000},
		{"500us", 0, "", 500000},
		{"parse_*=1s", 0, "parse_*", 1000000000},
		{"operator===3ns", 0, "operator==", 3},
		{"24h", 0, "", 86400000000000},
		{"25h", -ERANGE, NULL, 0},
		{"0s", -ERANGE, NULL, 0},
		{"5", -EINVAL, NULL, 0},
		{"ms", -EINVAL, NULL, 0},
		{"", -EINVAL, NULL, 0},
		{"=5ms", -EINVAL, NULL, 0},
		{"f=", -EINVAL, NULL, 0},
		{"-5ms", -EINVAL, NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		rules.count = 0;
		check(&samples[i], mon_rules_add_slow(&rules, samples[i].text));
	}
}

static void failed_is_understood(void **state)
{
	static const struct sample samples[] = {
		{"ret<0", 0, "", MON_FAILED_NEGATIVE},
		{"ret==0", 0, "", MON_FAILED_ZERO},
		{"ret!=0", 0, "", MON_FAILED_NOT_ZERO},
		{"ret64<0", 0, "", MON_FAILED_NEGATIVE64},
		{"open*=ret<0", 0, "open*", MON_FAILED_NEGATIVE},
		{"malloc=ret==0", 0, "malloc", MON_FAILED_ZERO},
		{"operator===ret!=0", 0, "operator==", MON_FAILED_NOT_ZERO},
		{"f=ret64<0", 0, "f", MON_FAILED_NEGATIVE64},
		{"fret<0", -EINVAL, NULL, 0},
		{"=ret<0", -EINVAL, NULL, 0},
		{"f=ret>0", -EINVAL, NULL, 0},
		{"f=ret<1", -EINVAL, NULL, 0},
		{"f=", -EINVAL, NULL, 0},
		{"", -EINVAL, NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		rules.count = 0;
		check(&samples[i], mon_rules_add_failed(&rules, samples[i].text));
	}
}

static void caps_are_understood(void **state)
{
	static const struct sample samples[] = {
		{"f=100", 0, "f", 100},
		{"f=0", 0, "f", 0},
		{"f=1000000000", 0, "f", 1000000000},
		{"operator===7", 0, "operator==", 7},
		{"f=1000000001", -ERANGE, NULL, 0},
		{"=5", -EINVAL, NULL, 0},
		{"f=", -EINVAL, NULL, 0},
		{"f=1k", -EINVAL, NULL, 0},
		{"", -EINVAL, NULL, 0},
		{"-1", -EINVAL, NULL, 0},
		{"1000000001", -ERANGE, NULL, 0},
	};
	uint32_t total = 77;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		rules.count = 0;
		check(&samples[i], mon_rules_add_cap(&rules, samples[i].text, &total));
	}
	assert_int_equal(total, 77);
	rules.count = 0;
	assert_int_equal(mon_rules_add_cap(&rules, "500", &total), 0);
	assert_int_equal(total, 500);
	assert_int_equal(rules.count, 0);
}

static void bounds(void **state)
{
	char text[300];

	(void)state;
	rules.count = 0;
	memset(text, 'x', 256);
	strcpy(text + 256, "=5ms");
	assert_int_equal(mon_rules_add_slow(&rules, text), -ERANGE);
	assert_int_equal(mon_rules_add_slow(&rules, text + 1), 0);
	for (int i = 1; i < MON_RULES_MAX; i++)
		assert_int_equal(mon_rules_add_slow(&rules, "f=5ms"), 0);
	assert_int_equal(mon_rules_add_slow(&rules, "f=5ms"), -ENOSPC);
	assert_int_equal(rules.count, MON_RULES_MAX);
}

static void the_last_that_matches_decides(void **state)
{
	static struct mon_rules slow, failed, caps;
	uint32_t total = 0;
	struct mon_policy policy;

	(void)state;
	slow = failed = caps = (struct mon_rules){0};
	assert_int_equal(mon_rules_add_slow(&slow, "1ms"), 0);
	assert_int_equal(mon_rules_add_slow(&slow, "read*=2ms"), 0);
	assert_int_equal(mon_rules_add_failed(&failed, "read_int*=ret<0"), 0);
	assert_int_equal(mon_rules_add_cap(&caps, "*=10", &total), 0);
	assert_int_equal(mon_rules_add_cap(&caps, "read_all=0", &total), 0);
	policy = mon_rules_policy(&slow, &failed, true, &caps, "write", "write");
	assert_int_equal(policy.slow_ns, 1000000);
	assert_int_equal(policy.failed_if, MON_FAILED_NEVER);
	assert_int_equal(policy.flags, 0);
	assert_int_equal(policy.records_per_s, 10);
	/* By the demangled name, too; and 0 lifts a cap. */
	policy = mon_rules_policy(&slow, &failed, true, &caps, "_Z8read_inti", "read_int(int)");
	assert_int_equal(policy.slow_ns, 2000000);
	assert_int_equal(policy.failed_if, MON_FAILED_NEGATIVE);
	assert_int_equal(policy.flags, MON_POLICY_KEEP_FAILED);
	policy = mon_rules_policy(&slow, &failed, false, &caps, "read_int", "read_int");
	assert_int_equal(policy.failed_if, MON_FAILED_NEGATIVE);
	assert_int_equal(policy.flags, 0);
	policy = mon_rules_policy(&slow, &failed, true, &caps, "read_all", "read_all");
	assert_int_equal(policy.records_per_s, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_is_understood),
		cmocka_unit_test(failed_is_understood),
		cmocka_unit_test(caps_are_understood),
		cmocka_unit_test(bounds),
		cmocka_unit_test(the_last_that_matches_decides),
	};

	return cmocka_run_group_tests_name("unit/rules", tests, NULL, NULL);
}
