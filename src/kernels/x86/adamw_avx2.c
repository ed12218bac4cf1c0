// SPDX-License-Identifier: Apache-2.0
/* The compiler makes vectors of the loops. */
#include "kernels/adamw_loop.h"

static void update(const struct pc_adamw_rule *rule, const struct pc_adamw_run *run)
{
    pc_adamw_loop(rule, run);
}

void pc_adamw_init_avx2(struct pc_adamw *table)
{
    table->update = update;
}
