/* SPDX-License-Identifier: GPL-2.0-or-later */
/* calls as distributions with CET build it: every function starts with endbr64. */
#include "calls.c"
