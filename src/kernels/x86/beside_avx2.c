// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loops, whose sums are of integers: the bits stay. */
#include "kernels/beside.h"

static void add_factor(const struct pc_beside_call *call)
{
    pc_beside_factor_loop(call);
}

static void add_signs(const struct pc_beside_call *call)
{
    pc_beside_signs_loop(call);
}

void pc_beside_init_avx2(struct pc_beside *table)
{
    *table = (struct pc_beside){add_factor, add_signs};
}
