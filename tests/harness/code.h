/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine code of a running target: a probe that was left in it is a changed byte. */
#ifndef HARNESS_CODE_H
#define HARNESS_CODE_H

#include <sys/types.h>

struct code;

/* What the program's own executable pages hold now; freed by code_free. */
struct code *code_read(pid_t pid);
/* Are they the same? The kernel takes probes out after their owner's end: waited for, bounded. */
void code_assert_unchanged(const struct code *code);
/* At once. */
int code_is_unchanged(const struct code *code);
void code_free(struct code *code);

#endif
