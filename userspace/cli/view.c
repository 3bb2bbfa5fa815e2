// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A screen is text of at most the terminal's lines, each cut to its columns, so that going up again
 * by as many lines erases it whole. The log erases it before a line of its own and has it drawn
 * again after (base/log.h), from any thread: what is drawn is a finished string that changes only
 * under the log's lock. A screen is made by the main thread, once a second.
 */
#include "cli/view.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "report/table.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_EVERY_NS (10 * MON_NS_PER_S)
#define LINES_BESIDE_ROWS (6 + MON_VIEW_OPEN_MAX) /* figures, a blank, the head, open, room */
#define ROWS_LEAST 3

struct mon_live {
	bool terminal;
	uint64_t next_line_ns;
	char *screen; /* drawn now; the log's lock. NULL: none */
	unsigned lines;
	_Atomic(char *) coming; /* from the main thread to whoever draws next */
};

static void put(const char *text, size_t length)
{
	while (length) {
		ssize_t done = write(STDERR_FILENO, text, length);

		if (done <= 0)
			return; /* nothing sensible is left to do when stderr is gone */
		text += done;
		length -= (size_t)done;
	}
}

static void erase(void *context)
{
	struct mon_live *live = context;
	char up[32];

	if (live->screen && live->lines)
		put(up, (size_t)snprintf(up, sizeof(up), "\033[%uA\r\033[J", live->lines));
}

static void draw(void *context)
{
	struct mon_live *live = context;
	char *coming = atomic_exchange(&live->coming, NULL);

	if (coming) {
		free(live->screen);
		live->screen = coming;
		live->lines = 0;
		for (const char *at = live->screen; *at; at++)
			live->lines += *at == '\n';
	}
	if (live->screen)
		put(live->screen, strlen(live->screen));
}

struct mon_live *mon_live_new(bool terminal)
{
	struct mon_live *live = calloc(1, sizeof(*live));

	if (!live)
		return NULL;
	live->terminal = terminal;
	if (terminal)
		mon_log_set_frame(erase, draw, live);
	return live;
}

void mon_live_free(struct mon_live *live)
{
	if (!live)
		return;
	if (live->terminal)
		mon_log_set_frame(NULL, NULL, NULL);
	free(live->screen);
	free(atomic_load(&live->coming));
	free(live);
}

static void format_elapsed(char buffer[16], uint64_t elapsed_ns)
{
	uint64_t seconds = elapsed_ns / MON_NS_PER_S;

	(void)snprintf(buffer, 16, "%02u:%02u:%02u", (unsigned)(seconds / 3600 % 1000),
		       (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60));
}

/* Both lines of figures; @between stands between them. */
static void format_figures(char *line, size_t size, const struct mon_view *view,
			   const char *between)
{
	char target[64] = "";
	char elapsed[16], calls[32], kept[32], file[32], lost[32], used[32], limit[32], spooled[32];

	format_elapsed(elapsed, view->elapsed_ns);
	if (view->overhead.limit > 0)
		(void)snprintf(target, sizeof(target), "target +%.1f %% (limit %.3g)  ",
			       100 * view->overhead_now, 100 * view->overhead.limit);
	(void)snprintf(line, size,
		       "%s  %s calls/s  kept %s/s  db %s  lost %s  breaker %s%s%s"
		       "memory %s/%s  ring %.0f %%  queue %.0f %%  spool %s",
		       elapsed, mon_format_count(calls, sizeof(calls), (uint64_t)view->calls_per_s),
		       mon_format_count(kept, sizeof(kept), (uint64_t)view->kept_per_s),
		       mon_format_bytes(file, sizeof(file), view->file_bytes),
		       mon_format_count(lost, sizeof(lost), view->lost),
		       mon_breaker_state_name(view->breaker), between, target,
		       mon_format_bytes(used, sizeof(used), view->memory_bytes),
		       mon_format_bytes(limit, sizeof(limit), view->memory_limit_bytes),
		       100 * view->ring_used, 100 * view->queue_used,
		       mon_format_count(spooled, sizeof(spooled), view->spooled));
}

/* "! call: 1 call open for 2.3s in tid 4242 (redis-server)". Returns @line. */
static char *format_open(char *line, size_t size, const struct mon_view *view,
			 const struct mon_view_open *open)
{
	const struct mon_view_row *row = open->row;
	char length[32], calls[64], comm[4 * MON_LOOK_COMM_BYTES + 1];

	(void)mon_format_ns(length, sizeof(length), view->at_ns - row->open.oldest_ns);
	if (row->open.count == 1)
		(void)snprintf(calls, sizeof(calls), "1 call open");
	else
		(void)snprintf(calls, sizeof(calls), "%u calls open, the oldest", row->open.count);
	(void)snprintf(line, size, "! %s: %s for %s in tid %d (%s)", MON_ESCAPED(row->name), calls,
		       length, (int)row->open.tid, mon_escape(comm, sizeof(comm), open->comm));
	return line;
}

static void print_rows(const struct mon_view *view, size_t rows, FILE *out)
{
	static const struct mon_column columns[] = {
		{"FUNCTION", NULL, MON_CELL_TEXT, false}, {"CALLS/s", NULL, MON_CELL_COUNT, false},
		{"P50", NULL, MON_CELL_NS, false},	  {"P99", NULL, MON_CELL_NS, false},
		{"MAX", NULL, MON_CELL_NS, false},	  {"SELF/s", NULL, MON_CELL_NS, false},
		{"OPEN", NULL, MON_CELL_COUNT, false},	  {"KEPT", NULL, MON_CELL_TEXT, false},
	};
	MON_TABLE struct mon_table *table = mon_table_new(columns, MON_ARRAY_COUNT(columns));
	char kept[32];

	if (!table)
		return;
	for (size_t i = 0; i < view->row_count && i < rows; i++) {
		const struct mon_view_row *row = &view->rows_shown[i];

		mon_table_row(table);
		mon_table_text(table, 0, row->name);
		mon_table_number(table, 1, (uint64_t)(row->calls_per_s + 0.5));
		if (row->p50_ns || row->max_ns) {
			bool sampled = row->marks & MON_MARK_ESTIMATED;

			mon_table_estimate(table, 2, row->p50_ns, sampled);
			mon_table_estimate(table, 3, row->p99_ns, sampled);
			mon_table_estimate(table, 4, row->max_ns, sampled);
			if (!(row->marks & MON_MARK_SELF_UNKNOWN))
				mon_table_number(table, 5, (uint64_t)row->self_per_s);
		}
		if (view->open_known)
			mon_table_number(table, 6, row->open.count);
		(void)snprintf(kept, sizeof(kept), row->one_in ? "1/%u" : "none", row->one_in);
		mon_table_text(table, 7, kept);
	}
	mon_table_print(table, rows, false, false, out);
}

/* Cuts each line to @columns characters. */
static void cut(char *text, unsigned columns)
{
	unsigned column = 0;
	char *to = text;

	for (const char *at = text; *at; at++) {
		bool starts = ((unsigned char)*at & 0xc0) != 0x80;

		if (*at == '\n')
			column = 0;
		else if (starts)
			column++;
		if (*at == '\n' || column <= columns)
			*to++ = *at;
	}
	*to = '\0';
}

static char *make_screen(const struct mon_view *view)
{
	struct winsize window = {.ws_row = 24, .ws_col = 80};
	char line[4600], *text = NULL;
	size_t size, rows = ROWS_LEAST;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) || !window.ws_row || !window.ws_col)
		window = (struct winsize){.ws_row = 24, .ws_col = 80};
	if (window.ws_row > LINES_BESIDE_ROWS + ROWS_LEAST)
		rows = window.ws_row - LINES_BESIDE_ROWS;
	format_figures(line, sizeof(line), view, "\n");
	(void)fprintf(out, "%s\n\n", line);
	print_rows(view, rows, out);
	for (size_t i = 0; i < view->open_count; i++)
		(void)fprintf(out, "%s\n", format_open(line, sizeof(line), view, &view->open[i]));
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	cut(text, window.ws_col);
	return text;
}

void mon_live_show(const struct mon_view *view, void *context)
{
	struct mon_live *live = context;
	char line[4600];

	if (!live)
		return;
	if (live->terminal) {
		char *screen = make_screen(view);

		if (screen) {
			free(atomic_exchange(&live->coming, screen));
			mon_log_redraw();
		}
		return;
	}
	if (view->elapsed_ns < live->next_line_ns)
		return;
	live->next_line_ns = view->elapsed_ns + LINE_EVERY_NS;
	format_figures(line, sizeof(line), view, "  ");
	mon_log(MON_LOG_INFO, "%s", line);
	for (size_t i = 0; i < view->open_count; i++)
		mon_log(MON_LOG_INFO, "%s", format_open(line, sizeof(line), view, &view->open[i]));
}
