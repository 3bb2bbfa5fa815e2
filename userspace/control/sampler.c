// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/sampler.h"

#include "base/text.h"

#include <errno.h>
#include <string.h>

uint64_t mon_sample_word(uint32_t n)
{
	if (n == 0)
		return MON_SAMPLE_NONE;
	return (uint64_t)n << 32 | ((1ull << 32) / n - 1);
}

uint32_t mon_sample_word_n(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

/* "25%" or "0.5%": thousandths of a percent, at most three decimals. */
static int parse_percent(const char *text, uint64_t *thousandths_out)
{
	uint64_t thousandths = 0, scale = 1000;
	bool digits = false, point = false;

	for (; *text && *text != '%'; text++) {
		if (*text == '.' && !point && digits) {
			point = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			return -EINVAL;
		digits = true;
		if (point) {
			scale /= 10;
			if (scale == 0)
				return -EINVAL;
			thousandths += (uint64_t)(*text - '0') * scale;
		} else {
			thousandths = thousandths * 10 + (uint64_t)(*text - '0') * 1000;
		}
		if (thousandths > 100000)
			return -ERANGE;
	}
	if (!digits || strcmp(text, "%") != 0)
		return -EINVAL;
	if (thousandths == 0)
		return -ERANGE;
	*thousandths_out = thousandths;
	return 0;
}

static int parse_rate(const char *text, struct mon_sample_rule *rule, bool *rounded)
{
	uint64_t number;
	int result;

	if (strcmp(text, "auto") == 0) {
		rule->automatic = true;
		return 0;
	}
	if (strcmp(text, "1") == 0) {
		rule->one_in = 1;
		return 0;
	}
	if (strncmp(text, "1/", 2) == 0) {
		result = mon_parse_number(text + 2, 1, MON_SAMPLE_N_MAX, &number);
		if (!result)
			rule->one_in = (uint32_t)number;
		return result;
	}
	result = parse_percent(text, &number);
	if (result)
		return result;
	rule->one_in = (uint32_t)((100000 + number / 2) / number);
	*rounded = (uint64_t)rule->one_in * number != 100000;
	return 0;
}

int mon_sample_rule_parse(const char *text, struct mon_sample_rule *rule_out, bool *rounded_out)
{
	const char *equals = strrchr(text, '='); /* a symbol may hold one: operator== */
	struct mon_sample_rule rule = {0};
	bool rounded = false;
	int result;

	if (equals) {
		size_t length = (size_t)(equals - text);

		if (length == 0)
			return -EINVAL;
		if (length >= sizeof(rule.glob))
			return -ERANGE;
		memcpy(rule.glob, text, length);
		text = equals + 1;
	}
	result = parse_rate(text, &rule, &rounded);
	if (result)
		return result;
	*rule_out = rule;
	*rounded_out = rounded;
	return 0;
}

const struct mon_sample_rule *mon_sample_rule_find(const struct mon_sample_rule *rules,
						   size_t count, const char *symbol,
						   const char *name)
{
	for (size_t i = count; i-- > 0;)
		if (!rules[i].glob[0] || mon_glob_match(rules[i].glob, symbol) ||
		    mon_glob_match(rules[i].glob, name))
			return &rules[i];
	return NULL;
}

struct mon_policy mon_sample_policy(const struct mon_sample_rule *rule, uint64_t calls_per_s)
{
	if (rule && !rule->automatic)
		return (struct mon_policy){.sample = mon_sample_word(rule->one_in)};
	return (struct mon_policy){
		.sample = mon_sample_word(calls_per_s > MON_SAMPLE_AUTO_HOT_CALLS_PER_S
						  ? MON_SAMPLE_AUTO_HOT_N
						  : MON_SAMPLE_AUTO_N),
		.flags = MON_POLICY_ALLOWANCE,
	};
}
