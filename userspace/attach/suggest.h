/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What to say when globs match too little or too much: the nearest names, and the biggest groups
 * of names that begin alike. Both are fed name by name and hold a fixed amount.
 */
#ifndef MON_SUGGEST_H
#define MON_SUGGEST_H

#include <stddef.h>
#include <stdint.h>

#define MON_NEAREST_MAX 5
#define MON_NEAREST_NAME_BYTES 96
#define MON_PREFIX_BYTES 40
#define MON_PREFIX_SLOTS 4096 /* distinct prefixes that are counted; more are let go */
#define MON_PREFIXES_TOLD 10

struct mon_nearest {
	char literal[MON_NEAREST_NAME_BYTES]; /* the glob without its wildcards */
	unsigned edits_max;
	int open_end; /* the glob ends with a star */
	size_t count;
	struct {
		char name[MON_NEAREST_NAME_BYTES];
		unsigned edits;
	} names[MON_NEAREST_MAX]; /* nearest first */
};

void mon_nearest_init(struct mon_nearest *nearest, const char *glob);
void mon_nearest_add(struct mon_nearest *nearest, const char *name);
/* "a, b, c", escaped; "" when nothing is near. Returns @text. */
char *mon_nearest_text(const struct mon_nearest *nearest, char *text, size_t size);

struct mon_prefixes {
	struct mon_prefix {
		char text[MON_PREFIX_BYTES];
		uint64_t count;
	} slots[MON_PREFIX_SLOTS];
};

/* Up to the first "::" or "_", or to the end of the first word of camelCase. */
void mon_prefixes_add(struct mon_prefixes *prefixes, const char *name);
/* One line "  lookup*  12" for each of the biggest, escaped, sorted by count. Reorders @prefixes.
 */
char *mon_prefixes_text(struct mon_prefixes *prefixes, char *text, size_t size);

#endif
