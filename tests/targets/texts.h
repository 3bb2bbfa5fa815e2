/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What texts.c passes to its functions, for those who must know what was read. */
#ifndef TARGET_TEXTS_H
#define TARGET_TEXTS_H

#define TEXTS_CAPTURE 64
#define TEXTS_LARGE_BYTES (80l * 1000 * 1000)
#define TEXTS_ITEMS 10000000
#define TEXTS_STRING_BYTE(number, k) ((char)('a' + ((size_t)(number) + (k)) % 26))
#define TEXTS_BUFFER_BYTE(number, k) ((char)((size_t)(number)*31 + (k)))
#define TEXTS_ESCAPES_BYTES "\033[31mred\033[0m\n"

enum {
	TEXTS_NULL,	/* a buffer: of 10 bytes */
	TEXTS_EMPTY,	/* a buffer: NULL, too */
	TEXTS_UNMAPPED, /* a buffer: of 10 bytes */
	TEXTS_SHORTER,	/* TEXTS_CAPTURE - 1 bytes */
	TEXTS_EXACT,	/* TEXTS_CAPTURE */
	TEXTS_LONGER,	/* TEXTS_CAPTURE + 1 */
	TEXTS_LARGE,	/* TEXTS_LARGE_BYTES */
	TEXTS_PAGE_END, /* 10 bytes, the last of a page that no other follows */
	TEXTS_CUT_OFF,	/* the same without its end: 11 bytes of which 10 can be read */
	TEXTS_CHANGED,	/* 20 bytes, overwritten before the return */
	TEXTS_ESCAPES,	/* TEXTS_ESCAPES_BYTES; a buffer: of SIZE_MAX bytes */
	TEXTS_CALLS
};

#endif
