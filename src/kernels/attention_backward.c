// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention_backward.h"

#include "base/cpu.h"
#include "kernels/attention_backward_loop.h"

static void head(const struct pc_attention_head *h, float *scratch)
{
    pc_attention_backward_loop(h, scratch);
}

void pc_attention_backward_init(struct pc_attention_backward *table, unsigned cpu_flags)
{
    table->head = head;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_attention_backward_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_attention_backward_init_avx512(table);
#endif
    (void)cpu_flags;
}
