// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include "kernels/x86/exp_avx512.h"

static void exp_shifted(float *out, const float *x, float shift, size_t n)
{
    const __m512 by = _mm512_set1_ps(shift);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, pc_exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(x + i), by)));
    if (i < n) {
        __mmask16 tail = (__mmask16)((1u << (n - i)) - 1);
        _mm512_mask_storeu_ps(
            out + i, tail, pc_exp_avx512(_mm512_sub_ps(_mm512_maskz_loadu_ps(tail, x + i), by)));
    }
}

void pc_softmax_init_avx512(struct pc_softmax *table)
{
    table->exp_shifted = exp_shifted;
}
