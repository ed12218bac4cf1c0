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

static void dots(const struct pc_attention_head *h)
{
    pc_attention_dots_loop(h);
}

static void scale(const struct pc_attention_head *h)
{
    pc_attention_scale_loop(h);
}

/* Rounded to BF16, in the upper halves; denormals become zeros of their sign, NaN quiet. */
INLINE __m512i rounded(__m512 x)
{
    const __m512i sign = _mm512_set1_epi32(INT32_MIN), quiet = _mm512_set1_epi32(0x400000);
    __m512i bits = _mm512_castps_si512(x);
    __m512i tie = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(tie, _mm512_set1_epi32(0x7fff)));
    __mmask16 small = _mm512_cmplt_epu32_mask(_mm512_slli_epi32(bits, 1), _mm512_set1_epi32(0x1000000));
    up = _mm512_mask_and_epi32(up, small, bits, sign);
    up = _mm512_mask_or_epi32(up, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits, quiet);
    return _mm512_and_si512(up, _mm512_set1_epi32((int)0xffff0000));
}

/* 16 keys of query i: p and g, rounded. */
INLINE void weigh_lanes(const struct pc_attention_scores *t, size_t i, size_t j, __m512i *p, __m512i *g)
{
    size_t row = i * t->row_stride, at = i * PC_GEMM_PANEL + j, seen = t->seen + i;
    __mmask16 here = seen >= j + LANES ? 0xffff : seen > j ? (__mmask16)((1u << (seen - j)) - 1) : 0;
    __m512 s = _mm512_mul_ps(_mm512_loadu_ps(t->s + at), _mm512_set1_ps(t->scale));
    __m512 weight = pc_exp_avx512(_mm512_sub_ps(s, _mm512_set1_ps(t->max[row])));
    weight = _mm512_mul_ps(weight, _mm512_set1_ps(t->inverse[row]));
    __m512 slope =
        _mm512_mul_ps(weight, _mm512_sub_ps(_mm512_loadu_ps(t->d + at), _mm512_set1_ps(t->dot[row])));
    *p = _mm512_maskz_mov_epi32(here, rounded(weight));
    *g = _mm512_maskz_mov_epi32(here, rounded(slope));
    _mm256_storeu_si256((__m256i *)(t->g + at), _mm512_cvtepi32_epi16(_mm512_srli_epi32(*g, 16)));
}

static void weigh_pairs(const struct pc_attention_scores *t)
{
    for (size_t i = 0; i < t->n; i += 2)
        for (size_t j = 0; j < PC_GEMM_PANEL; j += LANES) {
            __m512i p, g, p_odd = _mm512_setzero_si512(), g_odd = p_odd;
            size_t at = (i / 2 * PC_GEMM_PANEL + j) * 2;
            weigh_lanes(t, i, j, &p, &g);
            if (i + 1 < t->n)
                weigh_lanes(t, i + 1, j, &p_odd, &g_odd);
            _mm512_storeu_si512(t->p_pairs + at, _mm512_or_si512(_mm512_srli_epi32(p, 16), p_odd));
            _mm512_storeu_si512(t->g_pairs + at, _mm512_or_si512(_mm512_srli_epi32(g, 16), g_odd));
        }
}

void pc_attention_backward_init_avx512(struct pc_attention_backward *table)
{
    *table = (struct pc_attention_backward){head, dots, weigh_pairs, scale};
}
