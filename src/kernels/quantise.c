// SPDX-License-Identifier: Apache-2.0
/* The search common to all types, and the types of 32 elements. Derivation and figures:
 * docs/math/quantise.md. */
#include "kernels/quantise.h"

#include "base/cpu.h"
#include "kernels/convert.h"
#include "kernels/float_bits.h"
#include "kernels/quantise_parts.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

enum { LANES = PC_QUANTISE_LANES, REFINEMENTS = 2 };

/* Below this a scale's reciprocal could overflow; F16 has nothing below 2^-25. */
static const float LEAST_SCALE = 1e-30f;

/* ---- scoring ---- */

static float level_of(float t, float lo, float hi)
{
    t = t < lo ? lo : t;
    t = t > hi ? hi : t;
    return (t + PC_QUANTISE_ROUND) - PC_QUANTISE_ROUND;
}

static void affine(struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo, float hi)
{
    float ee[LANES] = {0}, eq[LANES] = {0}, qq[LANES] = {0}, e1[LANES] = {0}, q1[LANES] = {0};
    for (size_t i = 0; i < n; i++)
        for (int l = 0; l < LANES; l++) {
            float q = level_of((x[i] - c->offset[l]) * c->inverse[l], lo, hi);
            float e = x[i] - (c->scale[l] * q + c->offset[l]), we = w[i] * e, wq = w[i] * q;
            ee[l] += we * e;
            eq[l] += we * q;
            qq[l] += wq * q;
            e1[l] += we;
            q1[l] += wq;
        }
    memcpy(c->ee, ee, sizeof ee);
    memcpy(c->eq, eq, sizeof eq);
    memcpy(c->qq, qq, sizeof qq);
    memcpy(c->e, e1, sizeof e1);
    memcpy(c->q, q1, sizeof q1);
}

static void scaled(struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo, float hi)
{
    float ee[LANES] = {0}, eq[LANES] = {0}, qq[LANES] = {0};
    for (size_t i = 0; i < n; i++)
        for (int l = 0; l < LANES; l++) {
            float q = level_of(x[i] * c->inverse[l], lo, hi);
            float e = x[i] - c->scale[l] * q, we = w[i] * e, wq = w[i] * q;
            ee[l] += we * e;
            eq[l] += we * q;
            qq[l] += wq * q;
        }
    memcpy(c->ee, ee, sizeof ee);
    memcpy(c->eq, eq, sizeof eq);
    memcpy(c->qq, qq, sizeof qq);
}

/* ---- the search ---- */

float pc_quantise_weights(const float *x, size_t n, float *w)
{
    float squares = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    float typical = sqrtf(squares / (float)n);
    for (size_t i = 0; i < n; i++) {
        w[i] = typical + fabsf(x[i]);
        sum += w[i];
    }
    return sum;
}

static void round_half(float v[LANES])
{
    const struct pc_convert *cv = pc_convert();
    uint16_t h[LANES];
    cv->from_f32[PC_F16](h, v, LANES);
    cv->to_f32[PC_F16](v, h, LANES);
}

void pc_quantise_settle(struct pc_quantise_lanes *c, bool half)
{
    if (half) {
        round_half(c->scale);
        round_half(c->offset);
    }
    for (int l = 0; l < LANES; l++)
        c->inverse[l] = fabsf(c->scale[l]) > LEAST_SCALE ? 1.0f / c->scale[l] : 0.0f;
}

int pc_quantise_best(const struct pc_quantise_lanes *c)
{
    int best = 0;
    for (int l = 1; l < LANES; l++)
        best = c->ee[l] < c->ee[best] ? l : best;
    return best;
}

static void keep_best(const struct pc_quantise_lanes *c, struct pc_quantise_fit *fit)
{
    int l = pc_quantise_best(c);
    if (c->ee[l] < fit->error)
        *fit = (struct pc_quantise_fit){c->scale[l], c->offset[l], c->ee[l]};
}

struct pc_quantise_fit pc_quantise_fit_scaled(
    const struct pc_quantise *t, const struct pc_quantise_run *r, const float levels[LANES])
{
    struct pc_quantise_lanes c;
    struct pc_quantise_fit fit = {.error = INFINITY};
    float top = 0;
    for (size_t i = 0; i < r->n; i++)
        top = fabsf(r->x[i]) > fabsf(top) ? r->x[i] : top;
    for (int l = 0; l < LANES; l++) {
        c.scale[l] = top / levels[l];
        c.offset[l] = 0;
    }
    for (int k = 0;; k++) {
        pc_quantise_settle(&c, r->half);
        t->scaled(&c, r->x, r->w, r->n, r->lo, r->hi);
        keep_best(&c, &fit);
        if (k == REFINEMENTS || fit.error == 0)
            return fit;
        // With these levels the best scale is one step of Newton away: the error is a parabola in it.
        for (int l = 0; l < LANES; l++)
            c.scale[l] += c.qq[l] > 0 ? c.eq[l] / c.qq[l] : 0;
    }
}

/* The least squares of both, the levels given. */
static void refine_affine(struct pc_quantise_lanes *c, const struct pc_quantise_run *r)
{
    for (int l = 0; l < LANES; l++) {
        float det = c->qq[l] * r->sum_w - c->q[l] * c->q[l];
        float scale = c->scale[l], offset = c->offset[l];
        if (det > 0) {
            scale += (c->eq[l] * r->sum_w - c->e[l] * c->q[l]) / det;
            offset += (c->e[l] * c->qq[l] - c->eq[l] * c->q[l]) / det;
        }
        if (r->negative && offset > 0) {
            scale = c->qq[l] > 0 ? c->scale[l] + (c->eq[l] + c->offset[l] * c->q[l]) / c->qq[l] : scale;
            offset = 0;
        }
        // Levels that would have to be mirrored are a candidate gone astray.
        if (scale > 0 && isfinite(scale) && isfinite(offset)) {
            c->scale[l] = scale;
            c->offset[l] = offset;
        }
    }
}

struct pc_quantise_fit pc_quantise_fit_affine(const struct pc_quantise *t, const struct pc_quantise_run *r)
{
    /* By how much of the range the first candidates move each end inwards. */
    static const float inwards[4] = {0, 0.02f, 0.05f, 0.09f};
    struct pc_quantise_lanes c;
    struct pc_quantise_fit fit = {.error = INFINITY};
    float least = r->x[0], most = r->x[0];
    for (size_t i = 1; i < r->n; i++) {
        least = r->x[i] < least ? r->x[i] : least;
        most = r->x[i] > most ? r->x[i] : most;
    }
    if (r->negative && least > 0)
        least = 0;
    if (r->negative && most < 0)
        most = 0;
    for (int l = 0; l < LANES; l++) {
        float range = most - least;
        float from = least + inwards[l / 4] * range, to = most - inwards[l % 4] * range;
        c.scale[l] = (to - from) / r->hi;
        c.offset[l] = from;
    }
    for (int k = 0;; k++) {
        pc_quantise_settle(&c, r->half);
        t->affine(&c, r->x, r->w, r->n, r->lo, r->hi);
        keep_best(&c, &fit);
        if (k == REFINEMENTS || fit.error == 0)
            return fit;
        refine_affine(&c, r);
    }
}

void pc_quantise_levels(
    const float *x, size_t n, float scale, float offset, float lo, float hi, int8_t *levels)
{
    float inverse = fabsf(scale) > LEAST_SCALE ? 1.0f / scale : 0.0f;
    for (size_t i = 0; i < n; i++)
        levels[i] = (int8_t)level_of((x[i] - offset) * inverse, lo, hi);
}

/* ---- the types of 32 elements ---- */

enum { N = 32 };

/* What the largest magnitude becomes first: the end of the range, and around it. A negative level turns the
 * block's sign, so that the one more level on the negative side serves the side that has the largest element.
 */
static const float levels_4[LANES] = {
    -8, -7.25f, -7.5f, -7.75f, -8.25f, -8.5f, -8.75f, -9, -9.5f, -10, 7, 6.5f, 6.75f, 7.25f, 7.5f, 8};
static const float levels_5[LANES] = {-16, -15.25f, -15.5f, -15.75f, -16.25f, -16.5f, -17, -17.5f, -18, -15,
    15, 14.5f, 14.75f, 15.25f, 15.5f, 16};
static const float levels_8[LANES] = {127, 126.25f, 126.5f, 126.75f, 127.1f, 127.2f, 127.3f, 127.4f, 126.1f,
    126.9f, 126, 125.75f, 125.5f, 125.25f, 125, 124.5f};

static enum pc_quantise_result scaled_block(const struct pc_quantise *t, const float *x,
    const float levels[LANES], float lo, float hi, uint8_t half[2], int8_t q[N])
{
    float w[N];
    struct pc_quantise_run r = {.x = x, .w = w, .n = N, .lo = lo, .hi = hi, .half = true};
    (void)pc_quantise_weights(x, N, w);
    struct pc_quantise_fit fit = pc_quantise_fit_scaled(t, &r, levels);
    if (!isfinite(fit.error) || !isfinite(fit.scale))
        return PC_QUANTISE_TOO_LARGE;
    pc_put_u16(half, pc_f32_to_f16(fit.scale));
    pc_quantise_levels(x, N, fit.scale, 0, lo, hi, q);
    return PC_QUANTISE_OK;
}

static enum pc_quantise_result affine_block(
    const struct pc_quantise *t, const float *x, float hi, uint8_t halves[4], int8_t q[N])
{
    float w[N];
    struct pc_quantise_run r = {.x = x, .w = w, .n = N, .hi = hi, .half = true};
    r.sum_w = pc_quantise_weights(x, N, w);
    struct pc_quantise_fit fit = pc_quantise_fit_affine(t, &r);
    if (!isfinite(fit.error) || !isfinite(fit.scale) || !isfinite(fit.offset))
        return PC_QUANTISE_TOO_LARGE;
    pc_put_u16(halves, pc_f32_to_f16(fit.scale));
    pc_put_u16(halves + 2, pc_f32_to_f16(fit.offset));
    pc_quantise_levels(x, N, fit.scale, fit.offset, 0, hi, q);
    return PC_QUANTISE_OK;
}

/* Low nibbles: element i in the low half of byte i, element i + 16 in the high half. */
static void put_nibbles(uint8_t *to, const int8_t q[N], int bias)
{
    for (int i = 0; i < N / 2; i++)
        to[i] = (uint8_t)(((q[i] + bias) & 15) | ((q[i + N / 2] + bias) & 15) << 4);
}

static void put_fifth_bits(uint8_t *to, const int8_t q[N], int bias)
{
    uint32_t bits = 0;
    for (int i = 0; i < N; i++)
        bits |= (uint32_t)((q[i] + bias) >> 4 & 1) << i;
    pc_put_u16(to, (uint16_t)bits);
    pc_put_u16(to + 2, (uint16_t)(bits >> 16));
}

static enum pc_quantise_result q4_0(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    int8_t q[N];
    enum pc_quantise_result rc = scaled_block(t, x, levels_4, -8, 7, b, q);
    if (rc == PC_QUANTISE_OK)
        put_nibbles(b + 2, q, 8);
    return rc;
}

static enum pc_quantise_result q5_0(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    int8_t q[N];
    enum pc_quantise_result rc = scaled_block(t, x, levels_5, -16, 15, b, q);
    if (rc != PC_QUANTISE_OK)
        return rc;
    put_fifth_bits(b + 2, q, 16);
    put_nibbles(b + 6, q, 16);
    return rc;
}

static enum pc_quantise_result q8_0(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    int8_t q[N];
    enum pc_quantise_result rc = scaled_block(t, x, levels_8, -127, 127, b, q);
    if (rc == PC_QUANTISE_OK)
        memcpy(b + 2, q, N);
    return rc;
}

static enum pc_quantise_result q4_1(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    int8_t q[N];
    enum pc_quantise_result rc = affine_block(t, x, 15, b, q);
    if (rc == PC_QUANTISE_OK)
        put_nibbles(b + 4, q, 0);
    return rc;
}

static enum pc_quantise_result q5_1(const struct pc_quantise *t, uint8_t *b, const float *x)
{
    int8_t q[N];
    enum pc_quantise_result rc = affine_block(t, x, 31, b, q);
    if (rc != PC_QUANTISE_OK)
        return rc;
    put_fifth_bits(b + 4, q, 0);
    put_nibbles(b + 8, q, 0);
    return rc;
}

/* ---- the doors ---- */

typedef enum pc_quantise_result (*block_fn)(const struct pc_quantise *t, uint8_t *b, const float *x);

static const block_fn g_blocks[PC_N_DTYPES] = {
    [PC_Q4_0] = q4_0,
    [PC_Q4_1] = q4_1,
    [PC_Q5_0] = q5_0,
    [PC_Q5_1] = q5_1,
    [PC_Q8_0] = q8_0,
    [PC_Q4_K] = pc_quantise_q4_k,
    [PC_Q5_K] = pc_quantise_q5_k,
    [PC_Q6_K] = pc_quantise_q6_k,
};

bool pc_quantise_knows(enum pc_dtype dtype)
{
    return g_blocks[dtype] != NULL;
}

/* Beyond this no block's scale or offset fits F16, and squares and their sums of what is below it do not
 * overflow. */
static const float MOST = 1e7f;

static enum pc_quantise_result check(const float *x, size_t n)
{
    if (pc_convert()->count_nonfinite(x, n))
        return PC_QUANTISE_NOT_FINITE;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > MOST)
            return PC_QUANTISE_TOO_LARGE;
    return PC_QUANTISE_OK;
}

enum pc_quantise_result pc_quantise_run(
    const struct pc_quantise *table, enum pc_dtype dtype, void *dst, const float *src, size_t n)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(dtype);
    assert(g_blocks[dtype] && n % traits->n_block == 0);
    enum pc_quantise_result rc = check(src, n);
    uint8_t *b = dst;
    for (size_t i = 0; i < n && rc == PC_QUANTISE_OK; i += traits->n_block, b += traits->block_size)
        rc = g_blocks[dtype](table, b, src + i);
    return rc;
}

void pc_quantise_init(struct pc_quantise *table, unsigned cpu_flags)
{
    (void)cpu_flags; // read only where there are faster versions
    *table = (struct pc_quantise){.affine = affine, .scaled = scaled};
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_quantise_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_quantise_init_avx512(table);
#endif
}

static struct pc_quantise g_table;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

static void init_once(void)
{
    pc_quantise_init(&g_table, pc_cpu_flags());
}

const struct pc_quantise *pc_quantise(void)
{
    pthread_once(&g_once, init_once);
    return &g_table;
}
