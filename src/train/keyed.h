// SPDX-License-Identifier: Apache-2.0
/* Random numbers without a state: a function of a key and an index. Whoever draws, in whichever order, after
 * whatever interruption, draws the same. */
#ifndef PC_TRAIN_KEYED_H
#define PC_TRAIN_KEYED_H

#include "base/splitmix.h"

#include <stdint.h>

/** 64 random bits. */
static inline uint64_t pc_keyed_bits(uint64_t key, uint64_t index)
{
    return pc_splitmix_at(key, index);
}

/** A key of its own for purpose number i under seed. */
static inline uint64_t pc_keyed_key(uint64_t seed, uint64_t i)
{
    return pc_keyed_bits(seed ^ UINT64_C(0x5851f42d4c957f2d), i);
}

/** Uniform in [0, 1), a multiple of 2^-24. */
static inline float pc_keyed_uniform(uint64_t key, uint64_t index)
{
    return (float)(pc_keyed_bits(key, index) >> 40) * 0x1p-24f;
}

/** n numbers, normal with mean 0 and this standard deviation. */
void pc_keyed_normal(uint64_t key, float deviation, float *out, uint64_t n);

#endif
