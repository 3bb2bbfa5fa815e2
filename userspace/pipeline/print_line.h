/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One stored call as one line of text, and what its thread is called. Everything that comes from
 * outside (names, comm, strings) is escaped: a line is printable UTF-8 with one newline, at its
 * end. Pure but for the table of names, which belongs to one thread.
 *
 *     0.123456789 4242/4243 redis-server       lookupKey(0x7f10, "user:1") = 7 310ns x100
 *
 * Seconds since the run began, pid/tid, the thread's name ("-": not known), two blanks for each
 * watched call around it, function, arguments if they are captured, what it returned, how long it
 * took, xN if it stands for N calls, and for one that never returned `= ?` and why.
 */
#ifndef MON_PRINT_LINE_H
#define MON_PRINT_LINE_H

#include "base/types.h"
#include "bpf/event.h"
#include "pipeline/record.h"

#include <stddef.h>

#define MON_PRINT_LINE_BYTES 4608 /* of the longest, its NUL included */
#define MON_PRINT_TEXT_BYTES 256  /* so many bytes of a string are printed; the rest is stored */

#define MON_PRINT_NAMES 2048 /* threads; a power of two. What is older gives way */

struct mon_print_name {
	uint32_t pid, tid;
	uint64_t born_ns;
	char comm[MON_EVENT_COMM_BYTES];
};

/* All zero: no thread is known. */
struct mon_print_names {
	struct mon_print_name slots[MON_PRINT_NAMES];
};
#define MON_PRINT_NAMES_BYTES sizeof(struct mon_print_names)

void mon_print_names_learn(struct mon_print_names *names, const struct mon_task_event *task);

/* Writes the line of a call's record, which is valid. Returns its length, newline included. */
size_t mon_print_line(const struct mon_print_names *names, const struct mon_function_set *set,
		      mon_ns started_ns, const struct mon_record *record,
		      char line[MON_PRINT_LINE_BYTES]);

#endif
