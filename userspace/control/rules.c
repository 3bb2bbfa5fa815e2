// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/rules.h"

#include "base/text.h"
#include "base/types.h"

#include <errno.h>
#include <string.h>

/* The rule that is added next, its glob filled in: @length bytes of @text. */
static int start(struct mon_rules *rules, const char *text, size_t length,
		 struct mon_rule **rule_out)
{
	struct mon_rule *rule;

	if (rules->count == MON_RULES_MAX)
		return -ENOSPC;
	rule = &rules->rules[rules->count];
	if (length >= sizeof(rule->glob))
		return -ERANGE;
	memset(rule, 0, sizeof(*rule));
	memcpy(rule->glob, text, length);
	*rule_out = rule;
	return 0;
}

/* Where the value begins; *@length_out: of the glob before it. A symbol may hold a '='. */
static const char *split(const char *text, size_t *length_out)
{
	const char *equals = strrchr(text, '=');

	*length_out = equals ? (size_t)(equals - text) : 0;
	return equals ? equals + 1 : text;
}

int mon_rules_add_slow(struct mon_rules *rules, const char *text)
{
	struct mon_rule *rule;
	uint64_t ns;
	size_t length;
	const char *value = split(text, &length);
	int result;

	if (value != text && !length)
		return -EINVAL;
	result = mon_parse_duration(value, &ns);
	if (result)
		return result;
	if (!ns || ns > MON_RULE_SLOW_NS_MAX)
		return -ERANGE;
	result = start(rules, text, length, &rule);
	if (result)
		return result;
	rule->value = ns;
	rules->count++;
	return 0;
}

int mon_rules_add_failed(struct mon_rules *rules, const char *text)
{
	size_t text_length = strlen(text);

	for (unsigned i = MON_FAILED_NEVER + 1; i < MON_FAILED_IFS; i++) {
		const char *name = mon_failed_if_name(i);
		size_t length = strlen(name);
		struct mon_rule *rule;
		int result;

		if (text_length < length || strcmp(text + text_length - length, name) != 0)
			continue;
		length = text_length - length;
		/* "=ret<0" has no glob, "fret<0" no '='. */
		if (length == 1 || (length && text[length - 1] != '='))
			return -EINVAL;
		result = start(rules, text, length ? length - 1 : 0, &rule);
		if (result)
			return result;
		rule->value = i;
		rules->count++;
		return 0;
	}
	return -EINVAL;
}

int mon_rules_add_cap(struct mon_rules *rules, const char *text, uint32_t *total_out)
{
	struct mon_rule *rule;
	uint64_t number;
	size_t length;
	const char *value = split(text, &length);
	int result = mon_parse_number(value, 0, MON_RULE_RECORDS_PER_S_MAX, &number);

	if (result)
		return result;
	if (value == text) {
		*total_out = (uint32_t)number;
		return 0;
	}
	if (!length)
		return -EINVAL;
	result = start(rules, text, length, &rule);
	if (result)
		return result;
	rule->value = number;
	rules->count++;
	return 0;
}

uint64_t mon_rules_find(const struct mon_rules *rules, const char *symbol, const char *name)
{
	for (size_t i = rules->count; i-- > 0;) {
		const struct mon_rule *rule = &rules->rules[i];

		if (!rule->glob[0] || mon_glob_match(rule->glob, symbol) ||
		    mon_glob_match(rule->glob, name))
			return rule->value;
	}
	return 0;
}

struct mon_policy mon_rules_policy(const struct mon_rules *slow, const struct mon_rules *failed,
				   bool keep_failed, const struct mon_rules *caps,
				   const char *symbol, const char *name)
{
	struct mon_policy policy = {
		.slow_ns = mon_rules_find(slow, symbol, name),
		.records_per_s = (uint32_t)mon_rules_find(caps, symbol, name),
		.failed_if = (uint32_t)mon_rules_find(failed, symbol, name),
	};

	if (keep_failed && policy.failed_if)
		policy.flags = MON_POLICY_KEEP_FAILED;
	return policy;
}
