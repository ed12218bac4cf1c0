// SPDX-License-Identifier: Apache-2.0
/* SplitMix64 (Steele, Lea and Flood 2014): 64 bits of any 64 bits, and a generator that counts. */
#ifndef PC_BASE_SPLITMIX_H
#define PC_BASE_SPLITMIX_H

#include <stdint.h>

#define PC_SPLITMIX_STEP UINT64_C(0x9e3779b97f4a7c15)

/** A bijection; 0 stays 0. */
static inline uint64_t pc_splitmix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/** Number `index` of the 64 random bits that belong to key, whoever asks for which of them first. */
static inline uint64_t pc_splitmix_at(uint64_t key, uint64_t index)
{
    return pc_splitmix(pc_splitmix(key + index * PC_SPLITMIX_STEP));
}

/** The next number of a generator that *state began as the seed of. */
static inline uint64_t pc_splitmix_next(uint64_t *state)
{
    return pc_splitmix(*state += PC_SPLITMIX_STEP);
}

#endif
