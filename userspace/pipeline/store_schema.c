// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * schema.sql, as it is, inside the program: the file that documents the tables is the one that
 * makes them. The assembler includes it, so no generated C has to be kept in step.
 */
#include "pipeline/store_internal.h"

__asm__(".section .rodata\n"
	".global mon_store_schema\n"
	".type mon_store_schema, %object\n"
	"mon_store_schema:\n"
	".incbin \"userspace/pipeline/schema.sql\"\n"
	".byte 0\n"
	".size mon_store_schema, . - mon_store_schema\n"
	".previous\n");
