// SPDX-License-Identifier: Apache-2.0
/* A tile's 32 scores are two registers. Queries that see equally many keys (the heads of a group, and every
 * row of a prompt in its full tiles) go by fours, which share each load of k and v. */
#include "kernels/attention.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* p (n, 32) = q k for n queries, unscaled; n is a constant after inlining. */
INLINE void scores(int n, float (*p)[PC_KV_BLOCK], const float *q, size_t head_dim, const float *k)
{
    __m512 lo[4], hi[4];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        lo[i] = hi[i] = _mm512_setzero_ps();
    for (size_t d = 0; d < head_dim; d++) {
        __m512 k_lo = _mm512_loadu_ps(k + d * PC_KV_BLOCK), k_hi = _mm512_loadu_ps(k + d * PC_KV_BLOCK + 16);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            __m512 query = _mm512_set1_ps(q[(size_t)i * head_dim + d]);
            lo[i] = _mm512_fmadd_ps(query, k_lo, lo[i]);
            hi[i] = _mm512_fmadd_ps(query, k_hi, hi[i]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        _mm512_storeu_ps(p[i], lo[i]);
        _mm512_storeu_ps(p[i] + 16, hi[i]);
    }
}

/* acc = acc * c + p v for n queries, 32 columns at a time, the last ones masked. */
INLINE void values(int n, float *acc, size_t head_dim, float (*p)[PC_KV_BLOCK], const float *c,
    const float *v, int32_t n_keys)
{
    for (size_t d = 0; d < head_dim; d += 32) {
        size_t left = head_dim - d;
        __mmask16 m_lo = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
        __mmask16 m_hi = left >= 32 ? 0xffff : left > 16 ? (__mmask16)((1u << (left - 16)) - 1) : 0;
        __m512 lo[4], hi[4];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const float *at = acc + (size_t)i * head_dim + d;
            lo[i] = _mm512_mul_ps(_mm512_maskz_loadu_ps(m_lo, at), _mm512_set1_ps(c[i]));
            hi[i] = _mm512_mul_ps(_mm512_maskz_loadu_ps(m_hi, at + 16), _mm512_set1_ps(c[i]));
        }
        for (int32_t j = 0; j < n_keys; j++) {
            const float *row = v + (size_t)j * head_dim + d;
            __m512 v_lo = _mm512_maskz_loadu_ps(m_lo, row), v_hi = _mm512_maskz_loadu_ps(m_hi, row + 16);
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) {
                __m512 weight = _mm512_set1_ps(p[i][j]);
                lo[i] = _mm512_fmadd_ps(weight, v_lo, lo[i]);
                hi[i] = _mm512_fmadd_ps(weight, v_hi, hi[i]);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            float *at = acc + (size_t)i * head_dim + d;
            _mm512_mask_storeu_ps(at, m_lo, lo[i]);
            _mm512_mask_storeu_ps(at + 16, m_hi, hi[i]);
        }
    }
}

INLINE void fold_n(int n, const struct pc_attention_state *state, size_t first, const float *q,
    size_t head_dim, const float *k, const float *v, int32_t n_keys, float scale)
{
    float p[4][PC_KV_BLOCK], c[4];
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
        size_t same = 1;
        while (same < 4 && i + same < n_q && n_keys[i + same] == n_keys[i])
            same++;
        switch (same) {
        case 4: fold_n(4, state, i, q, head_dim, k, v, n_keys[i], scale); break;
        case 3: fold_n(3, state, i, q, head_dim, k, v, n_keys[i], scale); break;
        case 2: fold_n(2, state, i, q, head_dim, k, v, n_keys[i], scale); break;
        default: fold_n(1, state, i, q, head_dim, k, v, n_keys[i], scale); break;
        }
        i += same;
    }
}

void pc_attention_init_avx512(struct pc_attention *table)
{
    table->fold = fold;
}
