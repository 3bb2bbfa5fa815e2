// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <string.h>

struct output {
	char *text;
	size_t used;
	jmp_buf too_long;
};

/*
 * libiberty has no way to say "enough"; its callback variants hold nothing on the heap, so jumping
 * out of them leaks nothing.
 */
static void append(const char *part, size_t length, void *context)
{
	struct output *output = context;

	if (output->used + length >= MON_DEMANGLED_BYTES_MAX)
		longjmp(output->too_long, 1);
	memcpy(output->text + output->used, part, length);
	output->used += length;
}

bool mon_demangle(const char *symbol, bool parameters, char text[MON_DEMANGLED_BYTES_MAX])
{
	int options = DMGL_ANSI | (parameters ? DMGL_PARAMS : 0);
	struct output output = {.text = text};

	if (symbol[0] != '_' || (symbol[1] != 'Z' && symbol[1] != 'R'))
		return false;
	if (setjmp(output.too_long))
		return false;
	if (!rust_demangle_callback(symbol, options, append, &output)) {
		output.used = 0;
		if (symbol[1] != 'Z' ||
		    !cplus_demangle_v3_callback(symbol, options, append, &output))
			return false;
	}
	text[output.used] = '\0';
	return output.used > 0;
}
