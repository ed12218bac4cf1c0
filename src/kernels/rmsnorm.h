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
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_rmsnorm_init(struct pc_rmsnorm *table, unsigned cpu_flags);

/* The loop of every version, which each compiles with its own flags. */
static inline void pc_rmsnorm_loop(
    float *out, const float *x, const float *weight, size_t n_rows, size_t n, float eps)
{
    enum { LANES = 16 };
    for (size_t t = 0; t < n_rows; t++, out += n, x += n) {
        float lane[LANES] = {0};
        size_t c = 0;
        for (; c + LANES <= n; c += LANES)
            for (size_t l = 0; l < LANES; l++)
                lane[l] = fmaf(x[c + l], x[c + l], lane[l]);
        for (size_t l = 0; c + l < n; l++)
            lane[l] = fmaf(x[c + l], x[c + l], lane[l]);
        for (int width = LANES / 2; width > 0; width /= 2)
            for (int l = 0; l < width; l++)
                lane[l] += lane[l + width];
        float scale = 1.0f / sqrtf(lane[0] / (float)n + eps);
        for (c = 0; c < n; c++) {
            float scaled = x[c] * scale;
            out[c] = weight[c] * scaled;
        }
    }
}

void pc_rmsnorm_init_avx2(struct pc_rmsnorm *table);
void pc_rmsnorm_init_avx512(struct pc_rmsnorm *table);

#endif
