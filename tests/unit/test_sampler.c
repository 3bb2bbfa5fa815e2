// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/sampler.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void rules_are_understood(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *glob;
		bool automatic;
		uint32_t one_in;
		bool rounded;
	} cases[] = {
		{"auto", 0, "", true, 0, false},
		{"1", 0, "", false, 1, false},
		{"1/10", 0, "", false, 10, false},
		{"parse_*=1/100", 0, "parse_*", false, 100, false},
		{"parse_*=auto", 0, "parse_*", true, 0, false},
		{"operator===1/7", 0, "operator==", false, 7, false},
		{"100%", 0, "", false, 1, false},
		{"25%", 0, "", false, 4, false},
		{"30%", 0, "", false, 3, true},
		{"0.5%", 0, "", false, 200, false},
		{"f=60%", 0, "f", false, 2, true},
		{"0%", -ERANGE, NULL, false, 0, false},
		{"101%", -ERANGE, NULL, false, 0, false},
		{"1/0", -ERANGE, NULL, false, 0, false},
		{"1/1000001", -ERANGE, NULL, false, 0, false},
		{"2/3", -EINVAL, NULL, false, 0, false},
		{"1/", -EINVAL, NULL, false, 0, false},
		{"=1/2", -EINVAL, NULL, false, 0, false},
		{"", -EINVAL, NULL, false, 0, false},
		{"%", -EINVAL, NULL, false, 0, false},
		{"5", -EINVAL, NULL, false, 0, false},
		{"5%%", -EINVAL, NULL, false, 0, false},
		{"-5%", -EINVAL, NULL, false, 0, false},
		{"0.0001%", -EINVAL, NULL, false, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mon_sample_rule rule;
		bool rounded;
		int result = mon_sample_rule_parse(cases[i].text, &rule, &rounded);

		if (result != cases[i].result)
			fail_msg("'%s' gave %d", cases[i].text, result);
		if (result)
			continue;
		assert_string_equal(rule.glob, cases[i].glob);
		assert_int_equal(rule.automatic, cases[i].automatic);
		assert_int_equal(rule.one_in, cases[i].one_in);
		assert_int_equal(rounded, cases[i].rounded);
	}
}

static void the_last_rule_that_matches_decides(void **state)
{
	const struct mon_sample_rule rules[] = {
		{.one_in = 5},
		{.glob = "parse_*", .one_in = 7},
		{.glob = "ns::Parser::*", .one_in = 9},
	};

	(void)state;
	assert_ptr_equal(mon_sample_rule_find(rules, 3, "other", "other"), &rules[0]);
	assert_ptr_equal(mon_sample_rule_find(rules, 3, "parse_x", "parse_x"), &rules[1]);
	assert_ptr_equal(mon_sample_rule_find(rules, 3, "_ZN2ns6Parser1fEv", "ns::Parser::f()"),
			 &rules[2]);
	assert_null(mon_sample_rule_find(rules + 1, 1, "other", "other"));
}

static void words_hold_rate_and_weight(void **state)
{
	(void)state;
	assert_true(mon_sample_word(1) == MON_SAMPLE_ALL);
	assert_true(mon_sample_word(0) == MON_SAMPLE_NONE);
	for (uint32_t n = 1; n <= MON_SAMPLE_N_MAX; n = n * 3 + 1) {
		uint64_t word = mon_sample_word(n);
		double probability = ((double)(uint32_t)word + 1) / 4294967296.0;

		assert_int_equal(mon_sample_word_n(word), n);
		assert_true(fabs(probability * n - 1) < 0.0003);
	}
}

static void automatic_follows_the_last_second(void **state)
{
	const struct mon_sample_rule automatic = {.automatic = true}, fixed = {.one_in = 3};

	(void)state;
	assert_int_equal(mon_sample_word_n(mon_sample_policy(&automatic, 1000).sample), 10);
	assert_int_equal(mon_sample_word_n(mon_sample_policy(&automatic, 1001).sample), 100);
	assert_int_equal(mon_sample_policy(NULL, 0).flags, MON_POLICY_ALLOWANCE);
	assert_int_equal(mon_sample_policy(&fixed, 1000000).flags, 0);
	assert_int_equal(mon_sample_word_n(mon_sample_policy(&fixed, 1000000).sample), 3);
}

/* splitmix64: neighbouring seeds give unrelated sequences. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t mixed = *state += 0x9e3779b97f4a7c15ull;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ull;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebull;
	return mixed ^ mixed >> 31;
}

/* SUM(weight) of one simulated run of @seconds of @rate calls; the decision as bpf/policy.h has it.
 */
static uint64_t weights(const struct mon_sample_rule *rule, uint64_t seed, unsigned seconds,
			unsigned rate)
{
	uint64_t sum = 0, calls = 0, last = 0;

	for (unsigned second = 0; second < seconds; second++) {
		struct mon_policy policy = mon_sample_policy(rule, last);

		for (unsigned i = 0; i < rate; i++, calls++) {
			uint32_t random;

			random = (uint32_t)(next_random(&seed) >> 32);
			if ((policy.flags & MON_POLICY_ALLOWANCE) &&
			    (calls < MON_ALLOWANCE_RUN || i < MON_ALLOWANCE_SECOND))
				sum += 1;
			else if (policy.sample && random <= (uint32_t)policy.sample)
				sum += mon_sample_word_n(policy.sample);
		}
		last = rate;
	}
	return sum;
}

static void weights_add_up_to_the_calls(void **state)
{
	static const struct mon_sample_rule rules[] = {
		{.automatic = true}, {.one_in = 1}, {.one_in = 7}, {.one_in = 100}};
	static const unsigned rates[] = {500, 20000};
	const unsigned seconds = 10, seeds = 50;

	(void)state;
	for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++)
		for (size_t k = 0; k < 2; k++) {
			double calls = (double)seconds * rates[k], mean = 0;
			unsigned n =
				rules[r].automatic ? rates[k] > 1000 ? 100 : 10 : rules[r].one_in;
			double sigma = sqrt(calls * (n - 1)); /* of a binomial with weight n */

			for (unsigned seed = 1; seed <= seeds; seed++) {
				double sum =
					(double)weights(&rules[r], seed * 7919, seconds, rates[k]);

				if (fabs(sum - calls) > 4 * sigma)
					fail_msg("1/%u at %u: %.0f of %.0f, sigma %.0f", n,
						 rates[k], sum, calls, sigma);
				mean += sum / seeds;
			}
			/* 1 % where 50 runs can tell so much, else what they can tell. */
			assert_true(fabs(mean - calls) <= fmax(0.01 * calls, 4 * sigma / 7.07));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_understood),
		cmocka_unit_test(the_last_rule_that_matches_decides),
		cmocka_unit_test(words_hold_rate_and_weight),
		cmocka_unit_test(automatic_follows_the_last_second),
		cmocka_unit_test(weights_add_up_to_the_calls),
	};

	return cmocka_run_group_tests_name("control/sampler", tests, NULL, NULL);
}
