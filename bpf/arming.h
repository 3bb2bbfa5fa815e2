/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which link of a function counts. A function can be moved from a link that it shares to one of its
 * own and back to none while it is called: links overlap, so each has a generation, in the upper
 * half of its attach cookies, and only hits of the function's current one count. Userspace moves a
 * function by one store. Only in captures made with `movable`.
 */
#ifndef MON_ARMING_H
#define MON_ARMING_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define MON_GENERATION_NONE 0xffffffffu /* no link counts: the function is not watched now */

/* One for each function, index = lower half of the attach cookie. */
struct mon_arming {
	__u32 current; /* by capture/: generation that counts; 0 is the link of the start */
	/*
	 * By capture/: links of lower generations are gone, so calls that began under them never
	 * return as far as anybody sees. Compared as a signed difference.
	 */
	__u32 alive_from;
	__u64 ignored; /* by the programs: hits of other generations; each cost a trap */
};

_Static_assert(sizeof(struct mon_arming) == 16, "layout");

#endif
