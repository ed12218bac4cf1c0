// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/attention_avx512.h"

FOLD(bf16, PC_BF16)

void pc_attention_init_avx512_bf16(struct pc_attention *table)
{
    table->bf16.fold = fold_bf16;
}
