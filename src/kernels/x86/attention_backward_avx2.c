// SPDX-License-Identifier: Apache-2.0
#include "kernels/vmath.h"
#include "kernels/x86/attention_backward_blocks.h"
#include "kernels/x86/transpose_avx2.h"

enum { LANES = 8, ROWS = 6, WIDE = 2 };

/* Lanes below n. */
INLINE __m256i lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE __m256 load(const float *from, bool whole, __m256i mask)
{
    return whole ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, mask);
}

/* n_rows, n_wide and whole are constants after inlining; mask is of the columns where they are not whole
 * vectors. */
INLINE void block(
    int n_rows, int n_wide, bool whole, bool zero, const struct product *p, size_t i, size_t c, __m256i mask)
{
    __m256 sum[ROWS][WIDE];
    float *out = p->out + i * p->out_stride + c;
    const float *a[ROWS], *x = p->x + c;
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++) {
        a[r] = p->a + (i + (size_t)r) * p->a_row;
#pragma GCC unroll 2
        for (int j = 0; j < n_wide; j++)
            sum[r][j] =
                zero ? _mm256_setzero_ps() : load(out + (size_t)r * p->out_stride + j * LANES, whole, mask);
    }
    for (size_t s = 0, at = 0; s < p->n_steps; s++, at += p->a_step, x += p->x_stride) {
        __m256 v[WIDE];
#pragma GCC unroll 2
        for (int j = 0; j < n_wide; j++)
            v[j] = load(x + j * LANES, whole, mask);
#pragma GCC unroll 6
        for (int r = 0; r < n_rows; r++) {
            __m256 y = _mm256_broadcast_ss(a[r] + at);
#pragma GCC unroll 2
            for (int j = 0; j < n_wide; j++)
                sum[r][j] = _mm256_fmadd_ps(y, v[j], sum[r][j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < n_wide; j++) {
            float *to = out + (size_t)r * p->out_stride + j * LANES;
            if (whole)
                _mm256_storeu_ps(to, sum[r][j]);
            else
                _mm256_maskstore_ps(to, mask, sum[r][j]);
        }
}

/* Rows by sixes, evenly divided. */
INLINE void column(int n_wide, bool whole, bool zero, const struct product *p, size_t c, __m256i mask)
{
    size_t sixes = (p->n_rows + ROWS - 1) / ROWS;
    for (size_t s = 0; s < sixes; s++) {
        size_t i = p->n_rows * s / sixes, n = p->n_rows * (s + 1) / sixes - i;
        switch (n) {
        case 6: block(6, n_wide, whole, zero, p, i, c, mask); break;
        case 5: block(5, n_wide, whole, zero, p, i, c, mask); break;
        case 4: block(4, n_wide, whole, zero, p, i, c, mask); break;
        case 3: block(3, n_wide, whole, zero, p, i, c, mask); break;
        case 2: block(2, n_wide, whole, zero, p, i, c, mask); break;
        default: block(1, n_wide, whole, zero, p, i, c, mask); break;
        }
    }
}

INLINE void multiply(bool zero, const struct product *p)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= p->width; c += WIDE * LANES)
        column(WIDE, true, zero, p, c, _mm256_setzero_si256());
    for (; c < p->width; c += LANES)
        column(1, false, zero, p, c, lanes(p->width - c));
}

static void multiply_new(const struct product *p)
{
    multiply(true, p);
}

static void multiply_add(const struct product *p)
{
    multiply(false, p);
}

static void turn(float *to, const float *from, size_t stride, size_t n, size_t head_dim)
{
    for (size_t j = 0; j < KEYS; j += LANES)
        for (size_t c = 0; c < head_dim; c += LANES) {
            __m256i mask = lanes(head_dim - c), v[LANES];
#pragma GCC unroll 8
            for (size_t i = 0; i < LANES; i++)
                v[i] = j + i < n ? _mm256_maskload_epi32((const int *)(from + (j + i) * stride + c), mask)
                                 : _mm256_setzero_si256();
            pc_transpose_avx2(v);
#pragma GCC unroll 8
            for (size_t i = 0; i < LANES; i++)
                if (c + i < head_dim)
                    _mm256_storeu_si256((__m256i *)(to + (c + i) * KEYS + j), v[i]);
        }
}

/* The compiler makes vectors of the loops, whose operations are single. */
static void weigh(const struct pc_attention_head *h, const struct tile *tile, size_t first, size_t n,
    float p[][KEYS], float g[][KEYS])
{
    for (size_t i = 0; i < n; i++) {
        size_t row = (first + i) * h->row_stride, seen = first + i + 1 - tile->first;
        float max = h->max[row], inverse = h->inverse[row], dot = h->dot[row], weight[KEYS], slope[KEYS];
        for (size_t j = 0; j < KEYS; j++) {
            weight[j] = pc_expf(p[i][j] * h->scale - max) * inverse;
            slope[j] = weight[j] * (g[i][j] - dot);
        }
        memcpy(p[i], weight, sizeof weight);
        memcpy(g[i], slope, sizeof slope);
        for (size_t j = seen; j < KEYS; j++)
            p[i][j] = g[i][j] = 0;
    }
}

static void head(const struct pc_attention_head *h, float *scratch)
{
    static const struct back_ops ops = {multiply_new, multiply_add, turn, weigh};
    back_head(&ops, h, scratch);
}

static void dots(const struct pc_attention_head *h)
{
    pc_attention_dots_loop(h);
}

static void weigh_pairs(const struct pc_attention_scores *scores)
{
    pc_attention_weigh_loop(scores);
}

static void scale(const struct pc_attention_head *h)
{
    pc_attention_scale_loop(h);
}

void pc_attention_backward_init_avx2(struct pc_attention_backward *table)
{
    *table = (struct pc_attention_backward){head, dots, weigh_pairs, scale};
}
