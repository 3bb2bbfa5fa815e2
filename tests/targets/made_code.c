/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code made while the program runs, as a JIT compiler does: a copy of watched_template's first
 * bytes in anonymous memory. 23 calls of the function, 23 of the copy, each between the other.
 */
#include <sys/mman.h>

#include "target.h"

#define COPY_BYTES 64 /* more than it has, and it refers to nothing outside */

WATCHED int watched_template(int number)
{
	STARTS_WITH_PUSH();
	return number + 1;
}

int main(void)
{
	void *memory = mmap(NULL, COPY_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int (*copy)(int);
	int sum = 0;

	if (memory == MAP_FAILED)
		return 3;
	/* Before a probe is in it: a copied breakpoint would end the program. */
	memcpy(memory, (void *)(uintptr_t)watched_template, COPY_BYTES);
	__builtin___clear_cache((char *)memory, (char *)memory + COPY_BYTES);
	copy = (int (*)(int))(uintptr_t)memory;
	target_ready();
	for (int i = 0; i < TARGET_CALLS_DEFAULT; i++) {
		sum += watched_template(i);
		sum -= copy(i);
	}
	if (sum != 0)
		return 4;
	target_end(TARGET_CALLS_DEFAULT);
	return 0;
}
