/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libtarget.so: what dlcalls calls. */
#include "../target.h"

WATCHED int library_inner(int number)
{
	target_sink += number;
	return number + 1;
}

WATCHED int library_call(int number)
{
	return library_inner(number) * 2;
}
