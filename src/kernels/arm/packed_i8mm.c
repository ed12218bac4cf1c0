// SPDX-License-Identifier: Apache-2.0
/* SMMLA multiplies two rows of weights with two rows of activations over 8 k: 32 products an instruction. A
 * row without a partner takes SDOT.
 *
 * Two neighbouring quads of four rows, zipped, are two rows' 8 k each; likewise 8 activations of two rows.
 * The result's four sums are rows (0, 0), (0, 1), (1, 0), (1, 1) of weights and activations; those of rows 0,
 * 1 and of rows 2, 3, unzipped, are the sums of the four rows with either activation row. */
#include "kernels/arm/packed_arm.h"

INLINE int32x4_t dot_16(int32x4_t sum, const int8x16_t w[4], int8x16_t x)
{
    sum = vdotq_laneq_s32(sum, w[0], x, 0);
    sum = vdotq_laneq_s32(sum, w[1], x, 1);
    sum = vdotq_laneq_s32(sum, w[2], x, 2);
    return vdotq_laneq_s32(sum, w[3], x, 3);
}

INLINE int8x16_t zip_quads(int8x16_t a, int8x16_t b, bool upper)
{
    int32x4_t low = vreinterpretq_s32_s8(a), high = vreinterpretq_s32_s8(b);
    return vreinterpretq_s8_s32(upper ? vzip2q_s32(low, high) : vzip1q_s32(low, high));
}

/* Sums with two rows of activations. */
INLINE void dots_2(int n_quads, const int8x16_t *w, const int8_t *x_0, const int8_t *x_1,
    const int32_t *start, int32x4_t *sum)
{
    int32x4_t low = vreinterpretq_s32_s64(
        vdupq_n_s64((int64_t)((uint64_t)(uint32_t)start[1] << 32 | (uint32_t)start[0])));
    int32x4_t high = low;
    for (int j = 0; j < n_quads; j += 2) {
        int8x16_t x = vcombine_s8(vld1_s8(x_0 + 4 * j), vld1_s8(x_1 + 4 * j));
        low = vmmlaq_s32(low, zip_quads(w[j], w[j + 1], false), x);
        high = vmmlaq_s32(high, zip_quads(w[j], w[j + 1], true), x);
    }
    sum[0] = vuzp1q_s32(low, high);
    sum[1] = vuzp2q_s32(low, high);
}

INLINE void dots(int n, bool wide, int n_quads, const int8x16_t *w, const int8_t *x, size_t x_stride,
    const int32_t *start, int32x4_t *sum)
{
    (void)wide;
    const size_t next = x_stride * sizeof(struct pc_quant_block);
    int r = 0;
    for (; r + 2 <= n; r += 2, x += 2 * next)
        dots_2(n_quads, w, x, x + next, start + r, sum + r);
    if (r < n) {
        sum[r] = dot_16(vdupq_n_s32(start[r]), w, vld1q_s8(x));
        if (n_quads == 8)
            sum[r] = dot_16(sum[r], w + 4, vld1q_s8(x + 16));
    }
}

void pc_packed_init_i8mm(struct pc_packed *table)
{
    fill(table);
}
