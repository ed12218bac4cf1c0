// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/attention_avx512.h"

FOLD(f32, PC_F32)
FOLD(f16, PC_F16)
FOLD(bf16, PC_BF16)
FOLD(q8_0, PC_Q8_0)

void pc_attention_init_avx512(struct pc_attention *table)
{
    table->f32.fold = fold_f32;
    table->f16.fold = fold_f16;
    table->bf16.fold = fold_bf16;
    table->q8_0.fold = fold_q8_0;
}
