// SPDX-License-Identifier: Apache-2.0
/* Sixteen lanes are two registers, `lo` for lanes 0 to 7 and `hi` for 8 to 15. A block of two weight rows by
 * three activation rows keeps twelve accumulators, and goes by halves of the lanes: a step's operands then
 * fit beside them, each loaded once. */
#include "kernels/matmul.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum type { F32, F16, BF16 };

enum { SUBTILE_SIZE = 128 * 1024 };

struct lanes {
    __m256 lo, hi;
};

#define INLINE static inline __attribute__((always_inline))

INLINE size_t type_size(enum type type)
{
    return type == F32 ? 4 : 2;
}

INLINE __m256 widen_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

INLINE __m256 widen_half(enum type type, const char *w)
{
    if (type == F32)
        return _mm256_loadu_ps((const float *)w);
    __m128i h = _mm_loadu_si128((const __m128i *)w);
    return type == F16 ? _mm256_cvtph_ps(h) : widen_bf16(h);
}

INLINE struct lanes widen(enum type type, const char *w)
{
    return (struct lanes){widen_half(type, w), widen_half(type, w + PC_LANES / 2 * type_size(type))};
}

/* The n < 16 elements at w, zeros behind them. */
INLINE struct lanes widen_tail(enum type type, const char *w, size_t n)
{
    char copy[PC_LANES * sizeof(float)] = {0};
    memcpy(copy, w, n * type_size(type));
    return widen(type, copy);
}

/* All bits set in the first n lanes. */
INLINE struct lanes tail_mask(size_t n)
{
    static const int32_t ones[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    const float *at = (const float *)(ones + PC_LANES - n);
    return (struct lanes){_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)};
}

INLINE float join(struct lanes acc)
{
    __m256 s8 = _mm256_add_ps(acc.lo, acc.hi);
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

/* n_w at most 4, n_x at most 3, n_w * n_x at most 6: constants after inlining. */
INLINE void block(enum type type, int n_w, int n_x, float *y, size_t y_stride, const float *x,
    size_t x_stride, const char *w, size_t w_stride, size_t k)
{
    struct lanes acc[4][3];
#pragma GCC unroll 4
    for (int j = 0; j < n_w; j++)
#pragma GCC unroll 3
        for (int i = 0; i < n_x; i++)
            acc[j][i] = (struct lanes){_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t at = 0;
    for (; at + PC_LANES <= k; at += PC_LANES)
#pragma GCC unroll 2
        for (size_t half = 0; half < PC_LANES; half += PC_LANES / 2) {
            __m256 ws[4];
#pragma GCC unroll 4
            for (int j = 0; j < n_w; j++)
                ws[j] = widen_half(type, w + (size_t)j * w_stride + (at + half) * type_size(type));
#pragma GCC unroll 3
            for (int i = 0; i < n_x; i++) {
                __m256 xs = _mm256_loadu_ps(x + (size_t)i * x_stride + at + half);
#pragma GCC unroll 4
                for (int j = 0; j < n_w; j++) {
                    __m256 *sum = half ? &acc[j][i].hi : &acc[j][i].lo;
                    *sum = _mm256_fmadd_ps(xs, ws[j], *sum);
                }
            }
        }
    if (at < k) {
        struct lanes mask = tail_mask(k - at);
#pragma GCC unroll 4
        for (int j = 0; j < n_w; j++) {
            struct lanes ws = widen_tail(type, w + (size_t)j * w_stride + at * type_size(type), k - at);
#pragma GCC unroll 3
            for (int i = 0; i < n_x; i++) {
                struct lanes xs = widen_tail(F32, (const char *)(x + (size_t)i * x_stride + at), k - at);
                struct lanes *a = &acc[j][i];
                a->lo = _mm256_blendv_ps(a->lo, _mm256_fmadd_ps(xs.lo, ws.lo, a->lo), mask.lo);
                a->hi = _mm256_blendv_ps(a->hi, _mm256_fmadd_ps(xs.hi, ws.hi, a->hi), mask.hi);
            }
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < n_w; j++)
#pragma GCC unroll 3
        for (int i = 0; i < n_x; i++)
            y[(size_t)i * y_stride + (size_t)j] = join(acc[j][i]);
}

/* A subtile of weight rows, which the second level cache keeps, by three activation rows after the other. */
INLINE void subtile(enum type type, float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x,
    const char *w, size_t w_stride, size_t n_w, size_t k)
{
    for (size_t i = 0, n; i < n_x; i += n, x += n * x_stride, y += n * y_stride) {
        size_t j = 0;
        n = n_x - i >= 3 ? 3 : 1;
        for (; j + 2 <= n_w; j += 2)
            if (n == 3)
                block(type, 2, 3, y + j, y_stride, x, x_stride, w + j * w_stride, w_stride, k);
            else
                block(type, 2, 1, y + j, y_stride, x, x_stride, w + j * w_stride, w_stride, k);
        for (size_t t = 0; j < n_w && t < n; t++)
            block(type, 1, 1, y + t * y_stride + j, y_stride, x + t * x_stride, x_stride, w + j * w_stride,
                w_stride, k);
    }
}

INLINE void matmul(enum type type, float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x,
    const char *w, size_t w_stride, size_t n_w, size_t k)
{
    size_t j = 0, rows = SUBTILE_SIZE / (k * type_size(type) + 1) / 2 * 2;
    if (n_x == 1) /* decoding: four streams of weights hide the latency of the sums */
        for (; j + 4 <= n_w; j += 4)
            block(type, 4, 1, y + j, y_stride, x, x_stride, w + j * w_stride, w_stride, k);
    rows = n_x <= 3 || rows < 2 ? 2 : rows;
    for (size_t n; j < n_w; j += n) {
        n = n_w - j < rows ? n_w - j : rows;
        subtile(type, y + j, y_stride, x, x_stride, n_x, w + j * w_stride, w_stride, n, k);
    }
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

void pc_matmul_init_avx2(struct pc_matmul *table)
{
    *table = (struct pc_matmul){.f32 = matmul_f32, .f16 = matmul_f16, .bf16 = matmul_bf16};
}
