// SPDX-License-Identifier: Apache-2.0
/* Up to three queries go through a segment's tiles together and share each load of keys and values: 32 scores
 * of three queries are 24 accumulators of the 32 registers there are. What differs between queries are their
 * counts of keys: from the smallest of these on, v's rows are added to those queries alone that see them.
 *
 * There is no fused product of BF16 pairs here: the odd element's fmaf and the even one's are two
 * instructions, and denormals stay what they are. (BFDOT, where a processor has it, rounds in a way of its
 * own.) */
#include "kernels/attention_cache.h"
#include "kernels/vmath.h"

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    MOST = 3,
    COLUMNS = 16, /* at a time: four registers */
    QUARTERS = COLUMNS / 4,
    REGISTERS = PC_KV_BLOCK / 4,
};

/* Queries on their way through the tiles. */
struct queries {
    const float *q;
    float *acc;
    size_t head_dim;
    int32_t count[MOST];        /* keys of the tile at hand that a query sees */
    int32_t least, most;        /* of them */
    float p[MOST][PC_KV_BLOCK]; /* scores, then their exponentials */
    float c[MOST];
};

INLINE size_t element_size(enum pc_dtype type)
{
    return type == PC_F32 ? 4 : type == PC_Q8_0 ? 1 : 2;
}

/* Sixteen elements of a tile as F32. */
INLINE void widen(enum pc_dtype type, float32x4_t to[QUARTERS], const char *p)
{
    if (type == PC_Q8_0) {
        int8x16_t q = vld1q_s8((const int8_t *)p);
        int16x8_t low = vmovl_s8(vget_low_s8(q)), high = vmovl_s8(vget_high_s8(q));
        to[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
        to[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(low)));
        to[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
        to[3] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)));
        return;
    }
    for (int x = 0; x < QUARTERS; x++)
        to[x] = type == PC_F32 ? vld1q_f32((const float *)p + 4 * x)
                               : vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + 4 * x)));
}

/* Sixteen pairs. */
INLINE void widen_pairs(float32x4_t even[QUARTERS], float32x4_t odd[QUARTERS], const uint16_t *p)
{
    for (int x = 0; x < QUARTERS; x++) {
        uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(p + 8 * x));
        even[x] = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
        odd[x] = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
    }
}

INLINE float rounded(float x)
{
    return pc_bf16_to_f32(pc_f32_to_bf16(x));
}

/* s[i] += the products of elements [d, end) of query i and all keys. */
INLINE void dot(enum pc_dtype type, int n, float32x4_t s[MOST][REGISTERS], const struct queries *b,
    const char *k, size_t d, size_t end)
{
    const size_t row = PC_KV_BLOCK * element_size(type), half = row / 2;
    for (; d < end; d += type == PC_BF16 ? 2 : 1)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            float32x4_t key[QUARTERS], odd[QUARTERS];
            if (type == PC_BF16)
                widen_pairs(key, odd, (const uint16_t *)(k + d * row + 2 * half * (size_t)h));
            else
                widen(type, key, k + d * row + half * (size_t)h);
#pragma GCC unroll 3
            for (int i = 0; i < n; i++) {
                const float *q = b->q + (size_t)i * b->head_dim + d;
#pragma GCC unroll 4
                for (int x = 0; x < QUARTERS; x++) {
                    float32x4_t *to = &s[i][QUARTERS * h + x];
                    if (type == PC_BF16)
                        *to = vfmaq_n_f32(*to, odd[x], rounded(q[1]));
                    *to = vfmaq_n_f32(*to, key[x], type == PC_BF16 ? rounded(q[0]) : q[0]);
                }
            }
        }
}

INLINE void clear(int n, float32x4_t s[MOST][REGISTERS])
{
    for (int i = 0; i < n; i++)
        for (int x = 0; x < REGISTERS; x++)
            s[i][x] = vdupq_n_f32(0);
}

INLINE void scores(enum pc_dtype type, int n, struct queries *b, const char *k)
{
    float32x4_t s[MOST][REGISTERS];
    if (type != PC_Q8_0) {
        clear(n, s);
        dot(type, n, s, b, k, 0, b->head_dim);
        for (int i = 0; i < n; i++)
            for (int x = 0; x < REGISTERS; x++)
                vst1q_f32(b->p[i] + 4 * x, s[i][x]);
        return;
    }
    const char *scales = k + b->head_dim * PC_KV_BLOCK;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < PC_KV_BLOCK; j++)
            b->p[i][j] = 0;
    for (size_t d = 0; d < b->head_dim; d += 32, scales += PC_KV_BLOCK * sizeof(uint16_t)) {
        clear(n, s);
        dot(type, n, s, b, k, d, d + 32 < b->head_dim ? d + 32 : b->head_dim);
        for (int h = 0; h < 2; h++) {
            float32x4_t scale[QUARTERS];
            widen(PC_F16, scale, scales + h * 32);
            for (int i = 0; i < n; i++)
                for (int x = 0; x < QUARTERS; x++) {
                    float *at = b->p[i] + COLUMNS * h + 4 * x;
                    vst1q_f32(at, vfmaq_f32(vld1q_f32(at), scale[x], s[i][QUARTERS * h + x]));
                }
        }
    }
}

INLINE float32x4_t larger(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

/* Scores to p, and the query's max and sum to the new ones; returns c. */
INLINE float weigh(enum pc_dtype type, float p[PC_KV_BLOCK], int32_t n, float scale, float *max, float *sum)
{
    const uint32x4_t first = {0, 1, 2, 3};
    float32x4_t v[REGISTERS];
    for (int x = 0; x < REGISTERS; x++) {
        uint32x4_t seen = vcltq_u32(vaddq_u32(first, vdupq_n_u32(4 * (uint32_t)x)), vdupq_n_u32((uint32_t)n));
        v[x] = vbslq_f32(seen, vmulq_n_f32(vld1q_f32(p + 4 * x), scale), vdupq_n_f32(-INFINITY));
        vst1q_f32(p + 4 * x, v[x]);
    }
    for (int width = REGISTERS / 2; width > 0; width /= 2)
        for (int x = 0; x < width; x++)
            v[x] = larger(v[x], v[x + width]);
    float lane[4];
    vst1q_f32(lane, v[0]);
    float a = lane[0] > lane[2] ? lane[0] : lane[2], b = lane[1] > lane[3] ? lane[1] : lane[3];
    float top = a > b ? a : b, m = top > *max ? top : *max, c = pc_expf(*max - m);
    for (int j = 0; j < PC_KV_BLOCK; j++) {
        float e = pc_expf(p[j] - m);
        p[j] = type == PC_BF16 ? rounded(e) : e;
    }
    for (int x = 0; x < REGISTERS; x++)
        v[x] = vld1q_f32(p + 4 * x);
    for (int width = REGISTERS / 2; width > 0; width /= 2)
        for (int x = 0; x < width; x++)
            v[x] = vaddq_f32(v[x], v[x + width]);
    float32x2_t s2 = vadd_f32(vget_low_f32(v[0]), vget_high_f32(v[0]));
    *max = m;
    *sum = fmaf(*sum, c, vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1));
    return c;
}

/* acc + the row(s) of v at position j for query i; pairs where the type has them. */
INLINE void add_row(enum pc_dtype type, float32x4_t acc[QUARTERS], const float *weight, bool both,
    const float32x4_t *value, const float32x4_t *odd)
{
#pragma GCC unroll 4
    for (int x = 0; x < QUARTERS; x++) {
        if (type == PC_BF16 && both)
            acc[x] = vfmaq_n_f32(acc[x], odd[x], weight[1]);
        acc[x] = vfmaq_n_f32(acc[x], value[x], weight[0]);
    }
}

/* acc = acc * c + weights v for columns [d, d + 16). */
INLINE void values(
    enum pc_dtype type, int n, struct queries *b, size_t d, float (*weights)[PC_KV_BLOCK], const char *v)
{
    const int32_t step = type == PC_BF16 ? 2 : 1;
    const size_t size = element_size(type) * (size_t)step, row = b->head_dim * size;
    float32x4_t acc[MOST][QUARTERS];
    for (int i = 0; i < n; i++)
        for (int x = 0; x < QUARTERS; x++)
            acc[i][x] = vmulq_n_f32(vld1q_f32(b->acc + (size_t)i * b->head_dim + d + 4 * (size_t)x), b->c[i]);
    v += d * size;
    for (int32_t j = 0; j < b->most; j += step, v += row) {
        float32x4_t value[QUARTERS], odd[QUARTERS];
        if (type == PC_BF16)
            widen_pairs(value, odd, (const uint16_t *)v);
        else
            widen(type, value, v);
        bool all = j + step <= b->least;
#pragma GCC unroll 3
        for (int i = 0; i < n; i++)
            if (all || j < b->count[i])
                add_row(type, acc[i], &weights[i][j], all || j + 1 < b->count[i], value, odd);
    }
    for (int i = 0; i < n; i++)
        for (int x = 0; x < QUARTERS; x++)
            vst1q_f32(b->acc + (size_t)i * b->head_dim + d + 4 * (size_t)x, acc[i][x]);
}

INLINE float element(enum pc_dtype type, const void *tile, size_t at)
{
    return type == PC_F32    ? ((const float *)tile)[at]
           : type == PC_F16  ? pc_f16_to_f32(((const uint16_t *)tile)[at])
           : type == PC_Q8_0 ? (float)((const int8_t *)tile)[at]
                             : pc_bf16_to_f32(((const uint16_t *)tile)[at]);
}

/* The same for columns [d, end), one by one. */
INLINE void last_values(enum pc_dtype type, int n, struct queries *b, size_t d, size_t end,
    float (*weights)[PC_KV_BLOCK], const char *v)
{
    for (; d < end; d++)
        for (int i = 0; i < n; i++) {
            float *acc = b->acc + (size_t)i * b->head_dim + d;
            *acc *= b->c[i];
            for (int32_t j = 0; j < b->count[i]; j++) {
                /* Of a pair the odd one is first. */
                int32_t at = type != PC_BF16 ? j : j % 2 ? j - 1 : j + 1 < b->count[i] ? j + 1 : j;
                size_t index = pc_value_index(type, d, (size_t)at, b->head_dim);
                *acc = fmaf(weights[i][at], element(type, v, index), *acc);
            }
        }
}

/* weights = p times v's scales of 32 columns. */
INLINE void scale_p(int n, float (*weights)[PC_KV_BLOCK], const struct queries *b, const char *scales)
{
    for (int h = 0; h < 2; h++) {
        float32x4_t scale[QUARTERS];
        widen(PC_F16, scale, scales + h * 32);
        for (int i = 0; i < n; i++)
            for (int x = 0; x < QUARTERS; x++) {
                size_t at = (size_t)(COLUMNS * h + 4 * x);
                vst1q_f32(weights[i] + at, vmulq_f32(vld1q_f32(b->p[i] + at), scale[x]));
            }
    }
}

INLINE void all_values(enum pc_dtype type, int n, struct queries *b, const char *v)
{
    float scaled[MOST][PC_KV_BLOCK], (*weights)[PC_KV_BLOCK] = type == PC_Q8_0 ? scaled : b->p;
    for (size_t d = 0; d < b->head_dim; d += COLUMNS) {
        if (type == PC_Q8_0 && d % 32 == 0)
            scale_p(n, scaled, b, v + b->head_dim * PC_KV_BLOCK + d * sizeof(uint16_t));
        if (d + COLUMNS <= b->head_dim)
            values(type, n, b, d, weights, v);
        else
            last_values(type, n, b, d, b->head_dim, weights, v);
    }
}

/* n queries: a constant after inlining. */
INLINE void fold_n(enum pc_dtype type, int n, const struct pc_attention_state *state, size_t first,
    const float *q, size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys,
    float scale)
{
    struct queries b = {
        .q = q + first * head_dim, .acc = state->acc + first * head_dim, .head_dim = head_dim};
    for (size_t t = 0; t < n_tiles; t++) {
        b.least = PC_KV_BLOCK;
        b.most = 0;
        for (int i = 0; i < n; i++) {
            int32_t left = n_keys[first + (size_t)i] - (int32_t)t * PC_KV_BLOCK;
            b.count[i] = left < 0 ? 0 : left < PC_KV_BLOCK ? left : PC_KV_BLOCK;
            b.least = b.count[i] < b.least ? b.count[i] : b.least;
            b.most = b.count[i] > b.most ? b.count[i] : b.most;
        }
        if (!b.most)
            break;
        scores(type, n, &b, tiles[t].k);
        for (int i = 0; i < n; i++) {
            size_t at = first + (size_t)i;
            b.c[i] =
                b.count[i] ? weigh(type, b.p[i], b.count[i], scale, &state->max[at], &state->sum[at]) : 1.0f;
        }
        all_values(type, n, &b, tiles[t].v);
    }
}

INLINE void fold(enum pc_dtype type, const struct pc_attention_state *state, const float *q, size_t n_q,
    size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale)
{
    size_t i = 0;
    for (; i + 3 <= n_q; i += 3)
        fold_n(type, 3, state, i, q, head_dim, tiles, n_tiles, n_keys, scale);
    if (i + 2 == n_q)
        fold_n(type, 2, state, i, q, head_dim, tiles, n_tiles, n_keys, scale);
    else if (i < n_q)
        fold_n(type, 1, state, i, q, head_dim, tiles, n_tiles, n_keys, scale);
}

#define FOLD(name, TYPE)                                                                                     \
    static void fold_##name(const struct pc_attention_state *state, const float *q, size_t n_q,              \
        size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale, \
        float *scratch)                                                                                      \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        fold(TYPE, state, q, n_q, head_dim, tiles, n_tiles, n_keys, scale);                                  \
    }

FOLD(f32, PC_F32)
FOLD(f16, PC_F16)
FOLD(bf16, PC_BF16)
FOLD(q8_0, PC_Q8_0)

void pc_attention_init_neon(struct pc_attention *table)
{
    table->f32.fold = fold_f32;
    table->f16.fold = fold_f16;
    table->bf16.fold = fold_bf16;
    table->q8_0.fold = fold_q8_0;
}
