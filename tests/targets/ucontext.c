/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A coroutine leaves its stack in the middle of watched_switches and comes back: a return probe
 * there is fatal to the process. N rounds; watched_call runs on the other stack meanwhile.
 */
#include <ucontext.h>

#include "target.h"

static ucontext_t main_context;
static ucontext_t coroutine;
static char stack[256 * 1024];
static long rounds;

WATCHED int watched_call(int number)
{
	target_sink += number;
	return number;
}

WATCHED int watched_switches(int number)
{
	swapcontext(&coroutine, &main_context);
	return number + 1;
}

static void coroutine_main(void)
{
	for (long i = 0; i < rounds; i++)
		watched_switches((int)i);
}

int main(int argc, char **argv)
{
	rounds = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	if (getcontext(&coroutine) != 0)
		return 1;
	coroutine.uc_stack.ss_sp = stack;
	coroutine.uc_stack.ss_size = sizeof(stack);
	coroutine.uc_link = &main_context;
	makecontext(&coroutine, coroutine_main, 0);

	target_ready();
	for (long i = 0; i <= rounds; i++) {
		swapcontext(&main_context, &coroutine);
		if (i < rounds)
			watched_call((int)i);
	}
	target_end(rounds);
	return 0;
}
