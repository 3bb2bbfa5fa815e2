/* SPDX-License-Identifier: GPL-2.0-or-later */
/* calls at fixed addresses (-no-pie). */
#include "calls.c"
