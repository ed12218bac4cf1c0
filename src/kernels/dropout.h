// SPDX-License-Identifier: Apache-2.0
/* Dropout without a state: what is dropped follows from a key and the element's number, so that forward,
 * backward, a run taken up again and any number of threads agree. */
#ifndef PC_KERNELS_DROPOUT_H
#define PC_KERNELS_DROPOUT_H

#include "base/splitmix.h"

#include <stddef.h>
#include <stdint.h>

struct pc_dropout {
    /** out[i] = x[i] * scale, or 0 with probability threshold / 2^32, n elements below 2^32; out may be x.
     * The backward of it is the same with the gradient for x.
     *
     *  Element i is dropped where the hash of i under key is below threshold: h = i * 0x9e3779b9 + (low half
     *  of key), then murmur3's finaliser (Appleby 2011) with the high half of key added in its middle. The
     *  same bits at every level. */
    void (*apply)(float *out, const float *x, size_t n, uint64_t key, uint32_t threshold, float scale);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_dropout_init(struct pc_dropout *table, unsigned cpu_flags);

/** A key made of another and a number. */
static inline uint64_t pc_dropout_key(uint64_t key, uint64_t number)
{
    return pc_splitmix(key + (number + 1) * PC_SPLITMIX_STEP);
}

/* The loop every version compiles with its own flags. */
static inline void pc_dropout_loop(
    float *out, const float *x, size_t n, uint64_t key, uint32_t threshold, float scale)
{
    uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    for (size_t i = 0; i < n; i++) {
        uint32_t h = (uint32_t)i * 0x9e3779b9u + low;
        h = (h ^ (h >> 16)) * 0x85ebca6bu;
        h = ((h ^ (h >> 13)) + high) * 0xc2b2ae35u;
        h ^= h >> 16;
        float kept = x[i] * scale;
        out[i] = h < threshold ? 0 : kept;
    }
}

void pc_dropout_init_avx2(struct pc_dropout *table);
void pc_dropout_init_avx512(struct pc_dropout *table);

#endif
