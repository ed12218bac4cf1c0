// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loops; their operations are single and fused where written, so the bits
 * stay. */
#include "kernels/attention_backward_loop.h"

static void head(const struct pc_attention_head *h, float *scratch)
{
    pc_attention_backward_loop(h, scratch);
}

void pc_attention_backward_init_avx512(struct pc_attention_backward *table)
{
    table->head = head;
}
