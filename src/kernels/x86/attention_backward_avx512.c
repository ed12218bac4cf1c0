// SPDX-License-Identifier: Apache-2.0
#include "kernels/x86/attention_backward_blocks.h"
#include "kernels/x86/exp_avx512.h"
#include "kernels/x86/transpose_avx512.h"

enum { LANES = 16, ROWS = 8, WIDE = 2 };

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

static void head(const struct pc_attention_head *h, float *scratch)
{
    static const struct back_ops ops = {multiply_new, multiply_add, turn, weigh};
    back_head(&ops, h, scratch);
}

void pc_attention_backward_init_avx512(struct pc_attention_backward *table)
{
    table->head = head;
}
