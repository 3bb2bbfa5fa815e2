/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the code under test says on stderr, in between two calls. */
#ifndef HARNESS_STDERR_H
#define HARNESS_STDERR_H

/* From here on stderr is a file of our own ... */
void listen_to_stderr(void);
/* ... and this is what came. Valid until the next. "" when the code closed it. */
const char *heard(void);

#endif
