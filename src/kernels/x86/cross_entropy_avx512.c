// SPDX-License-Identifier: Apache-2.0
/* Lanes 0 to 7 and 8 to 15 of the sum in double are a register each. */
#include "kernels/cross_entropy.h"

#include "kernels/x86/exp_avx512.h"

enum { STEP = 16 };

static inline __mmask16 first(size_t n)
{
    return n >= STEP ? 0xffff : (__mmask16)((1u << n) - 1);
}

/* NaN is left aside: of two operands with one, max returns the second. */
static float largest(const float *z, size_t n)
{
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (size_t v = 0; v < n; v += STEP) {
        __mmask16 mask = first(n - v);
        most = _mm512_mask_max_ps(most, mask, _mm512_maskz_loadu_ps(mask, z + v), most);
    }
    float lane[STEP], max = -INFINITY;
    _mm512_storeu_ps(lane, most);
    for (int l = 0; l < STEP; l++)
        max = lane[l] > max ? lane[l] : max;
    return max;
}

/* The sum of e^(z - max); the terms go to e, unless it is NULL, which a caller knows when it is compiled. */
static inline __attribute__((always_inline)) double sum_of_terms(
    float *e, const float *z, size_t n, float max)
{
    const __m512 shift = _mm512_set1_ps(max);
    __m512d low = _mm512_setzero_pd(), high = low;
    for (size_t v = 0; v < n; v += STEP) {
        __mmask16 mask = first(n - v);
        __m512 term = _mm512_maskz_mov_ps(
            mask, pc_exp_avx512(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, z + v), shift)));
        low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(term)));
        high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(term, 1)));
        if (e)
            _mm512_mask_storeu_ps(e + v, mask, term);
    }
    __m512d s8 = _mm512_add_pd(low, high);
    __m256d s4 = _mm256_add_pd(_mm512_castpd512_pd256(s8), _mm512_extractf64x4_pd(s8, 1));
    __m128d s2 = _mm_add_pd(_mm256_castpd256_pd128(s4), _mm256_extractf128_pd(s4, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s2, _mm_unpackhi_pd(s2, s2)));
}

static double forward(const float *z, size_t n, size_t label)
{
    float max = largest(z, n);
    return pc_log(sum_of_terms(NULL, z, n, max)) - ((double)z[label] - (double)max);
}

static double backward(float *z, size_t n, size_t label, float weight)
{
    float max = largest(z, n), at_label = z[label];
    double sum = sum_of_terms(z, z, n, max);
    float inverse = (float)(1 / sum), p = z[label] * inverse;
    const __m512 by = _mm512_set1_ps(inverse), times = _mm512_set1_ps(weight);
    for (size_t v = 0; v < n; v += STEP) {
        __mmask16 mask = first(n - v);
        __m512 term = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, z + v), by);
        _mm512_mask_storeu_ps(z + v, mask, _mm512_mul_ps(term, times));
    }
    z[label] = (p - 1.0f) * weight;
    return pc_log(sum) - ((double)at_label - (double)max);
}

void pc_cross_entropy_init_avx512(struct pc_cross_entropy *table)
{
    table->forward = forward;
    table->backward = backward;
}
