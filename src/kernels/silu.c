// SPDX-License-Identifier: Apache-2.0
#include "kernels/silu.h"

#include "base/cpu.h"

static void mul(float *out, const float *gate, const float *up, size_t n)
{
    pc_silu_loop(out, gate, up, n);
}

static void backward(
    float *d_gate, float *d_up, float *act, const float *gate, const float *up, const float *d_act, size_t n)
{
    pc_silu_backward_loop(d_gate, d_up, act, gate, up, d_act, n);
}

void pc_silu_init(struct pc_silu *table, unsigned cpu_flags)
{
    table->mul = mul;
    table->backward = backward;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_silu_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_silu_init_avx512(table);
#endif
    (void)cpu_flags;
}
