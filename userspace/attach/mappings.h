/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /proc/PID/maps as base/mapping.h wants it. Any thread; memory for one line. */
#ifndef MON_MAPPINGS_H
#define MON_MAPPINGS_H

#include "base/mapping.h"

extern const struct mon_mapping_source mon_process_mappings;

#endif
