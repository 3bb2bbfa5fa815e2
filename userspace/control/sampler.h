/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much of each function is kept: (rules, what the last second counted) -> policy. Pure.
 *
 * Rules are tried last to first; the first whose glob matches (a rule without one matches all)
 * decides. `auto` keeps 1 in 10, or 1 in 100 of a function that was called more than 1,000 times
 * in the last second, beyond the allowance that the programs keep in any case
 * (MON_ALLOWANCE_RUN, MON_ALLOWANCE_SECOND).
 */
#ifndef MON_SAMPLER_H
#define MON_SAMPLER_H

#include "bpf/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_SAMPLE_AUTO_N 10
#define MON_SAMPLE_AUTO_HOT_N 100
#define MON_SAMPLE_AUTO_HOT_CALLS_PER_S 1000
#define MON_SAMPLE_RULES_MAX 64

struct mon_sample_rule {
	char glob[256]; /* "": every function */
	bool automatic;
	uint32_t one_in; /* N; 0 keeps none; unused when automatic */
};

/*
 * One --sample argument: "auto", "1/N", "GLOB=1/N", "GLOB=auto", "25%" or "1" (all). A percentage
 * becomes 1 in N, N the nearest whole number, and *rounded_out says if it had to be rounded.
 * 0, -EINVAL (not understood) or -ERANGE (N above MON_SAMPLE_N_MAX, percent not in (0, 100]).
 */
int mon_sample_rule_parse(const char *text, struct mon_sample_rule *rule_out, bool *rounded_out);

/* The rule for a function of this symbol and demangled name; NULL: none matches (keep by auto). */
const struct mon_sample_rule *mon_sample_rule_find(const struct mon_sample_rule *rules,
						   size_t count, const char *symbol,
						   const char *name);

/* The policy for one function; @calls_per_s is what the last interval saw (0 at the start). */
struct mon_policy mon_sample_policy(const struct mon_sample_rule *rule, uint64_t calls_per_s);

/* 1 in @n as the word that crosses to the programs; 0 gives MON_SAMPLE_NONE. */
uint64_t mon_sample_word(uint32_t n);
uint32_t mon_sample_word_n(uint64_t word);

#endif
