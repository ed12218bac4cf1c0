// SPDX-License-Identifier: Apache-2.0
#include "kernels/dropout.h"

#include "base/cpu.h"

static void apply(float *out, const float *x, size_t n, uint64_t key, uint32_t threshold, float scale)
{
    pc_dropout_loop(out, x, n, key, threshold, scale);
}

void pc_dropout_init(struct pc_dropout *table, unsigned cpu_flags)
{
    table->apply = apply;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_dropout_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_dropout_init_avx512(table);
#endif
    (void)cpu_flags;
}
