// SPDX-License-Identifier: Apache-2.0
#include "kernels/signs.h"

#include "base/cpu.h"

static void add(const struct pc_signs_call *call)
{
    pc_signs_loop(call);
}

void pc_signs_init(struct pc_signs *table, unsigned cpu_flags)
{
    table->add = add;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_signs_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_signs_init_avx512(table);
#endif
    (void)cpu_flags;
}
