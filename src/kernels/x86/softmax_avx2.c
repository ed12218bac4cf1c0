// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loop; its operations are single and fused where written, so the bits
 * stay. */
#include "kernels/softmax.h"

static void exp_shifted(float *out, const float *x, float shift, size_t n)
{
    pc_exp_shifted_loop(out, x, shift, n);
}

void pc_softmax_init_avx2(struct pc_softmax *table)
{
    table->exp_shifted = exp_shifted;
}
