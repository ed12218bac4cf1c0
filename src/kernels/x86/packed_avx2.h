// SPDX-License-Identifier: Apache-2.0
/* Products of packed weights in 256 bits, with AVX2 alone or with AVX-VNNI: what a file built for one of them
 * includes.
 *
 * Eight output rows are one register: a tile is two halves, of which each is gone through by itself, so that
 * four activation rows' sums stay in registers.
 *
 * AVX2's VPMADDUBSW multiplies unsigned weights with signed activations and adds pairs in 16 bits, which hold
 * eight quads of 4-bit weights (8 * 2 * 15 * 127 < 2^15), four of 5-bit or two of 6-bit ones before VPMADDWD
 * widens the sum. 8-bit weights would overflow it as unsigned numbers: there it multiplies |w| with x under
 * w's sign, 2 * 128 * 127 < 2^15. VPDPBUSD adds in 32 bits and needs none of this. */
#ifndef PC_KERNELS_X86_PACKED_AVX2_H
#define PC_KERNELS_X86_PACKED_AVX2_H

#include "kernels/packed_walk.h"

#include <immintrin.h>
#include <string.h>

enum { N_ROWS = 4 };

#define INLINE static inline __attribute__((always_inline))

/* Half of a block of 32 k: eight rows. */
struct weights {
    const uint8_t *q, *high; /* the half's part of the first quad, or pair of quads */
    const int8_t *scale;     /* Q6_K: of the first 16 k */
    __m256 d, m;
};

/* v, which the compiler has in a register now: left alone, gcc reads memory again for each use, and makes a
 * tree of a sum until its registers do not suffice. */
INLINE __m256i pinned(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

INLINE __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE __m256 halves(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256 k_scale(const uint16_t *d, const uint8_t *scale)
{
    __m256i s = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)scale));
    return _mm256_mul_ps(halves(d), _mm256_cvtepi32_ps(s));
}

/* Half h of block i of a tile. */
INLINE struct weights weights(enum pc_dtype type, const void *tile, size_t i, int h)
{
    struct weights b = {0};
    switch (type) {
    case PC_Q4_0: {
        const struct pc_tile_q4_0 *t = (const struct pc_tile_q4_0 *)tile + i;
        return (struct weights){.q = t->q + 32 * h, .d = halves(t->d + 8 * h)};
    }
    case PC_Q4_1: {
        const struct pc_tile_q4_1 *t = (const struct pc_tile_q4_1 *)tile + i;
        return (struct weights){.q = t->q + 32 * h, .d = halves(t->d + 8 * h), .m = halves(t->m + 8 * h)};
    }
    case PC_Q5_0: {
        const struct pc_tile_q5_0 *t = (const struct pc_tile_q5_0 *)tile + i;
        return (struct weights){.q = t->q + 32 * h, .high = t->high + 32 * h, .d = halves(t->d + 8 * h)};
    }
    case PC_Q5_1: {
        const struct pc_tile_q5_1 *t = (const struct pc_tile_q5_1 *)tile + i;
        return (struct weights){
            t->q + 32 * h, t->high + 32 * h, NULL, halves(t->d + 8 * h), halves(t->m + 8 * h)};
    }
    case PC_Q8_0: {
        const struct pc_tile_q8_0 *t = (const struct pc_tile_q8_0 *)tile + i;
        return (struct weights){.q = t->q + 32 * h, .d = halves(t->d + 8 * h)};
    }
    case PC_Q4_K: {
        const struct pc_tile_q4_k *t = (const struct pc_tile_q4_k *)tile + i / 8;
        return (struct weights){.q = t->part[i % 8].q + 32 * h,
            .d = k_scale(t->d + 8 * h, t->scale[i % 8] + 8 * h),
            .m = k_scale(t->dmin + 8 * h, t->min[i % 8] + 8 * h)};
    }
    case PC_Q5_K: {
        const struct pc_tile_q5_k *t = (const struct pc_tile_q5_k *)tile + i / 8;
        return (struct weights){t->part[i % 8].q + 32 * h, t->part[i % 8].high + 32 * h, NULL,
            k_scale(t->d + 8 * h, t->scale[i % 8] + 8 * h), k_scale(t->dmin + 8 * h, t->min[i % 8] + 8 * h)};
    }
    case PC_Q6_K: {
        const struct pc_tile_q6_k *t = (const struct pc_tile_q6_k *)tile + i / 8;
        return (struct weights){.q = t->part[i % 8].q + 32 * h,
            .high = t->part[i % 8].high + 32 * h,
            .scale = t->scale[i % 8 * 2] + 8 * h,
            .d = halves(t->d + 8 * h)};
    }
    default: return b;
    }
}

/* by > 0: to the left. */
INLINE __m256i shifted(__m256i v, int by)
{
    return by > 0 ? _mm256_slli_epi16(v, by) : by < 0 ? _mm256_srli_epi16(v, -by) : v;
}

INLINE __m256i masked(__m256i v, int by, char mask)
{
    return _mm256_and_si256(shifted(v, by), _mm256_set1_epi8(mask));
}

/* Quad j of eight rows, unsigned. */
INLINE __m256i quad(enum pc_dtype type, const struct weights *b, int j)
{
    if (type == PC_Q8_0)
        return load(b->q + 64 * j);
    __m256i w = masked(load(b->q + 64 * (j / 2)), j % 2 ? -4 : 0, 15);
    if (type == PC_Q5_0 || type == PC_Q5_1 || type == PC_Q5_K)
        w = _mm256_or_si256(w, masked(load(b->high), 4 - j, 16));
    if (type == PC_Q6_K)
        w = _mm256_or_si256(w, masked(load(b->high + 64 * (j / 4)), 4 - 2 * (j % 4), 48));
    return w;
}

INLINE __m256i broadcast(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

#ifdef __AVXVNNI__

enum { Q8_0_IS_SIGNED = 0 };

/* How many quads add_quads takes at once. */
INLINE int n_quads(enum pc_dtype type)
{
    return type == PC_Q6_K ? 4 : 8;
}

/* sum[r] += the products of quads [j, j + n_quads) with row r. */
INLINE void add_quads(enum pc_dtype type, int n, const struct weights *b, int j,
    const struct pc_quant_block *x, size_t x_stride, __m256i *sum)
{
#pragma GCC unroll 8
    for (int g = 0; g < n_quads(type); g++) {
        __m256i w = pinned(quad(type, b, j + g));
#pragma GCC unroll 4
        for (int r = 0; r < n; r++)
            sum[r] = _mm256_dpbusd_avx_epi32(sum[r], w, broadcast(x[(size_t)r * x_stride].q + 4 * (j + g)));
    }
}

#else

enum { Q8_0_IS_SIGNED = 1 };

/* How many quads add_quads takes at once: their sum has to fit in 16 bits. */
INLINE int n_quads(enum pc_dtype type)
{
    return type == PC_Q8_0                                         ? 1
           : type == PC_Q6_K                                       ? 2
           : type == PC_Q5_0 || type == PC_Q5_1 || type == PC_Q5_K ? 4
                                                                   : 8;
}

INLINE __m256i products(enum pc_dtype type, __m256i w, __m256i x)
{
    if (type != PC_Q8_0)
        return _mm256_maddubs_epi16(w, x);
    w = _mm256_xor_si256(w, _mm256_set1_epi8((char)128));
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/* sum[r] += the products of quads [j, j + n_quads) with row r. */
INLINE void add_quads(enum pc_dtype type, int n, const struct weights *b, int j,
    const struct pc_quant_block *x, size_t x_stride, __m256i *sum)
{
    __m256i narrow[N_ROWS];
#pragma GCC unroll 8
    for (int g = 0; g < n_quads(type); g++) {
        __m256i w = pinned(quad(type, b, j + g));
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            __m256i xq = broadcast(x[(size_t)r * x_stride].q + 4 * (j + g));
            __m256i p = products(type, w, xq);
            narrow[r] = g == 0 ? p : pinned(_mm256_add_epi16(narrow[r], p));
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(narrow[r], _mm256_set1_epi16(1)));
}

#endif

/* Where the sum of a block, or of its first half, starts. */
INLINE __m256i start(enum pc_dtype type, const struct pc_quant_block *x)
{
    return type == PC_Q4_0                      ? _mm256_set1_epi32(x->less_8)
           : type == PC_Q5_0                    ? _mm256_set1_epi32(x->less_16)
           : type == PC_Q8_0 && !Q8_0_IS_SIGNED ? _mm256_set1_epi32(x->less_128)
           : type == PC_Q6_K                    ? _mm256_set1_epi32(x->less_32[0])
                                                : _mm256_setzero_si256();
}

/* The exact sums of w x over a block, eight weight rows by n activation rows. */
INLINE void sums(enum pc_dtype type, int n, const struct weights *b, const struct pc_quant_block *x,
    size_t x_stride, __m256i *sum)
{
    __m256i low[N_ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        sum[r] = start(type, x + (size_t)r * x_stride);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j += n_quads(type)) {
        if (type == PC_Q6_K && j == 4)
#pragma GCC unroll 4
            for (int r = 0; r < n; r++) {
                low[r] = _mm256_mullo_epi32(
                    sum[r], _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)b->scale)));
                sum[r] = _mm256_set1_epi32(x[(size_t)r * x_stride].less_32[1]);
            }
        add_quads(type, n, b, j, x, x_stride, sum);
    }
    if (type == PC_Q6_K)
#pragma GCC unroll 4
        for (int r = 0; r < n; r++)
            sum[r] = _mm256_add_epi32(
                low[r], _mm256_mullo_epi32(
                            sum[r], _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(b->scale + 16)))));
}

/* Ask for what lies `ahead` bytes behind block i of a tile. */
INLINE void prefetch(enum pc_dtype type, const char *tile, size_t i, size_t ahead)
{
    const size_t size = pc_tile_block_size(type) / (pc_tile_is_k(type) ? 8 : 1);
#pragma GCC unroll 9
    for (size_t at = 0; at < size; at += 64)
        _mm_prefetch(tile + i * size + ahead + at, _MM_HINT_T0);
}

/* Half h of the tile and rows [first, first + n) of a pass: constants after inlining, but for first. */
INLINE void rows(enum pc_dtype type, int n, const struct pc_pass *p, size_t first, int h, size_t ahead)
{
    const __m256i lanes = _mm256_cmpgt_epi32(
        _mm256_set1_epi32((int)p->n_out - 8 * h), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const struct pc_quant_block *x = p->x + first * p->x_stride;
    float *y = p->y + first * p->y_stride + 8 * h;
    __m256 acc[N_ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        acc[r] = p->from ? _mm256_maskload_ps(y + (size_t)r * p->y_stride, lanes) : _mm256_setzero_ps();
    for (size_t i = p->from; i < p->to; i++) {
        if (ahead)
            prefetch(type, p->tile, i, ahead);
        struct weights b = weights(type, p->tile, i, h);
        __m256i sum[N_ROWS];
        sums(type, n, &b, x + i, p->x_stride, sum);
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            const struct pc_quant_block *xr = x + (size_t)r * p->x_stride + i;
            acc[r] = _mm256_fmadd_ps(
                _mm256_mul_ps(b.d, _mm256_set1_ps(xr->d)), _mm256_cvtepi32_ps(sum[r]), acc[r]);
            if (type == PC_Q4_1 || type == PC_Q5_1)
                acc[r] = _mm256_fmadd_ps(b.m, _mm256_set1_ps(xr->d_sum), acc[r]);
            if (type == PC_Q4_K || type == PC_Q5_K)
                acc[r] = _mm256_fnmadd_ps(b.m, _mm256_set1_ps(xr->d_sum), acc[r]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        _mm256_maskstore_ps(y + (size_t)r * p->y_stride, lanes, acc[r]);
}

INLINE void half(enum pc_dtype type, const struct pc_pass *p, int h, size_t ahead)
{
    size_t first = 0;
    for (; p->n_x - first >= N_ROWS; first += N_ROWS, ahead = 0)
        rows(type, N_ROWS, p, first, h, ahead);
    switch (p->n_x - first) {
    case 3: rows(type, 3, p, first, h, ahead); break;
    case 2: rows(type, 2, p, first, h, ahead); break;
    case 1: rows(type, 1, p, first, h, ahead); break;
    default: break;
    }
}

INLINE void pass(enum pc_dtype type, const struct pc_pass *p)
{
    half(type, p, 0, p->ahead);
    if (p->n_out > 8)
        half(type, p, 1, 0);
}

PC_MULTIPLY(q4_0, PC_Q4_0)
PC_MULTIPLY(q4_1, PC_Q4_1)
PC_MULTIPLY(q5_0, PC_Q5_0)
PC_MULTIPLY(q5_1, PC_Q5_1)
PC_MULTIPLY(q8_0, PC_Q8_0)
PC_MULTIPLY(q4_k, PC_Q4_K)
PC_MULTIPLY(q5_k, PC_Q5_K)
PC_MULTIPLY(q6_k, PC_Q6_K)

INLINE void use_products(struct pc_packed *table)
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

#endif
