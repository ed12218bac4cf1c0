// SPDX-License-Identifier: Apache-2.0
/* All five products are one: rows of sums, each a chain of steps that multiply a number of theirs with a row
 * of x. Eight rows by 32 columns are in registers. A tile of 32 keys meets 32 queries at a time: what they
 * need lies in the first level cache, or close by. */
#include "kernels/attention_backward.h"

#include "kernels/rmsnorm.h"
#include "kernels/x86/exp_avx512.h"
#include "kernels/x86/transpose_avx512.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, KEYS = 32, QUERIES = 32, ROWS = 8, WIDE = 2 };

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

/* n_rows and n_wide are constants after inlining; last masks the columns of the last vector. */
INLINE void block(
    int n_rows, int n_wide, bool zero, const struct product *p, size_t i, size_t c, __mmask16 last)
{
    __m512 sum[ROWS][WIDE];
    float *out = p->out + i * p->out_stride + c;
    const float *a[ROWS], *x = p->x + c;
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++) {
        a[r] = p->a + (i + (size_t)r) * p->a_row;
#pragma GCC unroll 2
        for (int j = 0; j < n_wide; j++)
            sum[r][j] = zero ? _mm512_setzero_ps()
                             : _mm512_maskz_loadu_ps(j + 1 < n_wide ? 0xffff : last,
                                   out + (size_t)r * p->out_stride + j * LANES);
    }
    for (size_t s = 0, at = 0; s < p->n_steps; s++, at += p->a_step, x += p->x_stride) {
        __m512 v[WIDE];
#pragma GCC unroll 2
        for (int j = 0; j < n_wide; j++)
            v[j] = _mm512_maskz_loadu_ps(j + 1 < n_wide ? 0xffff : last, x + j * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 2
            for (int j = 0; j < n_wide; j++)
                sum[r][j] = _mm512_fmadd_ps(_mm512_set1_ps(a[r][at]), v[j], sum[r][j]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < n_wide; j++)
            _mm512_mask_storeu_ps(
                out + (size_t)r * p->out_stride + j * LANES, j + 1 < n_wide ? 0xffff : last, sum[r][j]);
}

INLINE void column(int n_wide, bool zero, const struct product *p, size_t c, __mmask16 last)
{
    size_t i = 0;
    for (; i + ROWS <= p->n_rows; i += ROWS)
        block(ROWS, n_wide, zero, p, i, c, last);
    for (; i + 3 <= p->n_rows; i += 3)
        block(3, n_wide, zero, p, i, c, last);
    for (; i < p->n_rows; i++)
        block(1, n_wide, zero, p, i, c, last);
}

INLINE void multiply(bool zero, const struct product *p)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= p->width; c += WIDE * LANES)
        column(WIDE, zero, p, c, 0xffff);
    for (; c < p->width; c += LANES)
        column(1, zero, p, c, p->width - c < LANES ? (__mmask16)((1u << (p->width - c)) - 1) : 0xffff);
}

static void multiply_new(const struct product *p)
{
    multiply(true, p);
}

static void multiply_add(const struct product *p)
{
    multiply(false, p);
}

/* A tile of keys: n of them from row first on. */
struct tile {
    float *k, *v;     /* (D, 32) transposed, zeros for keys that are not there */
    float *d_k, *d_v; /* (32, D) */
    size_t first, n;
};

static void turn(float *to, const float *from, size_t stride, size_t n, size_t head_dim)
{
    for (size_t j = 0; j < KEYS; j += LANES)
        for (size_t c = 0; c < head_dim; c += LANES) {
            size_t width = head_dim - c < LANES ? head_dim - c : LANES;
            __m512 v[LANES];
#pragma GCC unroll 16
            for (size_t i = 0; i < LANES; i++)
                v[i] = j + i < n ? _mm512_maskz_loadu_ps(
                                       (__mmask16)((1u << width) - 1), from + (j + i) * stride + c)
                                 : _mm512_setzero_ps();
            pc_transpose_avx512(v);
#pragma GCC unroll 16
            for (size_t i = 0; i < LANES; i++)
                if (i < width)
                    _mm512_storeu_ps(to + (c + i) * KEYS + j, v[i]);
        }
}

/* Scores and their gradients become p and g of queries [first, first + n). */
static void weigh(const struct pc_attention_head *h, const struct tile *tile, size_t first, size_t n,
    float p[][KEYS], float g[][KEYS])
{
    const __m512 scale = _mm512_set1_ps(h->scale);
    for (size_t i = 0; i < n; i++) {
        size_t row = (first + i) * h->row_stride;
        __m512 max = _mm512_set1_ps(h->max[row]), inverse = _mm512_set1_ps(h->inverse[row]);
        __m512 dot = _mm512_set1_ps(h->dot[row]);
        size_t seen = first + i + 1 - tile->first;
        uint32_t mask = seen < KEYS ? (UINT32_C(1) << seen) - 1 : UINT32_MAX;
        for (size_t j = 0; j < KEYS; j += LANES) {
            __m512 s = _mm512_mul_ps(_mm512_loadu_ps(p[i] + j), scale);
            __m512 weight = _mm512_mul_ps(pc_exp_avx512(_mm512_sub_ps(s, max)), inverse);
            __m512 slope = _mm512_mul_ps(weight, _mm512_sub_ps(_mm512_loadu_ps(g[i] + j), dot));
            __mmask16 here = (__mmask16)(mask >> j);
            _mm512_storeu_ps(p[i] + j, _mm512_maskz_mov_ps(here, weight));
            _mm512_storeu_ps(g[i] + j, _mm512_maskz_mov_ps(here, slope));
        }
    }
}

/* Queries [first, first + n) against the tile. */
static void fold(const struct pc_attention_head *h, const struct tile *tile, size_t first, size_t n)
{
    _Alignas(64) float p[QUERIES][KEYS], g[QUERIES][KEYS];
    size_t d = h->head_dim, at = first * h->q_stride;
    const float *q = h->q + at, *d_out = h->d_out + at;
    multiply_new(&(struct product){p[0], KEYS, q, h->q_stride, 1, tile->k, KEYS, n, d, KEYS});
    multiply_new(&(struct product){g[0], KEYS, d_out, h->q_stride, 1, tile->v, KEYS, n, d, KEYS});
    weigh(h, tile, first, n, p, g);
    multiply_add(&(struct product){tile->d_v, d, p[0], 1, KEYS, d_out, h->q_stride, tile->n, n, d});
    multiply_add(&(struct product){tile->d_k, d, g[0], 1, KEYS, q, h->q_stride, tile->n, n, d});
    multiply_add(&(struct product){h->d_q + at, h->q_stride, g[0], KEYS, 1, h->k + tile->first * h->kv_stride,
        h->kv_stride, n, tile->n, d});
}

static void head(const struct pc_attention_head *h, float *scratch)
{
    size_t d = h->head_dim, size = KEYS * d;
    struct tile tile = {scratch, scratch + size, scratch + 2 * size, scratch + 3 * size, 0, 0};
    for (size_t i = 0; i < h->n; i++) {
        size_t at = i * h->q_stride;
        h->dot[i * h->row_stride] = pc_rmsnorm_dot(h->d_out + at, h->out + at, d);
        memset(h->d_q + at, 0, d * sizeof(float));
    }
    for (; tile.first < h->n; tile.first += KEYS) {
        tile.n = h->n - tile.first < KEYS ? h->n - tile.first : KEYS;
        turn(tile.k, h->k + tile.first * h->kv_stride, h->kv_stride, tile.n, d);
        turn(tile.v, h->v + tile.first * h->kv_stride, h->kv_stride, tile.n, d);
        memset(tile.d_k, 0, 2 * size * sizeof(float));
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

void pc_attention_backward_init_avx512(struct pc_attention_backward *table)
{
    table->head = head;
}
