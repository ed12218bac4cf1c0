// SPDX-License-Identifier: Apache-2.0
/* CRC-32 as zip and gzip use it (polynomial 0x04C11DB7, reflected): libdeflate's carry-less multiplication,
 * about as fast as memory. */
#ifndef PC_BASE_CRC32_H
#define PC_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/** The checksum of the bytes that gave crc followed by these; 0 to begin with. */
uint32_t pc_crc32(uint32_t crc, const void *bytes, size_t len);

/** The checksum of A followed by B, from theirs and B's length: pieces may be summed by any thread in any
 * order. */
uint32_t pc_crc32_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);

#endif
