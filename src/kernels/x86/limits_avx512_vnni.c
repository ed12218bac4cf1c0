// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.h"
#include "kernels/limits_chains.h"

#include <immintrin.h>

static double add_lanes(const int32_t lane[16])
{
    double all = 0;
    for (int l = 0; l < 16; l++)
        all += (double)lane[l];
    return all;
}

static double dot_int8(int64_t n, int8_t x, int8_t y)
{
    __m512i vx = _mm512_set1_epi8(x), vy = _mm512_set1_epi8(y);
#define BEGIN(i)                                                                                             \
    __m512i sum##i = _mm512_setzero_si512();                                                                 \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i) sum##i = _mm512_dpbusd_epi32(sum##i, vx, vy);
        PC_CHAINS(STEP)
    }
    double all = 0;
    int32_t lane[16];
#define END(i)                                                                                               \
    _mm512_storeu_si512(lane, sum##i);                                                                       \
    all += add_lanes(lane);
    PC_CHAINS(END)
    return all;
}

void pc_limits_init_avx512_vnni(struct pc_limits *table)
{
    table->dot_int8 = dot_int8;
}
