// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/suggestion.h"

#include "attach/suggest.h"
#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define NAMES_MAX 128

const char *mon_cli_nearest(const char *word, const char *const names[])
{
	struct mon_nearest nearest;

	mon_nearest_init(&nearest, word);
	for (size_t i = 0; names[i]; i++)
		mon_nearest_add(&nearest, names[i]);
	for (size_t i = 0; nearest.count && names[i]; i++)
		if (strcmp(names[i], nearest.names[0].name) == 0)
			return names[i];
	return NULL;
}

int mon_cli_no_option(const char *command, const char *word, const struct option *longs)
{
	const char *names[NAMES_MAX + 1] = {0}, *nearest = NULL;
	char name[MON_NEAREST_NAME_BYTES];
	size_t length = strcspn(word, "=");

	for (size_t i = 0; i < NAMES_MAX && longs[i].name; i++) {
		names[i] = longs[i].name;
		if (word[length] && length > 2 && strlen(names[i]) == length - 2 &&
		    strncmp(word + 2, names[i], length - 2) == 0) {
			(void)fprintf(stderr,
				      "monbpf %s: --%s takes no value; try monbpf %s --help\n",
				      command, names[i], command);
			return MON_EXIT_USAGE;
		}
	}
	/* A letter is near to every other one. */
	if (strncmp(word, "--", 2) == 0 && length < sizeof(name)) {
		(void)snprintf(name, sizeof(name), "%.*s", (int)length - 2, word + 2);
		nearest = mon_cli_nearest(name, names);
	}
	if (nearest)
		(void)fprintf(stderr,
			      "monbpf %s: there is no option %s; did you mean --%s? Try monbpf %s "
			      "--help\n",
			      command, MON_ESCAPED(word), nearest, command);
	else
		(void)fprintf(stderr, "monbpf %s: there is no option %s; try monbpf %s --help\n",
			      command, MON_ESCAPED(word), command);
	return MON_EXIT_USAGE;
}
