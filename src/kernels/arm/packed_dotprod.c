// SPDX-License-Identifier: Apache-2.0
/* SDOT by element: a register of weights, four rows' quads, times one of the four quads in a register of
 * activations. 16 products an instruction. */
#include "kernels/arm/packed_arm.h"

INLINE int32x4_t dot_16(int32x4_t sum, const int8x16_t w[4], int8x16_t x)
{
    sum = vdotq_laneq_s32(sum, w[0], x, 0);
    sum = vdotq_laneq_s32(sum, w[1], x, 1);
    sum = vdotq_laneq_s32(sum, w[2], x, 2);
    return vdotq_laneq_s32(sum, w[3], x, 3);
}

INLINE void dots(int n, bool wide, int n_quads, const int8x16_t *w, const int8_t *x, size_t x_stride,
    const int32_t *start, int32x4_t *sum)
{
    (void)wide;
    for (int r = 0; r < n; r++, x += x_stride * sizeof(struct pc_quant_block)) {
        sum[r] = dot_16(vdupq_n_s32(start[r]), w, vld1q_s8(x));
        if (n_quads == 8)
            sum[r] = dot_16(sum[r], w + 4, vld1q_s8(x + 16));
    }
}

void pc_packed_init_dotprod(struct pc_packed *table)
{
    fill(table);
}
