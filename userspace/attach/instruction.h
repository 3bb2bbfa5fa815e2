/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a probe on an instruction costs: the kernel emulates a few kinds inside the trap and
 * single-steps the others, with a second trap (ten times as much in a virtual machine).
 */
#ifndef MON_INSTRUCTION_H
#define MON_INSTRUCTION_H

#include "base/types.h"

#include <stddef.h>
#include <stdint.h>

#define MON_INSTRUCTION_BYTES 16

enum mon_cost_class mon_instruction_cost(const uint8_t *bytes, size_t length);

#endif
