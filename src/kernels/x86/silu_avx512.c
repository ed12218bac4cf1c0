// SPDX-License-Identifier: Apache-2.0
#include "kernels/silu.h"

#include "kernels/x86/exp_avx512.h"

static inline __m512 gated(__m512 gate, __m512 up)
{
    __m512 e = pc_exp_avx512(_mm512_xor_ps(gate, _mm512_set1_ps(-0.0f)));
    return _mm512_mul_ps(_mm512_div_ps(gate, _mm512_add_ps(_mm512_set1_ps(1.0f), e)), up);
}

static void mul(float *out, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, gated(_mm512_loadu_ps(gate + i), _mm512_loadu_ps(up + i)));
    if (i < n) {
        __mmask16 tail = (__mmask16)((1u << (n - i)) - 1);
        _mm512_mask_storeu_ps(
            out + i, tail, gated(_mm512_maskz_loadu_ps(tail, gate + i), _mm512_maskz_loadu_ps(tail, up + i)));
    }
}

static inline void gradients(float *d_gate, float *d_up, float *act, const float *gate, const float *up,
    const float *d_act, __mmask16 mask)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 g = _mm512_maskz_loadu_ps(mask, gate), u = _mm512_maskz_loadu_ps(mask, up),
           d = _mm512_maskz_loadu_ps(mask, d_act);
    __m512 below = _mm512_add_ps(one, pc_exp_avx512(_mm512_xor_ps(g, _mm512_set1_ps(-0.0f))));
    __m512 s = _mm512_div_ps(one, below), gated = _mm512_div_ps(g, below);
    __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(g, _mm512_sub_ps(one, s), one));
    _mm512_mask_storeu_ps(d_gate, mask, _mm512_mul_ps(_mm512_mul_ps(d, u), slope));
    _mm512_mask_storeu_ps(d_up, mask, _mm512_mul_ps(d, gated));
    _mm512_mask_storeu_ps(act, mask, _mm512_mul_ps(gated, u));
}

static void backward(
    float *d_gate, float *d_up, float *act, const float *gate, const float *up, const float *d_act, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        gradients(d_gate + i, d_up + i, act + i, gate + i, up + i, d_act + i, 0xffff);
    if (i < n)
        gradients(
            d_gate + i, d_up + i, act + i, gate + i, up + i, d_act + i, (__mmask16)((1u << (n - i)) - 1));
}

void pc_silu_init_avx512(struct pc_silu *table)
{
    table->mul = mul;
    table->backward = backward;
}
