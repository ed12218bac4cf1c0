// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.h"
#include "kernels/limits_chains.h"

#include <arm_neon.h>

static uint64_t read_words(const void *p, size_t n_lines)
{
    const uint8_t *at = p;
    uint8x16_t a = vdupq_n_u8(0), b = a, c = a, d = a;
    for (; n_lines; n_lines--, at += PC_LIMITS_LINE) {
        a = veorq_u8(a, vld1q_u8(at));
        b = veorq_u8(b, vld1q_u8(at + 16));
        c = veorq_u8(c, vld1q_u8(at + 32));
        d = veorq_u8(d, vld1q_u8(at + 48));
    }
    uint64x2_t all = vreinterpretq_u64_u8(veorq_u8(veorq_u8(a, b), veorq_u8(c, d)));
    return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1);
}

static double fma_f32(int64_t n, float x, float y)
{
    float32x4_t vx = vdupq_n_f32(x), vy = vdupq_n_f32(y);
#define BEGIN(i)                                                                                             \
    float32x4_t sum##i = vdupq_n_f32(0);                                                                     \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i) sum##i = vfmaq_f32(sum##i, vx, vy);
        PC_CHAINS(STEP)
    }
    double all = 0;
#define END(i) all += vaddvq_f64(vaddq_f64(vcvt_f64_f32(vget_low_f32(sum##i)), vcvt_high_f64_f32(sum##i)));
    PC_CHAINS(END)
    return all;
}

#undef BEGIN
#undef STEP
#undef END

/* Sums of two products still fit 16 bits: three instructions where SDOT is one. */
static double dot_int8(int64_t n, int8_t x, int8_t y)
{
    int8x16_t vx = vdupq_n_s8(x), vy = vdupq_n_s8(y);
#define BEGIN(i)                                                                                             \
    int32x4_t sum##i = vdupq_n_s32(0);                                                                       \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i)                                                                                              \
    PC_OPAQUE(vx); /* or the products would be made once */                                                  \
    sum##i = vpadalq_s16(sum##i, vmlal_s8(vmull_high_s8(vx, vy), vget_low_s8(vx), vget_low_s8(vy)));
        PC_CHAINS(STEP)
    }
    double all = 0;
#define END(i) all += (double)vaddlvq_s32(sum##i);
    PC_CHAINS(END)
    return all;
}

void pc_limits_init_neon(struct pc_limits *table)
{
    *table = (struct pc_limits){.read = read_words, .fma_f32 = fma_f32, .dot_int8 = dot_int8};
}
