// SPDX-License-Identifier: Apache-2.0
#include "train/adamw.h"

#include "kernels/float_bits.h"
#include "train/keyed.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { BLOCK = PC_ADAMW_BLOCK };

/* torch's single-tensor AdamW, operation by operation. */
static inline void update_f32(const struct pc_adamw_rule *r, float *restrict w, float *restrict g,
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

static void widen(const uint16_t *from, float *to)
{
    for (size_t i = 0; i < BLOCK; i++)
        to[i] = pc_bf16_to_f32(from[i]);
}

static void narrow_moments(uint16_t *m16, uint16_t *v16, const float *m, const float *v, const uint64_t *bits)
{
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t mb = pc_f32_bits(m[i]), vb = pc_f32_bits(v[i]);
        m16[i] = (uint16_t)((mb + 0x7fff + (mb >> 16 & 1)) >> 16);
        v16[i] = (uint16_t)((vb + (uint32_t)(bits[i] >> 48)) >> 16);
    }
}

/* ---- means in 8 bits ---- */

/* The 8-bit forms are the leading bits of a float in [2^-16, 1] or [2^-32, 1], counted down from that of 1:
 * code 255 (or 127) is 1, each code below is an eighth of a power of two smaller, 0 is zero. */
enum { MANTISSA = 20, ONE = 0x3f800000 >> MANTISSA, TOP_V = 255, TOP_M = 127 };

static float decode(int code, int top)
{
    return code ? pc_f32_from_bits((uint32_t)(code - top + ONE) << MANTISSA) : 0;
}

/* x in [0, 1]; noise below 2^20 decides what is rounded up. */
static int encode(float x, int top, uint32_t noise)
{
    int code = (int)((pc_f32_bits(x) + noise) >> MANTISSA) - ONE + top;
    return code > top ? top : code;
}

static float largest(const float *x)
{
    float most = 0;
    for (size_t i = 0; i < BLOCK; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

static void decode_m(const unsigned char *codes, float scale, float *out)
{
    for (size_t i = 0; i < BLOCK; i++) {
        float x = decode(codes[i] & 127, TOP_M);
        out[i] = codes[i] > 127 ? -x * scale : x * scale;
    }
}

static void decode_v(const unsigned char *codes, float scale, float *out)
{
    for (size_t i = 0; i < BLOCK; i++)
        out[i] = decode(codes[i], TOP_V) * scale;
}

/* A denominator must not vanish under a mean that is still there: what is not zero stays the smallest code.
 */
static void encode_v(const float *v, const uint64_t *bits, unsigned char *codes, float *scale)
{
    *scale = largest(v);
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t noise = (uint32_t)(bits[i] >> (64 - MANTISSA));
        int code = v[i] > 0 ? encode(v[i] / *scale, TOP_V, noise) : 0;
        codes[i] = (unsigned char)(code < 1 && v[i] > 0 ? 1 : code);
    }
}

static void encode_m(const float *m, unsigned char *codes, float *scale)
{
    *scale = largest(m);
    for (size_t i = 0; i < BLOCK; i++) {
        int code = *scale > 0 ? encode(fabsf(m[i]) / *scale, TOP_M, 1u << (MANTISSA - 1)) : 0;
        codes[i] = (unsigned char)((code < 0 ? 0 : code) | (m[i] < 0 ? 128 : 0));
    }
}

/* ---- a block ---- */

/* Block i_block of the run, which begins with element `at` of it: what is narrow is widened, updated and
 * rounded again. */
static void update_block(
    const struct pc_adamw_rule *rule, const struct pc_adamw_run *run, size_t at, size_t i_block)
{
    float wide_w[BLOCK], wide_m[BLOCK], wide_v[BLOCK];
    uint64_t bits[BLOCK];
    float *w = wide_w, *m = wide_m, *v = wide_v;
    for (size_t i = 0; i < BLOCK; i++)
        bits[i] = pc_keyed_bits(run->key, run->first + at + i);
    if (run->w)
        w = run->w + at;
    else
        widen(run->w16 + at, w);
    if (run->states == PC_STATES_F32) {
        m = (float *)(void *)run->m + at;
        v = (float *)(void *)run->v + at;
    } else if (run->states == PC_STATES_BF16) {
        widen((uint16_t *)(void *)run->m + at, m);
        widen((uint16_t *)(void *)run->v + at, v);
    } else {
        decode_m(run->m + at, run->m_scale[i_block], m);
        decode_v(run->v + at, run->v_scale[i_block], v);
    }
    update_f32(rule, w, run->g + at, m, v, BLOCK);
    if (run->states == PC_STATES_BF16) {
        narrow_moments((uint16_t *)(void *)run->m + at, (uint16_t *)(void *)run->v + at, m, v, bits);
    } else if (run->states == PC_STATES_8BIT) {
        encode_m(m, run->m + at, &run->m_scale[i_block]);
        encode_v(v, bits, run->v + at, &run->v_scale[i_block]);
    }
    for (size_t i = 0; i < BLOCK && !run->w; i++)
        run->w16[at + i] = pc_f32_to_bf16_random(w[i], (uint32_t)bits[i] & 0xffff);
}

void pc_adamw_update(const struct pc_adamw_rule *rule, const struct pc_adamw_run *run)
{
    if (run->w && run->states == PC_STATES_F32) {
        update_f32(rule, run->w, run->g, (float *)(void *)run->m, (float *)(void *)run->v, run->n);
        return;
    }
    for (size_t at = 0; at < run->n; at += BLOCK)
        update_block(rule, run, at, at / BLOCK);
}
