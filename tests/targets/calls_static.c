/* SPDX-License-Identifier: GPL-2.0-or-later */
/* calls without a dynamic linker (-static-pie). */
#include "calls.c"
