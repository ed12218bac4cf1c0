// SPDX-License-Identifier: Apache-2.0
/* A register holds 32 elements of a row, an accumulator the sixteen lanes of one output. A block of four
 * weight rows by six activation rows keeps 24 accumulators: two products a cycle need ten loads in twelve. */
#include "kernels/bf16.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { STEP = 32 };

INLINE __m512bh load(const void *p)
{
    return (__m512bh)_mm512_loadu_si512(p);
}

INLINE __m512bh load_tail(const void *p, __mmask32 tail)
{
    return (__m512bh)_mm512_maskz_loadu_epi16(tail, p);
}

/* The sums of four accumulators, each joined by the contract's tree: 8, 4, 2, 1. */
INLINE __m128 join4(__m512 a, __m512 b, __m512 c, __m512 d)
{
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    __m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, s));
}

/* n_w is 4 or 8, n_x at most 6: constants after inlining, so that acc lives in registers. */
INLINE void block(int n_w, int n_x, float *y, size_t y_stride, const uint16_t *x, size_t x_stride,
    const char *w, size_t w_stride, size_t k)
{
    __m512 acc[8][6];
#pragma GCC unroll 8
    for (int j = 0; j < n_w; j++)
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            acc[j][i] = _mm512_setzero_ps();
    size_t at = 0;
    for (; at + STEP <= k; at += STEP) {
        __m512bh xs[6];
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            xs[i] = load(x + (size_t)i * x_stride + at);
#pragma GCC unroll 8
        for (int j = 0; j < n_w; j++) {
            __m512bh ws = load(w + (size_t)j * w_stride + 2 * at);
#pragma GCC unroll 6
            for (int i = 0; i < n_x; i++)
                acc[j][i] = _mm512_dpbf16_ps(acc[j][i], xs[i], ws);
        }
    }
    if (at < k) {
        __mmask32 tail = (__mmask32)((1u << (k - at)) - 1);
#pragma GCC unroll 8
        for (int j = 0; j < n_w; j++) {
            __m512bh ws = load_tail(w + (size_t)j * w_stride + 2 * at, tail);
#pragma GCC unroll 6
            for (int i = 0; i < n_x; i++)
                acc[j][i] = _mm512_dpbf16_ps(acc[j][i], load_tail(x + (size_t)i * x_stride + at, tail), ws);
        }
    }
#pragma GCC unroll 2
    for (int j = 0; j < n_w; j += 4)
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            _mm_storeu_ps(
                y + (size_t)i * y_stride + j, join4(acc[j][i], acc[j + 1][i], acc[j + 2][i], acc[j + 3][i]));
}

/* One weight row by one activation row: what is left of n_w modulo 4. */
INLINE float dot(const uint16_t *x, const char *w, size_t k)
{
    __m512 acc = _mm512_setzero_ps();
    size_t at = 0;
    for (; at + STEP <= k; at += STEP)
        acc = _mm512_dpbf16_ps(acc, load(x + at), load(w + 2 * at));
    if (at < k) {
        __mmask32 tail = (__mmask32)((1u << (k - at)) - 1);
        acc = _mm512_dpbf16_ps(acc, load_tail(x + at, tail), load_tail(w + 2 * at, tail));
    }
    return _mm_cvtss_f32(join4(acc, acc, acc, acc));
}

/* A quad of weight rows by all activation rows: sixes, then the rest. */
INLINE void quad(float *y, size_t y_stride, const uint16_t *x, size_t x_stride, size_t n_x, const char *w,
    size_t w_stride, size_t k)
{
    size_t i = 0;
    for (; i + 6 <= n_x; i += 6)
        block(4, 6, y + i * y_stride, y_stride, x + i * x_stride, x_stride, w, w_stride, k);
    y += i * y_stride;
    x += i * x_stride;
    switch (n_x - i) {
    case 5: block(4, 5, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 4: block(4, 4, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 3: block(4, 3, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 2: block(4, 2, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 1: block(4, 1, y, y_stride, x, x_stride, w, w_stride, k); break;
    default: break;
    }
}

static void matmul(float *y, size_t y_stride, const uint16_t *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    const char *rows = w;
    size_t j = 0;
    if (n_x == 1) /* decoding: eight streams of weights hide the latency of the sums */
        for (; j + 8 <= n_w; j += 8)
            block(8, 1, y + j, y_stride, x, x_stride, rows + j * w_stride, w_stride, k);
    for (; j + 4 <= n_w; j += 4)
        quad(y + j, y_stride, x, x_stride, n_x, rows + j * w_stride, w_stride, k);
    for (; j < n_w; j++)
        for (size_t i = 0; i < n_x; i++)
            y[i * y_stride + j] = dot(x + i * x_stride, rows + j * w_stride, k);
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
