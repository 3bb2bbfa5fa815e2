// SPDX-License-Identifier: GPL-2.0-or-later
/* Every type of vmlinux.h as BTF, whether a program names it or not: see test_vmlinux.c. */
#include "vmlinux.h"
