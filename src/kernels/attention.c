// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include "base/cpu.h"
#include "kernels/attention_cache.h"

#define INLINE static inline __attribute__((always_inline))

size_t pc_kv_tile_size(enum pc_dtype type, size_t head_dim)
{
    switch (type) {
    case PC_F32: return head_dim * PC_KV_BLOCK * sizeof(float);
    case PC_F16:
    case PC_BF16: return head_dim * PC_KV_BLOCK * sizeof(uint16_t);
    case PC_Q8_0: return head_dim * PC_KV_BLOCK + (head_dim + 31) / 32 * PC_KV_BLOCK * sizeof(uint16_t);
    default: return 0;
    }
}

INLINE void put(enum pc_dtype type, void *tile, size_t at, float x)
{
    if (type == PC_F32)
        ((float *)tile)[at] = x;
    else
        ((uint16_t *)tile)[at] = type == PC_F16 ? pc_cache_f16(x) : pc_f32_to_bf16(x);
}

INLINE float get(enum pc_dtype type, const void *tile, size_t at)
{
    return type == PC_F32    ? ((const float *)tile)[at]
           : type == PC_F16  ? pc_f16_to_f32(((const uint16_t *)tile)[at])
           : type == PC_Q8_0 ? (float)((const int8_t *)tile)[at]
                             : pc_bf16_to_f32(((const uint16_t *)tile)[at]);
}

static void store_q8_0_row(struct pc_kv_tile tile, size_t j, const float *key, const float *value, size_t n)
{
    for (size_t d = 0; d < n; d += 32) {
        size_t len = n - d < 32 ? n - d : 32;
        int8_t q[32];
        pc_tile_scales(tile.k, n)[d + j] = pc_cache_q8_0(q, key + d, len);
        for (size_t i = 0; i < len; i++)
            ((int8_t *)tile.k)[pc_key_index(PC_Q8_0, d + i, j)] = q[i];
        pc_tile_scales(tile.v, n)[d + j] = pc_cache_q8_0(q, value + d, len);
        for (size_t i = 0; i < len; i++)
            ((int8_t *)tile.v)[pc_value_index(PC_Q8_0, d + i, j, n)] = q[i];
    }
}

INLINE void store(enum pc_dtype type, struct pc_kv_tile tile, size_t first, size_t n, const float *key,
    const float *value, size_t stride, size_t head_dim)
{
    for (size_t j = first; j < first + n; j++, key += stride, value += stride) {
        if (type == PC_Q8_0) {
            store_q8_0_row(tile, j, key, value, head_dim);
            continue;
        }
        for (size_t d = 0; d < head_dim; d++) {
            put(type, tile.k, pc_key_index(type, d, j), key[d]);
            put(type, tile.v, pc_value_index(type, d, j, head_dim), value[d]);
        }
    }
}

static float pair_product(float sum, const float a[2], const float b[2])
{
    sum = pc_flushed(fmaf(pc_flushed(a[1]), pc_flushed(b[1]), sum));
    return pc_flushed(fmaf(pc_flushed(a[0]), pc_flushed(b[0]), sum));
}

/* One query's dot products with keys [0, n) of a tile, unscaled. */
INLINE void scores(enum pc_dtype type, float *s, const float *q, size_t head_dim, void *k, int32_t n)
{
    for (size_t j = 0; j < (size_t)n; j++) {
        float sum = 0;
        if (type == PC_BF16) {
            const uint16_t *pairs = k;
            for (size_t d = 0; d < head_dim; d += 2) {
                const uint16_t *at = pairs + pc_key_index(type, d, j);
                float a[2] = {pc_rounded(q[d]), pc_rounded(q[d + 1])};
                float b[2] = {pc_bf16_to_f32(at[0]), pc_bf16_to_f32(at[1])};
                sum = pair_product(sum, a, b);
            }
        } else if (type == PC_Q8_0) {
            for (size_t d = 0; d < head_dim;) {
                size_t end = d + 32 < head_dim ? d + 32 : head_dim;
                float scale = pc_f16_to_f32(pc_tile_scales(k, head_dim)[d + j]), part = 0;
                for (; d < end; d++)
                    part = fmaf(q[d], get(type, k, pc_key_index(type, d, j)), part);
                sum = fmaf(scale, part, sum);
            }
        } else {
            for (size_t d = 0; d < head_dim; d++)
                sum = fmaf(q[d], get(type, k, pc_key_index(type, d, j)), sum);
        }
        s[j] = sum;
    }
}

/* acc + p v over positions [0, n) of a tile, for element d. */
INLINE float values(
    enum pc_dtype type, float acc, const float *p, void *v, size_t d, size_t head_dim, int32_t n)
{
    for (size_t j = 0; j < (size_t)n; j += type == PC_BF16 ? 2 : 1) {
        float value = get(type, v, pc_value_index(type, d, j, head_dim));
        if (type == PC_BF16) {
            bool both = j + 1 < (size_t)n;
            float a[2] = {p[j], both ? p[j + 1] : 0};
            float b[2] = {value, both ? get(type, v, pc_value_index(type, d, j + 1, head_dim)) : 0};
            acc = pair_product(acc, a, b);
        } else if (type == PC_Q8_0) {
            float weight = p[j] * pc_f16_to_f32(pc_tile_scales(v, head_dim)[d / 32 * 32 + j]);
            acc = fmaf(weight, value, acc);
        } else {
            acc = fmaf(p[j], value, acc);
        }
    }
    return acc;
}

INLINE void fold(enum pc_dtype type, const struct pc_attention_state *state, const float *q, size_t n_q,
    size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale)
{
    for (size_t i = 0; i < n_q; i++) {
        float *acc = state->acc + i * head_dim;
        for (size_t t = 0; t < n_tiles && n_keys[i] > (int32_t)t * PC_KV_BLOCK; t++) {
            int32_t n = n_keys[i] - (int32_t)t * PC_KV_BLOCK;
            n = n < PC_KV_BLOCK ? n : PC_KV_BLOCK;
            float p[PC_KV_BLOCK];
            scores(type, p, q + i * head_dim, head_dim, tiles[t].k, n);
            float c = pc_attention_weigh(type, p, n, scale, &state->max[i], &state->sum[i]);
            for (size_t d = 0; d < head_dim; d++)
                acc[d] = values(type, acc[d] * c, p, tiles[t].v, d, head_dim, n);
        }
    }
}

/* The functions of a type: what always_inline made of them with the type a constant. */
#define FUNCTIONS(name, TYPE)                                                                                \
    static void store_##name(struct pc_kv_tile tile, size_t first, size_t n, const float *key,               \
        const float *value, size_t stride, size_t head_dim)                                                  \
    {                                                                                                        \
        store(TYPE, tile, first, n, key, value, stride, head_dim);                                           \
    }                                                                                                        \
    static void fold_##name(const struct pc_attention_state *state, const float *q, size_t n_q,              \
        size_t head_dim, const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale, \
        float *scratch)                                                                                      \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        fold(TYPE, state, q, n_q, head_dim, tiles, n_tiles, n_keys, scale);                                  \
    }

FUNCTIONS(f32, PC_F32)
FUNCTIONS(f16, PC_F16)
FUNCTIONS(bf16, PC_BF16)
FUNCTIONS(q8_0, PC_Q8_0)

static void join(
    const struct pc_attention_state *into, const struct pc_attention_state *from, size_t n_q, size_t head_dim)
{
    pc_attention_join_loop(into, from, n_q, head_dim);
}

static void end(float *out, const struct pc_attention_state *state, size_t i, size_t head_dim)
{
    pc_attention_end_loop(out, state, i, head_dim);
}

void pc_attention_begin(const struct pc_attention_state *state, size_t n_q, size_t head_dim)
{
    for (size_t i = 0; i < n_q * head_dim; i++)
        state->acc[i] = 0;
    for (size_t i = 0; i < n_q; i++) {
        state->max[i] = -INFINITY;
        state->sum[i] = 0;
    }
}

void pc_attention_init(struct pc_attention *table, unsigned cpu_flags)
{
    *table = (struct pc_attention){
        .f32 = {store_f32, fold_f32},
        .f16 = {store_f16, fold_f16},
        .bf16 = {store_bf16, fold_bf16},
        .q8_0 = {store_q8_0, fold_q8_0},
        .join = join,
        .end = end,
    };
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_attention_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_attention_init_avx512(table);
#endif
#ifdef PC_HAVE_AVX512_BF16
    if (!(cpu_flags & PC_CPU_AVX512_BF16))
        return;
    pc_attention_init_avx512_bf16(table);
#endif
#ifdef PC_HAVE_NEON
    if (!(cpu_flags & PC_CPU_NEON))
        return;
    pc_attention_init_neon(table);
#endif
    (void)cpu_flags;
}

const struct pc_attention_type *pc_attention_for(const struct pc_attention *table, enum pc_dtype type)
{
    return type == PC_F32    ? &table->f32
           : type == PC_F16  ? &table->f16
           : type == PC_BF16 ? &table->bf16
           : type == PC_Q8_0 ? &table->q8_0
                             : NULL;
}
