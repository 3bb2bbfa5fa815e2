/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watched_leaf is reached by several paths, each twice from the same places: before "ready", when
 * every function on the way says where it will return to (`frame PATH ADDRESS`, nearest first), and
 * after it, when the probes have to find that out by themselves.
 */
#include "stacks.h"
#include "target.h"

static void *chain[256];
static int chain_count;
static int path_now;
static bool told;

#define ENTER() (chain[chain_count++] = __builtin_return_address(0))
#define LEAVE() (chain_count--)

WATCHED long watched_leaf(long number)
{
	ENTER();
	for (int i = chain_count - 1; !told && i >= 0; i--)
		target_say("frame %d %lx\n", path_now, (unsigned long)chain[i]);
	target_sink += number;
	LEAVE();
	return number + 1;
}

WATCHED long middle(long number)
{
	ENTER();
	number = watched_leaf(number) + 1;
	LEAVE();
	return number;
}

WATCHED long left(long number)
{
	ENTER();
	number = watched_leaf(number) + 2;
	LEAVE();
	return number;
}

WATCHED long right(long number)
{
	ENTER();
	number = middle(number) + 3;
	LEAVE();
	return number;
}

WATCHED long watched_outer(long number)
{
	ENTER();
	number = middle(number) + 4;
	LEAVE();
	return number;
}

WATCHED long deep(long number)
{
	ENTER();
	number = (number ? deep(number - 1) : watched_leaf(0)) + 5;
	LEAVE();
	return number;
}

WATCHED long watched_deep(long number)
{
	ENTER();
	number = (number ? watched_deep(number - 1) : watched_leaf(0)) + 6;
	LEAVE();
	return number;
}

/* A frame pointer that is none, as code built without them has it. */
WATCHED long garbage(unsigned long pointer)
{
	long number = 0;

	ENTER();
#if defined(__x86_64__)
	/* 1: its own place, a ring; 2: below the stack pointer. */
	__asm__ volatile("lea -256(%%rsp), %%rsp\n\t" /* the red zone */
			 "push %%rbp\n\t"
			 "sub $128, %%rsp\n\t"
			 "mov %1, %%rbp\n\t"
			 "cmp $1, %%rbp\n\t"
			 "jne 1f\n\t"
			 "lea 64(%%rsp), %%rbp\n\t"
			 "mov %%rbp, (%%rbp)\n\t"
			 "mov %%rbp, 8(%%rbp)\n\t"
			 "1: cmp $2, %%rbp\n\t"
			 "jne 2f\n\t"
			 "lea -512(%%rsp), %%rbp\n\t"
			 "2: mov $7, %%edi\n\t"
			 "mov %%rsp, %%rbx\n\t"
			 "and $-16, %%rsp\n\t"
			 "call watched_leaf\n\t"
			 "mov %%rbx, %%rsp\n\t"
			 "add $128, %%rsp\n\t"
			 "pop %%rbp\n\t"
			 "lea 256(%%rsp), %%rsp\n\t"
			 : "=a"(number)
			 : "r"(pointer)
			 : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory",
			   "cc");
#else
	(void)pointer;
	number = watched_leaf(7);
#endif
	LEAVE();
	return number;
}

WATCHED long run(int path)
{
	static const unsigned long pointers[] = {
		0, 1, 2, 0x4141414141414141, 0xffffffff81000000, (unsigned long)-8};
	long number = 0;

	ENTER();
	if (path == STACKS_DIRECT)
		number = watched_leaf(1) + 7;
	else if (path == STACKS_LEFT)
		number = left(2) + 8;
	else if (path == STACKS_RIGHT)
		number = right(3) + 9;
	else if (path == STACKS_OUTER)
		number = watched_outer(4) + 10;
	else if (path == STACKS_DEEP)
		number = deep(10) + 11;
	else if (path == STACKS_WATCHED_DEEP)
		number = watched_deep(10) + 12;
	else if (path == STACKS_TOO_DEEP)
		number = deep(100) + 13;
	else
		number = garbage(pointers[path - STACKS_GARBAGE]) + 14;
	LEAVE();
	return number;
}

int main(void)
{
	ENTER();
	/* One place to call from: not to be unrolled. */
	for (volatile int pass = 0; pass < 2; pass++) {
		if (pass)
			target_ready();
		told = pass;
		for (path_now = 0; path_now < STACKS_PATHS; path_now++)
			target_sink += run(path_now);
	}
	target_end(STACKS_PATHS);
	return 0;
}
