// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/attention_avx512.h"

FOLD(f32, PC_F32)
FOLD(f16, PC_F16)
FOLD(bf16, PC_BF16)
FOLD(q8_0, PC_Q8_0)

static void join(
    const struct pc_attention_state *into, const struct pc_attention_state *from, size_t n_q, size_t head_dim)
{
    pc_attention_join_loop(into, from, n_q, head_dim);
}

static void end(float *out, const struct pc_attention_state *state, size_t i, size_t head_dim)
{
    pc_attention_end_loop(out, state, i, head_dim);
}

void pc_attention_init_avx512(struct pc_attention *table)
{
    table->f32.fold = fold_f32;
    table->f16.fold = fold_f16;
    table->bf16.fold = fold_bf16;
    table->q8_0.fold = fold_q8_0;
    table->join = join;
    table->end = end;
    pc_attention_init_store_avx512(table);
}
