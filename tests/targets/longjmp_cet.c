/* SPDX-License-Identifier: GPL-2.0-or-later */
/* longjmp as distributions with CET build it: every function starts with endbr64. */
#include "longjmp.c"
