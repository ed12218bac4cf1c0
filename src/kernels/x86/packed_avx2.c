// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/packed_avx2.h"

#include <math.h>

/* The bits of the largest magnitude of 32: integers compare as floats do, and NaN above infinity. */
INLINE uint32_t largest(const __m256 x[4])
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    for (int j = 0; j < 4; j++)
        most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(x[j]), magnitude));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* The 32 products with inverse to nearest, as bytes in order. */
INLINE __m256i rounded(const __m256 x[4], float inverse)
{
    __m256i q[4];
    for (int j = 0; j < 4; j++)
        q[j] = _mm256_cvtps_epi32(_mm256_mul_ps(x[j], _mm256_set1_ps(inverse)));
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Sums of q[0..15] and q[16..31]. */
INLINE void half_sums(__m256i q, int sum[2])
{
    __m256i above = _mm256_xor_si256(q, _mm256_set1_epi8((char)128)); /* q + 128 */
    __m256i eights = _mm256_sad_epu8(above, _mm256_setzero_si256());
    __m256i sums = _mm256_add_epi64(eights, _mm256_shuffle_epi32(eights, 0x4e));
    sum[0] = _mm_cvtsi128_si32(_mm256_castsi256_si128(sums)) - 16 * 128;
    sum[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1)) - 16 * 128;
}

INLINE void quantise_block(struct pc_quant_block *b, const float *values)
{
    __m256 x[4];
    for (int j = 0; j < 4; j++)
        x[j] = _mm256_loadu_ps(values + 8 * j);
    uint32_t bits = largest(x);
    float most;
    memcpy(&most, &bits, sizeof most);
    if (!(most >= PC_QUANT_LEAST && most < INFINITY)) {
        float d = most < PC_QUANT_LEAST ? 0 : NAN;
        *b = (struct pc_quant_block){.d = d, .d_sum = d};
        return;
    }
    __m256i q = rounded(x, 127 / most);
    int sum[2];
    half_sums(q, sum);
    int total = sum[0] + sum[1];
    _mm256_storeu_si256((__m256i *)b->q, q);
    b->d = most / 127;
    b->d_sum = b->d * (float)total;
    b->less_8 = -8 * total;
    b->less_16 = -16 * total;
    b->less_128 = -128 * total;
    b->less_32[0] = -32 * sum[0];
    b->less_32[1] = -32 * sum[1];
    b->zero = 0;
}

static void quantise(void *dst, const float *x, size_t k)
{
    struct pc_quant_block *b = dst;
    size_t n = k / PC_QUANT_BLOCK;
    for (size_t i = 0; i < n; i++)
        quantise_block(b + i, x + i * PC_QUANT_BLOCK);
    if (n % 2 == 0)
        b[n] = (struct pc_quant_block){0};
}

void pc_packed_init_avx2(struct pc_packed *table)
{
    table->quantise = quantise;
    use_products(table);
}
