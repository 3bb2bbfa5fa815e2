// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

int mon_error_set(struct mon_error *error, enum mon_exit exit_code, int number, const char *format,
		  ...)
{
	va_list arguments;

	if (error) {
		error->exit_code = exit_code;
		va_start(arguments, format);
		(void)vsnprintf(error->text, sizeof(error->text), format, arguments);
		va_end(arguments);
	}
	return -number;
}
