// SPDX-License-Identifier: Apache-2.0
/* How keys and values lie in their tiles, one element at a time, the softmax of one query's tile, and
 * what joins states: the scalar kernels, and what is left over for the fast ones. All `static inline`:
 * instruction-set files include it. */
#ifndef PC_KERNELS_ATTENTION_CACHE_H
#define PC_KERNELS_ATTENTION_CACHE_H

#include "kernels/attention.h"
#include "kernels/vmath.h"

#include <math.h>

/* To F16 without overflow: what is finite stays so. */
static inline uint16_t pc_cache_f16(float x)
{
    uint16_t h = pc_f32_to_f16(x);
    return (h & 0x7fff) == 0x7c00 && isfinite(x) ? (uint16_t)(h - 1) : h;
}

/* Where element d of position j is: keys lie (D, 32), values (32, D), and BF16 has pairs of d, or of j,
 * together. */
static inline size_t pc_key_index(enum pc_dtype type, size_t d, size_t j)
{
    return type == PC_BF16 ? (d / 2 * PC_KV_BLOCK + j) * 2 + d % 2 : d * PC_KV_BLOCK + j;
}

static inline size_t pc_value_index(enum pc_dtype type, size_t d, size_t j, size_t head_dim)
{
    return type == PC_BF16 ? (j / 2 * head_dim + d) * 2 + j % 2 : j * head_dim + d;
}

/* A Q8_0 tile's scales lie behind its integers, (B, 32). */
static inline uint16_t *pc_tile_scales(void *tile, size_t head_dim)
{
    return (uint16_t *)((char *)tile + head_dim * PC_KV_BLOCK);
}

/* The scale of n elements, and the integers: to nearest, ties to even, of x over the scale as F16 has it. */
static inline uint16_t pc_cache_q8_0(int8_t q[32], const float *x, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t size = pc_f32_bits(x[i]) & 0x7fffffff;
        most = size > most ? size : most;
    }
    bool finite = most < 0x7f800000;
    uint16_t scale = finite ? pc_cache_f16(pc_f32_from_bits(most) / 127.0f) : 0x7e00;
    float step = pc_f16_to_f32(scale), inverse = finite && step > 0 ? 1.0f / step : 0.0f;
    for (size_t i = 0; i < n; i++) {
        float steps = finite ? rintf(x[i] * inverse) : 0.0f;
        q[i] = (int8_t)(steps > 127 ? 127 : steps < -127 ? -127 : steps);
    }
    return scale;
}

static inline float pc_flushed(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

/* As BF16 products see an operand. */
static inline float pc_rounded(float x)
{
    return pc_bf16_to_f32(pc_f32_to_bf16(pc_flushed(x)));
}

/* Turn a tile's dot products into p, and the query's max and sum into the new ones; returns c. Every
 * version that has no better compiles it with its own flags. */
static inline float pc_attention_weigh(
    enum pc_dtype type, float s[PC_KV_BLOCK], int32_t n, float scale, float *max, float *sum)
{
    enum { HALF = PC_KV_BLOCK / 2 };
    float lane[HALF];
    for (int j = 0; j < PC_KV_BLOCK; j++)
        s[j] = j < n ? s[j] * scale : -INFINITY;
    for (int l = 0; l < HALF; l++)
        lane[l] = s[l] > s[l + HALF] ? s[l] : s[l + HALF];
    for (int width = HALF / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] = lane[l] > lane[l + width] ? lane[l] : lane[l + width];
    float m = lane[0] > *max ? lane[0] : *max, c = pc_expf(*max - m);
    for (int j = 0; j < PC_KV_BLOCK; j++)
        s[j] = type == PC_BF16 ? pc_rounded(pc_expf(s[j] - m)) : pc_expf(s[j] - m);
    for (int l = 0; l < HALF; l++)
        lane[l] = s[l] + s[l + HALF];
    for (int width = HALF / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    *max = m;
    *sum = fmaf(*sum, c, lane[0]);
    return c;
}

/* The loops of join and end, which every version compiles with its own flags. */
static inline void pc_attention_join_loop(
    const struct pc_attention_state *into, const struct pc_attention_state *from, size_t n_q, size_t head_dim)
{
    for (size_t i = 0; i < n_q; i++) {
        float m = from->max[i] > into->max[i] ? from->max[i] : into->max[i];
        float a = pc_expf(into->max[i] - m), b = pc_expf(from->max[i] - m);
        into->max[i] = m;
        into->sum[i] = fmaf(from->sum[i], b, into->sum[i] * a);
        float *restrict sum = into->acc + i * head_dim;
        const float *restrict other = from->acc + i * head_dim;
        for (size_t d = 0; d < head_dim; d++)
            sum[d] = fmaf(other[d], b, sum[d] * a);
    }
}

static inline void pc_attention_end_loop(
    float *out, const struct pc_attention_state *state, size_t i, size_t head_dim)
{
    const float *acc = state->acc + i * head_dim, sum = state->sum[i];
    for (size_t d = 0; d < head_dim; d++)
        out[d] = acc[d] / sum;
}

#endif
