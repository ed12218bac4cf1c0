// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loop; its operations are single and fused where written, so the bits
 * stay. */
#include "kernels/rmsnorm.h"

static void forward(float *out, const float *x, const float *weight, size_t n_rows, size_t n, float eps)
{
    pc_rmsnorm_loop(out, x, weight, n_rows, n, eps);
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

void pc_rmsnorm_init_avx2(struct pc_rmsnorm *table)
{
    table->forward = forward;
    table->backward = backward;
    table->backward_weight = backward_weight;
}
