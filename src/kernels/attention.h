// SPDX-License-Identifier: Apache-2.0
/* Attention over a cache of keys and values that lies in blocks of PC_KV_BLOCK positions.
 *
 * Block i holds positions [32 i, 32 i + 32) and is one tile of the sum: the softmax runs over tiles in
 * ascending order (Milakov and Gimelshein 2018; Dao et al. 2022), so a query's result depends on its own
 * position and the keys before it, never on where a chunk of the prompt began or who else is in the batch.
 * Per query and tile:
 *
 *     s[j]   = scale * sum over d ascending of fmaf(q[d], k[d][j])              j < n_keys
 *     m'     = max(m, max s),  c = e^(m - m'),  p[j] = e^(s[j] - m')            0 for j >= n_keys
 *     sum'   = fmaf(sum, c, joined p): p[j] + p[j + 16], + 8, + 4, + 2, + 1
 *     acc'   = acc * c, then fmaf(p[j], v[j][d]) for j ascending
 *
 * Keys are stored transposed, (D, 32), so that a tile's scores are one vector operation per d. All versions
 * give the same bits. docs/math/attention.md. */
#ifndef PC_KERNELS_ATTENTION_H
#define PC_KERNELS_ATTENTION_H

#include "kernels/vmath.h"

#include <stddef.h>
#include <stdint.h>

enum { PC_KV_BLOCK = 32 };

/** The running softmax of n queries: acc (n, D), max (n), sum (n). */
struct pc_attention_state {
    float *acc, *max, *sum;
};

struct pc_attention {
    /** Fold a tile into the state of n_q queries.
     *
     *  q       (n_q, D) float32; any D.
     *  k       (D, 32), v (32, D); what lies beyond a query's keys is read (k) or not (v), and never matters.
     *  n_keys  (n_q) how many of the tile's keys each query sees, 1 to 32.
     *
     *  Thread-safe on disjoint states. */
    void (*fold)(const struct pc_attention_state *state, const float *q, size_t n_q, size_t head_dim,
        const float *k, const float *v, const int32_t *n_keys, float scale);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_attention_init(struct pc_attention *table, unsigned cpu_flags);

/** Before the first tile: acc 0, max -infinity, sum 0. */
void pc_attention_begin(const struct pc_attention_state *state, size_t n_q, size_t head_dim);
/** After the last: acc divided by sum, the attention's output. */
void pc_attention_end(const struct pc_attention_state *state, size_t n_q, size_t head_dim);

/** Put one position's key and value (D) into column, and row, i (0 to 31) of a tile. */
void pc_attention_store(float *k, float *v, size_t i, const float *key, const float *value, size_t head_dim);

/* Turn a tile's dot products into p, and the query's max and sum into the new ones; returns c. Every version
 * compiles it with its own flags. */
static inline float pc_attention_weigh(
    float s[PC_KV_BLOCK], int32_t n_keys, float scale, float *max, float *sum)
{
    enum { HALF = PC_KV_BLOCK / 2 };
    float lane[HALF];
    for (int j = 0; j < PC_KV_BLOCK; j++)
        s[j] = j < n_keys ? s[j] * scale : -INFINITY;
    for (int l = 0; l < HALF; l++)
        lane[l] = s[l] > s[l + HALF] ? s[l] : s[l + HALF];
    for (int width = HALF / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] = lane[l] > lane[l + width] ? lane[l] : lane[l + width];
    float m = lane[0] > *max ? lane[0] : *max, c = pc_expf(*max - m);
    for (int j = 0; j < PC_KV_BLOCK; j++)
        s[j] = pc_expf(s[j] - m);
    for (int l = 0; l < HALF; l++)
        lane[l] = s[l] + s[l + HALF];
    for (int width = HALF / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    *max = m;
    *sum = fmaf(*sum, c, lane[0]);
    return c;
}

void pc_attention_init_avx2(struct pc_attention *table);
void pc_attention_init_avx512(struct pc_attention *table);

#endif
