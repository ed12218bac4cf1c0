// SPDX-License-Identifier: Apache-2.0
/* A tile of 32 keys meets all its queries, QUERIES at a time, while its own gradients stay in the cache; a
 * query's gradient grows in place, tile after tile. Scores are a vector operation per d over transposed keys;
 * the three products with p and g keep a run of RUN sums over the queries, or keys. */
#include "kernels/attention_backward.h"

#include "base/cpu.h"
#include "kernels/attention_backward_loops.h"

enum { KEYS = 32, QUERIES = 4, RUN = 32 };

/* A tile of keys: n of them from row first on. */
struct tile {
    float *k, *v;     /* (D, 32) transposed */
    float *d_k, *d_v; /* (32, D) */
    size_t first, n;
};

static void begin(const struct pc_attention_head *h, const struct tile *tile)
{
    size_t d = h->head_dim;
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < KEYS; j++) {
            size_t at = (tile->first + j) * h->kv_stride + i;
            tile->k[i * KEYS + j] = j < tile->n ? h->k[at] : 0;
            tile->v[i * KEYS + j] = j < tile->n ? h->v[at] : 0;
        }
    for (size_t i = 0; i < KEYS * d; i++)
        tile->d_k[i] = tile->d_v[i] = 0;
}

/* x (n, D) times a transposed tile: out (n, 32). */
static void product(
    float out[][KEYS], const float *x, size_t stride, size_t n, const float *restrict tile, size_t head_dim)
{
    for (size_t i = 0; i < n; i++) {
        float sum[KEYS] = {0};
        for (size_t d = 0; d < head_dim; d++)
            for (size_t j = 0; j < KEYS; j++)
                sum[j] = fmaf(x[i * stride + d], tile[d * KEYS + j], sum[j]);
        for (size_t j = 0; j < KEYS; j++)
            out[i][j] = sum[j];
    }
}

/* out (D) += sum over i ascending of a[i * a_stride] x (n, D)[i]. */
static void add(float *restrict out, const float *restrict a, size_t a_stride, const float *restrict x,
    size_t stride, size_t n, size_t head_dim)
{
    size_t d = 0;
    for (; d + RUN <= head_dim; d += RUN) {
        float sum[RUN];
        for (size_t l = 0; l < RUN; l++)
            sum[l] = out[d + l];
        for (size_t i = 0; i < n; i++)
            for (size_t l = 0; l < RUN; l++)
                sum[l] = fmaf(a[i * a_stride], x[i * stride + d + l], sum[l]);
        for (size_t l = 0; l < RUN; l++)
            out[d + l] = sum[l];
    }
    for (; d < head_dim; d++)
        for (size_t i = 0; i < n; i++)
            out[d] = fmaf(a[i * a_stride], x[i * stride + d], out[d]);
}

/* Queries [first, first + n) against the tile. */
static void fold(const struct pc_attention_head *h, const struct tile *tile, size_t first, size_t n)
{
    float p[QUERIES][KEYS], g[QUERIES][KEYS];
    size_t d = h->head_dim, at = first * h->q_stride, stride = h->q_stride;
    product(p, h->q + at, stride, n, tile->k, d);
    product(g, h->d_out + at, stride, n, tile->v, d);
    for (size_t i = 0; i < n; i++) {
        size_t row = (first + i) * h->row_stride;
        float max = h->max[row], inverse = h->inverse[row], dot = h->dot[row];
        size_t seen = first + i + 1 - tile->first;
        for (size_t j = 0; j < KEYS; j++) {
            float weight = pc_expf(p[i][j] * h->scale - max) * inverse;
            p[i][j] = j < seen ? weight : 0;
            g[i][j] = j < seen ? weight * (g[i][j] - dot) : 0;
        }
    }
    for (size_t j = 0; j < tile->n; j++) {
        add(tile->d_v + j * d, &p[0][j], KEYS, h->d_out + at, stride, n, d);
        add(tile->d_k + j * d, &g[0][j], KEYS, h->q + at, stride, n, d);
    }
    for (size_t i = 0; i < n; i++)
        add(h->d_q + at + i * stride, g[i], 1, h->k + tile->first * h->kv_stride, h->kv_stride, tile->n, d);
}

static void head(const struct pc_attention_head *h, float *scratch)
{
    size_t d = h->head_dim, size = KEYS * d;
    struct tile tile = {scratch, scratch + size, scratch + 2 * size, scratch + 3 * size, 0, 0};
    pc_attention_dots_loop(h);
    for (size_t i = 0; i < h->n; i++)
        for (size_t c = 0; c < d; c++)
            h->d_q[i * h->q_stride + c] = 0;
    for (; tile.first < h->n; tile.first += KEYS) {
        tile.n = h->n - tile.first < KEYS ? h->n - tile.first : KEYS;
        begin(h, &tile);
        for (size_t i = tile.first; i < h->n; i += QUERIES)
            fold(h, &tile, i, h->n - i < QUERIES ? h->n - i : QUERIES);
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

static void dots(const struct pc_attention_head *h)
{
    pc_attention_dots_loop(h);
}

static void weigh(const struct pc_attention_scores *scores)
{
    pc_attention_weigh_loop(scores);
}

static void scale(const struct pc_attention_head *h)
{
    pc_attention_scale_loop(h);
}

void pc_attention_backward_init(struct pc_attention_backward *table, unsigned cpu_flags)
{
    *table = (struct pc_attention_backward){head, dots, weigh, scale};
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_attention_backward_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_attention_backward_init_avx512(table);
#endif
    (void)cpu_flags;
}
