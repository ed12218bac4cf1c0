// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include "base/cpu.h"

static void fold(const struct pc_attention_state *state, const float *q, size_t n_q, size_t head_dim,
    const float *k, const float *v, const int32_t *n_keys, float scale)
{
    for (size_t i = 0; i < n_q; i++) {
        const float *query = q + i * head_dim;
        float *acc = state->acc + i * head_dim;
        float p[PC_KV_BLOCK] = {0};
        for (size_t d = 0; d < head_dim; d++)
            for (int32_t j = 0; j < n_keys[i]; j++)
                p[j] = fmaf(query[d], k[d * PC_KV_BLOCK + (size_t)j], p[j]);
        float c = pc_attention_weigh(p, n_keys[i], scale, &state->max[i], &state->sum[i]);
        for (size_t d = 0; d < head_dim; d++)
            acc[d] *= c;
        for (int32_t j = 0; j < n_keys[i]; j++)
            for (size_t d = 0; d < head_dim; d++)
                acc[d] = fmaf(p[j], v[(size_t)j * head_dim + d], acc[d]);
    }
}

void pc_attention_init(struct pc_attention *table, unsigned cpu_flags)
{
    table->fold = fold;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_attention_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_attention_init_avx512(table);
#endif
    (void)cpu_flags;
}

void pc_attention_begin(const struct pc_attention_state *state, size_t n_q, size_t head_dim)
{
    for (size_t i = 0; i < n_q * head_dim; i++)
        state->acc[i] = 0;
    for (size_t i = 0; i < n_q; i++) {
        state->max[i] = -INFINITY;
        state->sum[i] = 0;
    }
}

void pc_attention_end(const struct pc_attention_state *state, size_t n_q, size_t head_dim)
{
    for (size_t i = 0; i < n_q; i++)
        for (size_t d = 0; d < head_dim; d++)
            state->acc[i * head_dim + d] /= state->sum[i];
}

void pc_attention_store(float *k, float *v, size_t i, const float *key, const float *value, size_t head_dim)
{
    for (size_t d = 0; d < head_dim; d++) {
        k[d * PC_KV_BLOCK + i] = key[d];
        v[i * head_dim + d] = value[d];
    }
}
