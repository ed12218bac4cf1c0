// SPDX-License-Identifier: Apache-2.0
#include "kernels/bf16.h"

#include "base/cpu.h"
#include "kernels/float_bits.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

static float flushed(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

static void round_row(uint16_t *dst, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = pc_f32_to_bf16(flushed(x[i]));
}

static float join(float lane[LANES])
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

/* Element i of a weight row, on any address; zero behind the end. */
static float weight(const char *w, size_t i, size_t k)
{
    uint16_t h = 0;
    if (i < k)
        memcpy(&h, w + i * sizeof h, sizeof h);
    return flushed(pc_bf16_to_f32(h));
}

static float activation(const uint16_t *x, size_t i, size_t k)
{
    return i < k ? flushed(pc_bf16_to_f32(x[i])) : 0.0f;
}

static float dot(const uint16_t *x, const char *w, size_t k)
{
    float lane[LANES] = {0};
    for (size_t i = 0; i < k; i += 2) {
        float *sum = &lane[i / 2 % LANES];
        *sum = flushed(fmaf(activation(x, i + 1, k), weight(w, i + 1, k), *sum));
        *sum = flushed(fmaf(activation(x, i, k), weight(w, i, k), *sum));
    }
    return join(lane);
}

static void matmul(float *y, size_t y_stride, const uint16_t *x, size_t x_stride, size_t n_x, const void *w,
    size_t w_stride, size_t n_w, size_t k)
{
    for (size_t j = 0; j < n_w; j++)
        for (size_t i = 0; i < n_x; i++)
            y[i * y_stride + j] = dot(x + i * x_stride, (const char *)w + j * w_stride, k);
}

void pc_bf16_init(struct pc_bf16 *table, unsigned cpu_flags)
{
    *table = (struct pc_bf16){.round = round_row, .matmul = matmul, .native = false};
#ifdef PC_HAVE_AVX512_BF16
    if (!(cpu_flags & PC_CPU_AVX512_BF16))
        return;
    pc_bf16_init_avx512_bf16(table);
#endif
    (void)cpu_flags;
}
