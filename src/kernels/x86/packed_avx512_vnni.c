// SPDX-License-Identifier: Apache-2.0
/* Sixteen output rows are one register: a quad of k is 64 weights, which VPDPBUSD multiplies with four
 * activations broadcast to every lane.
 *
 * A block of 32 k is unpacked once into eight registers and then multiplied with up to eight activation rows,
 * whose F32 sums are eight more. For each row that is eight VPDPBUSD, one product of scales and one fused
 * multiply-add (two with a minimum), all on the two multiplying ports, so that these are busy with integers 8
 * cycles of 10; conversion, unpacking and logic have ports of their own, and ten broadcasts fit the two loads
 * a cycle. More rows would need more registers than there are.
 */
#include "kernels/packed_walk.h"

#include <immintrin.h>
#include <string.h>

enum { N_ROWS = 8 };

#define INLINE static inline __attribute__((always_inline))

/* One block of 32 k, ready to be multiplied. */
struct weights {
    __m512i w[8];     /* quads, unsigned bytes */
    __m512 d, m;      /* scale and minimum of each row */
    __m512i scale[2]; /* PC_Q6_K's integer scales of 16 k each */
};

/* Loaded once: left alone, gcc reads memory again for each use, and twice as many reads cross cache lines. */
INLINE __m512i load(const uint8_t *p)
{
    __m512i v = _mm512_loadu_si512(p);
    __asm__("" : "+v"(v));
    return v;
}

INLINE __m512 halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

INLINE __m512i small(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

INLINE void nibbles(__m512i w[8], const uint8_t *q)
{
    const __m512i mask = _mm512_set1_epi8(15);
    for (int j = 0; j < 4; j++) {
        __m512i v = load(q + 64 * j);
        w[2 * j] = _mm512_and_si512(v, mask);
        w[2 * j + 1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
    }
}

/* by > 0: to the left. */
INLINE __m512i shifted(__m512i v, int by)
{
    return by > 0 ? _mm512_slli_epi16(v, (unsigned)by) : by < 0 ? _mm512_srli_epi16(v, (unsigned)-by) : v;
}

/* w | (v & mask) */
INLINE __m512i or_and(__m512i w, __m512i v, __m512i mask)
{
    return _mm512_ternarylogic_epi32(w, v, mask, 0xf8);
}

INLINE void fifths(__m512i w[8], const uint8_t *high)
{
    __m512i v = load(high);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        w[j] = or_and(w[j], shifted(v, 4 - j), _mm512_set1_epi8(16));
}

INLINE void fifths_and_sixths(__m512i w[8], const uint8_t *high)
{
    for (int half = 0; half < 2; half++) {
        __m512i v = load(high + 64 * half);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            w[4 * half + j] = or_and(w[4 * half + j], shifted(v, 4 - 2 * j), _mm512_set1_epi8(48));
    }
}

INLINE __m512 k_scale(const uint16_t *d, const uint8_t *scale)
{
    return _mm512_mul_ps(halves(d), _mm512_cvtepi32_ps(small(scale)));
}

/* Block i of a tile. */
INLINE struct weights unpacked(enum pc_dtype type, const void *tile, size_t i)
{
    struct weights b = {0};
    switch (type) {
    case PC_Q4_0: {
        const struct pc_tile_q4_0 *t = (const struct pc_tile_q4_0 *)tile + i;
        nibbles(b.w, t->q);
        b.d = halves(t->d);
        break;
    }
    case PC_Q4_1: {
        const struct pc_tile_q4_1 *t = (const struct pc_tile_q4_1 *)tile + i;
        nibbles(b.w, t->q);
        b.d = halves(t->d);
        b.m = halves(t->m);
        break;
    }
    case PC_Q5_0: {
        const struct pc_tile_q5_0 *t = (const struct pc_tile_q5_0 *)tile + i;
        nibbles(b.w, t->q);
        fifths(b.w, t->high);
        b.d = halves(t->d);
        break;
    }
    case PC_Q5_1: {
        const struct pc_tile_q5_1 *t = (const struct pc_tile_q5_1 *)tile + i;
        nibbles(b.w, t->q);
        fifths(b.w, t->high);
        b.d = halves(t->d);
        b.m = halves(t->m);
        break;
    }
    case PC_Q8_0: {
        const struct pc_tile_q8_0 *t = (const struct pc_tile_q8_0 *)tile + i;
        for (int j = 0; j < 8; j++)
            b.w[j] = load(t->q + 64 * j);
        b.d = halves(t->d);
        break;
    }
    case PC_Q4_K: {
        const struct pc_tile_q4_k *t = (const struct pc_tile_q4_k *)tile + i / 8;
        nibbles(b.w, t->part[i % 8].q);
        b.d = k_scale(t->d, t->scale[i % 8]);
        b.m = k_scale(t->dmin, t->min[i % 8]);
        break;
    }
    case PC_Q5_K: {
        const struct pc_tile_q5_k *t = (const struct pc_tile_q5_k *)tile + i / 8;
        nibbles(b.w, t->part[i % 8].q);
        fifths(b.w, t->part[i % 8].high);
        b.d = k_scale(t->d, t->scale[i % 8]);
        b.m = k_scale(t->dmin, t->min[i % 8]);
        break;
    }
    case PC_Q6_K: {
        const struct pc_tile_q6_k *t = (const struct pc_tile_q6_k *)tile + i / 8;
        nibbles(b.w, t->part[i % 8].q);
        fifths_and_sixths(b.w, t->part[i % 8].high);
        b.d = halves(t->d);
        for (int half = 0; half < 2; half++)
            b.scale[half] =
                _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)t->scale[i % 8 * 2 + (size_t)half]));
        break;
    }
    default: break;
    }
    return b;
}

INLINE __m512i dot(__m512i sum, const __m512i *w, const int8_t *x, int n_quads)
{
#pragma GCC unroll 8
    for (int j = 0; j < n_quads; j++) {
        int32_t quad;
        memcpy(&quad, x + 4 * j, sizeof quad);
        sum = _mm512_dpbusd_epi32(sum, w[j], _mm512_set1_epi32(quad));
    }
    return sum;
}

/* The exact sum of w x over a block, for sixteen rows. */
INLINE __m512i sum_of(enum pc_dtype type, const struct weights *b, const struct pc_quant_block *x)
{
    if (type == PC_Q6_K) {
        __m512i low = dot(_mm512_set1_epi32(x->less_32[0]), b->w, x->q, 4),
                high = dot(_mm512_set1_epi32(x->less_32[1]), b->w + 4, x->q + 16, 4);
        return _mm512_add_epi32(_mm512_mullo_epi32(low, b->scale[0]), _mm512_mullo_epi32(high, b->scale[1]));
    }
    __m512i start = type == PC_Q4_0   ? _mm512_set1_epi32(x->less_8)
                    : type == PC_Q5_0 ? _mm512_set1_epi32(x->less_16)
                    : type == PC_Q8_0 ? _mm512_set1_epi32(x->less_128)
                                      : _mm512_setzero_si512();
    return dot(start, b->w, x->q, 8);
}

/* Ask for what lies `ahead` bytes behind block i of a tile. */
INLINE void prefetch(enum pc_dtype type, const char *tile, size_t i, size_t ahead)
{
    const size_t size = pc_tile_block_size(type) / (pc_tile_is_k(type) ? 8 : 1);
#pragma GCC unroll 9
    for (size_t at = 0; at < size; at += 64)
        _mm_prefetch(tile + i * size + ahead + at, _MM_HINT_T0);
}

/* Rows [first, first + n) of a pass: n is a constant after inlining, so that acc lives in registers. */
INLINE void rows(enum pc_dtype type, int n, const struct pc_pass *p, size_t first, size_t ahead)
{
    const __mmask16 lanes = (__mmask16)((1u << p->n_out) - 1);
    const struct pc_quant_block *x = p->x + first * p->x_stride;
    float *y = p->y + first * p->y_stride;
    __m512 acc[N_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < n; r++)
        acc[r] = p->from ? _mm512_maskz_loadu_ps(lanes, y + (size_t)r * p->y_stride) : _mm512_setzero_ps();
    for (size_t i = p->from; i < p->to; i++) {
        if (ahead)
            prefetch(type, p->tile, i, ahead);
        struct weights b = unpacked(type, p->tile, i);
#pragma GCC unroll 8
        for (int r = 0; r < n; r++) {
            const struct pc_quant_block *xr = x + (size_t)r * p->x_stride + i;
            __m512 sum = _mm512_cvtepi32_ps(sum_of(type, &b, xr));
            acc[r] = _mm512_fmadd_ps(_mm512_mul_ps(b.d, _mm512_set1_ps(xr->d)), sum, acc[r]);
            if (type == PC_Q4_1 || type == PC_Q5_1)
                acc[r] = _mm512_fmadd_ps(b.m, _mm512_set1_ps(xr->d_sum), acc[r]);
            if (type == PC_Q4_K || type == PC_Q5_K)
                acc[r] = _mm512_fnmadd_ps(b.m, _mm512_set1_ps(xr->d_sum), acc[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n; r++)
        _mm512_mask_storeu_ps(y + (size_t)r * p->y_stride, lanes, acc[r]);
}

INLINE void pass(enum pc_dtype type, const struct pc_pass *p)
{
    size_t first = 0, ahead = p->ahead;
    for (; p->n_x - first >= N_ROWS; first += N_ROWS, ahead = 0)
        rows(type, N_ROWS, p, first, ahead);
    switch (p->n_x - first) {
    case 7: rows(type, 7, p, first, ahead); break;
    case 6: rows(type, 6, p, first, ahead); break;
    case 5: rows(type, 5, p, first, ahead); break;
    case 4: rows(type, 4, p, first, ahead); break;
    case 3: rows(type, 3, p, first, ahead); break;
    case 2: rows(type, 2, p, first, ahead); break;
    case 1: rows(type, 1, p, first, ahead); break;
    default: break;
    }
}

PC_MULTIPLY(q4_0, PC_Q4_0)
PC_MULTIPLY(q4_1, PC_Q4_1)
PC_MULTIPLY(q5_0, PC_Q5_0)
PC_MULTIPLY(q5_1, PC_Q5_1)
PC_MULTIPLY(q8_0, PC_Q8_0)
PC_MULTIPLY(q4_k, PC_Q4_K)
PC_MULTIPLY(q5_k, PC_Q5_K)
PC_MULTIPLY(q6_k, PC_Q6_K)

void pc_packed_init_avx512_vnni(struct pc_packed *table)
{
    table->type[PC_Q4_0].multiply = multiply_q4_0;
    table->type[PC_Q4_1].multiply = multiply_q4_1;
    table->type[PC_Q5_0].multiply = multiply_q5_0;
    table->type[PC_Q5_1].multiply = multiply_q5_1;
    table->type[PC_Q8_0].multiply = multiply_q8_0;
    table->type[PC_Q4_K].multiply = multiply_q4_k;
    table->type[PC_Q5_K].multiply = multiply_q5_k;
    table->type[PC_Q6_K].multiply = multiply_q6_k;
}
