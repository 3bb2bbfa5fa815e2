/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a test through the program works: a directory of its own, gone when the test is over. */
#ifndef HARNESS_PLACE_H
#define HARNESS_PLACE_H

extern char *directory, *database; /* of the test that runs; nothing is in them yet */

/* For cmocka: the processes that the test left are ended, too, and are a failure. */
int place_setup(void **state);
int place_teardown(void **state);

#endif
