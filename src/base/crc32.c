// SPDX-License-Identifier: Apache-2.0
#include "base/crc32.h"

#include <assert.h>
#include <libdeflate.h>
#include <zlib.h>

uint32_t pc_crc32(uint32_t crc, const void *bytes, size_t len)
{
    return libdeflate_crc32(crc, bytes, len);
}

uint32_t pc_crc32_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
    assert(len_b <= INT64_MAX); // no file is longer
    return (uint32_t)crc32_combine64(crc_a, crc_b, (z_off64_t)len_b);
}

uint32_t pc_crc32c(uint32_t crc, const void *bytes, size_t len)
{
    // Of the sixteen nibbles.
    static const uint32_t table[] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab,
        0xe330a81a, 0xf36e6f75};
    const uint8_t *s = bytes;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= s[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}
