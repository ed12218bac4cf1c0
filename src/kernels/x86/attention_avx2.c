// SPDX-License-Identifier: Apache-2.0
/* A tile's 32 scores are four registers. Queries that see equally many keys go by twos, which share each load
 * of k and v. */
#include "kernels/attention.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* p (n, 32) = q k for n queries, unscaled; n is a constant after inlining. */
INLINE void scores(int n, float (*p)[PC_KV_BLOCK], const float *q, size_t head_dim, const float *k)
{
    __m256 s[2][4];
#pragma GCC unroll 2
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int part = 0; part < 4; part++)
            s[i][part] = _mm256_setzero_ps();
    for (size_t d = 0; d < head_dim; d++)
#pragma GCC unroll 4
        for (int part = 0; part < 4; part++) {
            __m256 key = _mm256_loadu_ps(k + d * PC_KV_BLOCK + 8 * part);
#pragma GCC unroll 2
            for (int i = 0; i < n; i++)
                s[i][part] = _mm256_fmadd_ps(_mm256_set1_ps(q[(size_t)i * head_dim + d]), key, s[i][part]);
        }
#pragma GCC unroll 2
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int part = 0; part < 4; part++)
            _mm256_storeu_ps(p[i] + 8 * part, s[i][part]);
}

/* acc = acc * c + p v for n queries, 16 columns at a time, the last ones one by one. */
INLINE void values(int n, float *acc, size_t head_dim, float (*p)[PC_KV_BLOCK], const float *c,
    const float *v, int32_t n_keys)
{
    size_t d = 0;
    for (; d + 16 <= head_dim; d += 16) {
        __m256 lo[2], hi[2];
#pragma GCC unroll 2
        for (int i = 0; i < n; i++) {
            const float *at = acc + (size_t)i * head_dim + d;
            lo[i] = _mm256_mul_ps(_mm256_loadu_ps(at), _mm256_set1_ps(c[i]));
            hi[i] = _mm256_mul_ps(_mm256_loadu_ps(at + 8), _mm256_set1_ps(c[i]));
        }
        for (int32_t j = 0; j < n_keys; j++) {
            const float *row = v + (size_t)j * head_dim + d;
            __m256 v_lo = _mm256_loadu_ps(row), v_hi = _mm256_loadu_ps(row + 8);
#pragma GCC unroll 2
            for (int i = 0; i < n; i++) {
                __m256 weight = _mm256_set1_ps(p[i][j]);
                lo[i] = _mm256_fmadd_ps(weight, v_lo, lo[i]);
                hi[i] = _mm256_fmadd_ps(weight, v_hi, hi[i]);
            }
        }
#pragma GCC unroll 2
        for (int i = 0; i < n; i++) {
            _mm256_storeu_ps(acc + (size_t)i * head_dim + d, lo[i]);
            _mm256_storeu_ps(acc + (size_t)i * head_dim + d + 8, hi[i]);
        }
    }
    for (; d < head_dim; d++)
        for (int i = 0; i < n; i++) {
            float sum = acc[(size_t)i * head_dim + d] * c[i];
            for (int32_t j = 0; j < n_keys; j++)
                sum = fmaf(p[i][j], v[(size_t)j * head_dim + d], sum);
            acc[(size_t)i * head_dim + d] = sum;
        }
}

INLINE void fold_n(int n, const struct pc_attention_state *state, size_t first, const float *q,
    size_t head_dim, const float *k, const float *v, int32_t n_keys, float scale)
{
    float p[2][PC_KV_BLOCK], c[2];
    scores(n, p, q + first * head_dim, head_dim, k);
    for (int i = 0; i < n; i++)
        c[i] = pc_attention_weigh(
            p[i], n_keys, scale, &state->max[first + (size_t)i], &state->sum[first + (size_t)i]);
    values(n, state->acc + first * head_dim, head_dim, p, c, v, n_keys);
}

static void fold(const struct pc_attention_state *state, const float *q, size_t n_q, size_t head_dim,
    const float *k, const float *v, const int32_t *n_keys, float scale)
{
    for (size_t i = 0; i < n_q;) {
        if (i + 1 < n_q && n_keys[i] == n_keys[i + 1]) {
            fold_n(2, state, i, q, head_dim, k, v, n_keys[i], scale);
            i += 2;
        } else {
            fold_n(1, state, i, q, head_dim, k, v, n_keys[i], scale);
            i++;
        }
    }
}

void pc_attention_init_avx2(struct pc_attention *table)
{
    table->fold = fold;
}
