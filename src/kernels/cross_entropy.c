// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy.h"

#include "base/cpu.h"
#include "kernels/cross_entropy_loop.h"

static double forward(const float *z, size_t n, size_t label)
{
    return pc_cross_entropy_forward_loop(z, n, label);
}

static double backward(float *z, size_t n, size_t label, float weight)
{
    return pc_cross_entropy_backward_loop(z, n, label, weight);
}

void pc_cross_entropy_init(struct pc_cross_entropy *table, unsigned cpu_flags)
{
    table->forward = forward;
    table->backward = backward;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_cross_entropy_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_cross_entropy_init_avx512(table);
#endif
    (void)cpu_flags;
}
