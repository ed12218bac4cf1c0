// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.h"
#include "kernels/limits_chains.h"

#include <immintrin.h>

static double add_lanes(const float lane[16])
{
    double all = 0;
    for (int l = 0; l < 16; l++)
        all += (double)lane[l];
    return all;
}

static double dot_bf16(int64_t n, float x, float y)
{
    __m512 wide_x = _mm512_set1_ps(x), wide_y = _mm512_set1_ps(y);
    __m512bh vx = _mm512_cvtne2ps_pbh(wide_x, wide_x), vy = _mm512_cvtne2ps_pbh(wide_y, wide_y);
#define BEGIN(i)                                                                                             \
    __m512 sum##i = _mm512_setzero_ps();                                                                     \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i) sum##i = _mm512_dpbf16_ps(sum##i, vx, vy);
        PC_CHAINS(STEP)
    }
    double all = 0;
    float lane[16];
#define END(i)                                                                                               \
    _mm512_storeu_ps(lane, sum##i);                                                                          \
    all += add_lanes(lane);
    PC_CHAINS(END)
    return all;
}

void pc_limits_init_avx512_bf16(struct pc_limits *table)
{
    table->dot_bf16 = dot_bf16;
}
