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
