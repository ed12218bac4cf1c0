// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.h"
#include "kernels/limits_chains.h"

#include <arm_neon.h>

static double dot_int8(int64_t n, int8_t x, int8_t y)
{
    int8x16_t vx = vdupq_n_s8(x), vy = vdupq_n_s8(y);
#define BEGIN(i)                                                                                             \
    int32x4_t sum##i = vdupq_n_s32(0);                                                                       \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i) sum##i = vdotq_s32(sum##i, vx, vy);
        PC_CHAINS(STEP)
    }
    double all = 0;
#define END(i) all += (double)vaddlvq_s32(sum##i);
    PC_CHAINS(END)
    return all;
}

void pc_limits_init_dotprod(struct pc_limits *table)
{
    table->dot_int8 = dot_int8;
}
