// SPDX-License-Identifier: Apache-2.0
/* Without a dot product instruction: products of bytes are summed in 16 bits as far as those reach, SMLAL by
 * SMLAL, which are 8 products each, then widened. Activations are quantised here for all levels of Arm. */
#include "kernels/arm/packed_arm.h"

#include <math.h>

/* Four activations for two rows. */
INLINE int8x8_t twice(const int8_t *x)
{
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    return vreinterpret_s8_s32(vdup_n_s32(quad));
}

INLINE void dots(int n, bool wide, int n_quads, const int8x16_t *w, const int8_t *x, size_t x_stride,
    const int32_t *start, int32x4_t *sum)
{
    /* 8 * 31 * 127, 4 * 63 * 127 and 2 * 128 * 127 are below 2^15. */
    const int run = wide ? 2 : n_quads;
    for (int r = 0; r < n; r++, x += x_stride * sizeof(struct pc_quant_block)) {
        sum[r] = vdupq_n_s32(start[r]);
#pragma GCC unroll 4
        for (int j = 0; j < n_quads; j += run) {
            int8x8_t quad = twice(x + 4 * j);
            int16x8_t low = vmull_s8(vget_low_s8(w[j]), quad), high = vmull_s8(vget_high_s8(w[j]), quad);
#pragma GCC unroll 8
            for (int i = j + 1; i < j + run; i++) {
                quad = twice(x + 4 * i);
                low = vmlal_s8(low, vget_low_s8(w[i]), quad);
                high = vmlal_s8(high, vget_high_s8(w[i]), quad);
            }
            sum[r] = vaddq_s32(sum[r], vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
        }
    }
}

/* Whether all 32 are finite; if so, *most is the largest magnitude. */
static bool largest(const float32x4_t v[8], float *most)
{
    uint32x4_t bits =
        vdupq_n_u32(0); /* magnitudes order like their bits, and what is not finite comes last */
    for (int i = 0; i < 8; i++)
        bits = vmaxq_u32(bits, vreinterpretq_u32_f32(vabsq_f32(v[i])));
    uint32_t top = vmaxvq_u32(bits);
    memcpy(most, &top, sizeof top);
    return top < 0x7f800000;
}

static struct pc_quant_block quantised(const float *x)
{
    struct pc_quant_block b = {0};
    float32x4_t v[8];
    float most;
    for (int i = 0; i < 8; i++)
        v[i] = vld1q_f32(x + 4 * i);
    if (!largest(v, &most))
        return (struct pc_quant_block){.d = NAN, .d_sum = NAN};
    if (most < PC_QUANT_LEAST)
        return b;
    float inverse = 127 / most;
    int sum[2];
    for (int half = 0; half < 2; half++) {
        int16x8_t wide[2];
        for (int i = 0; i < 2; i++) {
            const float32x4_t *at = v + 4 * half + 2 * i;
            int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(at[0], inverse)),
                      high = vcvtnq_s32_f32(vmulq_n_f32(at[1], inverse));
            wide[i] = vcombine_s16(vmovn_s32(low), vmovn_s32(high));
        }
        vst1q_s8(b.q + 16 * half, vcombine_s8(vmovn_s16(wide[0]), vmovn_s16(wide[1])));
        sum[half] = vaddlvq_s16(vaddq_s16(wide[0], wide[1]));
    }
    b.d = most / 127;
    b.d_sum = b.d * (float)(sum[0] + sum[1]);
    b.less_8 = -8 * (sum[0] + sum[1]);
    b.less_16 = -16 * (sum[0] + sum[1]);
    b.less_128 = -128 * (sum[0] + sum[1]);
    b.less_32[0] = -32 * sum[0];
    b.less_32[1] = -32 * sum[1];
    return b;
}

static void quantise(void *dst, const float *x, size_t k)
{
    struct pc_quant_block *b = dst;
    for (size_t i = 0; i < k / PC_QUANT_BLOCK; i++)
        b[i] = quantised(x + i * PC_QUANT_BLOCK);
    if (k / PC_QUANT_BLOCK % 2 == 0)
        b[k / PC_QUANT_BLOCK] = (struct pc_quant_block){0};
}

void pc_packed_init_neon(struct pc_packed *table)
{
    table->quantise = quantise;
    fill(table);
}
