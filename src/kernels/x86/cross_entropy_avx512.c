// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loops, whose operations are single: the bits stay. */
#include "kernels/cross_entropy_loop.h"

static double forward(const float *z, size_t n, size_t label)
{
    return pc_cross_entropy_forward_loop(z, n, label);
}

static double backward(float *z, size_t n, size_t label, float weight)
{
    return pc_cross_entropy_backward_loop(z, n, label, weight);
}

void pc_cross_entropy_init_avx512(struct pc_cross_entropy *table)
{
    table->forward = forward;
    table->backward = backward;
}
