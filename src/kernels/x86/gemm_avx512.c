// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/gemm_avx512.h"

GEMM(FLOATS, f32)
GEMM(PAIRS, bf16)

void pc_gemm_init_avx512(struct pc_gemm *table)
{
    table->f32 = g_f32;
    table->bf16 = g_bf16;
}
