// SPDX-License-Identifier: Apache-2.0
/* A register holds all sixteen candidates. No FMA, so that every sum is the scalar version's. */
#include "kernels/quantise_parts.h"

#include <immintrin.h>

/* Not vrndscale: the constant is one addition and one subtraction, as cheap, and plainly what scalar does. */
static inline __m512 level_of(__m512 t, __m512 lo, __m512 hi)
{
    const __m512 big = _mm512_set1_ps(PC_QUANTISE_ROUND);
    t = _mm512_min_ps(_mm512_max_ps(t, lo), hi);
    return _mm512_sub_ps(_mm512_add_ps(t, big), big);
}

static void affine(
    struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo1, float hi1)
{
    const __m512 scale = _mm512_loadu_ps(c->scale), offset = _mm512_loadu_ps(c->offset),
                 inverse = _mm512_loadu_ps(c->inverse), lo = _mm512_set1_ps(lo1), hi = _mm512_set1_ps(hi1);
    __m512 ee = _mm512_setzero_ps(), eq = ee, qq = ee, e1 = ee, q1 = ee;
    for (size_t i = 0; i < n; i++) {
        __m512 v = _mm512_set1_ps(x[i]), wi = _mm512_set1_ps(w[i]);
        __m512 q = level_of(_mm512_mul_ps(_mm512_sub_ps(v, offset), inverse), lo, hi);
        __m512 e = _mm512_sub_ps(v, _mm512_add_ps(_mm512_mul_ps(scale, q), offset));
        __m512 we = _mm512_mul_ps(wi, e), wq = _mm512_mul_ps(wi, q);
        ee = _mm512_add_ps(ee, _mm512_mul_ps(we, e));
        eq = _mm512_add_ps(eq, _mm512_mul_ps(we, q));
        qq = _mm512_add_ps(qq, _mm512_mul_ps(wq, q));
        e1 = _mm512_add_ps(e1, we);
        q1 = _mm512_add_ps(q1, wq);
    }
    _mm512_storeu_ps(c->ee, ee);
    _mm512_storeu_ps(c->eq, eq);
    _mm512_storeu_ps(c->qq, qq);
    _mm512_storeu_ps(c->e, e1);
    _mm512_storeu_ps(c->q, q1);
}

static void scaled(
    struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo1, float hi1)
{
    const __m512 scale = _mm512_loadu_ps(c->scale), inverse = _mm512_loadu_ps(c->inverse),
                 lo = _mm512_set1_ps(lo1), hi = _mm512_set1_ps(hi1);
    __m512 ee = _mm512_setzero_ps(), eq = ee, qq = ee;
    for (size_t i = 0; i < n; i++) {
        __m512 v = _mm512_set1_ps(x[i]), wi = _mm512_set1_ps(w[i]);
        __m512 q = level_of(_mm512_mul_ps(v, inverse), lo, hi);
        __m512 e = _mm512_sub_ps(v, _mm512_mul_ps(scale, q));
        __m512 we = _mm512_mul_ps(wi, e), wq = _mm512_mul_ps(wi, q);
        ee = _mm512_add_ps(ee, _mm512_mul_ps(we, e));
        eq = _mm512_add_ps(eq, _mm512_mul_ps(we, q));
        qq = _mm512_add_ps(qq, _mm512_mul_ps(wq, q));
    }
    _mm512_storeu_ps(c->ee, ee);
    _mm512_storeu_ps(c->eq, eq);
    _mm512_storeu_ps(c->qq, qq);
}

void pc_quantise_init_avx512(struct pc_quantise *table)
{
    table->affine = affine;
    table->scaled = scaled;
}
