// SPDX-License-Identifier: Apache-2.0
/* Checksums of 32 bits: CRC-32 as zip and gzip use it (polynomial 0x04C11DB7, reflected), by libdeflate's
 * carry-less multiplication, about as fast as memory; and CRC-32C (Castagnoli, 0x1EDC6F41, reflected), which
 * TFRecord files have, a nibble at a time: some hundred bytes a training step are all it is used for. */
#ifndef PC_BASE_CRC32_H
#define PC_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/** The checksum of the bytes that gave crc followed by these; 0 to begin with. */
uint32_t pc_crc32(uint32_t crc, const void *bytes, size_t len);

/** The checksum of A followed by B, from theirs and B's length: pieces may be summed by any thread in any
 * order. */
uint32_t pc_crc32_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);

/** CRC-32C, otherwise as pc_crc32. Source: RFC 3720, section 12.1 and appendix B.4. */
uint32_t pc_crc32c(uint32_t crc, const void *bytes, size_t len);

#endif
