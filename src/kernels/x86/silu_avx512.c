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

static void backward(
    float *d_gate, float *d_up, float *act, const float *gate, const float *up, const float *d_act, size_t n)
{
    pc_silu_backward_loop(d_gate, d_up, act, gate, up, d_act, n);
}

void pc_silu_init_avx512(struct pc_silu *table)
{
    table->mul = mul;
    table->backward = backward;
}
