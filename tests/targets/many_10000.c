/* SPDX-License-Identifier: GPL-2.0-or-later */
/* many with 10,000 functions. */
#define TEN_THOUSAND
#include "many.c"
