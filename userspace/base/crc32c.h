/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CRC32C (Castagnoli), as iSCSI, ext4 and Btrfs have it: with the processor's instruction where it
 * has one, else by table. Pure functions, any thread.
 */
#ifndef MON_CRC32C_H
#define MON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of @bytes that follow what gave @crc (0: nothing): the two parts of a text give the whole's. */
uint32_t mon_crc32c(uint32_t crc, const void *bytes, size_t size_bytes);

/* The same without the instruction: for tests, which hold one against the other. */
uint32_t mon_crc32c_by_table(uint32_t crc, const void *bytes, size_t size_bytes);

#endif
