// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loop, whose operations are single: the bits stay. */
#include "kernels/dropout.h"

static void apply(float *out, const float *x, size_t n, uint64_t key, uint32_t threshold, float scale)
{
    pc_dropout_loop(out, x, n, key, threshold, scale);
}

void pc_dropout_init_avx512(struct pc_dropout *table)
{
    table->apply = apply;
}
