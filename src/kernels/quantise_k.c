// SPDX-License-Identifier: Apache-2.0
/* The types of 256 elements: sub-blocks whose scales (and minima) are themselves small integers times one
 * F16.
 *
 * Each sub-block is fitted by itself first. Then, in rounds: with the superblock's F16 scales as they are,
 * every sub-block takes the best of sixteen neighbouring integers; with those, least squares over all 256
 * elements gives better F16 scales. The best round is kept. docs/math/quantise.md. */
#include "kernels/blocks.h"
#include "kernels/float_bits.h"
#include "kernels/quantise_parts.h"

#include <math.h>
#include <string.h>

enum { N = 256, LANES = PC_QUANTISE_LANES, ROUNDS = 3 };

static float half(float x)
{
    return pc_f16_to_f32(pc_f32_to_f16(x));
}

static int clamp(int v, int lo, int hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* The integer at or below a / b: what lanes are numbered from. 0 where b is. */
static int steps(float a, float b)
{
    float v = b != 0 ? floorf(a / b) : 0;
    return v < -1000 ? -1000 : v > 1000 ? 1000 : (int)v;
}

/* ---- Q4_K and Q5_K: eight sub-blocks of 32, x ~ (d scale) q - (dmin min) ---- */

enum { SUBS = 8, LEN = N / SUBS, MOST_SCALE = 63 };

struct affine_super {
    const float *x;
    float w[N], sum_w[SUBS], hi;
};

struct affine_code {
    float d, dmin, error;
    uint8_t scale[SUBS], min[SUBS];
};

/* The gradient and curvature of the error in d and dmin, the integers and levels given. */
struct slope {
    float dd, dm, mm, d, m;
};

static void choose_affine(const struct pc_quantise *t, const struct affine_super *s, int i, float scale,
    float offset, struct affine_code *code, struct slope *slope)
{
    struct pc_quantise_lanes c;
    int ls[LANES], lm[LANES];
    int scale0 = steps(scale, code->d) - 1, min0 = steps(-offset, code->dmin) - 1;
    for (int l = 0; l < LANES; l++) {
        ls[l] = clamp(scale0 + l / 4, 0, MOST_SCALE);
        lm[l] = clamp(min0 + l % 4, 0, MOST_SCALE);
        c.scale[l] = code->d * (float)ls[l];
        c.offset[l] = -(code->dmin * (float)lm[l]);
    }
    pc_quantise_settle(&c, false);
    t->affine(&c, s->x + i * LEN, s->w + i * LEN, LEN, 0, s->hi);
    int l = pc_quantise_best(&c);
    code->scale[i] = (uint8_t)ls[l];
    code->min[i] = (uint8_t)lm[l];
    code->error += c.ee[l];
    float a = (float)ls[l], b = -(float)lm[l];
    slope->dd += a * a * c.qq[l];
    slope->dm += a * b * c.q[l];
    slope->mm += b * b * s->sum_w[i];
    slope->d += a * c.eq[l];
    slope->m += b * c.e[l];
}

/* One step of Newton for d and dmin. False if there is none to take. */
static bool improve(const struct slope *s, float *d, float *dmin)
{
    float det = s->dd * s->mm - s->dm * s->dm, to_d = *d, to_dmin = *dmin;
    if (det > 0) {
        to_d += (s->d * s->mm - s->m * s->dm) / det;
        to_dmin += (s->m * s->dd - s->d * s->dm) / det;
    } else if (s->dd > 0) {
        to_d += s->d / s->dd;
    }
    to_d = half(to_d);
    to_dmin = half(to_dmin);
    bool good = to_d > 0 && to_dmin >= 0 && isfinite(to_d) && isfinite(to_dmin);
    bool moved = good && (to_d != *d || to_dmin != *dmin);
    *d = good ? to_d : *d;
    *dmin = good ? to_dmin : *dmin;
    return moved;
}

static enum pc_quantise_result fit_affine_super(
    const struct pc_quantise *t, const float *x, float hi, struct affine_code *best)
{
    struct affine_super s = {.x = x, .hi = hi};
    float scale[SUBS], offset[SUBS], most_scale = 0, most_min = 0;
    for (int i = 0; i < SUBS; i++) {
        s.sum_w[i] = pc_quantise_weights(x + i * LEN, LEN, s.w + i * LEN);
        struct pc_quantise_run r = {
            .x = x + i * LEN, .w = s.w + i * LEN, .n = LEN, .hi = hi, .sum_w = s.sum_w[i], .negative = true};
        struct pc_quantise_fit fit = pc_quantise_fit_affine(t, &r);
        scale[i] = fit.scale;
        offset[i] = fit.offset;
        most_scale = scale[i] > most_scale ? scale[i] : most_scale;
        most_min = -offset[i] > most_min ? -offset[i] : most_min;
    }
    float d = half(most_scale / MOST_SCALE), dmin = half(most_min / MOST_SCALE);
    *best = (struct affine_code){.error = INFINITY};
    if (!isfinite(d) || !isfinite(dmin))
        return PC_QUANTISE_TOO_LARGE;
    for (int round = 0; round < ROUNDS; round++) {
        struct affine_code code = {.d = d, .dmin = dmin};
        struct slope slope = {0};
        for (int i = 0; i < SUBS; i++)
            choose_affine(t, &s, i, scale[i], offset[i], &code, &slope);
        if (code.error < best->error)
            *best = code;
        if (!improve(&slope, &d, &dmin))
            break;
        for (int i = 0; i < SUBS; i++) {
            scale[i] = code.d * (float)code.scale[i];
            offset[i] = -(code.dmin * (float)code.min[i]);
        }
    }
    return isfinite(best->error) ? PC_QUANTISE_OK : PC_QUANTISE_TOO_LARGE;
}

/* pc_k_scale and pc_k_min backwards. */
static void pack_scales(const struct affine_code *code, uint8_t packed[12])
{
    for (int i = 0; i < 4; i++) {
        packed[i] = (uint8_t)(code->scale[i] | (code->scale[i + 4] >> 4) << 6);
        packed[i + 4] = (uint8_t)(code->min[i] | (code->min[i + 4] >> 4) << 6);
        packed[i + 8] = (uint8_t)((code->scale[i + 4] & 15) | (code->min[i + 4] & 15) << 4);
    }
}

static enum pc_quantise_result affine_super(
    const struct pc_quantise *t, uint8_t *b, const float *x, float hi, int8_t q[N])
{
    struct affine_code code;
    enum pc_quantise_result rc = fit_affine_super(t, x, hi, &code);
    if (rc != PC_QUANTISE_OK)
        return rc;
    pc_put_u16(b, pc_f32_to_f16(code.d));
    pc_put_u16(b + 2, pc_f32_to_f16(code.dmin));
    pack_scales(&code, b + 4);
    for (int i = 0; i < SUBS; i++)
        pc_quantise_levels(x + i * LEN, LEN, code.d * (float)code.scale[i], -(code.dmin * (float)code.min[i]),
            0, hi, q + i * LEN);
    return PC_QUANTISE_OK;
}

/* Low nibbles of the even sub-blocks, high ones of the odd. */
static void put_nibbles(uint8_t *to, const int8_t q[N])
{
    for (int pair = 0; pair < SUBS / 2; pair++)
        for (int i = 0; i < LEN; i++)
            to[pair * LEN + i] =
                (uint8_t)((q[2 * pair * LEN + i] & 15) | (q[(2 * pair + 1) * LEN + i] & 15) << 4);
}

enum pc_quantise_result pc_quantise_q4_k(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    int8_t q[N];
    enum pc_quantise_result rc = affine_super(t, b, x, 15, q);
    if (rc == PC_QUANTISE_OK)
        put_nibbles(b + 16, q);
    return rc;
}

enum pc_quantise_result pc_quantise_q5_k(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    int8_t q[N];
    enum pc_quantise_result rc = affine_super(t, b, x, 31, q);
    if (rc != PC_QUANTISE_OK)
        return rc;
    memset(b + 16, 0, LEN);
    for (int i = 0; i < N; i++)
        b[16 + i % LEN] |= (uint8_t)((q[i] >> 4) << (i / LEN));
    put_nibbles(b + 48, q);
    return PC_QUANTISE_OK;
}

/* ---- Q6_K: sixteen groups of 16, x ~ (d scale) q ---- */

enum { GROUPS = 16, GROUP = N / GROUPS, LOWEST = -32, HIGHEST = 31 };

static const float levels_6[LANES] = {-32, -31.25f, -31.5f, -31.75f, -32.25f, -32.5f, -33, -33.5f, -34, -31,
    31, 30.5f, 30.75f, 31.25f, 31.5f, 32};

struct scaled_code {
    float d, error;
    int8_t scale[GROUPS];
};

static void choose_scaled(const struct pc_quantise *t, const float *x, const float *w, int i, float scale,
    struct scaled_code *code, struct slope *slope)
{
    struct pc_quantise_lanes c;
    int ls[LANES], scale0 = steps(scale, code->d) - LANES / 2 + 1;
    for (int l = 0; l < LANES; l++) {
        ls[l] = clamp(scale0 + l, INT8_MIN, INT8_MAX);
        c.scale[l] = code->d * (float)ls[l];
    }
    pc_quantise_settle(&c, false);
    t->scaled(&c, x + i * GROUP, w + i * GROUP, GROUP, LOWEST, HIGHEST);
    int l = pc_quantise_best(&c);
    float a = (float)ls[l];
    code->scale[i] = (int8_t)ls[l];
    code->error += c.ee[l];
    slope->dd += a * a * c.qq[l];
    slope->d += a * c.eq[l];
}

static enum pc_quantise_result fit_scaled_super(
    const struct pc_quantise *t, const float *x, struct scaled_code *best)
{
    float w[N], scale[GROUPS], most = 0;
    for (int i = 0; i < GROUPS; i++) {
        struct pc_quantise_run r = {
            .x = x + i * GROUP, .w = w + i * GROUP, .n = GROUP, .lo = LOWEST, .hi = HIGHEST};
        (void)pc_quantise_weights(x + i * GROUP, GROUP, w + i * GROUP);
        scale[i] = pc_quantise_fit_scaled(t, &r, levels_6).scale;
        most = fabsf(scale[i]) > fabsf(most) ? scale[i] : most;
    }
    // The largest goes to the longer, negative side.
    float d = half(most / INT8_MIN);
    *best = (struct scaled_code){.error = INFINITY};
    if (!isfinite(d))
        return PC_QUANTISE_TOO_LARGE;
    for (int round = 0; round < ROUNDS; round++) {
        struct scaled_code code = {.d = d};
        struct slope slope = {0};
        for (int i = 0; i < GROUPS; i++)
            choose_scaled(t, x, w, i, scale[i], &code, &slope);
        if (code.error < best->error)
            *best = code;
        float to = slope.dd > 0 ? half(d + slope.d / slope.dd) : d;
        if (to == d || !isfinite(to))
            break;
        for (int i = 0; i < GROUPS; i++)
            scale[i] = d * (float)code.scale[i];
        d = to;
    }
    return isfinite(best->error) ? PC_QUANTISE_OK : PC_QUANTISE_TOO_LARGE;
}

enum pc_quantise_result pc_quantise_q6_k(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    struct scaled_code code;
    int8_t q[GROUP];
    enum pc_quantise_result rc = fit_scaled_super(t, x, &code);
    if (rc != PC_QUANTISE_OK)
        return rc;
    memset(b, 0, 192);
    for (int g = 0; g < GROUPS; g++) {
        // Where the bits lie: docs/formats/blocks.md.
        uint8_t *low = b + g / 8 * 64 + g % 4 * 16, *high = b + 128 + g / 8 * 32 + g % 2 * 16;
        pc_quantise_levels(x + g * GROUP, GROUP, code.d * (float)code.scale[g], 0, LOWEST, HIGHEST, q);
        for (int i = 0; i < GROUP; i++) {
            int v = q[i] - LOWEST;
            low[i] |= (uint8_t)((v & 15) << (g % 8 / 4 * 4));
            high[i] |= (uint8_t)((v >> 4) << (g % 8 / 2 * 2));
        }
    }
    memcpy(b + 192, code.scale, GROUPS);
    pc_put_u16(b + 208, pc_f32_to_f16(code.d));
    return PC_QUANTISE_OK;
}
