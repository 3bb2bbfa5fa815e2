/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is said of functions beside how they are sampled: which calls are kept whatever the sample
 * says, which failed, and how many records there may be. "VALUE" is of every function, "GLOB=VALUE"
 * of those that match; rules are tried last to first and the first that matches decides. Pure.
 */
#ifndef MON_RULES_H
#define MON_RULES_H

#include "bpf/counters.h"
#include "bpf/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_RULES_MAX 64
#define MON_RULE_RECORDS_PER_S_MAX 1000000000u
#define MON_RULE_SLOW_NS_MAX (24 * 3600 * 1000000000ull)

struct mon_rule {
	char glob[256]; /* "": every function */
	uint64_t value;
};

struct mon_rules {
	struct mon_rule rules[MON_RULES_MAX];
	size_t count;
};

/*
 * Each adds a rule: 0, -EINVAL (not understood), -ERANGE (a number out of bounds, a glob too long)
 * or -ENOSPC (MON_RULES_MAX).
 *
 * slow: "5ms", "GLOB=5ms"; at least so long. failed: "ret<0", "GLOB=ret==0": an enum mon_failed_if.
 * caps: "GLOB=N", at most N records a second of each function that matches; 0 lifts the cap of an
 * earlier rule. "N" is not a rule but the cap of all functions together, *@total_out.
 */
int mon_rules_add_slow(struct mon_rules *rules, const char *text);
int mon_rules_add_failed(struct mon_rules *rules, const char *text);
int mon_rules_add_cap(struct mon_rules *rules, const char *text, uint32_t *total_out);

/* For a function of this symbol and demangled name; 0: no rule matches. */
uint64_t mon_rules_find(const struct mon_rules *rules, const char *symbol, const char *name);

/* What the rules make of one function; the sample and its flags are not theirs. */
struct mon_policy mon_rules_policy(const struct mon_rules *slow, const struct mon_rules *failed,
				   bool keep_failed, const struct mon_rules *caps,
				   const char *symbol, const char *name);

#endif
