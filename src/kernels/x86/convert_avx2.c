// SPDX-License-Identifier: Apache-2.0
/* Eight elements at a time; tails one by one with the scalar bits. vcvtph2ps and vcvtps2ph know denormals
 * whatever MXCSR says and round as asked, so they are exact here; BF16 has no such instruction and is rounded
 * on the integer. */
#include "kernels/convert_parts.h"

#include "kernels/blocks.h"
#include "kernels/float_bits.h"

#include <immintrin.h>

static void f16_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *from = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + 2 * i))));
    for (; i < n; i++)
        dst[i] = pc_f16_to_f32((uint16_t)(from[2 * i] | from[2 * i + 1] << 8));
}

static void f16_from_f32(void *dst, const float *src, size_t n)
{
    uint8_t *to = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128(
            (__m128i *)(to + 2 * i), _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
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
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(from + 2 * i)));
        _mm256_storeu_si256((__m256i *)(dst + i), _mm256_slli_epi32(wide, 16));
    }
    for (; i < n; i++)
        dst[i] = pc_bf16_to_f32((uint16_t)(from[2 * i] | from[2 * i + 1] << 8));
}

/* The upper halves, rounded, each in the low half of a 32-bit lane. */
static __m256i bf16_bits(__m256i x)
{
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(1));
    __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(x, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i nan =
        _mm256_cmpgt_epi32(_mm256_and_si256(x, _mm256_set1_epi32(0x7fffffff)), _mm256_set1_epi32(0x7f800000));
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(rounded, quiet, nan);
}

static void bf16_from_f32(void *dst, const float *src, size_t n)
{
    uint8_t *to = dst;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i low = bf16_bits(_mm256_loadu_si256((const __m256i *)(src + i)));
        __m256i high = bf16_bits(_mm256_loadu_si256((const __m256i *)(src + i + 8)));
        __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), _MM_SHUFFLE(3, 1, 2, 0));
        _mm256_storeu_si256((__m256i *)(to + 2 * i), both);
    }
    for (; i < n; i++) {
        uint16_t b = pc_f32_to_bf16(src[i]);
        memcpy(to + 2 * i, &b, sizeof b);
    }
}

static void add(float *dst, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    for (; i < n; i++)
        dst[i] = a[i] + b[i];
}

static void sub(float *dst, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_sub_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    for (; i < n; i++)
        dst[i] = a[i] - b[i];
}

static void add_scaled(float *dst, const float *a, const float *b, float alpha, size_t n)
{
    const __m256 scale = _mm256_set1_ps(alpha);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 product = _mm256_mul_ps(scale, _mm256_loadu_ps(b + i));
        _mm256_storeu_ps(dst + i, _mm256_add_ps(_mm256_loadu_ps(a + i), product));
    }
    for (; i < n; i++)
        dst[i] = a[i] + alpha * b[i];
}

static size_t count_nonfinite(const float *x, size_t n)
{
    const __m256i mask = _mm256_set1_epi32(0x7f800000);
    size_t count = 0, i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i bits = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(x + i)), mask);
        int found = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, mask)));
        count += (size_t)__builtin_popcount((unsigned)found);
    }
    for (; i < n; i++)
        count += (pc_f32_bits(x[i]) & 0x7f800000) == 0x7f800000;
    return count;
}

static __m256 half_at(const uint8_t *p)
{
    return _mm256_set1_ps(_cvtsh_ss((unsigned short)(p[0] | p[1] << 8)));
}

/* 8 signed bytes as floats. */
static __m256 floats8(__m128i q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}

/* dst[0..16) = d * q */
static void put16(float *dst, __m128i q, __m256 d)
{
    _mm256_storeu_ps(dst, _mm256_mul_ps(d, floats8(q)));
    _mm256_storeu_ps(dst + 8, _mm256_mul_ps(d, floats8(_mm_srli_si128(q, 8))));
}

/* dst[0..16) = d * q + m */
static void put16_plus(float *dst, __m128i q, __m256 d, __m256 m)
{
    _mm256_storeu_ps(dst, _mm256_add_ps(_mm256_mul_ps(d, floats8(q)), m));
    _mm256_storeu_ps(dst + 8, _mm256_add_ps(_mm256_mul_ps(d, floats8(_mm_srli_si128(q, 8))), m));
}

/* dst[0..16) = d * q - m */
static void put16_minus(float *dst, __m128i q, __m256 d, __m256 m)
{
    _mm256_storeu_ps(dst, _mm256_sub_ps(_mm256_mul_ps(d, floats8(q)), m));
    _mm256_storeu_ps(dst + 8, _mm256_sub_ps(_mm256_mul_ps(d, floats8(_mm_srli_si128(q, 8))), m));
}

static __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

static __m128i low_nibbles(__m128i q)
{
    return _mm_and_si128(q, _mm_set1_epi8(15));
}

static __m128i high_nibbles(__m128i q)
{
    return _mm_and_si128(_mm_srli_epi16(q, 4), _mm_set1_epi8(15));
}

/* 16 in byte j where bit j of the two bytes at p is set. */
static __m128i fifth_bits(const uint8_t *p)
{
    const __m128i which = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i bit = _mm_set1_epi64x((long long)0x8040201008040201u);
    __m128i bytes = _mm_shuffle_epi8(_mm_cvtsi32_si128(p[0] | p[1] << 8), which);
    return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(bytes, bit), bit), _mm_set1_epi8(16));
}

static void q8_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 34) {
        __m256 d = half_at(b);
        put16(dst + i, load16(b + 2), d);
        put16(dst + i + 16, load16(b + 18), d);
    }
}

static void q4_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    const __m128i eight = _mm_set1_epi8(8);
    for (size_t i = 0; i < n; i += 32, b += 18) {
        __m256 d = half_at(b);
        __m128i q = load16(b + 2);
        put16(dst + i, _mm_sub_epi8(low_nibbles(q), eight), d);
        put16(dst + i + 16, _mm_sub_epi8(high_nibbles(q), eight), d);
    }
}

static void q4_1_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 20) {
        __m256 d = half_at(b), m = half_at(b + 2);
        __m128i q = load16(b + 4);
        put16_plus(dst + i, low_nibbles(q), d, m);
        put16_plus(dst + i + 16, high_nibbles(q), d, m);
    }
}

static void q5_0_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    const __m128i sixteen = _mm_set1_epi8(16);
    for (size_t i = 0; i < n; i += 32, b += 22) {
        __m256 d = half_at(b);
        __m128i q = load16(b + 6);
        put16(dst + i, _mm_sub_epi8(_mm_or_si128(low_nibbles(q), fifth_bits(b + 2)), sixteen), d);
        put16(dst + i + 16, _mm_sub_epi8(_mm_or_si128(high_nibbles(q), fifth_bits(b + 4)), sixteen), d);
    }
}

static void q5_1_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 32, b += 24) {
        __m256 d = half_at(b), m = half_at(b + 2);
        __m128i q = load16(b + 8);
        put16_plus(dst + i, _mm_or_si128(low_nibbles(q), fifth_bits(b + 4)), d, m);
        put16_plus(dst + i + 16, _mm_or_si128(high_nibbles(q), fifth_bits(b + 6)), d, m);
    }
}

/* Scale and minimum of sub-block s, each one rounded product. */
static void k_scales(const uint8_t *b, int s, __m256 *scale, __m256 *min)
{
    *scale = _mm256_mul_ps(half_at(b), _mm256_set1_ps((float)pc_k_scale(b + 4, s)));
    *min = _mm256_mul_ps(half_at(b + 2), _mm256_set1_ps((float)pc_k_min(b + 4, s)));
}

static void q4_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 144)
        for (int s = 0; s < 8; s++) {
            __m256 scale, min;
            k_scales(b, s, &scale, &min);
            for (int j = 0; j < 32; j += 16) {
                __m128i q = load16(b + 16 + s / 2 * 32 + j);
                put16_minus(dst + i + s * 32 + j, s % 2 ? high_nibbles(q) : low_nibbles(q), scale, min);
            }
        }
}

static void q5_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 176)
        for (int s = 0; s < 8; s++) {
            __m256 scale, min;
            k_scales(b, s, &scale, &min);
            for (int j = 0; j < 32; j += 16) {
                __m128i q = load16(b + 48 + s / 2 * 32 + j);
                __m128i bit = _mm_set1_epi8((char)(1 << s));
                __m128i set = _mm_cmpeq_epi8(_mm_and_si128(load16(b + 16 + j), bit), bit);
                q = _mm_or_si128(
                    s % 2 ? high_nibbles(q) : low_nibbles(q), _mm_and_si128(set, _mm_set1_epi8(16)));
                put16_minus(dst + i + s * 32 + j, q, scale, min);
            }
        }
}

static void q6_k_to_f32(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += 256, b += 210) {
        __m256 d = half_at(b + 208);
        for (int g = 0; g < 16; g++) {
            __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps((float)(int8_t)b[192 + g]));
            __m128i low = load16(b + g / 8 * 64 + g % 4 * 16),
                    high = load16(b + 128 + g / 8 * 32 + g % 2 * 16);
            low = g % 8 / 4 ? high_nibbles(low) : low_nibbles(low);
            high = _mm_srl_epi16(high, _mm_cvtsi32_si128(g % 8 / 2 * 2));
            high = _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
            put16(dst + i + g * 16, _mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)), scale);
        }
    }
}

void pc_convert_init_avx2(struct pc_convert *table)
{
    table->to_f32[PC_F16] = f16_to_f32;
    table->from_f32[PC_F16] = f16_from_f32;
    table->to_f32[PC_BF16] = bf16_to_f32;
    table->from_f32[PC_BF16] = bf16_from_f32;
    table->add = add;
    table->sub = sub;
    table->add_scaled = add_scaled;
    table->count_nonfinite = count_nonfinite;
    table->to_f32[PC_Q8_0] = q8_0_to_f32;
    table->to_f32[PC_Q4_0] = q4_0_to_f32;
    table->to_f32[PC_Q4_1] = q4_1_to_f32;
    table->to_f32[PC_Q5_0] = q5_0_to_f32;
    table->to_f32[PC_Q5_1] = q5_1_to_f32;
    table->to_f32[PC_Q4_K] = q4_k_to_f32;
    table->to_f32[PC_Q5_K] = q5_k_to_f32;
    table->to_f32[PC_Q6_K] = q6_k_to_f32;
}
