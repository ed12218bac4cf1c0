// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/packed_avx2.h"

void pc_packed_init_avx_vnni(struct pc_packed *table)
{
    use_products(table);
}
