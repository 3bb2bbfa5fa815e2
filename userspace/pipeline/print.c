// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A ring of bytes between the thread that stores and the one that writes. The descriptor is not
 * made non-blocking: that would be so for everybody who shares it (a terminal, a shell's pipe). So
 * the writing thread may hang in write(2) for as long as the reader likes; finish() gives it up.
 *
 * Only whole lines are put in. One that has no room is counted, and so are those after it until a
 * quarter is free again: then a line tells how many are missing, and it goes on. That is the order
 * of the store with named gaps.
 */
#include "pipeline/print.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A blocking write returns when all is written: small, so that a slow reader is seen to get on. */
#define PIECE_BYTES 4096

struct mon_printer {
	struct mon_printer_options options;
	char path[1024];
	struct mon_print_names *names;
	pthread_t thread;
	bool thread_runs, stuck;

	/* The storing thread's own. */
	uint64_t printed_ends[MON_RINGS_MAX];
	char line[MON_PRINT_LINE_BYTES];

	pthread_mutex_t lock; /* what follows; never held in write(2) */
	pthread_cond_t changed;
	char *buffer;
	uint32_t size;
	uint64_t head, tail; /* bytes put in and written, ever */
	uint64_t put_calls;  /* lines of calls that are or were in the buffer */
	uint64_t left_out;   /* calls without a line, so far */
	uint64_t untold;     /* of them, those that no line in the buffer tells of yet */
	bool closed, ending;
};

/* Under the lock. What write(2) is given next. */
static size_t piece(const struct mon_printer *printer, const char **at_out)
{
	uint32_t at = (uint32_t)(printer->tail % printer->size);
	uint64_t length = printer->head - printer->tail;

	*at_out = printer->buffer + at;
	if (length > printer->size - at)
		length = printer->size - at;
	return length < PIECE_BYTES ? length : PIECE_BYTES;
}

/* Somebody who shares the descriptor may have made it non-blocking. */
static ssize_t write_some(int fd, const char *at, size_t length)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	ssize_t done;

	while ((done = write(fd, at, length)) < 0 && (errno == EINTR || errno == EAGAIN))
		if (errno == EAGAIN)
			(void)poll(&room, 1, -1);
	return done;
}

static void *write_lines(void *context)
{
	struct mon_printer *printer = context;
	const char *at;
	size_t length;

	pthread_mutex_lock(&printer->lock);
	for (;;) {
		ssize_t done;

		while (!(length = piece(printer, &at)) && !printer->ending)
			pthread_cond_wait(&printer->changed, &printer->lock);
		if (!length)
			break;
		pthread_mutex_unlock(&printer->lock);
		done = write_some(printer->options.fd, at, length);
		pthread_mutex_lock(&printer->lock);
		if (done <= 0) { /* EPIPE, EIO, ENOSPC, EBADF: nobody reads on */
			printer->closed = true;
			break;
		}
		printer->tail += (uint64_t)done;
		pthread_cond_broadcast(&printer->changed); /* finish() may wait */
	}
	pthread_mutex_unlock(&printer->lock);
	return NULL;
}

/* Under the lock; there is room. */
static void put(struct mon_printer *printer, const char *text, size_t length)
{
	uint32_t at = (uint32_t)(printer->head % printer->size);
	size_t first = length < printer->size - at ? length : printer->size - at;

	memcpy(printer->buffer + at, text, first);
	memcpy(printer->buffer, text + first, length - first);
	printer->head += length;
}

static bool has_room(const struct mon_printer *printer, size_t length)
{
	/* Never quite full: the byte before the tail is still what it was, see lines_left(). */
	return printer->size - (printer->head - printer->tail) > length;
}

/* Under the lock. */
static void put_gap(struct mon_printer *printer)
{
	char text[1200], count[32];
	int length = snprintf(
		text, sizeof(text), "... %s lines not printed (stdout is slow); they are in %s\n",
		mon_format_count(count, sizeof(count), printer->untold), printer->path);

	if (!has_room(printer, (size_t)length))
		return;
	put(printer, text, (size_t)length);
	printer->untold = 0;
}

static void put_line(struct mon_printer *printer, const char *line, size_t length)
{
	pthread_mutex_lock(&printer->lock);
	if (printer->untold && has_room(printer, printer->size / 4))
		put_gap(printer);
	if (!printer->closed && !printer->untold && has_room(printer, length)) {
		put(printer, line, length);
		printer->put_calls++;
		pthread_cond_signal(&printer->changed);
	} else {
		printer->left_out++;
		printer->untold++;
	}
	pthread_mutex_unlock(&printer->lock);
}

void mon_printer_print(struct mon_printer *printer, const struct mon_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		const struct mon_record *record = &batch->records[i];

		/* A COMMIT that was reported as failed and was none comes a second time. */
		if (record->end <= printer->printed_ends[record->ring])
			continue;
		printer->printed_ends[record->ring] = record->end;
		if (record->invalid)
			continue;
		if (*(const uint8_t *)record->data == MON_EVENT_TASK)
			mon_print_names_learn(printer->names, record->data);
		else
			put_line(printer, printer->line,
				 mon_print_line(printer->names, printer->options.set,
						printer->options.started_ns, record,
						printer->line));
	}
}

bool mon_printer_is_closed(struct mon_printer *printer)
{
	bool closed;

	pthread_mutex_lock(&printer->lock);
	closed = printer->closed;
	pthread_mutex_unlock(&printer->lock);
	return closed;
}

int mon_printer_new(const struct mon_printer_options *options, struct mon_printer **printer_out)
{
	struct mon_printer *printer = calloc(1, sizeof(*printer));
	pthread_condattr_t monotonic;
	int result = 0;

	if (!printer)
		return -ENOMEM;
	printer->options = *options;
	memcpy(printer->printed_ends, options->marks, sizeof(printer->printed_ends));
	(void)mon_escape(printer->path, sizeof(printer->path), options->path);
	printer->size =
		options->buffer_bytes ? options->buffer_bytes : MON_PRINT_BUFFER_BYTES_DEFAULT;
	pthread_mutex_init(&printer->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&printer->changed, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	if (printer->size < MON_PRINT_BUFFER_BYTES_MIN)
		result = -EINVAL;
	if (!result) {
		printer->buffer =
			mon_budget_calloc(options->budget, MON_BUDGET_QUEUE, printer->size);
		printer->names =
			mon_budget_calloc(options->budget, MON_BUDGET_QUEUE, MON_PRINT_NAMES_BYTES);
		if (!printer->buffer || !printer->names)
			result = -ENOMEM;
	}
	if (!result)
		result = -pthread_create(&printer->thread, NULL, write_lines, printer);
	printer->thread_runs = !result;
	if (result) {
		mon_printer_free(printer);
		return result;
	}
	*printer_out = printer;
	return 0;
}

/* Under the lock: waits for the thread while it gets on. False: it does not. */
static bool drain(struct mon_printer *printer)
{
	while (!printer->closed && printer->tail < printer->head) {
		uint64_t before = printer->tail;
		struct timespec until;
		int result = 0;

		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += MON_PRINT_FINISH_NS / MON_NS_PER_S;
		while (!result && printer->tail == before && !printer->closed)
			result = pthread_cond_timedwait(&printer->changed, &printer->lock, &until);
		if (result && printer->tail == before && !printer->closed)
			return false;
	}
	return true;
}

/* Under the lock: calls whose lines did not leave the buffer whole. */
static uint64_t lines_left(const struct mon_printer *printer)
{
	bool begins =
		!printer->tail || printer->buffer[(printer->tail - 1) % printer->size] == '\n';
	uint64_t lines = 0;
	bool gap = false;

	for (uint64_t i = printer->tail; i < printer->head; i++) {
		char byte = printer->buffer[i % printer->size];

		if (begins)
			gap = byte == '.';
		begins = byte == '\n';
		lines += begins && !gap;
	}
	return lines;
}

void mon_printer_finish(struct mon_printer *printer, struct mon_printer_stats *stats_out)
{
	uint64_t left;

	pthread_mutex_lock(&printer->lock);
	printer->stuck = !drain(printer);
	if (!printer->stuck && !printer->closed && printer->untold) {
		put_gap(printer); /* there is room now */
		pthread_cond_broadcast(&printer->changed);
		printer->stuck = !drain(printer);
	}
	printer->ending = true;
	pthread_cond_broadcast(&printer->changed);
	left = lines_left(printer);
	*stats_out = (struct mon_printer_stats){
		.lines = printer->put_calls - left,
		.not_printed = printer->left_out + left,
		.closed = printer->closed,
		.stuck = printer->stuck,
	};
	pthread_mutex_unlock(&printer->lock);
	if (printer->stuck)
		(void)pthread_detach(printer->thread);
	else
		(void)pthread_join(printer->thread, NULL);
	printer->thread_runs = false;
}

void mon_printer_free(struct mon_printer *printer)
{
	struct mon_printer_stats stats;

	if (!printer)
		return;
	if (printer->thread_runs)
		mon_printer_finish(printer, &stats);
	if (printer->stuck)
		return;
	mon_budget_free_bytes(printer->options.budget, MON_BUDGET_QUEUE, printer->buffer,
			      printer->size);
	mon_budget_free_bytes(printer->options.budget, MON_BUDGET_QUEUE, printer->names,
			      MON_PRINT_NAMES_BYTES);
	pthread_cond_destroy(&printer->changed);
	pthread_mutex_destroy(&printer->lock);
	free(printer);
}
