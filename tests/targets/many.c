/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MANY (1,000) functions many_0000 and on, each called once a round: many [ROUNDS]. */
#include "target.h"

#define ONES(F, p) F(p##0) F(p##1) F(p##2) F(p##3) F(p##4) F(p##5) F(p##6) F(p##7) F(p##8) F(p##9)
#define TENS(F, p)    \
	ONES(F, p##0) \
	ONES(F, p##1) \
	ONES(F, p##2) \
	ONES(F, p##3) \
	ONES(F, p##4) ONES(F, p##5) ONES(F, p##6) ONES(F, p##7) ONES(F, p##8) ONES(F, p##9)
#define HUNDREDS(F, p) \
	TENS(F, p##0)  \
	TENS(F, p##1)  \
	TENS(F, p##2)  \
	TENS(F, p##3)  \
	TENS(F, p##4) TENS(F, p##5) TENS(F, p##6) TENS(F, p##7) TENS(F, p##8) TENS(F, p##9)
#ifdef TEN_THOUSAND
#define ALL(F)         \
	HUNDREDS(F, 0) \
	HUNDREDS(F, 1) \
	HUNDREDS(F, 2) \
	HUNDREDS(F, 3) \
	HUNDREDS(F, 4) HUNDREDS(F, 5) HUNDREDS(F, 6) HUNDREDS(F, 7) HUNDREDS(F, 8) HUNDREDS(F, 9)
#else
#define ALL(F) HUNDREDS(F, 0)
#endif

/* peers.c has them begin with an instruction that the kernel emulates, and calls them itself. */
#ifndef MANY_PROLOGUE
#define MANY_PROLOGUE()
#endif

#define DEFINE(n)                        \
	WATCHED int many_##n(int number) \
	{                                \
		MANY_PROLOGUE();         \
		target_sink += number;   \
		return number;           \
	}
#define NAME(n) many_##n,

ALL(DEFINE)

static int (*const functions[])(int) = {ALL(NAME)};

#ifndef MANY_IS_PART
int main(int argc, char **argv)
{
	const size_t count = sizeof(functions) / sizeof(functions[0]);
	long rounds = target_number(argc, argv, 1, 1);

	target_ready();
	for (long i = 0; i < rounds; i++) {
		for (size_t f = 0; f < count; f++)
			functions[f]((int)f);
	}
	target_end(rounds * (long)count);
	return 0;
}
#endif
