// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw.h"

#include "base/cpu.h"
#include "kernels/adamw_loop.h"

static void update(const struct pc_adamw_rule *rule, const struct pc_adamw_run *run)
{
    pc_adamw_loop(rule, run);
}

void pc_adamw_init(struct pc_adamw *table, unsigned cpu_flags)
{
    table->update = update;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_adamw_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_adamw_init_avx512(table);
#endif
    (void)cpu_flags;
}
