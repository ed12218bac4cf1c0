// SPDX-License-Identifier: Apache-2.0
/* The sixteen candidates are two runs of eight. No FMA, so that every sum is the scalar version's. */
#include "kernels/quantise_parts.h"

#include <immintrin.h>

static inline __m256 level_of(__m256 t, __m256 lo, __m256 hi)
{
    const __m256 big = _mm256_set1_ps(PC_QUANTISE_ROUND);
    t = _mm256_min_ps(_mm256_max_ps(t, lo), hi);
    return _mm256_sub_ps(_mm256_add_ps(t, big), big);
}

/* Lanes [l, l + 8). */
static inline void affine_half(
    struct pc_quantise_lanes *c, int l, const float *x, const float *w, size_t n, __m256 lo, __m256 hi)
{
    const __m256 scale = _mm256_loadu_ps(c->scale + l), offset = _mm256_loadu_ps(c->offset + l),
                 inverse = _mm256_loadu_ps(c->inverse + l);
    __m256 ee = _mm256_setzero_ps(), eq = ee, qq = ee, e1 = ee, q1 = ee;
    for (size_t i = 0; i < n; i++) {
        __m256 v = _mm256_set1_ps(x[i]), wi = _mm256_set1_ps(w[i]);
        __m256 q = level_of(_mm256_mul_ps(_mm256_sub_ps(v, offset), inverse), lo, hi);
        __m256 e = _mm256_sub_ps(v, _mm256_add_ps(_mm256_mul_ps(scale, q), offset));
        __m256 we = _mm256_mul_ps(wi, e), wq = _mm256_mul_ps(wi, q);
        ee = _mm256_add_ps(ee, _mm256_mul_ps(we, e));
        eq = _mm256_add_ps(eq, _mm256_mul_ps(we, q));
        qq = _mm256_add_ps(qq, _mm256_mul_ps(wq, q));
        e1 = _mm256_add_ps(e1, we);
        q1 = _mm256_add_ps(q1, wq);
    }
    _mm256_storeu_ps(c->ee + l, ee);
    _mm256_storeu_ps(c->eq + l, eq);
    _mm256_storeu_ps(c->qq + l, qq);
    _mm256_storeu_ps(c->e + l, e1);
    _mm256_storeu_ps(c->q + l, q1);
}

static inline void scaled_half(
    struct pc_quantise_lanes *c, int l, const float *x, const float *w, size_t n, __m256 lo, __m256 hi)
{
    const __m256 scale = _mm256_loadu_ps(c->scale + l), inverse = _mm256_loadu_ps(c->inverse + l);
    __m256 ee = _mm256_setzero_ps(), eq = ee, qq = ee;
    for (size_t i = 0; i < n; i++) {
        __m256 v = _mm256_set1_ps(x[i]), wi = _mm256_set1_ps(w[i]);
        __m256 q = level_of(_mm256_mul_ps(v, inverse), lo, hi);
        __m256 e = _mm256_sub_ps(v, _mm256_mul_ps(scale, q));
        __m256 we = _mm256_mul_ps(wi, e), wq = _mm256_mul_ps(wi, q);
        ee = _mm256_add_ps(ee, _mm256_mul_ps(we, e));
        eq = _mm256_add_ps(eq, _mm256_mul_ps(we, q));
        qq = _mm256_add_ps(qq, _mm256_mul_ps(wq, q));
    }
    _mm256_storeu_ps(c->ee + l, ee);
    _mm256_storeu_ps(c->eq + l, eq);
    _mm256_storeu_ps(c->qq + l, qq);
}

static void affine(struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo, float hi)
{
    affine_half(c, 0, x, w, n, _mm256_set1_ps(lo), _mm256_set1_ps(hi));
    affine_half(c, 8, x, w, n, _mm256_set1_ps(lo), _mm256_set1_ps(hi));
}

static void scaled(struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo, float hi)
{
    scaled_half(c, 0, x, w, n, _mm256_set1_ps(lo), _mm256_set1_ps(hi));
    scaled_half(c, 8, x, w, n, _mm256_set1_ps(lo), _mm256_set1_ps(hi));
}

void pc_quantise_init_avx2(struct pc_quantise *table)
{
    table->affine = affine;
    table->scaled = scaled;
}
