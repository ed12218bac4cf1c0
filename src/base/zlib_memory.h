// SPDX-License-Identifier: Apache-2.0
/* zlib's allocations from base/memory.h, where tests can make them fail: the zalloc and zfree of a z_stream.
 */
#ifndef PC_BASE_ZLIB_MEMORY_H
#define PC_BASE_ZLIB_MEMORY_H

#include "base/memory.h"

#include <zlib.h>

static inline voidpf pc_zlib_alloc(voidpf unused, uInt n, uInt size)
{
    (void)unused;
    return pc_alloc(n, size);
}

static inline void pc_zlib_free(voidpf unused, voidpf p)
{
    (void)unused;
    pc_free(p);
}

#endif
