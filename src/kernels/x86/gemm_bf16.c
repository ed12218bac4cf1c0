// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/gemm_avx512.h"

GEMM(PAIRS, bf16)

void pc_gemm_init_avx512_bf16(struct pc_gemm *table)
{
    table->bf16 = g_bf16;
}
