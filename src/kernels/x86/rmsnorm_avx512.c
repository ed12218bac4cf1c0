// SPDX-License-Identifier: Apache-2.0
/* A row's sum is one chain of fused additions, so four rows go together to hide what each link takes. */
#include "kernels/rmsnorm.h"

#include <immintrin.h>

enum { TOGETHER = 4, STEP = 16 };

static inline __mmask16 first(size_t n)
{
    return n >= STEP ? 0xffff : (__mmask16)((1u << n) - 1);
}

/* Lanes joined by the contract's tree: 8, 4, 2, 1. */
static inline float join(__m512 lanes)
{
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

/* rows, 1 to 4, is a constant after inlining. */
static inline __attribute__((always_inline)) void normalise(
    int rows, float *out, const float *x, const float *weight, size_t n, float eps)
{
    __m512 sum[TOGETHER];
#pragma GCC unroll 4
    for (int t = 0; t < rows; t++)
        sum[t] = _mm512_setzero_ps();
    for (size_t c = 0; c < n; c += STEP) {
        __mmask16 mask = first(n - c);
#pragma GCC unroll 4
        for (int t = 0; t < rows; t++) {
            __m512 v = _mm512_maskz_loadu_ps(mask, x + (size_t)t * n + c);
            sum[t] = _mm512_mask3_fmadd_ps(v, v, sum[t], mask);
        }
    }
    __m512 scale[TOGETHER];
#pragma GCC unroll 4
    for (int t = 0; t < rows; t++)
        scale[t] = _mm512_set1_ps(1.0f / sqrtf(join(sum[t]) / (float)n + eps));
    for (size_t c = 0; c < n; c += STEP) {
        __mmask16 mask = first(n - c);
        __m512 w = _mm512_maskz_loadu_ps(mask, weight + c);
#pragma GCC unroll 4
        for (int t = 0; t < rows; t++) {
            __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + (size_t)t * n + c), scale[t]);
            _mm512_mask_storeu_ps(out + (size_t)t * n + c, mask, _mm512_mul_ps(w, scaled));
        }
    }
}

static void forward(float *out, const float *x, const float *weight, size_t n_rows, size_t n, float eps)
{
    for (; n_rows >= TOGETHER; n_rows -= TOGETHER, out += TOGETHER * n, x += TOGETHER * n)
        normalise(TOGETHER, out, x, weight, n, eps);
    for (; n_rows; n_rows--, out += n, x += n)
        normalise(1, out, x, weight, n, eps);
}

static void backward(float *dx, float *scale, const float *dy, const float *x, const float *weight,
    size_t n_rows, size_t n, float eps)
{
    pc_rmsnorm_backward_loop(dx, scale, dy, x, weight, n_rows, n, eps);
}

static void backward_weight(float *dw, const float *dy, const float *x, const float *scale, size_t n_rows,
    size_t n, size_t first, size_t end)
{
    pc_rmsnorm_backward_weight_loop(dw, dy, x, scale, n_rows, n, first, end);
}

void pc_rmsnorm_init_avx512(struct pc_rmsnorm *table)
{
    table->forward = forward;
    table->backward = backward;
    table->backward_weight = backward_weight;
}
