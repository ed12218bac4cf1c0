// SPDX-License-Identifier: Apache-2.0
/* One element at a time between F32 and the narrower floats, on the integer: round to nearest, ties to even,
 * denormals included. The scalar kernels and the tails of the fast ones. All `static inline`: instruction-set
 * files include it. */
#ifndef PC_KERNELS_FLOAT_BITS_H
#define PC_KERNELS_FLOAT_BITS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t pc_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float pc_f32_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The magnitude with bits a (finite F32), in a format of m_bits mantissa bits and this exponent bias. Beyond
 * the format's range the carry runs into codes that the caller has to have excluded or to want (infinity). */
static inline uint32_t pc_narrow_magnitude(uint32_t a, int m_bits, int bias)
{
    int drop = 23 - m_bits, exponent = (int)(a >> 23), below = 128 - bias - exponent;
    if (below <= 0)
        return ((a + (1u << (drop - 1)) - 1 + (a >> drop & 1)) >> drop) - ((uint32_t)(127 - bias) << m_bits);
    int shift = drop + below;
    if (shift > 24)
        return 0;
    uint32_t mantissa = (a & 0x7fffff) | 0x800000;
    return (mantissa + (1u << (shift - 1)) - 1 + (mantissa >> shift & 1)) >> shift;
}

static inline uint16_t pc_f32_to_f16(float x)
{
    uint32_t bits = pc_f32_bits(x), a = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    return (uint16_t)(sign | (a >= 0x47800000 ? 0x7c00 : pc_narrow_magnitude(a, 10, 15)));
}

/* A signalling NaN becomes quiet, as the hardware's conversion makes it. */
static inline float pc_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 0)
        return pc_f32_from_bits(sign | pc_f32_bits((float)mantissa * 0x1p-24f));
    if (exponent == 31)
        return pc_f32_from_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    return pc_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t pc_f32_to_bf16(float x)
{
    uint32_t bits = pc_f32_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Away from zero with the probability that is the fraction cut off, noise being uniform in [0, 2^16): the
 * expectation is x. Infinity and NaN stay. */
static inline uint16_t pc_f32_to_bf16_random(float x, uint32_t noise)
{
    uint32_t bits = pc_f32_bits(x);
    if ((bits & 0x7f800000) == 0x7f800000)
        return pc_f32_to_bf16(x);
    return (uint16_t)((bits + noise) >> 16);
}

static inline float pc_bf16_to_f32(uint16_t b)
{
    return pc_f32_from_bits((uint32_t)b << 16);
}

/* 4 exponent bits of bias 7, 3 mantissa bits, no infinity, NaN is all ones. 464 ties to 448; what lies above
 * is NaN. */
static inline uint8_t pc_f32_to_f8_e4m3(float x)
{
    uint32_t bits = pc_f32_bits(x), a = bits & 0x7fffffff, sign = bits >> 24 & 0x80;
    return (uint8_t)(sign | (a >= 0x43f00000 ? 0x7f : pc_narrow_magnitude(a, 3, 7)));
}

static inline float pc_f8_e4m3_to_f32(uint8_t v)
{
    uint32_t sign = (uint32_t)(v & 0x80) << 24, exponent = v >> 3 & 15, mantissa = v & 7;
    if (exponent == 0)
        return pc_f32_from_bits(sign | pc_f32_bits((float)mantissa * 0x1p-9f));
    if (exponent == 15 && mantissa == 7)
        return pc_f32_from_bits(sign | 0x7fc00000);
    return pc_f32_from_bits(sign | (exponent + 120) << 23 | mantissa << 20);
}

/* The upper byte of an F16. */
static inline uint8_t pc_f32_to_f8_e5m2(float x)
{
    uint32_t bits = pc_f32_bits(x), a = bits & 0x7fffffff, sign = bits >> 24 & 0x80;
    if (a > 0x7f800000)
        return (uint8_t)(sign | 0x7e | (a >> 21 & 3));
    return (uint8_t)(sign | (a >= 0x47800000 ? 0x7c : pc_narrow_magnitude(a, 2, 15)));
}

static inline float pc_f8_e5m2_to_f32(uint8_t v)
{
    return pc_f16_to_f32((uint16_t)(v << 8));
}

#endif
