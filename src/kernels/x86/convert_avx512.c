// SPDX-License-Identifier: Apache-2.0
/* What measured faster than its AVX2 version: sixteen elements at a time, tails masked. vcvtneps2bf16 is not
 * used, for it flushes denormals. */
#include "kernels/convert_parts.h"

#include <immintrin.h>

/* The lanes of what is left. */
static __mmask16 lanes(size_t left)
{
    return left >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

static void f16_to_f32(float *dst, const void *src, size_t n)
{
    const uint16_t *from = src;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n - i);
        _mm512_mask_storeu_ps(dst + i, m, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, from + i)));
    }
}

static void bf16_to_f32(float *dst, const void *src, size_t n)
{
    const uint16_t *from = src;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n - i);
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, from + i));
        _mm512_mask_storeu_epi32(dst + i, m, _mm512_slli_epi32(wide, 16));
    }
}

static void bf16_from_f32(void *dst, const float *src, size_t n)
{
    uint16_t *to = dst;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n - i);
        __m512i x = _mm512_maskz_loadu_epi32(m, src + i), top = _mm512_srli_epi32(x, 16);
        __m512i odd = _mm512_and_epi32(top, _mm512_set1_epi32(1));
        __m512i rounded =
            _mm512_srli_epi32(_mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
        __mmask16 nan = _mm512_cmpgt_epi32_mask(
            _mm512_and_epi32(x, _mm512_set1_epi32(0x7fffffff)), _mm512_set1_epi32(0x7f800000));
        __m512i bits = _mm512_mask_or_epi32(rounded, nan, top, _mm512_set1_epi32(0x40));
        _mm512_mask_cvtepi32_storeu_epi16(to + i, m, bits);
    }
}

void pc_convert_init_avx512(struct pc_convert *table)
{
    table->to_f32[PC_F16] = f16_to_f32;
    table->to_f32[PC_BF16] = bf16_to_f32;
    table->from_f32[PC_BF16] = bf16_from_f32;
}
