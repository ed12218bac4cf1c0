// SPDX-License-Identifier: Apache-2.0
/* Sixteen lanes are one register. A block of W weight rows by X activation rows keeps W * X accumulators; the
 * four sums of a weight quad are joined together, which costs a third of joining them singly. */
#include "kernels/matmul.h"

#include <immintrin.h>

enum type { F32, F16, BF16 };

#define INLINE static inline __attribute__((always_inline))

INLINE size_t type_size(enum type type)
{
    return type == F32 ? 4 : 2;
}

INLINE __m512 widen(enum type type, const char *w)
{
    if (type == F32)
        return _mm512_loadu_ps(w);
    __m256i h = _mm256_loadu_si256((const __m256i *)w);
    return type == F16 ? _mm512_cvtph_ps(h)
                       : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

INLINE __m512 widen_tail(enum type type, const char *w, __mmask16 tail)
{
    if (type == F32)
        return _mm512_maskz_loadu_ps(tail, w);
    __m256i h = _mm256_maskz_loadu_epi16(tail, w);
    return type == F16 ? _mm512_cvtph_ps(h)
                       : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
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
INLINE void block(enum type type, int n_w, int n_x, float *y, size_t y_stride, const float *x,
    size_t x_stride, const char *w, size_t w_stride, size_t k)
{
    __m512 acc[8][6];
#pragma GCC unroll 8
    for (int j = 0; j < n_w; j++)
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            acc[j][i] = _mm512_setzero_ps();
    size_t at = 0;
    for (; at + PC_LANES <= k; at += PC_LANES) {
        __m512 xs[6];
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            xs[i] = _mm512_loadu_ps(x + (size_t)i * x_stride + at);
#pragma GCC unroll 8
        for (int j = 0; j < n_w; j++) {
            __m512 ws = widen(type, w + (size_t)j * w_stride + at * type_size(type));
#pragma GCC unroll 6
            for (int i = 0; i < n_x; i++)
                acc[j][i] = _mm512_fmadd_ps(xs[i], ws, acc[j][i]);
        }
    }
    if (at < k) {
        __mmask16 tail = (__mmask16)((1u << (k - at)) - 1);
#pragma GCC unroll 8
        for (int j = 0; j < n_w; j++) {
            __m512 ws = widen_tail(type, w + (size_t)j * w_stride + at * type_size(type), tail);
#pragma GCC unroll 6
            for (int i = 0; i < n_x; i++)
                acc[j][i] = _mm512_mask3_fmadd_ps(
                    _mm512_maskz_loadu_ps(tail, x + (size_t)i * x_stride + at), ws, acc[j][i], tail);
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
INLINE float dot(enum type type, const float *x, const char *w, size_t k)
{
    __m512 acc = _mm512_setzero_ps();
    size_t at = 0;
    for (; at + PC_LANES <= k; at += PC_LANES)
        acc = _mm512_fmadd_ps(_mm512_loadu_ps(x + at), widen(type, w + at * type_size(type)), acc);
    if (at < k) {
        __mmask16 tail = (__mmask16)((1u << (k - at)) - 1);
        acc = _mm512_mask3_fmadd_ps(
            _mm512_maskz_loadu_ps(tail, x + at), widen_tail(type, w + at * type_size(type), tail), acc, tail);
    }
    return _mm_cvtss_f32(join4(acc, acc, acc, acc));
}

/* A quad of weight rows by all activation rows: sixes, then the rest. */
INLINE void quad(enum type type, float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x,
    const char *w, size_t w_stride, size_t k)
{
    size_t i = 0;
    for (; i + 6 <= n_x; i += 6)
        block(type, 4, 6, y + i * y_stride, y_stride, x + i * x_stride, x_stride, w, w_stride, k);
    y += i * y_stride;
    x += i * x_stride;
    switch (n_x - i) {
    case 5: block(type, 4, 5, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 4: block(type, 4, 4, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 3: block(type, 4, 3, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 2: block(type, 4, 2, y, y_stride, x, x_stride, w, w_stride, k); break;
    case 1: block(type, 4, 1, y, y_stride, x, x_stride, w, w_stride, k); break;
    default: break;
    }
}

INLINE void matmul(enum type type, float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x,
    const char *w, size_t w_stride, size_t n_w, size_t k)
{
    size_t j = 0;
    if (n_x == 1) /* decoding: eight streams of weights hide the latency of the sums */
        for (; j + 8 <= n_w; j += 8)
            block(type, 8, 1, y + j, y_stride, x, x_stride, w + j * w_stride, w_stride, k);
    for (; j + 4 <= n_w; j += 4)
        quad(type, y + j, y_stride, x, x_stride, n_x, w + j * w_stride, w_stride, k);
    for (; j < n_w; j++)
        for (size_t i = 0; i < n_x; i++)
            y[i * y_stride + j] = dot(type, x + i * x_stride, w + j * w_stride, k);
}

static void matmul_f32(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    matmul(F32, y, y_stride, x, x_stride, n_x, w, w_stride, n_w, k);
}

static void matmul_f16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    matmul(F16, y, y_stride, x, x_stride, n_x, w, w_stride, n_w, k);
}

static void matmul_bf16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    matmul(BF16, y, y_stride, x, x_stride, n_x, w, w_stride, n_w, k);
}

void pc_matmul_init_avx512(struct pc_matmul *table)
{
    *table = (struct pc_matmul){.f32 = matmul_f32, .f16 = matmul_f16, .bf16 = matmul_bf16};
}
