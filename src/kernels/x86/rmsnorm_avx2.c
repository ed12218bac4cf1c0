// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loop; its operations are single and fused where written, so the bits
 * stay. */
#include "kernels/rmsnorm.h"

static void forward(float *out, const float *x, const float *weight, size_t n_rows, size_t n, float eps)
{
    pc_rmsnorm_loop(out, x, weight, n_rows, n, eps);
}

void pc_rmsnorm_init_avx2(struct pc_rmsnorm *table)
{
    table->forward = forward;
}
