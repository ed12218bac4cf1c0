// SPDX-License-Identifier: Apache-2.0
/* Block types to F32, scalar. Layouts and formulas: docs/formats/blocks.md. Each operation of a formula is
 * one F32 rounding, in the order written: d * q, then + m or - m, never fused. */
#include "kernels/convert_parts.h"

#include "kernels/blocks.h"
#include "kernels/float_bits.h"

static float half_at(const uint8_t *p)
{
    return pc_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void q8_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 34) {
        float d = half_at(b);
        for (int j = 0; j < 32; j++)
            dst[i + j] = d * (float)(int8_t)b[2 + j];
    }
}

/* Element j of a block of 32 is the low nibble of byte j, element j + 16 its high nibble. */
static int nibble(const uint8_t *q, int j)
{
    return j < 16 ? q[j] & 15 : q[j - 16] >> 4;
}

static void q4_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 18) {
        float d = half_at(b);
        for (int j = 0; j < 32; j++)
            dst[i + j] = d * (float)(nibble(b + 2, j) - 8);
    }
}

static void q4_1_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 20) {
        float d = half_at(b), m = half_at(b + 2);
        for (int j = 0; j < 32; j++)
            dst[i + j] = d * (float)nibble(b + 4, j) + m;
    }
}

static void q5_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 22) {
        float d = half_at(b);
        uint32_t high = u32_at(b + 2);
        for (int j = 0; j < 32; j++)
            dst[i + j] = d * (float)((nibble(b + 6, j) | (int)(high >> j & 1) << 4) - 16);
    }
}

static void q5_1_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 24) {
        float d = half_at(b), m = half_at(b + 2);
        uint32_t high = u32_at(b + 4);
        for (int j = 0; j < 32; j++)
            dst[i + j] = d * (float)(nibble(b + 8, j) | (int)(high >> j & 1) << 4) + m;
    }
}

static void q4_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 144) {
        float d = half_at(b), dmin = half_at(b + 2);
        for (int s = 0; s < 8; s++) {
            float scale = d * (float)pc_k_scale(b + 4, s), min = dmin * (float)pc_k_min(b + 4, s);
            const uint8_t *q = b + 16 + s / 2 * 32;
            for (int j = 0; j < 32; j++)
                dst[i + s * 32 + j] = scale * (float)(q[j] >> (s % 2 * 4) & 15) - min;
        }
    }
}

static void q5_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 176) {
        float d = half_at(b), dmin = half_at(b + 2);
        for (int s = 0; s < 8; s++) {
            float scale = d * (float)pc_k_scale(b + 4, s), min = dmin * (float)pc_k_min(b + 4, s);
            const uint8_t *high = b + 16, *q = b + 48 + s / 2 * 32;
            for (int j = 0; j < 32; j++)
                dst[i + s * 32 + j] =
                    scale * (float)((q[j] >> (s % 2 * 4) & 15) | (high[j] >> s & 1) << 4) - min;
        }
    }
}

static void q6_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 210) {
        float d = half_at(b + 208);
        // 16 groups of 16. Within a half of 128, groups 0-3 take low nibbles, 4-7 high ones; each pair of
        // groups two more bits of the same 32 bytes.
        for (int g = 0; g < 16; g++) {
            float scale = d * (float)(int8_t)b[192 + g];
            const uint8_t *low = b + g / 8 * 64 + g % 4 * 16, *high = b + 128 + g / 8 * 32 + g % 2 * 16;
            for (int j = 0; j < 16; j++) {
                int q = (low[j] >> (g % 8 / 4 * 4) & 15) | (high[j] >> (g % 8 / 2 * 2) & 3) << 4;
                dst[i + g * 16 + j] = scale * (float)(q - 32);
            }
        }
    }
}

void pc_convert_init_blocks(struct pc_convert *table)
{
    table->to_f32[PC_Q8_0] = q8_0_to_f32;
    table->to_f32[PC_Q4_0] = q4_0_to_f32;
    table->to_f32[PC_Q4_1] = q4_1_to_f32;
    table->to_f32[PC_Q5_0] = q5_0_to_f32;
    table->to_f32[PC_Q5_1] = q5_1_to_f32;
    table->to_f32[PC_Q4_K] = q4_k_to_f32;
    table->to_f32[PC_Q5_K] = q5_k_to_f32;
    table->to_f32[PC_Q6_K] = q6_k_to_f32;
}
