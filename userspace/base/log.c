// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static bool log_verbose;	     /* set once, before threads */
static void (*frame_before)(void *); /* log_lock */
static void (*frame_after)(void *);  /* log_lock */
static void *frame_context;	     /* log_lock */

void mon_log_set_verbose(bool verbose)
{
	log_verbose = verbose;
}

void mon_log_set_frame(void (*before)(void *), void (*after)(void *), void *context)
{
	pthread_mutex_lock(&log_lock);
	frame_before = before;
	frame_after = after;
	frame_context = context;
	pthread_mutex_unlock(&log_lock);
}

/* log_lock */
static void framed(const char *line, size_t length)
{
	if (frame_before)
		frame_before(frame_context);
	/* Nothing sensible is left to do when stderr itself is gone. */
	if (length && write(STDERR_FILENO, line, length) < 0)
		(void)0;
	if (frame_after)
		frame_after(frame_context);
}

void mon_log_redraw(void)
{
	pthread_mutex_lock(&log_lock);
	framed(NULL, 0);
	pthread_mutex_unlock(&log_lock);
}

void mon_log(enum mon_log_level level, const char *format, ...)
{
	static const char *const prefixes[] = {
		[MON_LOG_ERROR] = "monbpf: ",
		[MON_LOG_WARNING] = "monbpf: warning: ",
		[MON_LOG_INFO] = "",
		[MON_LOG_VERBOSE] = "",
	};
	char line[8192];
	va_list arguments;
	int used, more;

	if (level == MON_LOG_VERBOSE && !log_verbose)
		return;
	used = snprintf(line, sizeof(line), "%s", prefixes[level]);
	va_start(arguments, format);
	more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, arguments);
	va_end(arguments);
	if (more > 0)
		used += more;
	if (used > (int)sizeof(line) - 2)
		used = (int)sizeof(line) - 2;
	line[used++] = '\n';

	pthread_mutex_lock(&log_lock);
	framed(line, (size_t)used);
	pthread_mutex_unlock(&log_lock);
}

bool mon_log_state_look(struct mon_log_state *state, bool is, mon_ns now, uint64_t *times_out)
{
	state->times += is && !state->is;
	state->is = is;
	if (is == state->told || (is && state->told_ns && now - state->told_ns < MON_LOG_QUIET_NS))
		return false;
	state->told = is;
	*times_out = state->times;
	if (is) {
		state->told_ns = now;
		state->times = 0;
	}
	return true;
}

const char *mon_log_times(char text[MON_LOG_TIMES_BYTES], uint64_t times)
{
	text[0] = '\0';
	if (times > 1)
		(void)snprintf(text, MON_LOG_TIMES_BYTES, " (%llu times since that was said)",
			       (unsigned long long)times);
	return text;
}
