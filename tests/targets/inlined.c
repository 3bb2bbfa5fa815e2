/* SPDX-License-Identifier: GPL-2.0-or-later */
/* inlined_everywhere has no address; inlined_once is a copy here and a function for its pointer. */
#include "target.h"

static inline __attribute__((always_inline)) int inlined_everywhere(int number)
{
	target_sink += number;
	return number;
}

inline __attribute__((always_inline, used)) int inlined_once(int number)
{
	target_sink += number;
	return number;
}
extern int inlined_once(int number);

static int (*volatile by_pointer)(int) = inlined_once;

int main(void)
{
	target_ready();
	for (int i = 0; i < TARGET_CALLS_DEFAULT; i++) {
		inlined_everywhere(i);
		inlined_once(i);
	}
	for (int i = 0; i < 5; i++)
		by_pointer(i);
	target_end(5);
	return 0;
}
