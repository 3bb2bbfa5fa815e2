/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Works as fast as it can: rounds of some work of its own and one call each. Arguments: rounds
 * (0: until a line comes), work of a round in steps, and of what kind the call is (0: its first
 * instruction is emulated, 1: it is single-stepped). Prints its calls and, before that, how long
 * the work took and how much CPU time: "took WALL_NS CPU_NS".
 */
#include "target.h"

#include <poll.h>
#include <time.h>

#define ROUNDS_BETWEEN_LOOKS 256

WATCHED uint64_t watched_busy(uint64_t number)
{
	STARTS_WITH_PUSH();
	target_sink += (long)number;
	return number;
}

/* Begins with what no kernel emulates. */
uint64_t watched_stepped(uint64_t number);
#if defined(__x86_64__)
__asm__(".text\n"
	".globl watched_stepped\n"
	".type watched_stepped, @function\n"
	"watched_stepped: mov %rdi, %rax\n ret\n"
	".size watched_stepped, .-watched_stepped\n");
#else
__asm__(".text\n"
	".globl watched_stepped\n"
	".type watched_stepped, %function\n"
	"watched_stepped: mov x1, x0\n ret\n"
	".size watched_stepped, .-watched_stepped\n");
#endif

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
	long rounds = target_number(argc, argv, 1, 0), steps = target_number(argc, argv, 2, 1000);
	bool stepped = target_number(argc, argv, 3, 0);
	struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
	uint64_t wall_ns, cpu_ns;
	long calls = 0;

	target_ready();
	wall_ns = now_ns(CLOCK_MONOTONIC);
	cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	while (rounds ? calls < rounds : calls % ROUNDS_BETWEEN_LOOKS || !poll(&line, 1, 0)) {
		for (long step = 0; step < steps; step++)
			__asm__ volatile("" : : "r"(step) : "memory");
		if (stepped)
			watched_stepped((uint64_t)calls);
		else
			watched_busy((uint64_t)calls);
		calls++;
	}
	wall_ns = now_ns(CLOCK_MONOTONIC) - wall_ns;
	cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
	target_say("took %lu %lu\n", (unsigned long)wall_ns, (unsigned long)cpu_ns);
	target_end(calls);
	return 0;
}
