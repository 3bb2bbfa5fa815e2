/* SPDX-License-Identifier: GPL-2.0-or-later */
/* peers with the calls compiled in that uftrace wants. */
#include "peers.c"
