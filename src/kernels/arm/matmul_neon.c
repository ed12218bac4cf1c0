// SPDX-License-Identifier: Apache-2.0
/* Sixteen lanes are four registers. A block of two weight rows by three activation rows keeps 24 of the 32
 * registers as accumulators. */
#include "kernels/matmul.h"

#include <arm_neon.h>
#include <string.h>

enum type { F32, F16, BF16 };

enum { QUARTERS = 4 };

struct lanes {
    float32x4_t v[QUARTERS];
};

#define INLINE static inline __attribute__((always_inline))

INLINE size_t type_size(enum type type)
{
    return type == F32 ? 4 : 2;
}

/* Eight halves; weights lie on any address. */
INLINE uint16x8_t load_halves(const char *w)
{
    return vreinterpretq_u16_u8(vld1q_u8((const uint8_t *)w));
}

INLINE struct lanes widen(enum type type, const char *w)
{
    struct lanes l;
    for (int i = 0; i < QUARTERS && type == F32; i++)
        l.v[i] = vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)w + 16 * i));
    for (int i = 0; i < QUARTERS && type != F32; i += 2) {
        uint16x8_t h = load_halves(w + 8 * i);
        if (type == F16) {
            l.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(h)));
            l.v[i + 1] = vcvt_high_f32_f16(vreinterpretq_f16_u16(h));
        } else {
            l.v[i] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
            l.v[i + 1] = vreinterpretq_f32_u32(vshll_high_n_u16(h, 16));
        }
    }
    return l;
}

/* The n < 16 elements at w, zeros behind them. */
INLINE struct lanes widen_tail(enum type type, const char *w, size_t n)
{
    char copy[PC_LANES * sizeof(float)] = {0};
    memcpy(copy, w, n * type_size(type));
    return widen(type, copy);
}

INLINE struct lanes fused(struct lanes acc, const float *x, const struct lanes *w)
{
    for (int i = 0; i < QUARTERS; i++)
        acc.v[i] = vfmaq_f32(acc.v[i], vld1q_f32(x + 4 * i), w->v[i]);
    return acc;
}

/* In the first n lanes alone. */
INLINE struct lanes fused_tail(struct lanes acc, const float *x, const struct lanes *w, size_t n)
{
    struct lanes xs = widen_tail(F32, (const char *)x, n);
    const uint32x4_t count = {0, 1, 2, 3};
    for (int i = 0; i < QUARTERS; i++) {
        uint32x4_t reached =
            vcltq_u32(vaddq_u32(count, vdupq_n_u32(4 * (uint32_t)i)), vdupq_n_u32((uint32_t)n));
        acc.v[i] = vbslq_f32(reached, vfmaq_f32(acc.v[i], xs.v[i], w->v[i]), acc.v[i]);
    }
    return acc;
}

INLINE float join(struct lanes acc)
{
    float32x4_t s8_low = vaddq_f32(acc.v[0], acc.v[2]), s8_high = vaddq_f32(acc.v[1], acc.v[3]);
    float32x4_t s4 = vaddq_f32(s8_low, s8_high);
    float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
    return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}

/* n_w at most 4, n_x at most 3, n_w * n_x at most 6: constants after inlining. */
INLINE void block(enum type type, int n_w, int n_x, float *y, size_t y_stride, const float *x,
    size_t x_stride, const char *w, size_t w_stride, size_t k)
{
    struct lanes acc[4][3];
    for (int j = 0; j < n_w; j++)
        for (int i = 0; i < n_x; i++)
            for (int q = 0; q < QUARTERS; q++)
                acc[j][i].v[q] = vdupq_n_f32(0);
    size_t at = 0;
    for (; at + PC_LANES <= k; at += PC_LANES)
#pragma GCC unroll 4
        for (int j = 0; j < n_w; j++) {
            struct lanes ws = widen(type, w + (size_t)j * w_stride + at * type_size(type));
#pragma GCC unroll 3
            for (int i = 0; i < n_x; i++)
                acc[j][i] = fused(acc[j][i], x + (size_t)i * x_stride + at, &ws);
        }
    if (at < k)
#pragma GCC unroll 4
        for (int j = 0; j < n_w; j++) {
            struct lanes ws = widen_tail(type, w + (size_t)j * w_stride + at * type_size(type), k - at);
#pragma GCC unroll 3
            for (int i = 0; i < n_x; i++)
                acc[j][i] = fused_tail(acc[j][i], x + (size_t)i * x_stride + at, &ws, k - at);
        }
    for (int j = 0; j < n_w; j++)
        for (int i = 0; i < n_x; i++)
            y[(size_t)i * y_stride + (size_t)j] = join(acc[j][i]);
}

INLINE void matmul(enum type type, float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x,
    const char *w, size_t w_stride, size_t n_w, size_t k)
{
    size_t j = 0;
    if (n_x == 1) /* decoding: four streams of weights hide the latency of the sums */
        for (; j + 4 <= n_w; j += 4)
            block(type, 4, 1, y + j, y_stride, x, x_stride, w + j * w_stride, w_stride, k);
    for (; j + 2 <= n_w; j += 2) {
        size_t i = 0;
        for (; i + 3 <= n_x; i += 3)
            block(type, 2, 3, y + i * y_stride + j, y_stride, x + i * x_stride, x_stride, w + j * w_stride,
                w_stride, k);
        for (; i < n_x; i++)
            block(type, 2, 1, y + i * y_stride + j, y_stride, x + i * x_stride, x_stride, w + j * w_stride,
                w_stride, k);
    }
    for (; j < n_w; j++)
        for (size_t i = 0; i < n_x; i++)
            block(type, 1, 1, y + i * y_stride + j, y_stride, x + i * x_stride, x_stride, w + j * w_stride,
                w_stride, k);
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

void pc_matmul_init_neon(struct pc_matmul *table)
{
    *table = (struct pc_matmul){.f32 = matmul_f32, .f16 = matmul_f16, .bf16 = matmul_bf16};
}
