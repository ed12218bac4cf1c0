// SPDX-License-Identifier: Apache-2.0
/* Eight elements at a time; tails one by one with the scalar bits. FCVTL and FCVTN know denormals and round
 * to nearest even, so they are exact here; BF16 is rounded on the integer. Sums of F32, products with a
 * factor and the count of what is not finite are not here: of their scalar loops the compiler makes these
 * vectors by itself, since every AArch64 has them. */
#include "kernels/convert_parts.h"

#include "kernels/blocks.h"
#include "kernels/float_bits.h"

#include <arm_neon.h>

static uint16x8_t load_halves(const uint8_t *p)
{
    return vreinterpretq_u16_u8(vld1q_u8(p));
}

static void store_halves(uint8_t *p, uint16x8_t v)
{
    vst1q_u8(p, vreinterpretq_u8_u16(v));
}

static void f16_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *from = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        float16x8_t h = vreinterpretq_f16_u16(load_halves(from + 2 * i));
        vst1q_f32(dst + i, vcvt_f32_f16(vget_low_f16(h)));
        vst1q_f32(dst + i + 4, vcvt_high_f32_f16(h));
    }
    for (; i < n; i++)
        dst[i] = pc_f16_to_f32((uint16_t)(from[2 * i] | from[2 * i + 1] << 8));
}

static void f16_from_f32(void *dst, const float *src, size_t n)
{
    uint8_t *to = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        float16x8_t h = vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(src + i)), vld1q_f32(src + i + 4));
        store_halves(to + 2 * i, vreinterpretq_u16_f16(h));
    }
    for (; i < n; i++) {
        uint16_t h = pc_f32_to_f16(src[i]);
        memcpy(to + 2 * i, &h, sizeof h);
    }
}

static void bf16_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *from = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint16x8_t h = load_halves(from + 2 * i);
        vst1q_f32(dst + i, vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16)));
        vst1q_f32(dst + i + 4, vreinterpretq_f32_u32(vshll_high_n_u16(h, 16)));
    }
    for (; i < n; i++)
        dst[i] = pc_bf16_to_f32((uint16_t)(from[2 * i] | from[2 * i + 1] << 8));
}

/* The rounded upper halves. */
static uint16x4_t bf16_bits(uint32x4_t x)
{
    uint32x4_t odd = vandq_u32(vshrq_n_u32(x, 16), vdupq_n_u32(1));
    uint16x4_t rounded = vshrn_n_u32(vaddq_u32(x, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
    uint16x4_t quiet = vorr_u16(vshrn_n_u32(x, 16), vdup_n_u16(0x40));
    uint32x4_t nan = vcgtq_u32(vandq_u32(x, vdupq_n_u32(0x7fffffff)), vdupq_n_u32(0x7f800000));
    return vbsl_u16(vmovn_u32(nan), quiet, rounded);
}

static void bf16_from_f32(void *dst, const float *src, size_t n)
{
    uint8_t *to = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint16x4_t low = bf16_bits(vreinterpretq_u32_f32(vld1q_f32(src + i))),
                   high = bf16_bits(vreinterpretq_u32_f32(vld1q_f32(src + i + 4)));
        store_halves(to + 2 * i, vcombine_u16(low, high));
    }
    for (; i < n; i++) {
        uint16_t b = pc_f32_to_bf16(src[i]);
        memcpy(to + 2 * i, &b, sizeof b);
    }
}

static float32x4_t half_at(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16((uint16_t)(p[0] | p[1] << 8))));
}

/* Sixteen signed bytes as floats. */
static void floats(float32x4_t f[4], int8x16_t q)
{
    int16x8_t low = vmovl_s8(vget_low_s8(q)), high = vmovl_s8(vget_high_s8(q));
    f[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
    f[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(low)));
    f[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
    f[3] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)));
}

/* dst[0..16) = d * q */
static void put16(float *dst, int8x16_t q, float32x4_t d)
{
    float32x4_t f[4];
    floats(f, q);
    for (int i = 0; i < 4; i++)
        vst1q_f32(dst + 4 * i, vmulq_f32(d, f[i]));
}

/* dst[0..16) = d * q + m */
static void put16_plus(float *dst, int8x16_t q, float32x4_t d, float32x4_t m)
{
    float32x4_t f[4];
    floats(f, q);
    for (int i = 0; i < 4; i++)
        vst1q_f32(dst + 4 * i, vaddq_f32(vmulq_f32(d, f[i]), m));
}

/* dst[0..16) = d * q - m */
static void put16_minus(float *dst, int8x16_t q, float32x4_t d, float32x4_t m)
{
    float32x4_t f[4];
    floats(f, q);
    for (int i = 0; i < 4; i++)
        vst1q_f32(dst + 4 * i, vsubq_f32(vmulq_f32(d, f[i]), m));
}

static int8x16_t low_nibbles(uint8x16_t q)
{
    return vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15)));
}

static int8x16_t high_nibbles(uint8x16_t q)
{
    return vreinterpretq_s8_u8(vshrq_n_u8(q, 4));
}

/* q with 16 added in byte j where bit j of the two bytes at p is set. */
static int8x16_t with_fifths(int8x16_t q, const uint8_t *p)
{
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    uint8x16_t bytes = vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1]));
    uint8x16_t set = vandq_u8(vtstq_u8(bytes, bit), vdupq_n_u8(16));
    return vorrq_s8(q, vreinterpretq_s8_u8(set));
}

static int8x16_t less(int8x16_t q, int8_t bias)
{
    return vsubq_s8(q, vdupq_n_s8(bias));
}

static void q8_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 34) {
        float32x4_t d = half_at(b);
        put16(dst + i, vreinterpretq_s8_u8(vld1q_u8(b + 2)), d);
        put16(dst + i + 16, vreinterpretq_s8_u8(vld1q_u8(b + 18)), d);
    }
}

static void q4_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 18) {
        float32x4_t d = half_at(b);
        uint8x16_t q = vld1q_u8(b + 2);
        put16(dst + i, less(low_nibbles(q), 8), d);
        put16(dst + i + 16, less(high_nibbles(q), 8), d);
    }
}

static void q4_1_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 20) {
        float32x4_t d = half_at(b), m = half_at(b + 2);
        uint8x16_t q = vld1q_u8(b + 4);
        put16_plus(dst + i, low_nibbles(q), d, m);
        put16_plus(dst + i + 16, high_nibbles(q), d, m);
    }
}

static void q5_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 22) {
        float32x4_t d = half_at(b);
        uint8x16_t q = vld1q_u8(b + 6);
        put16(dst + i, less(with_fifths(low_nibbles(q), b + 2), 16), d);
        put16(dst + i + 16, less(with_fifths(high_nibbles(q), b + 4), 16), d);
    }
}

static void q5_1_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 24) {
        float32x4_t d = half_at(b), m = half_at(b + 2);
        uint8x16_t q = vld1q_u8(b + 8);
        put16_plus(dst + i, with_fifths(low_nibbles(q), b + 4), d, m);
        put16_plus(dst + i + 16, with_fifths(high_nibbles(q), b + 6), d, m);
    }
}

/* Scale and minimum of sub-block s, each one rounded product. */
static void k_scales(const uint8_t *b, int s, float32x4_t *scale, float32x4_t *min)
{
    *scale = vmulq_n_f32(half_at(b), (float)pc_k_scale(b + 4, s));
    *min = vmulq_n_f32(half_at(b + 2), (float)pc_k_min(b + 4, s));
}

static void q4_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 144)
        for (int s = 0; s < 8; s++) {
            float32x4_t scale, min;
            k_scales(b, s, &scale, &min);
            for (int j = 0; j < 32; j += 16) {
                uint8x16_t q = vld1q_u8(b + 16 + s / 2 * 32 + j);
                put16_minus(dst + i + s * 32 + j, s % 2 ? high_nibbles(q) : low_nibbles(q), scale, min);
            }
        }
}

static void q5_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 176)
        for (int s = 0; s < 8; s++) {
            float32x4_t scale, min;
            k_scales(b, s, &scale, &min);
            for (int j = 0; j < 32; j += 16) {
                uint8x16_t q = vld1q_u8(b + 48 + s / 2 * 32 + j);
                uint8x16_t set = vtstq_u8(vld1q_u8(b + 16 + j), vdupq_n_u8((uint8_t)(1 << s)));
                int8x16_t fifth = vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(16)));
                int8x16_t low = s % 2 ? high_nibbles(q) : low_nibbles(q);
                put16_minus(dst + i + s * 32 + j, vorrq_s8(low, fifth), scale, min);
            }
        }
}

static void q6_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 210) {
        float32x4_t d = half_at(b + 208);
        for (int g = 0; g < 16; g++) {
            float32x4_t scale = vmulq_n_f32(d, (float)(int8_t)b[192 + g]);
            uint8x16_t low = vld1q_u8(b + g / 8 * 64 + g % 4 * 16),
                       high = vld1q_u8(b + 128 + g / 8 * 32 + g % 2 * 16);
            high = vandq_u8(vshlq_u8(high, vdupq_n_s8((int8_t)(-(g % 8 / 2 * 2)))), vdupq_n_u8(3));
            int8x16_t q = vorrq_s8(
                g % 8 / 4 ? high_nibbles(low) : low_nibbles(low), vreinterpretq_s8_u8(vshlq_n_u8(high, 4)));
            put16(dst + i + g * 16, less(q, 32), scale);
        }
    }
}

void pc_convert_init_neon(struct pc_convert *table)
{
    table->to_f32[PC_F16] = f16_to_f32;
    table->from_f32[PC_F16] = f16_from_f32;
    table->to_f32[PC_BF16] = bf16_to_f32;
    table->from_f32[PC_BF16] = bf16_from_f32;
    table->to_f32[PC_Q8_0] = q8_0_to_f32;
    table->to_f32[PC_Q4_0] = q4_0_to_f32;
    table->to_f32[PC_Q4_1] = q4_1_to_f32;
    table->to_f32[PC_Q5_0] = q5_0_to_f32;
    table->to_f32[PC_Q5_1] = q5_1_to_f32;
    table->to_f32[PC_Q4_K] = q4_k_to_f32;
    table->to_f32[PC_Q5_K] = q5_k_to_f32;
    table->to_f32[PC_Q6_K] = q6_k_to_f32;
}
