/* SPDX-License-Identifier: GPL-2.0-or-later */
/* recursion as distributions with CET build it: every function starts with endbr64. */
#include "recursion.c"
