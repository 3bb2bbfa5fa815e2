// SPDX-License-Identifier: GPL-2.0-or-later
/* docs/event-format.md draws the records of bpf/event.h: the same fields, offsets and sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "bpf/event.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct field {
	const char *record, *name;
	unsigned offset, bytes;
	bool seen;
};

#define FIELD(record, name)                                                                        \
	{                                                                                          \
#record, #name, offsetof(struct record, name), sizeof(((struct record *)0)->name), \
			false                                                                      \
	}

static struct field fields[] = {
	FIELD(mon_call_event, kind),	  FIELD(mon_call_event, version),
	FIELD(mon_call_event, flags),	  FIELD(mon_call_event, function),
	FIELD(mon_call_event, start_ns),  FIELD(mon_call_event, duration_ns),
	FIELD(mon_call_event, child_ns),  FIELD(mon_call_event, ret),
	FIELD(mon_call_event, born_ns),	  FIELD(mon_call_event, pid),
	FIELD(mon_call_event, tid),	  FIELD(mon_call_event, caller),
	FIELD(mon_call_event, weight),	  FIELD(mon_call_event, cpu),
	FIELD(mon_call_event, depth),	  FIELD(mon_call_event, arg_count),
	FIELD(mon_call_event, args),	  FIELD(mon_task_event, kind),
	FIELD(mon_task_event, version),	  FIELD(mon_task_event, reserved),
	FIELD(mon_task_event, reserved2), FIELD(mon_task_event, born_ns),
	FIELD(mon_task_event, pid),	  FIELD(mon_task_event, tid),
	FIELD(mon_task_event, comm),	  FIELD(mon_text, slot),
	FIELD(mon_text, flags),		  FIELD(mon_text, room_bytes),
	FIELD(mon_text, stored_bytes),	  FIELD(mon_text, reserved),
	FIELD(mon_text, true_bytes),
};

/* Upwards from this program, so that it may be started from anywhere. */
static FILE *open_document(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	assert_true(length > 0);
	path[length] = '\0';
	while ((slash = strrchr(path, '/'))) {
		char document[PATH_MAX + 32];
		FILE *file;

		*slash = '\0';
		(void)snprintf(document, sizeof(document), "%s/docs/event-format.md", path);
		file = fopen(document, "re");
		if (file)
			return file;
	}
	fail_msg("docs/event-format.md is not above this program");
	return NULL;
}

static struct field *find(const char *record, const char *name)
{
	for (size_t i = 0; i < MON_ARRAY_COUNT(fields); i++)
		if (strcmp(fields[i].record, record) == 0 && strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

/* Rows "| `name` | offset | bytes | ..." below a head "| `record` | offset | bytes | |". */
static void the_document_draws_the_structs(void **state)
{
	char line[512], record[64] = "", name[64];
	FILE *file = open_document();
	unsigned offset, bytes;

	(void)state;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "| `%63[a-z0-9_]` | offset | bytes", name) == 1 &&
		    strstr(line, "| offset |"))
			(void)strcpy(record, name);
		if (sscanf(line, "| `%63[a-z0-9_]` | %u | %u |", name, &offset, &bytes) != 3)
			continue;
		struct field *field = find(record, name);

		if (!field || field->offset != offset || field->bytes != bytes || field->seen)
			fail_msg("%s.%s: the document says offset %u, %u bytes; it is at %d, %d "
				 "bytes",
				 record, name, offset, bytes, field ? (int)field->offset : -1,
				 field ? (int)field->bytes : -1);
		field->seen = true;
	}
	(void)fclose(file);
	for (size_t i = 0; i < MON_ARRAY_COUNT(fields); i++)
		if (!fields[i].seen)
			fail_msg("%s.%s is not in the document", fields[i].record, fields[i].name);
}

/* A field that was added to a struct and not to the list above leaves a gap here. */
static void the_fields_fill_the_structs(void **state)
{
	unsigned call = 0, task = 0, text = 0;

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(fields); i++) {
		call += strcmp(fields[i].record, "mon_call_event") ? 0 : fields[i].bytes;
		task += strcmp(fields[i].record, "mon_task_event") ? 0 : fields[i].bytes;
		text += strcmp(fields[i].record, "mon_text") ? 0 : fields[i].bytes;
	}
	assert_int_equal(call, sizeof(struct mon_call_event));
	assert_int_equal(task, sizeof(struct mon_task_event));
	assert_int_equal(text, sizeof(struct mon_text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_document_draws_the_structs),
		cmocka_unit_test(the_fields_fill_the_structs),
	};

	return cmocka_run_group_tests_name("bpf/event.h", tests, NULL, NULL);
}
