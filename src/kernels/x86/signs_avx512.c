// SPDX-License-Identifier: Apache-2.0
/* Sixteen bits are the mask of a vector's lanes whose sign is turned. Four rows of activations by four of
 * signs at a time. */
#include "kernels/signs.h"

#include <immintrin.h>

enum { ROWS = 4, COLUMNS = 4, LANES = 16 };

static inline float join(__m512 v)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}

/* n elements of a row, 8 or 16: those behind are zeros. */
static inline __m512 load(const float *x, size_t n)
{
    return n < LANES ? _mm512_maskz_loadu_ps(0xff, x) : _mm512_loadu_ps(x);
}

static inline __mmask16 minus(const unsigned char *bits, size_t n)
{
    uint16_t m = bits[0];
    if (n >= LANES)
        memcpy(&m, bits, sizeof m);
    return (__mmask16)~m;
}

static inline __attribute__((always_inline)) void block(
    const struct pc_signs_call *c, size_t i0, size_t j0, int n_rows, int n_columns)
{
    const __m512 sign = _mm512_set1_ps(-0.0f);
    size_t stride = c->k / 8;
    __m512 sum[ROWS][COLUMNS];
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++)
            sum[i][j] = _mm512_setzero_ps();
    for (size_t k = 0; k < c->k; k += LANES) {
        size_t n = c->k - k;
        __m512 x[ROWS];
        for (int i = 0; i < n_rows; i++)
            x[i] = load(c->x + (i0 + (size_t)i) * c->k + k, n);
        for (int j = 0; j < n_columns; j++) {
            __mmask16 m = minus(c->bits + (j0 + (size_t)j) * stride + k / 8, n);
            for (int i = 0; i < n_rows; i++)
                sum[i][j] = _mm512_add_ps(sum[i][j], _mm512_mask_xor_ps(x[i], m, x[i], sign));
        }
    }
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++)
            c->y[(i0 + (size_t)i) * c->y_stride + j0 + (size_t)j] +=
                c->scale[j0 + (size_t)j] * join(sum[i][j]);
}

static inline __attribute__((always_inline)) void columns(
    const struct pc_signs_call *c, size_t i0, int n_rows)
{
    size_t j = 0;
    for (; j + COLUMNS <= c->n_w; j += COLUMNS)
        block(c, i0, j, n_rows, COLUMNS);
    for (; j < c->n_w; j++)
        block(c, i0, j, n_rows, 1);
}

static void add(const struct pc_signs_call *c)
{
    size_t i = 0;
    for (; i + ROWS <= c->n_x; i += ROWS)
        columns(c, i, ROWS);
    for (; i < c->n_x; i++)
        columns(c, i, 1);
}

void pc_signs_init_avx512(struct pc_signs *table)
{
    table->add = add;
}
