// SPDX-License-Identifier: Apache-2.0
/* The packed scales of Q4_K and Q5_K: eight 6-bit scales and eight 6-bit minima in 12 bytes.
 *
 * Bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their low six bits; bytes 8-11 hold the low nibbles
 * of scales 4-7 (low half) and minima 4-7 (high half), whose top two bits are the top two of bytes 0-3 and
 * 4-7. */
#ifndef PC_KERNELS_BLOCKS_H
#define PC_KERNELS_BLOCKS_H

#include <stdint.h>

static inline int pc_k_scale(const uint8_t *packed, int i)
{
    return i < 4 ? packed[i] & 63 : (packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4;
}

static inline int pc_k_min(const uint8_t *packed, int i)
{
    return i < 4 ? packed[i + 4] & 63 : packed[i + 4] >> 4 | (packed[i] >> 6) << 4;
}

#endif
