/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ways to watched_leaf that targets/stacks.c takes, in this order. */
#ifndef TARGETS_STACKS_H
#define TARGETS_STACKS_H

enum stacks_path {
	STACKS_DIRECT,
	STACKS_LEFT,
	STACKS_RIGHT,
	STACKS_OUTER,	     /* through a watched function */
	STACKS_DEEP,	     /* through a function that calls itself */
	STACKS_WATCHED_DEEP, /* and is watched */
	STACKS_TOO_DEEP,     /* more callers than a stack has room for */
	STACKS_GARBAGE,	     /* with a frame pointer that is none; six of them */
	STACKS_PATHS = STACKS_GARBAGE + 6
};

#endif
