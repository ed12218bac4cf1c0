// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loop, whose operations are single: the bits stay. */
#include "kernels/rope.h"

static void forward(float *x, const float *cos_sin, size_t n_heads, size_t head_dim)
{
    pc_rope_loop(x, cos_sin, n_heads, head_dim);
}

static void backward(float *dx, const float *cos_sin, size_t n_heads, size_t head_dim)
{
    pc_rope_backward_loop(dx, cos_sin, n_heads, head_dim);
}

void pc_rope_init_avx512(struct pc_rope *table)
{
    table->forward = forward;
    table->backward = backward;
}
