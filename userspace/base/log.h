/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Talk, as opposed to data: lines on stderr. monitor/ and cli/ say things here; stages do not.
 * When the live view owns the terminal it registers itself, so that a line scrolls above it
 * instead of through it. Any thread may call; a line is one write.
 */
#ifndef MON_LOG_H
#define MON_LOG_H

#include "base/clock.h"

#include <stdbool.h>

enum mon_log_level {
	MON_LOG_ERROR,
	MON_LOG_WARNING,
	MON_LOG_INFO,
	MON_LOG_VERBOSE, /* shown with --verbose only */
};

void mon_log_set_verbose(bool verbose);

/* Called, under the log's lock, before and after each line; NULLs remove. */
void mon_log_set_frame(void (*before)(void *), void (*after)(void *), void *context);
/* Both, without a line between them: the view has something new to show. */
void mon_log_redraw(void);

/* One line, "monbpf: " or "monbpf: warning: " before it. Outside strings are escaped by callers. */
void mon_log(enum mon_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * A state that may come and go many times a second: when it is told. One thread's; zero is "is
 * not". That it has come is told at once, but not within MON_LOG_QUIET_NS of the last time that was
 * told; then when that is over, if it lasts. That it is gone is told when its coming was.
 */
struct mon_log_state {
	bool is, told;
	mon_ns told_ns; /* that it has come; 0: never */
	uint64_t times; /* it came, since that was told */
};

#define MON_LOG_QUIET_NS (30 * MON_NS_PER_S)

/*
 * At each look at it. True: a line is due that tells @is. *times_out: how often it came since that
 * was told last, this time too; 1 when it never was.
 */
bool mon_log_state_look(struct mon_log_state *state, bool is, mon_ns now, uint64_t *times_out);

/* " (12 times since that was said)" or "". Returns @text. */
#define MON_LOG_TIMES_BYTES 64
const char *mon_log_times(char text[MON_LOG_TIMES_BYTES], uint64_t times);

#endif
