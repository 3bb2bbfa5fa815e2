/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What would kill a target that gets return probes: stacks that move (Go) or switch in the middle
 * of a call (ucontext coroutines, fibers, greenlets), and signal handlers on a high alternate
 * stack. The kernel keeps one stack of return instances for each task and sends SIGILL when a
 * return does not match. An exception that leaves a probed function finds the kernel's trampoline
 * instead of its caller and ends the program. Recognised by imports and notes of what is mapped,
 * before attaching.
 */
#ifndef MON_HAZARDS_H
#define MON_HAZARDS_H

#include "attach/modules.h"

#include <stdbool.h>

struct mon_hazard {
	bool found;
	char why[512]; /* one sentence, escaped: what was seen, in which file */
};

/*
 * Looks at each module, the main executable first; the first sign found is told. Unreadable files
 * are skipped. @set is what will be probed: exceptions matter only there. @pid, or 0 when only
 * files are known, tells which signals are caught.
 */
void mon_hazards_find(const struct mon_module_list *modules, const struct mon_function_set *set,
		      pid_t pid, struct mon_hazard *hazard_out);

#endif
