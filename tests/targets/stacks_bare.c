/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The same without frame pointers: -fomit-frame-pointer, in tests.mk. */
#include "stacks.c"
