/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything that attach/elf can be asked about one file, and what must hold of the answers
 * whatever the file is. For files that were damaged on purpose: unit test and fuzzer share it.
 */
#ifndef HARNESS_PROBE_ELF_H
#define HARNESS_PROBE_ELF_H

#include "base/error.h"

/*
 * NULL, or what is wrong with the answers. *result_out: 0 or the error of the first call that
 * failed, @error its sentence.
 */
const char *probe_elf(const char *path, int *result_out, struct mon_error *error);

#endif
