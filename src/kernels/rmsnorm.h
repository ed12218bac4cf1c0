// SPDX-License-Identifier: Apache-2.0
#ifndef PC_KERNELS_RMSNORM_H
#define PC_KERNELS_RMSNORM_H

#include <math.h>
#include <stddef.h>

struct pc_rmsnorm {
    /** Root mean square normalisation: out = x / sqrt(mean(x^2) + eps) * weight, row by row.
     *
     *  out, x  (T, C) float32, contiguous; out may be x.
     *  weight  (C).
     *
     *  The sum of squares is a product by the contract of matmul.h, the rest is one rounding per operation:
     * the same bits at every level. The order (scale first, then weight) is the reference's. Thread-safe on
     *  disjoint out. Source: Zhang and Sennrich 2019, eq. 4; Transformers' LlamaRMSNorm.
     *  docs/math/rmsnorm.md. */
    void (*forward)(float *out, const float *x, const float *weight, size_t n_rows, size_t n, float eps);

    /** The gradient of x: with r = 1 / sqrt(mean(x^2) + eps) as forward has it, g = weight dy and
     *  k = mean(g x) r r, dx += (g - x k) r, row by row. docs/math/rmsnorm.md.
     *
     *  dx, dy, x  (T, C), contiguous; dx is neither of the others.
     *  scale      (T) r of each row, for backward_weight.
     *
     *  The sum is a product by the contract of matmul.h: the same bits at every level. */
    void (*backward)(float *dx, float *scale, const float *dy, const float *x, const float *weight,
        size_t n_rows, size_t n, float eps);
    /** The gradient of the weight, columns [first, end): dw[c] += sum over t ascending of
     *  fmaf(dy[t][c], x[t][c] * scale[t]), from zero. Thread-safe on disjoint columns. */
    void (*backward_weight)(float *dw, const float *dy, const float *x, const float *scale, size_t n_rows,
        size_t n, size_t first, size_t end);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_rmsnorm_init(struct pc_rmsnorm *table, unsigned cpu_flags);

/* sum of a[c] b[c] in the order of matmul.h. */
static inline float pc_rmsnorm_dot(const float *a, const float *b, size_t n)
{
    enum { LANES = 16 };
    float lane[LANES] = {0};
    size_t c = 0;
    for (; c + LANES <= n; c += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] = fmaf(a[c + l], b[c + l], lane[l]);
    for (size_t l = 0; c + l < n; l++)
        lane[l] = fmaf(a[c + l], b[c + l], lane[l]);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

/* The loops of every version, which each compiles with its own flags. */
static inline void pc_rmsnorm_loop(
    float *out, const float *x, const float *weight, size_t n_rows, size_t n, float eps)
{
    for (size_t t = 0; t < n_rows; t++, out += n, x += n) {
        float scale = 1.0f / sqrtf(pc_rmsnorm_dot(x, x, n) / (float)n + eps);
        for (size_t c = 0; c < n; c++) {
            float scaled = x[c] * scale;
            out[c] = weight[c] * scaled;
        }
    }
}

static inline void pc_rmsnorm_backward_loop(float *dx, float *scale, const float *dy, const float *x,
    const float *weight, size_t n_rows, size_t n, float eps)
{
    enum { LANES = 16 };
    for (size_t t = 0; t < n_rows; t++, dx += n, dy += n, x += n) {
        float r = 1.0f / sqrtf(pc_rmsnorm_dot(x, x, n) / (float)n + eps), lane[LANES] = {0};
        size_t c = 0;
        for (; c + LANES <= n; c += LANES)
            for (size_t l = 0; l < LANES; l++)
                lane[l] = fmaf(weight[c + l] * dy[c + l], x[c + l], lane[l]);
        for (size_t l = 0; c + l < n; l++)
            lane[l] = fmaf(weight[c + l] * dy[c + l], x[c + l], lane[l]);
        for (int width = LANES / 2; width > 0; width /= 2)
            for (int l = 0; l < width; l++)
                lane[l] += lane[l + width];
        float k = lane[0] / (float)n * r * r;
        for (c = 0; c < n; c++)
            dx[c] += fmaf(-x[c], k, weight[c] * dy[c]) * r;
        scale[t] = r;
    }
}

static inline void pc_rmsnorm_backward_weight_loop(float *dw, const float *dy, const float *x,
    const float *scale, size_t n_rows, size_t n, size_t first, size_t end)
{
    enum { COLUMNS = 64 };
    for (; first < end; first += COLUMNS) {
        float sum[COLUMNS] = {0};
        size_t width = end - first < COLUMNS ? end - first : COLUMNS;
        for (size_t t = 0; t < n_rows; t++) {
            const float *g = dy + t * n + first, *v = x + t * n + first;
            if (width == COLUMNS)
                for (size_t c = 0; c < COLUMNS; c++)
                    sum[c] = fmaf(g[c], v[c] * scale[t], sum[c]);
            else
                for (size_t c = 0; c < width; c++)
                    sum[c] = fmaf(g[c], v[c] * scale[t], sum[c]);
        }
        for (size_t c = 0; c < width; c++)
            dw[first + c] += sum[c];
    }
}

void pc_rmsnorm_init_avx2(struct pc_rmsnorm *table);
void pc_rmsnorm_init_avx512(struct pc_rmsnorm *table);

#endif
