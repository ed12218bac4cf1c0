// SPDX-License-Identifier: Apache-2.0
/* Up to three queries go through a segment's tiles together: a tile's 32 scores are four registers for each,
 * and so are 32 columns of the output. Their q are packed side by side, (D, n). The softmax is the scalar
 * one, which the compiler turns into vectors here. */
#include "kernels/attention_cache.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { MOST = 3, WIDTH = 8, PARTS = PC_KV_BLOCK / WIDTH };

/* A block of queries on their way through the tiles. */
struct queries {
    const float *pack; /* (D, n) */
    float *acc;        /* (n, stride) */
    size_t head_dim, stride;
    int32_t count[MOST]; /* keys of the tile at hand that a query sees */
    int32_t least, most; /* of them */
    float max[MOST], sum[MOST], c[MOST];
    _Alignas(32) float p[MOST][PC_KV_BLOCK]; /* scores, then their exponentials, then weights of values */
};

INLINE size_t element_size(enum pc_dtype type)
{
    return type == PC_F32 ? 4 : type == PC_Q8_0 ? 1 : 2;
}

/* Eight elements of a tile as F32. */
INLINE __m256 widen(enum pc_dtype type, const char *p)
{
    return type == PC_F32   ? _mm256_loadu_ps((const float *)p)
           : type == PC_F16 ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p))
                            : _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

INLINE __m256 even(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}

INLINE __m256 odd(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)));
}

/* Elements [d, end) of the queries with the tile's keys, added to s. */
INLINE void dots(enum pc_dtype type, int n, const struct queries *b, const char *k, size_t d, size_t end,
    __m256 s[MOST][PARTS])
{
    const size_t step = type == PC_BF16 ? 2 : 1, row = PC_KV_BLOCK * element_size(type) * step;
    k += d / step * row;
    for (; d < end; d += step, k += row) {
        const float *q = b->pack + d * (size_t)n;
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++) {
            const char *at = k + (size_t)part * row / PARTS;
            if (type == PC_BF16) {
                __m256i pairs = _mm256_loadu_si256((const __m256i *)at);
                __m256 k_even = even(pairs), k_odd = odd(pairs);
#pragma GCC unroll 3
                for (int i = 0; i < n; i++) {
                    s[i][part] = _mm256_fmadd_ps(_mm256_set1_ps(q[n + i]), k_odd, s[i][part]);
                    s[i][part] = _mm256_fmadd_ps(_mm256_set1_ps(q[i]), k_even, s[i][part]);
                }
            } else {
                __m256 key = widen(type, at);
#pragma GCC unroll 3
                for (int i = 0; i < n; i++)
                    s[i][part] = _mm256_fmadd_ps(_mm256_set1_ps(q[i]), key, s[i][part]);
            }
        }
    }
}

INLINE void clear(int n, __m256 s[MOST][PARTS])
{
#pragma GCC unroll 3
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++)
            s[i][part] = _mm256_setzero_ps();
}

/* b->p = the queries' unscaled scores with a tile. */
INLINE void scores(enum pc_dtype type, int n, struct queries *b, const char *k)
{
    __m256 s[MOST][PARTS];
    if (type != PC_Q8_0) {
        clear(n, s);
        dots(type, n, b, k, 0, b->head_dim, s);
#pragma GCC unroll 3
        for (int i = 0; i < n; i++)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++)
                _mm256_store_ps(b->p[i] + WIDTH * part, s[i][part]);
        return;
    }
    memset(b->p, 0, sizeof b->p);
    const char *scales = k + b->head_dim * PC_KV_BLOCK;
    for (size_t d = 0; d < b->head_dim; d += 32, scales += PC_KV_BLOCK * sizeof(uint16_t)) {
        clear(n, s);
        dots(type, n, b, k, d, d + 32 < b->head_dim ? d + 32 : b->head_dim, s);
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++) {
            __m256 scale = widen(PC_F16, scales + WIDTH * sizeof(uint16_t) * (size_t)part);
#pragma GCC unroll 3
            for (int i = 0; i < n; i++) {
                float *p = b->p[i] + WIDTH * part;
                _mm256_store_ps(p, _mm256_fmadd_ps(scale, s[i][part], _mm256_load_ps(p)));
            }
        }
    }
}

/* Eight columns of a row of v, or of a pair of rows; the first n_columns of them if there are no more. */
INLINE __m256i columns(enum pc_dtype type, const char *v, size_t n_columns)
{
    const size_t size = type == PC_BF16 ? 4 : element_size(type);
    char copy[WIDTH * 4] = {0};
    if (n_columns < WIDTH) {
        memcpy(copy, v, n_columns * size);
        v = copy;
    }
    return type == PC_BF16 ? _mm256_loadu_si256((const __m256i *)v) : _mm256_castps_si256(widen(type, v));
}

/* sum + one query's share of row j of v, or of rows j and j + 1, of which `seen` are seen. */
INLINE __m256 add_value(enum pc_dtype type, __m256 sum, const float *p, __m256i v, int32_t seen)
{
    if (type != PC_BF16)
        return _mm256_fmadd_ps(_mm256_broadcast_ss(p), _mm256_castsi256_ps(v), sum);
    if (seen > 1)
        sum = _mm256_fmadd_ps(_mm256_broadcast_ss(p + 1), odd(v), sum);
    return _mm256_fmadd_ps(_mm256_broadcast_ss(p), even(v), sum);
}

/* acc = acc * c + p v for 32 columns from d on; all of them exist, or n_columns do. */
INLINE void values(enum pc_dtype type, int n, struct queries *b, size_t d, size_t n_columns, const char *v)
{
    const size_t rows = type == PC_BF16 ? 2 : 1, size = element_size(type) * rows;
    const size_t row = b->head_dim * size, part_size = WIDTH * size;
    __m256 acc[MOST][PARTS];
#pragma GCC unroll 3
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int x = 0; x < PARTS; x++)
            acc[i][x] = _mm256_mul_ps(_mm256_loadu_ps(b->acc + (size_t)i * b->stride + d + (size_t)x * WIDTH),
                _mm256_set1_ps(b->c[i]));
    v += d * size;
    for (int32_t j = 0; j < b->most; j += (int32_t)rows, v += row) {
        bool all = j + (int32_t)rows <= b->least;
#pragma GCC unroll 4
        for (size_t x = 0; x < PARTS; x++) {
            if (x * WIDTH >= n_columns)
                continue;
            __m256i value = columns(type, v + x * part_size, n_columns - x * WIDTH);
#pragma GCC unroll 3
            for (int i = 0; i < n; i++)
                if (all || j < b->count[i])
                    acc[i][x] = add_value(type, acc[i][x], b->p[i] + j, value, all ? 2 : b->count[i] - j);
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int x = 0; x < PARTS; x++)
            _mm256_storeu_ps(b->acc + (size_t)i * b->stride + d + (size_t)x * WIDTH, acc[i][x]);
}

INLINE void all_values(enum pc_dtype type, int n, struct queries *b, const char *v)
{
    _Alignas(32) float p[MOST][PC_KV_BLOCK];
    if (type == PC_Q8_0)
        memcpy(p, b->p, sizeof p);
    for (size_t d = 0; d < b->head_dim; d += 32) {
        if (type == PC_Q8_0) {
            const char *scales = v + b->head_dim * PC_KV_BLOCK + d * sizeof(uint16_t);
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++) {
                __m256 scale = widen(PC_F16, scales + WIDTH * sizeof(uint16_t) * (size_t)part);
#pragma GCC unroll 3
                for (int i = 0; i < n; i++)
                    _mm256_store_ps(
                        b->p[i] + WIDTH * part, _mm256_mul_ps(_mm256_load_ps(p[i] + WIDTH * part), scale));
            }
        }
        if (d + 32 <= b->head_dim)
            values(type, n, b, d, 32, v);
        else
            values(type, n, b, d, b->head_dim - d, v);
    }
}

/* n queries through all tiles. */
INLINE void fold_block(enum pc_dtype type, int n, const struct pc_attention_state *state, const float *q,
    size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale,
    float *scratch)
{
    struct queries b = {.head_dim = head_dim, .stride = (head_dim + 31) / 32 * 32};
    b.pack = scratch;
    b.acc = scratch + 16 * b.stride;
    for (int i = 0; i < n; i++) {
        for (size_t d = 0; d < head_dim; d++)
            scratch[d * (size_t)n + (size_t)i] =
                type == PC_BF16 ? pc_rounded(q[(size_t)i * head_dim + d]) : q[(size_t)i * head_dim + d];
        memcpy(b.acc + (size_t)i * b.stride, state->acc + (size_t)i * head_dim, head_dim * sizeof *b.acc);
        memset(b.acc + (size_t)i * b.stride + head_dim, 0, (b.stride - head_dim) * sizeof *b.acc);
        b.max[i] = state->max[i];
        b.sum[i] = state->sum[i];
    }
    for (size_t t = 0; t < n_tiles; t++) {
        b.least = PC_KV_BLOCK;
        b.most = 0;
        for (int i = 0; i < n; i++) {
            int32_t left = n_keys[i] - (int32_t)t * PC_KV_BLOCK;
            b.count[i] = left < 0 ? 0 : left < PC_KV_BLOCK ? left : PC_KV_BLOCK;
            b.least = b.count[i] < b.least ? b.count[i] : b.least;
            b.most = b.count[i] > b.most ? b.count[i] : b.most;
        }
        if (!b.most)
            break;
        scores(type, n, &b, tiles[t].k);
        for (int i = 0; i < n; i++)
            b.c[i] = pc_attention_weigh(type, b.p[i], b.count[i], scale, &b.max[i], &b.sum[i]);
        all_values(type, n, &b, tiles[t].v);
    }
    for (int i = 0; i < n; i++) {
        memcpy(state->acc + (size_t)i * head_dim, b.acc + (size_t)i * b.stride, head_dim * sizeof *b.acc);
        state->max[i] = b.max[i];
        state->sum[i] = b.sum[i];
    }
}

#define FOLD(name, TYPE)                                                                                     \
    static void fold_##name(const struct pc_attention_state *state, const float *q, size_t n_q,              \
        size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale, \
        float *scratch)                                                                                      \
    {                                                                                                        \
        for (size_t i = 0; i < n_q;) {                                                                       \
            struct pc_attention_state s = {state->acc + i * head_dim, state->max + i, state->sum + i};       \
            const float *at = q + i * head_dim;                                                              \
            size_t n = n_q - i < MOST ? n_q - i : MOST;                                                      \
            switch (n) {                                                                                     \
            case 3: fold_block(TYPE, 3, &s, at, head_dim, tiles, n_tiles, n_keys + i, scale, scratch);       \
                break;                                                                                       \
            case 2: fold_block(TYPE, 2, &s, at, head_dim, tiles, n_tiles, n_keys + i, scale, scratch);       \
                break;                                                                                       \
            default: fold_block(TYPE, 1, &s, at, head_dim, tiles, n_tiles, n_keys + i, scale, scratch);      \
                break;                                                                                       \
            }                                                                                                \
            i += n;                                                                                          \
        }                                                                                                    \
    }

FOLD(f32, PC_F32)
FOLD(f16, PC_F16)
FOLD(bf16, PC_BF16)
FOLD(q8_0, PC_Q8_0)

static void join(
    const struct pc_attention_state *into, const struct pc_attention_state *from, size_t n_q, size_t head_dim)
{
    pc_attention_join_loop(into, from, n_q, head_dim);
}

static void end(float *out, const struct pc_attention_state *state, size_t i, size_t head_dim)
{
    pc_attention_end_loop(out, state, i, head_dim);
}

void pc_attention_init_avx2(struct pc_attention *table)
{
    table->f32.fold = fold_f32;
    table->f16.fold = fold_f16;
    table->bf16.fold = fold_bf16;
    table->q8_0.fold = fold_q8_0;
    table->join = join;
    table->end = end;
}
