// SPDX-License-Identifier: Apache-2.0
/* Attention in 512 bits, compiled twice: with `vdpbf16ps` for BF16 caches, and without.
 *
 * Up to twelve queries go through a segment's tiles together. Their q are packed side by side, (D, n), so
 * that a tile's scores are n * 2 accumulators fed by two loads of keys and n broadcasts per d; the
 * accumulators of the output, 32 or 64 columns at a time, are fed by the rows of v and n broadcasts of p.
 * What differs between queries are their counts of keys: in the tiles where these differ, v's rows from the
 * smallest count on are added under a mask. With few queries (decoding) the next tile is fetched meanwhile:
 * tiles lie far apart, and each would begin with a miss. */
#ifndef PC_KERNELS_ATTENTION_AVX512_H
#define PC_KERNELS_ATTENTION_AVX512_H

#include "kernels/attention_cache.h"
#include "kernels/x86/exp_avx512.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { MOST = 12, LINE = 64 };

/* A block of queries on their way through the tiles. */
struct queries {
    const float *pack; /* (D, n) float, or (D / 2, n) pairs of BF16 */
    float *acc;        /* (n, stride) */
    size_t head_dim, stride;
    int32_t count[MOST]; /* keys of the tile at hand that a query sees */
    int32_t least, most; /* of them */
    _Alignas(64) float max[16];
    _Alignas(64) float sum[16];
    _Alignas(64) float c[16];
    _Alignas(64) float p[MOST][PC_KV_BLOCK]; /* scores, then their exponentials */
    _Alignas(64) uint16_t p_bf16[MOST][PC_KV_BLOCK];
};

INLINE size_t element_size(enum pc_dtype type)
{
    return type == PC_F32 ? 4 : type == PC_Q8_0 ? 1 : 2;
}

/* Sixteen elements of a tile as F32. */
INLINE __m512 widen(enum pc_dtype type, const char *p)
{
    return type == PC_F32   ? _mm512_loadu_ps(p)
           : type == PC_F16 ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p))
                            : _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

INLINE __m512 widen_masked(enum pc_dtype type, const char *p, __mmask16 mask)
{
    return type == PC_F32   ? _mm512_maskz_loadu_ps(mask, p)
           : type == PC_F16 ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p))
                            : _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, p)));
}

INLINE __m512 even(__m512i pairs)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}

INLINE __m512 odd(__m512i pairs)
{
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

/* acc + the products of sixteen pairs with one. */
INLINE __m512 pair_product(__m512 acc, __m512i one, __m512i pairs)
{
#ifdef __AVX512BF16__
    return _mm512_dpbf16_ps(acc, (__m512bh)one, (__m512bh)pairs);
#else
    return _mm512_fmadd_ps(even(one), even(pairs), _mm512_fmadd_ps(odd(one), odd(pairs), acc));
#endif
}

INLINE void prefetch(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i += LINE)
        _mm_prefetch(p + i, _MM_HINT_T0);
}

INLINE void scores_plain(enum pc_dtype type, int n, struct queries *b, const char *k, const char *next)
{
    const size_t row = PC_KV_BLOCK * element_size(type);
    __m512 lo[MOST], hi[MOST];
#pragma GCC unroll 12
    for (int i = 0; i < n; i++)
        lo[i] = hi[i] = _mm512_setzero_ps();
    const float *q = b->pack;
    for (size_t d = 0; d < b->head_dim; d++, q += n) {
        __m512 k_lo = widen(type, k + d * row), k_hi = widen(type, k + d * row + row / 2);
        if (next)
            prefetch(next + d * row, row);
#pragma GCC unroll 12
        for (int i = 0; i < n; i++) {
            __m512 query = _mm512_set1_ps(q[i]);
            lo[i] = _mm512_fmadd_ps(query, k_lo, lo[i]);
            hi[i] = _mm512_fmadd_ps(query, k_hi, hi[i]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < n; i++) {
        _mm512_store_ps(b->p[i], lo[i]);
        _mm512_store_ps(b->p[i] + 16, hi[i]);
    }
}

INLINE void scores_bf16(int n, struct queries *b, const char *k, const char *next)
{
    const size_t row = PC_KV_BLOCK * 2 * sizeof(uint16_t);
    __m512 lo[MOST], hi[MOST];
#pragma GCC unroll 12
    for (int i = 0; i < n; i++)
        lo[i] = hi[i] = _mm512_setzero_ps();
    const float *q = b->pack;
    for (size_t d = 0; d < b->head_dim / 2; d++, q += n) {
        __m512i k_lo = _mm512_loadu_si512(k + d * row), k_hi = _mm512_loadu_si512(k + d * row + row / 2);
        if (next)
            prefetch(next + d * row, row);
#pragma GCC unroll 12
        for (int i = 0; i < n; i++) {
            __m512i query = _mm512_castps_si512(_mm512_set1_ps(q[i]));
            lo[i] = pair_product(lo[i], query, k_lo);
            hi[i] = pair_product(hi[i], query, k_hi);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < n; i++) {
        _mm512_store_ps(b->p[i], lo[i]);
        _mm512_store_ps(b->p[i] + 16, hi[i]);
    }
}

INLINE void scores_q8_0(int n, struct queries *b, const char *k, const char *next)
{
    const char *scales = k + b->head_dim * PC_KV_BLOCK;
    const float *q = b->pack;
    for (int i = 0; i < n; i++) {
        _mm512_store_ps(b->p[i], _mm512_setzero_ps());
        _mm512_store_ps(b->p[i] + 16, _mm512_setzero_ps());
    }
    if (next)
        prefetch(next + b->head_dim * PC_KV_BLOCK, (b->head_dim + 31) / 32 * LINE);
    for (size_t d = 0; d < b->head_dim; scales += LINE) {
        size_t end = d + 32 < b->head_dim ? d + 32 : b->head_dim;
        __m512 lo[MOST], hi[MOST];
#pragma GCC unroll 12
        for (int i = 0; i < n; i++)
            lo[i] = hi[i] = _mm512_setzero_ps();
        for (; d < end; d++, q += n) {
            __m512 k_lo = widen(PC_Q8_0, k + d * PC_KV_BLOCK),
                   k_hi = widen(PC_Q8_0, k + d * PC_KV_BLOCK + 16);
            if (next)
                prefetch(next + d * PC_KV_BLOCK, PC_KV_BLOCK);
#pragma GCC unroll 12
            for (int i = 0; i < n; i++) {
                __m512 query = _mm512_set1_ps(q[i]);
                lo[i] = _mm512_fmadd_ps(query, k_lo, lo[i]);
                hi[i] = _mm512_fmadd_ps(query, k_hi, hi[i]);
            }
        }
        __m512 s_lo = widen(PC_F16, scales), s_hi = widen(PC_F16, scales + 32);
#pragma GCC unroll 12
        for (int i = 0; i < n; i++) {
            _mm512_store_ps(b->p[i], _mm512_fmadd_ps(s_lo, lo[i], _mm512_load_ps(b->p[i])));
            _mm512_store_ps(b->p[i] + 16, _mm512_fmadd_ps(s_hi, hi[i], _mm512_load_ps(b->p[i] + 16)));
        }
    }
}

enum reduction { SUM, MAX };

INLINE __m512 combine(enum reduction r, __m512 a, __m512 b)
{
    return r == SUM ? _mm512_add_ps(a, b) : _mm512_max_ps(a, b);
}

/* Four registers, each reduced by the contract's tree: 8, 4, 2, 1. */
INLINE __m128 reduce4(enum reduction r, __m512 a, __m512 b, __m512 c, __m512 d)
{
    __m512 ab = combine(r, _mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = combine(r, _mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    __m512 s = combine(r, _mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = combine(r, s, _mm512_permute_ps(s, 0x4e));
    s = combine(r, s, _mm512_permute_ps(s, 0xb1));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, s));
}

/* v (n), each reduced, in the first n lanes. */
INLINE __m512 reduce(enum reduction r, int n, const __m512 *v)
{
    __m512 all = _mm512_setzero_ps();
#pragma GCC unroll 3
    for (int i = 0; i < n; i += 4) {
        int j = i + 1 < n ? i + 1 : i, k = i + 2 < n ? i + 2 : i, l = i + 3 < n ? i + 3 : i;
        __m128 four = reduce4(r, v[i], v[j], v[k], v[l]);
        all = i == 0   ? _mm512_insertf32x4(all, four, 0)
              : i == 4 ? _mm512_insertf32x4(all, four, 1)
                       : _mm512_insertf32x4(all, four, 2);
    }
    return all;
}

/* p rounded to BF16, kept as such, and returned as F32. */
INLINE void round_p(struct queries *b, int i, __m512 *lo, __m512 *hi)
{
#ifdef __AVX512BF16__
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(*hi, *lo);
    _mm512_store_si512(b->p_bf16[i], both);
    *lo = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(both)), 16));
    *hi =
        _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(both, 1)), 16));
#else
    __m512 *part[] = {lo, hi};
    for (int h = 0; h < 2; h++) {
        __m512i bits = _mm512_castps_si512(*part[h]);
        __m512i tie = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(tie, _mm512_set1_epi32(0x7fff)));
        __mmask16 nan = _mm512_cmp_ps_mask(*part[h], *part[h], _CMP_UNORD_Q);
        up = _mm512_mask_mov_epi32(up, nan, _mm512_set1_epi32(0x7fc00000));
        *part[h] = odd(up);
        _mm256_store_si256(
            (__m256i *)(b->p_bf16[i] + 16 * h), _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
    }
#endif
}

/* Scores to p; the queries' max, sum and c. */
INLINE void weigh(enum pc_dtype type, int n, struct queries *b, float scale)
{
    const __m512 nothing = _mm512_set1_ps(-INFINITY), factor = _mm512_set1_ps(scale);
    __m512 part[MOST];
#pragma GCC unroll 12
    for (int i = 0; i < n; i++) {
        uint32_t seen = (uint32_t)((UINT64_C(1) << b->count[i]) - 1);
        __m512 lo = _mm512_mask_mul_ps(nothing, (__mmask16)seen, _mm512_load_ps(b->p[i]), factor);
        __m512 hi =
            _mm512_mask_mul_ps(nothing, (__mmask16)(seen >> 16), _mm512_load_ps(b->p[i] + 16), factor);
        _mm512_store_ps(b->p[i], lo);
        _mm512_store_ps(b->p[i] + 16, hi);
        part[i] = _mm512_max_ps(lo, hi);
    }
    __m512 before = _mm512_load_ps(b->max), max = _mm512_max_ps(reduce(MAX, n, part), before);
    __m512 c = pc_exp_below_avx512(_mm512_sub_ps(before, max));
    _mm512_store_ps(b->max, max);
    _mm512_store_ps(b->c, c);
#pragma GCC unroll 12
    for (int i = 0; i < n; i++) {
        __m512 m = _mm512_set1_ps(b->max[i]);
        __m512 lo = pc_exp_below_avx512(_mm512_sub_ps(_mm512_load_ps(b->p[i]), m));
        __m512 hi = pc_exp_below_avx512(_mm512_sub_ps(_mm512_load_ps(b->p[i] + 16), m));
        if (type == PC_BF16) {
            round_p(b, i, &lo, &hi);
        } else {
            _mm512_store_ps(b->p[i], lo);
            _mm512_store_ps(b->p[i] + 16, hi);
        }
        part[i] = _mm512_add_ps(lo, hi);
    }
    _mm512_store_ps(b->sum, _mm512_fmadd_ps(_mm512_load_ps(b->sum), c, reduce(SUM, n, part)));
}

INLINE __mmask16 column_mask(size_t head_dim, size_t d)
{
    return d + 16 <= head_dim ? 0xffff : d < head_dim ? (__mmask16)((1u << (head_dim - d)) - 1) : 0;
}

/* acc = acc * c + p v for 16 * cols columns from d on; weights are p, or p times v's scales. */
INLINE void values_plain(enum pc_dtype type, int n, int cols, struct queries *b, size_t d,
    float (*weights)[PC_KV_BLOCK], const char *v, const char *next)
{
    const size_t size = element_size(type), row = b->head_dim * size;
    __m512 acc[MOST][4];
    __mmask16 mask[4];
#pragma GCC unroll 4
    for (int x = 0; x < cols; x++)
        mask[x] = column_mask(b->head_dim, d + 16 * (size_t)x);
#pragma GCC unroll 12
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int x = 0; x < cols; x++)
            acc[i][x] = _mm512_mul_ps(_mm512_loadu_ps(b->acc + (size_t)i * b->stride + d + 16 * (size_t)x),
                _mm512_set1_ps(b->c[i]));
    int32_t j = 0;
    v += d * size;
    for (; j < b->least; j++, v += row) {
        if (next)
            prefetch(next + (size_t)j * row + d * size, 16 * (size_t)cols * size);
        __m512 value[4];
#pragma GCC unroll 4
        for (int x = 0; x < cols; x++)
            value[x] = widen_masked(type, v + 16 * (size_t)x * size, mask[x]);
#pragma GCC unroll 12
        for (int i = 0; i < n; i++) {
            __m512 weight = _mm512_set1_ps(weights[i][j]);
#pragma GCC unroll 4
            for (int x = 0; x < cols; x++)
                acc[i][x] = _mm512_fmadd_ps(weight, value[x], acc[i][x]);
        }
    }
    for (; j < b->most; j++, v += row)
#pragma GCC unroll 12
        for (int i = 0; i < n; i++) {
            __mmask16 seen = j < b->count[i] ? 0xffff : 0;
            __m512 weight = _mm512_set1_ps(weights[i][j]);
#pragma GCC unroll 4
            for (int x = 0; x < cols; x++)
                acc[i][x] = _mm512_mask3_fmadd_ps(
                    weight, widen_masked(type, v + 16 * (size_t)x * size, mask[x]), acc[i][x], seen);
        }
#pragma GCC unroll 12
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int x = 0; x < cols; x++)
            _mm512_storeu_ps(b->acc + (size_t)i * b->stride + d + 16 * (size_t)x, acc[i][x]);
}

/* The same in pairs of positions. */
INLINE void values_bf16(int n, int cols, struct queries *b, size_t d, const char *v, const char *next)
{
    const size_t row = b->head_dim * 2 * sizeof(uint16_t);
    const __m512i first = _mm512_set1_epi32(0xffff);
    __m512 acc[MOST][4];
    __mmask16 mask[4];
#pragma GCC unroll 4
    for (int x = 0; x < cols; x++)
        mask[x] = column_mask(b->head_dim, d + 16 * (size_t)x);
#pragma GCC unroll 12
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int x = 0; x < cols; x++)
            acc[i][x] = _mm512_mul_ps(_mm512_loadu_ps(b->acc + (size_t)i * b->stride + d + 16 * (size_t)x),
                _mm512_set1_ps(b->c[i]));
    int32_t j = 0;
    v += d * 4;
    for (; j + 2 <= b->least; j += 2, v += row) {
        if (next)
            prefetch(next + (size_t)j / 2 * row + d * 4, LINE * (size_t)cols);
        __m512i value[4];
#pragma GCC unroll 4
        for (int x = 0; x < cols; x++)
            value[x] = _mm512_maskz_loadu_epi32(mask[x], v + LINE * x);
#pragma GCC unroll 12
        for (int i = 0; i < n; i++) {
            int32_t pair;
            memcpy(&pair, &b->p_bf16[i][j], sizeof pair);
#pragma GCC unroll 4
            for (int x = 0; x < cols; x++)
                acc[i][x] = pair_product(acc[i][x], _mm512_set1_epi32(pair), value[x]);
        }
    }
    for (; j < b->most; j += 2, v += row)
#pragma GCC unroll 12
        for (int i = 0; i < n; i++) {
            int32_t pair;
            memcpy(&pair, &b->p_bf16[i][j], sizeof pair);
            __mmask16 seen = j < b->count[i] ? 0xffff : 0;
            __m512i half = j + 1 == b->count[i] ? first : _mm512_set1_epi32(-1);
#pragma GCC unroll 4
            for (int x = 0; x < cols; x++) {
                __m512i value = _mm512_and_si512(_mm512_maskz_loadu_epi32(mask[x], v + LINE * x), half);
                __m512 sum = pair_product(acc[i][x], _mm512_set1_epi32(pair), value);
                acc[i][x] = _mm512_mask_mov_ps(acc[i][x], seen, sum);
            }
        }
#pragma GCC unroll 12
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int x = 0; x < cols; x++)
            _mm512_storeu_ps(b->acc + (size_t)i * b->stride + d + 16 * (size_t)x, acc[i][x]);
}

/* Value weights of the 32 columns that share v's scales. */
INLINE void scale_p(int n, float (*weights)[PC_KV_BLOCK], struct queries *b, const char *scales)
{
    __m512 lo = widen(PC_F16, scales), hi = widen(PC_F16, scales + 32);
#pragma GCC unroll 12
    for (int i = 0; i < n; i++) {
        _mm512_store_ps(weights[i], _mm512_mul_ps(_mm512_load_ps(b->p[i]), lo));
        _mm512_store_ps(weights[i] + 16, _mm512_mul_ps(_mm512_load_ps(b->p[i] + 16), hi));
    }
}

INLINE void values(enum pc_dtype type, int n, struct queries *b, const char *v, const char *next)
{
    size_t d = 0;
    if (type == PC_Q8_0) {
        _Alignas(64) float weights[MOST][PC_KV_BLOCK];
        if (next)
            prefetch(next + b->head_dim * PC_KV_BLOCK, (b->head_dim + 31) / 32 * LINE);
        for (; d < b->head_dim; d += 32) {
            scale_p(n, weights, b, v + b->head_dim * PC_KV_BLOCK + d / 32 * LINE);
            values_plain(type, n, 2, b, d, weights, v, next);
        }
        return;
    }
    while (d < b->head_dim) {
        int cols = n <= 4 && d + 64 <= b->head_dim ? 4 : 2;
        if (type == PC_BF16 && cols == 4)
            values_bf16(n, 4, b, d, v, next);
        else if (type == PC_BF16)
            values_bf16(n, 2, b, d, v, next);
        else if (cols == 4)
            values_plain(type, n, 4, b, d, b->p, v, next);
        else
            values_plain(type, n, 2, b, d, b->p, v, next);
        d += 16 * (size_t)cols;
    }
}

/* Query i of n into the pack. */
INLINE void pack(enum pc_dtype type, int n, float *to, const float *q, size_t head_dim)
{
    if (type != PC_BF16) {
        for (size_t d = 0; d < head_dim; d++)
            to[d * (size_t)n] = q[d];
        return;
    }
    for (size_t d = 0; d < head_dim; d += 2) {
        uint32_t pair = pc_f32_to_bf16(q[d]) | (uint32_t)pc_f32_to_bf16(q[d + 1]) << 16;
        to[d / 2 * (size_t)n] = pc_f32_from_bits(pair);
    }
}

/* n queries, the last ones of which may be there for company only: beyond n_real they are zeros. */
INLINE void fold_block(enum pc_dtype type, int n, size_t n_real, const struct pc_attention_state *state,
    const float *q, size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys,
    float scale, float *scratch, bool alone)
{
    struct queries b = {.head_dim = head_dim, .stride = (head_dim + 31) / 32 * 32};
    b.pack = scratch;
    b.acc = scratch + 16 * b.stride;
    memset(scratch, 0, head_dim * (size_t)n * sizeof *scratch);
    memset(b.acc, 0, b.stride * (size_t)n * sizeof *b.acc);
    for (size_t i = 0; i < n_real; i++) {
        pack(type, n, scratch + i, q + i * head_dim, head_dim);
        memcpy(b.acc + i * b.stride, state->acc + i * head_dim, head_dim * sizeof *b.acc);
        b.max[i] = state->max[i];
        b.sum[i] = state->sum[i];
    }
    for (size_t t = 0; t < n_tiles; t++) {
        int32_t before = (int32_t)t * PC_KV_BLOCK;
        b.least = PC_KV_BLOCK;
        b.most = 0;
        for (size_t i = 0; i < n_real; i++) {
            int32_t left = n_keys[i] - before;
            b.count[i] = left < 0 ? 0 : left < PC_KV_BLOCK ? left : PC_KV_BLOCK;
            b.least = b.count[i] < b.least ? b.count[i] : b.least;
            b.most = b.count[i] > b.most ? b.count[i] : b.most;
        }
        for (size_t i = n_real; i < (size_t)n; i++)
            b.count[i] = b.most;
        if (!b.most)
            break;
        const struct pc_kv_tile *next = alone && t + 1 < n_tiles ? &tiles[t + 1] : NULL;
        const char *next_k = next ? next->k : NULL, *next_v = next ? next->v : NULL;
        if (type == PC_BF16)
            scores_bf16(n, &b, tiles[t].k, next_k);
        else if (type == PC_Q8_0)
            scores_q8_0(n, &b, tiles[t].k, next_k);
        else
            scores_plain(type, n, &b, tiles[t].k, next_k);
        weigh(type, n, &b, scale);
        values(type, n, &b, tiles[t].v, next_v);
    }
    for (size_t i = 0; i < n_real; i++) {
        memcpy(state->acc + i * head_dim, b.acc + i * b.stride, head_dim * sizeof *b.acc);
        state->max[i] = b.max[i];
        state->sum[i] = b.sum[i];
    }
}

/* All queries in blocks; the numbers a block can have are instances of fold_block. */
INLINE void fold(enum pc_dtype type, const struct pc_attention_state *state, const float *q, size_t n_q,
    size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale,
    float *scratch)
{
    static const unsigned char sizes[MOST + 1] = {0, 1, 2, 3, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    bool alone = n_q <= MOST;
    for (size_t i = 0; i < n_q;) {
        size_t n = n_q - i < MOST ? n_q - i : MOST;
        struct pc_attention_state s = {state->acc + i * head_dim, state->max + i, state->sum + i};
        const float *at = q + i * head_dim;
        const int32_t *keys = n_keys + i;
#define BLOCK(size) fold_block(type, size, n, &s, at, head_dim, tiles, n_tiles, keys, scale, scratch, alone)
        switch (sizes[n]) {
        case 1: BLOCK(1); break;
        case 2: BLOCK(2); break;
        case 3: BLOCK(3); break;
        case 4: BLOCK(4); break;
        case 8: BLOCK(8); break;
        default: BLOCK(12); break;
        }
#undef BLOCK
        i += n;
    }
}

#define FOLD(name, TYPE)                                                                                     \
    static void fold_##name(const struct pc_attention_state *state, const float *q, size_t n_q,              \
        size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale, \
        float *scratch)                                                                                      \
    {                                                                                                        \
        fold(TYPE, state, q, n_q, head_dim, tiles, n_tiles, n_keys, scale, scratch);                         \
    }

#endif
