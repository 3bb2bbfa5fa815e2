/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Talk, as opposed to data: lines on stderr. monitor/ and cli/ say things here; stages do not.
 * When the live view owns the terminal it registers itself, so that a line scrolls above it
 * instead of through it. Any thread may call; a line is one write.
 */
#ifndef MON_LOG_H
#define MON_LOG_H

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

#endif
