// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/suggest.h"

#include "base/text.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mon_nearest_init(struct mon_nearest *nearest, const char *glob)
{
	size_t used = 0;

	*nearest = (struct mon_nearest){0};
	for (const char *at = glob; *at && used + 1 < sizeof(nearest->literal); at++)
		if (!strchr("*?[]", *at))
			nearest->literal[used++] = *at;
	nearest->edits_max = used < 6 ? 2 : (unsigned)used / 3;
	nearest->open_end = *glob && glob[strlen(glob) - 1] == '*';
}

void mon_nearest_add(struct mon_nearest *nearest, const char *name)
{
	char start[MON_NEAREST_NAME_BYTES];
	unsigned edits = mon_edit_distance(nearest->literal, name, nearest->edits_max);
	size_t at;

	if (!*nearest->literal)
		return;
	if (nearest->open_end && strlen(name) > strlen(nearest->literal)) {
		(void)snprintf(start, sizeof(start), "%.*s", (int)strlen(nearest->literal), name);
		unsigned start_edits =
			mon_edit_distance(nearest->literal, start, nearest->edits_max);

		edits = start_edits < edits ? start_edits : edits;
	}
	if (edits > nearest->edits_max)
		return;
	for (at = nearest->count; at && nearest->names[at - 1].edits > edits; at--)
		;
	if (at == MON_NEAREST_MAX)
		return;
	if (nearest->count < MON_NEAREST_MAX)
		nearest->count++;
	memmove(&nearest->names[at + 1], &nearest->names[at],
		(nearest->count - 1 - at) * sizeof(nearest->names[0]));
	(void)snprintf(nearest->names[at].name, sizeof(nearest->names[at].name), "%s", name);
	nearest->names[at].edits = edits;
}

char *mon_nearest_text(const struct mon_nearest *nearest, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < nearest->count && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "",
					 MON_ESCAPED(nearest->names[i].name));
	return text;
}

/* Length of what @name begins with; less than the name when there is more. */
static size_t prefix_length(const char *name)
{
	/* "(anonymous namespace)::f(int)" starts with one that is no parameter. */
	size_t at = strspn(name, "_"), skip = *name == '(';
	size_t parameters = skip + strcspn(name + skip, "(<");
	const char *scope = strstr(name, "::");

	if (scope && (size_t)(scope - name) < parameters)
		return (size_t)(scope - name) + 2;
	for (; at < parameters && name[at] != '_'; at++)
		if (at && islower((unsigned char)name[at - 1]) && isupper((unsigned char)name[at]))
			return at;
	return name[at] == '_' ? at + 1 : at;
}

void mon_prefixes_add(struct mon_prefixes *prefixes, const char *name)
{
	char text[MON_PREFIX_BYTES];
	size_t length = prefix_length(name);
	uint64_t hash = 0xcbf29ce484222325;

	if (length > sizeof(text) - 2)
		length = sizeof(text) - 2;
	memcpy(text, name, length);
	text[length] = '\0';
	if (name[length])
		(void)strcpy(text + length, "*");
	for (const char *at = text; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 0x100000001b3;
	/* A few steps only: with all slots taken a new prefix is one of thousands, never a big one.
	 */
	for (unsigned step = 0; step < 32; step++) {
		struct mon_prefix *slot = &prefixes->slots[(hash + step) % MON_PREFIX_SLOTS];

		if (!slot->count)
			(void)strcpy(slot->text, text);
		else if (strcmp(slot->text, text) != 0)
			continue;
		slot->count++;
		return;
	}
}

static int by_count(const void *a, const void *b)
{
	const struct mon_prefix *left = a, *right = b;

	if (left->count != right->count)
		return left->count < right->count ? 1 : -1;
	return strcmp(left->text, right->text);
}

char *mon_prefixes_text(struct mon_prefixes *prefixes, char *text, size_t size)
{
	char number[32];
	size_t used = 0;

	qsort(prefixes->slots, MON_PREFIX_SLOTS, sizeof(prefixes->slots[0]), by_count);
	text[0] = '\0';
	for (size_t i = 0; i < MON_PREFIXES_TOLD && prefixes->slots[i].count && used < size; i++)
		used += (size_t)snprintf(
			text + used, size - used, "%s%12s  %s", i ? "\n" : "",
			mon_format_count(number, sizeof(number), prefixes->slots[i].count),
			MON_ESCAPED(prefixes->slots[i].text));
	return text;
}
