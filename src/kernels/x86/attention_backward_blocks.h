// SPDX-License-Identifier: Apache-2.0
/* Attention's backward where all five products are one: rows of sums, each a chain of steps that multiply a
 * number of theirs with a row of x, by blocks that lie in registers. A tile of 32 keys meets 32 queries at a
 * time: what they need lies in the first level cache, or close by. */
#ifndef PC_KERNELS_ATTENTION_BACKWARD_BLOCKS_H
#define PC_KERNELS_ATTENTION_BACKWARD_BLOCKS_H

#include "kernels/attention_backward_loops.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { KEYS = 32, QUERIES = 32 };

/* out (n_rows, width) = or += for each row i the sum over steps ascending of a[i * a_row + s * a_step] x[s].
 */
struct product {
    float *out;
    size_t out_stride;
    const float *a;
    size_t a_row, a_step;
    const float *x;
    size_t x_stride, n_rows, n_steps, width;
};

/* A tile of keys: n of them from row first on. */
struct tile {
    float *k, *v;     /* (D, 32) transposed, zeros for keys that are not there */
    float *d_k, *d_v; /* (32, D) */
    size_t first, n;
};

/* What an instruction set has of its own. */
struct back_ops {
    void (*multiply_new)(const struct product *p);
    void (*multiply_add)(const struct product *p);
    /* to (D, 32) = n (at most 32) rows of from, transposed, zeros for those that are not there. */
    void (*turn)(float *to, const float *from, size_t stride, size_t n, size_t head_dim);
    /* Scores and their gradients become p and g of queries [first, first + n). */
    void (*weigh)(const struct pc_attention_head *h, const struct tile *tile, size_t first, size_t n,
        float p[][KEYS], float g[][KEYS]);
};

/* Queries [first, first + n) against the tile. */
INLINE void fold(const struct back_ops *ops, const struct pc_attention_head *h, const struct tile *tile,
    size_t first, size_t n)
{
    _Alignas(64) float p[QUERIES][KEYS], g[QUERIES][KEYS];
    size_t d = h->head_dim, at = first * h->q_stride;
    const float *q = h->q + at, *d_out = h->d_out + at;
    ops->multiply_new(&(struct product){p[0], KEYS, q, h->q_stride, 1, tile->k, KEYS, n, d, KEYS});
    ops->multiply_new(&(struct product){g[0], KEYS, d_out, h->q_stride, 1, tile->v, KEYS, n, d, KEYS});
    ops->weigh(h, tile, first, n, p, g);
    ops->multiply_add(&(struct product){tile->d_v, d, p[0], 1, KEYS, d_out, h->q_stride, tile->n, n, d});
    ops->multiply_add(&(struct product){tile->d_k, d, g[0], 1, KEYS, q, h->q_stride, tile->n, n, d});
    ops->multiply_add(&(struct product){h->d_q + at, h->q_stride, g[0], KEYS, 1,
        h->k + tile->first * h->kv_stride, h->kv_stride, n, tile->n, d});
}

/* pc_attention_backward's head; ops is a constant after inlining. */
INLINE void back_head(const struct back_ops *ops, const struct pc_attention_head *h, float *scratch)
{
    size_t d = h->head_dim, size = KEYS * d;
    struct tile tile = {scratch, scratch + size, scratch + 2 * size, scratch + 3 * size, 0, 0};
    pc_attention_dots_loop(h);
    for (size_t i = 0; i < h->n; i++)
        memset(h->d_q + i * h->q_stride, 0, d * sizeof(float));
    for (; tile.first < h->n; tile.first += KEYS) {
        tile.n = h->n - tile.first < KEYS ? h->n - tile.first : KEYS;
        ops->turn(tile.k, h->k + tile.first * h->kv_stride, h->kv_stride, tile.n, d);
        ops->turn(tile.v, h->v + tile.first * h->kv_stride, h->kv_stride, tile.n, d);
        memset(tile.d_k, 0, 2 * size * sizeof(float));
        for (size_t i = tile.first; i < h->n; i += QUERIES)
            fold(ops, h, &tile, i, h->n - i < QUERIES ? h->n - i : QUERIES);
        for (size_t j = 0; j < tile.n; j++)
            for (size_t c = 0; c < d; c++) {
                size_t at = (tile.first + j) * h->q_stride + c;
                h->d_k[at] = tile.d_k[j * d + c] * h->scale;
                h->d_v[at] = tile.d_v[j * d + c];
            }
    }
    for (size_t i = 0; i < h->n; i++)
        for (size_t c = 0; c < d; c++)
            h->d_q[i * h->q_stride + c] *= h->scale;
}

#endif
