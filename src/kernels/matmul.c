// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul.h"

#include "base/cpu.h"
#include "kernels/float_bits.h"

#include <math.h>
#include <string.h>

static float join(float lane[PC_LANES])
{
    for (int width = PC_LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

/* Weights lie where their file put them, on any address: they are fetched by memcpy. */
static float widen_f32(const char *w, size_t i)
{
    float x;
    memcpy(&x, w + i * sizeof x, sizeof x);
    return x;
}

static float widen_f16(const char *w, size_t i)
{
    uint16_t h;
    memcpy(&h, w + i * sizeof h, sizeof h);
    return pc_f16_to_f32(h);
}

static float widen_bf16(const char *w, size_t i)
{
    uint16_t h;
    memcpy(&h, w + i * sizeof h, sizeof h);
    return pc_bf16_to_f32(h);
}

static inline float dot(float (*widen)(const char *, size_t), const float *x, const char *w, size_t k)
{
    float lane[PC_LANES] = {0};
    for (size_t i = 0; i < k; i++)
        lane[i % PC_LANES] = fmaf(x[i], widen(w, i), lane[i % PC_LANES]);
    return join(lane);
}

/* Weight rows outside, activation rows inside: a row of weights is read from memory once. */
static inline void matmul(float (*widen)(const char *, size_t), float *y, size_t y_stride, const float *x,
    size_t x_stride, size_t n_x, const char *w, size_t w_stride, size_t n_w, size_t k)
{
    for (size_t j = 0; j < n_w; j++)
        for (size_t i = 0; i < n_x; i++)
            y[i * y_stride + j] = dot(widen, x + i * x_stride, w + j * w_stride, k);
}

static void matmul_f32(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    matmul(widen_f32, y, y_stride, x, x_stride, n_x, w, w_stride, n_w, k);
}

static void matmul_f16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    matmul(widen_f16, y, y_stride, x, x_stride, n_x, w, w_stride, n_w, k);
}

static void matmul_bf16(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    matmul(widen_bf16, y, y_stride, x, x_stride, n_x, w, w_stride, n_w, k);
}

void pc_matmul_init(struct pc_matmul *table, unsigned cpu_flags)
{
    *table = (struct pc_matmul){.f32 = matmul_f32, .f16 = matmul_f16, .bf16 = matmul_bf16};
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_matmul_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_matmul_init_avx512(table);
#endif
#ifdef PC_HAVE_NEON
    if (!(cpu_flags & PC_CPU_NEON))
        return;
    pc_matmul_init_neon(table);
#endif
    (void)cpu_flags;
}

pc_matmul_fn *pc_matmul_for(const struct pc_matmul *table, enum pc_dtype dtype)
{
    return dtype == PC_F32    ? table->f32
           : dtype == PC_F16  ? table->f16
           : dtype == PC_BF16 ? table->bf16
                              : NULL;
}
