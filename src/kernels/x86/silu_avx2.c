// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loop; its operations are single and fused where written, so the bits
 * stay. */
#include "kernels/silu.h"

static void mul(float *out, const float *gate, const float *up, size_t n)
{
    pc_silu_loop(out, gate, up, n);
}

static void backward(
    float *d_gate, float *d_up, float *act, const float *gate, const float *up, const float *d_act, size_t n)
{
    pc_silu_backward_loop(d_gate, d_up, act, gate, up, d_act, n);
}

void pc_silu_init_avx2(struct pc_silu *table)
{
    table->mul = mul;
    table->backward = backward;
}
