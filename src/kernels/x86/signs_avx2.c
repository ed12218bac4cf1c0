// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loop, whose operations are single: the bits stay. */
#include "kernels/signs.h"

static void add(const struct pc_signs_call *call)
{
    pc_signs_loop(call);
}

void pc_signs_init_avx2(struct pc_signs *table)
{
    table->add = add;
}
