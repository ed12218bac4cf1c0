// SPDX-License-Identifier: Apache-2.0
#include "kernels/bf16.h"

#include "kernels/x86/product_avx512.h"

static void matmul(float *y, size_t y_stride, const uint16_t *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    product(PAIRS, &(struct product){.y = y,
                       .y_stride = y_stride,
                       .x = (const char *)x,
                       .x_stride = x_stride * sizeof *x,
                       .n_x = n_x,
                       .w = w,
                       .w_stride = w_stride,
                       .n_w = n_w,
                       .k = k});
}

static void round_row(uint16_t *dst, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(dst + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
    if (i < n) {
        __mmask16 tail = (__mmask16)((1u << (n - i)) - 1);
        _mm256_mask_storeu_epi16(
            dst + i, tail, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(tail, x + i)));
    }
}

void pc_bf16_init_avx512_bf16(struct pc_bf16 *table)
{
    *table = (struct pc_bf16){.round = round_row, .matmul = matmul, .native = true};
}
