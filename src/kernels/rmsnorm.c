// SPDX-License-Identifier: Apache-2.0
#include "kernels/rmsnorm.h"

#include <math.h>

void pc_rmsnorm_forward(const struct pc_matmul *products, float *out, const float *x, const float *weight,
    size_t n_rows, size_t n, float eps)
{
    for (size_t t = 0; t < n_rows; t++, out += n, x += n) {
        float mean = pc_dot(products, x, x, n) / (float)n;
        float scale = 1.0f / sqrtf(mean + eps);
        for (size_t c = 0; c < n; c++) {
            float scaled = x[c] * scale;
            out[c] = weight[c] * scaled;
        }
    }
}
