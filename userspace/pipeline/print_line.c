// SPDX-License-Identifier: GPL-2.0-or-later
#include "pipeline/print_line.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES 256	  /* of a function, escaped */
#define INDENT_MAX 64	  /* watched calls */
#define DECIMAL_MAX 65536 /* what is further from 0 is more likely an address or a bit mask */

_Static_assert(MON_PRINT_LINE_BYTES > 256 + 2 * INDENT_MAX + NAME_BYTES +
					      MON_TEXTS_MAX * (4 * MON_PRINT_TEXT_BYTES + 64),
	       "the longest line");

struct line {
	char *text;
	size_t used;
};

/* What does not fit is cut; a byte stays free for the newline. */
__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
	size_t room = MON_PRINT_LINE_BYTES - 1 - line->used;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line->text + line->used, room, format, args);
	va_end(args);
	if (length > 0)
		line->used += (size_t)length < room ? (size_t)length : room - 1;
}

static size_t slot_of(uint32_t pid, uint32_t tid, uint64_t born_ns)
{
	return (((uint64_t)pid << 32 | tid) ^ born_ns) * 0x9e3779b97f4a7c15ull >> 53;
}

_Static_assert(MON_PRINT_NAMES == 1 << 11, "the shift");

void mon_print_names_learn(struct mon_print_names *names, const struct mon_task_event *task)
{
	struct mon_print_name *name = &names->slots[slot_of(task->pid, task->tid, task->born_ns)];

	name->pid = task->pid;
	name->tid = task->tid;
	name->born_ns = task->born_ns;
	memcpy(name->comm, task->comm, sizeof(name->comm));
}

static void add_thread(struct line *line, const struct mon_print_names *names,
		       const struct mon_call_event *call)
{
	const struct mon_print_name *name =
		&names->slots[slot_of(call->pid, call->tid, call->born_ns)];
	char comm[4 * MON_EVENT_COMM_BYTES + 1] = "-";

	if (name->pid == call->pid && name->tid == call->tid && name->born_ns == call->born_ns)
		(void)mon_escape_bytes(comm, sizeof(comm), name->comm, sizeof(name->comm));
	add(line, "%" PRIu32 "/%" PRIu32 " %-15s ", call->pid, call->tid, comm);
}

static void add_number(struct line *line, uint64_t number)
{
	int64_t whole = (int64_t)number;

	if (whole > -DECIMAL_MAX && whole < DECIMAL_MAX)
		add(line, "%" PRId64, whole);
	else
		add(line, "0x%" PRIx64, number);
}

/* Text as text, with quotes escaped as well; what holds a NUL in hexadecimal. */
static void add_text(struct line *line, const struct mon_text *text)
{
	size_t length = text->stored_bytes < MON_PRINT_TEXT_BYTES ? text->stored_bytes
								  : MON_PRINT_TEXT_BYTES;
	char escaped[4 * MON_PRINT_TEXT_BYTES + 1];

	if (text->flags & MON_TEXT_READ_FAILED) {
		add(line, "unreadable");
		return;
	}
	if (memchr(text->bytes, '\0', length)) {
		add(line, "0x");
		for (size_t i = 0; i < length; i++)
			add(line, "%02x", text->bytes[i]);
	} else {
		(void)mon_escape_bytes(escaped, sizeof(escaped), (const char *)text->bytes, length);
		add(line, "\"");
		for (char *at = escaped, *quote; at; at = quote) {
			quote = strchr(at, '"');
			if (quote)
				*quote++ = '\0';
			add(line, quote ? "%s\\x22" : "%s", at);
		}
		add(line, "\"");
	}
	if (length < text->stored_bytes || (text->flags & MON_TEXT_TRUE_UNKNOWN) ||
	    text->true_bytes > text->stored_bytes)
		add(line, "...");
}

/* By slot; NULL: none. */
static void find_texts(const struct mon_record *record,
		       const struct mon_text *texts[MON_EVENT_ARGS_MAX + 1])
{
	const struct mon_call_event *call = record->data;
	const char *at = (const char *)(call + 1), *end = (const char *)call + record->size_bytes;

	if (call->kind != MON_EVENT_CALL_TEXT)
		return;
	while ((size_t)(end - at) >= sizeof(struct mon_text)) {
		const struct mon_text *text = (const struct mon_text *)at;

		if ((size_t)(end - at) < sizeof(*text) + text->room_bytes)
			return;
		if (text->slot <= MON_EVENT_ARGS_MAX)
			texts[text->slot] = text;
		at += sizeof(*text) + text->room_bytes;
	}
}

/* A text that is no kept argument is told with its number: f(1, 3: "x"). */
static void add_arguments(struct line *line, const struct mon_record *record)
{
	const struct mon_text *texts[MON_EVENT_ARGS_MAX + 1] = {NULL};
	const struct mon_call_event *call = record->data;
	const char *between = "";

	find_texts(record, texts);
	add(line, "(");
	for (unsigned i = 0; i < MON_EVENT_ARGS_MAX; i++) {
		if (i >= call->arg_count && !texts[i + 1])
			continue;
		add(line, "%s", between);
		if (i >= call->arg_count)
			add(line, "%u: ", i + 1);
		if (texts[i + 1])
			add_text(line, texts[i + 1]);
		else
			add_number(line, call->args[i]);
		between = ", ";
	}
	add(line, ")");
}

static const char *why(uint16_t flags)
{
	switch (flags) {
	case MON_CALL_UNWOUND:
		return "unwound";
	case MON_CALL_THREAD_EXIT:
		return "thread exit";
	case MON_CALL_EXEC:
		return "exec";
	case MON_CALL_IN_FLIGHT:
		return "in flight";
	default:
		return "unreturned";
	}
}

static void add_end(struct line *line, const struct mon_call_event *call)
{
	char length[32];

	if (call->flags & MON_CALL_ENTRY_ONLY)
		return;
	if (call->flags & MON_CALL_UNFINISHED) {
		add(line, " = ? %s", why(call->flags));
		return;
	}
	add(line, " = ");
	add_number(line, call->ret);
	add(line, " %s", mon_format_ns(length, sizeof(length), call->duration_ns));
}

size_t mon_print_line(const struct mon_print_names *names, const struct mon_function_set *set,
		      mon_ns started_ns, const struct mon_record *record,
		      char text[MON_PRINT_LINE_BYTES])
{
	const struct mon_call_event *call = record->data;
	uint64_t since_ns = call->start_ns > started_ns ? call->start_ns - started_ns : 0;
	unsigned indent = call->depth < INDENT_MAX ? call->depth : INDENT_MAX;
	struct line line = {.text = text};
	char name[NAME_BYTES];

	add(&line, "%5llu.%09llu ", (unsigned long long)(since_ns / MON_NS_PER_S),
	    (unsigned long long)(since_ns % MON_NS_PER_S));
	add_thread(&line, names, call);
	add(&line, "%*s%s", 2 * (int)indent, "",
	    mon_escape(name, sizeof(name),
		       call->function < set->function_count ? set->functions[call->function].name
							    : "?"));
	add_arguments(&line, record);
	add_end(&line, call);
	if (call->weight != 1)
		add(&line, " x%" PRIu32, call->weight);
	text[line.used++] = '\n';
	return line.used;
}
