// SPDX-License-Identifier: Apache-2.0
/* pc_expf (kernels/vmath.h) in 512 bits, to the bit: its two factors 2^n round once, as this scaling does,
 * and of two operands with a NaN minimum and maximum return the second. */
#ifndef PC_KERNELS_EXP_AVX512_H
#define PC_KERNELS_EXP_AVX512_H

#include <immintrin.h>

/* For x below 89 or NaN. */
static inline __attribute__((always_inline)) __m512 pc_exp_below_avx512(__m512 x)
{
    const __m512 shift = _mm512_set1_ps(0x1.8p23f);
    x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);
    __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(0x1.715476p+0f), shift), shift);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.62e400p-1f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(0x1.6a23d0p-10f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.123a20p-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5558f2p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555492p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffcp-2f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline __attribute__((always_inline)) __m512 pc_exp_avx512(__m512 x)
{
    return pc_exp_below_avx512(_mm512_min_ps(_mm512_set1_ps(89.0f), x));
}

#endif
