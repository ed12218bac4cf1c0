// SPDX-License-Identifier: Apache-2.0
/* The update of a run, as every version compiles it with its own flags: all operations are single and exactly
 * rounded, so that the bits stay, and loops have no branches, so that compilers make vectors of them. */
#ifndef PC_KERNELS_ADAMW_LOOP_H
#define PC_KERNELS_ADAMW_LOOP_H

#include "base/splitmix.h"
#include "kernels/adamw.h"
#include "kernels/float_bits.h"

#include <math.h>

/* torch's single-tensor AdamW, operation by operation. */
static inline void pc_adamw_update_f32(const struct pc_adamw_rule *r, float *restrict w, float *restrict g,
    float *restrict m, float *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * r->scale, mean = m[i] + r->fresh1 * (grad - m[i]);
        float square = v[i] * r->keep2 + r->fresh2 * grad * grad;
        float root = sqrtf(square) / r->root + r->eps;
        w[i] = w[i] * r->keep - r->step * mean / root;
        m[i] = mean;
        v[i] = square;
        g[i] = 0;
    }
}

/* ---- means in BF16 ---- */

static inline void pc_adamw_widen(const uint16_t *from, float *to)
{
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++)
        to[i] = pc_bf16_to_f32(from[i]);
}

static inline void pc_adamw_narrow_moments(
    uint16_t *m16, uint16_t *v16, const float *m, const float *v, const uint64_t *bits)
{
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++) {
        uint32_t mb = pc_f32_bits(m[i]), vb = pc_f32_bits(v[i]);
        m16[i] = (uint16_t)((mb + 0x7fff + (mb >> 16 & 1)) >> 16);
        v16[i] = (uint16_t)((vb + (uint32_t)(bits[i] >> 48)) >> 16);
    }
}

/* ---- means in 8 bits ---- */

/* The 8-bit forms are the leading bits of a float in [2^-16, 1] or [2^-32, 1], counted down from that of 1:
 * code 255 (or 127) is 1, each code below is an eighth of a power of two smaller, 0 is zero. */
enum {
    PC_ADAMW_MANTISSA = 20,
    PC_ADAMW_ONE = 0x3f800000 >> PC_ADAMW_MANTISSA,
    PC_ADAMW_TOP_V = 255,
    PC_ADAMW_TOP_M = 127
};

static inline float pc_adamw_decode(int code, int top)
{
    return code ? pc_f32_from_bits((uint32_t)(code - top + PC_ADAMW_ONE) << PC_ADAMW_MANTISSA) : 0;
}

/* x in [0, 1]; noise below 2^20 decides what is rounded up. */
static inline int pc_adamw_encode(float x, int top, uint32_t noise)
{
    int code = (int)((pc_f32_bits(x) + noise) >> PC_ADAMW_MANTISSA) - PC_ADAMW_ONE + top;
    return code > top ? top : code;
}

static inline float pc_adamw_largest(const float *x)
{
    uint32_t most = 0;
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++) {
        uint32_t magnitude = pc_f32_bits(x[i]) & 0x7fffffff;
        most = magnitude > most ? magnitude : most;
    }
    return pc_f32_from_bits(most);
}

static inline void pc_adamw_decode_m(const unsigned char *codes, float scale, float *out)
{
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++) {
        float x = pc_adamw_decode(codes[i] & 127, PC_ADAMW_TOP_M);
        out[i] = codes[i] > 127 ? -x * scale : x * scale;
    }
}

static inline void pc_adamw_decode_v(const unsigned char *codes, float scale, float *out)
{
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++)
        out[i] = pc_adamw_decode(codes[i], PC_ADAMW_TOP_V) * scale;
}

/* A denominator must not vanish under a mean that is still there: what is not zero stays the smallest code.
 */
static inline void pc_adamw_encode_v(const float *v, const uint64_t *bits, unsigned char *codes, float *scale)
{
    float most = pc_adamw_largest(v), divisor = most > 0 ? most : 1;
    *scale = most;
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++) {
        uint32_t noise = (uint32_t)(bits[i] >> (64 - PC_ADAMW_MANTISSA));
        int code = pc_adamw_encode(v[i] / divisor, PC_ADAMW_TOP_V, noise);
        code = code < 1 ? 1 : code;
        codes[i] = (unsigned char)(v[i] > 0 ? code : 0);
    }
}

static inline void pc_adamw_encode_m(const float *m, unsigned char *codes, float *scale)
{
    float most = pc_adamw_largest(m), divisor = most > 0 ? most : 1;
    *scale = most;
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++) {
        int code = pc_adamw_encode(fabsf(m[i]) / divisor, PC_ADAMW_TOP_M, 1u << (PC_ADAMW_MANTISSA - 1));
        codes[i] = (unsigned char)((code < 0 ? 0 : code) | (m[i] < 0 ? 128 : 0));
    }
}

/* ---- a block ---- */

/* Block i_block of the run, which begins with element `at` of it: what is narrow is widened, updated and
 * rounded again. */
static inline void pc_adamw_update_block(
    const struct pc_adamw_rule *rule, const struct pc_adamw_run *run, size_t at, size_t i_block)
{
    float wide_w[PC_ADAMW_BLOCK], wide_m[PC_ADAMW_BLOCK], wide_v[PC_ADAMW_BLOCK];
    uint64_t bits[PC_ADAMW_BLOCK];
    float *w = wide_w, *m = wide_m, *v = wide_v;
    for (size_t i = 0; i < PC_ADAMW_BLOCK; i++)
        bits[i] = pc_splitmix_at(run->key, run->first + at + i);
    if (run->w)
        w = run->w + at;
    else
        pc_adamw_widen(run->w16 + at, w);
    if (run->states == PC_STATES_F32) {
        m = (float *)(void *)run->m + at;
        v = (float *)(void *)run->v + at;
    } else if (run->states == PC_STATES_BF16) {
        pc_adamw_widen((uint16_t *)(void *)run->m + at, m);
        pc_adamw_widen((uint16_t *)(void *)run->v + at, v);
    } else {
        pc_adamw_decode_m(run->m + at, run->m_scale[i_block], m);
        pc_adamw_decode_v(run->v + at, run->v_scale[i_block], v);
    }
    pc_adamw_update_f32(rule, w, run->g + at, m, v, PC_ADAMW_BLOCK);
    if (run->states == PC_STATES_BF16) {
        pc_adamw_narrow_moments((uint16_t *)(void *)run->m + at, (uint16_t *)(void *)run->v + at, m, v, bits);
    } else if (run->states == PC_STATES_8BIT) {
        pc_adamw_encode_m(m, run->m + at, &run->m_scale[i_block]);
        pc_adamw_encode_v(v, bits, run->v + at, &run->v_scale[i_block]);
    }
    for (size_t i = 0; i < PC_ADAMW_BLOCK && !run->w; i++)
        run->w16[at + i] = pc_f32_to_bf16_random(w[i], (uint32_t)bits[i] & 0xffff);
}

static inline void pc_adamw_loop(const struct pc_adamw_rule *rule, const struct pc_adamw_run *run)
{
    if (run->w && run->states == PC_STATES_F32) {
        pc_adamw_update_f32(rule, run->w, run->g, (float *)(void *)run->m, (float *)(void *)run->v, run->n);
        return;
    }
    for (size_t at = 0; at < run->n; at += PC_ADAMW_BLOCK)
        pc_adamw_update_block(rule, run, at, at / PC_ADAMW_BLOCK);
}

#endif
