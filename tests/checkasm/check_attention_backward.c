// SPDX-License-Identifier: Apache-2.0
/* Attention's backward, in F32 and in BF16: the same bytes at every level, and near the formula in double. */
#include "checkasm.h"

#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A head among others: rows of q_heads and kv_heads heads, this the last of each. */
struct sizes {
    size_t n, d, q_heads, kv_heads;
};

struct operands {
    float *q, *k, *v, *out, *d_out, *max, *inverse, *scratch;
    double *p, *d_q, *d_k, *d_v; /* exact; p (n, n) */
};

static float *moderate(size_t n, float scale)
{
    float *x = check_buffer(n * sizeof *x, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)((double)(check_random() >> 11) * 0x1p-52 - 1);
    return x;
}

/* Forward in double, rounded to what the tape holds. */
static void forward(const struct sizes *z, struct operands *o, double scale)
{
    size_t qs = z->q_heads * z->d, ks = z->kv_heads * z->d, qh = qs - z->d, kh = ks - z->d;
    for (size_t i = 0; i < z->n; i++) {
        double sum = 0, max = -INFINITY;
        for (size_t j = 0; j <= i; j++) {
            double s = 0;
            for (size_t c = 0; c < z->d; c++)
                s += (double)o->q[i * qs + qh + c] * (double)o->k[j * ks + kh + c];
            o->p[i * z->n + j] = s * scale;
            max = fmax(max, s * scale);
        }
        max = (double)(float)max;
        for (size_t j = 0; j <= i; j++)
            sum += o->p[i * z->n + j] = exp(o->p[i * z->n + j] - max);
        for (size_t j = 0; j <= i; j++)
            o->p[i * z->n + j] /= sum;
        for (size_t c = 0; c < z->d; c++) {
            double mix = 0;
            for (size_t j = 0; j <= i; j++)
                mix += o->p[i * z->n + j] * (double)o->v[j * ks + kh + c];
            o->out[i * qs + qh + c] = (float)mix;
        }
        o->max[i * z->q_heads + z->q_heads - 1] = (float)max;
        o->inverse[i * z->q_heads + z->q_heads - 1] = (float)(1 / sum);
    }
}

/* (n, D), by the formula. */
static void backward(const struct sizes *z, struct operands *o, double scale)
{
    size_t n = z->n, d = z->d, qs = z->q_heads * d, ks = z->kv_heads * d;
    const float *q = o->q + qs - d, *k = o->k + ks - d, *v = o->v + ks - d, *d_out = o->d_out + qs - d,
                *out = o->out + qs - d;
    memset(o->d_q, 0, 3 * n * d * sizeof *o->d_q);
    for (size_t i = 0; i < n; i++) {
        double dot = 0;
        for (size_t c = 0; c < d; c++)
            dot += (double)d_out[i * qs + c] * (double)out[i * qs + c];
        for (size_t j = 0; j <= i; j++) {
            double p = o->p[i * n + j], g = -dot;
            for (size_t c = 0; c < d; c++)
                g += (double)d_out[i * qs + c] * (double)v[j * ks + c];
            g *= p * scale;
            for (size_t c = 0; c < d; c++) {
                o->d_q[i * d + c] += g * (double)k[j * ks + c];
                o->d_k[j * d + c] += g * (double)q[i * qs + c];
                o->d_v[j * d + c] += p * (double)d_out[i * qs + c];
            }
        }
    }
}

static size_t scratch_size(const struct sizes *z)
{
    size_t f32 = pc_attention_backward_scratch(z->d), bf16 = pc_attention_backward_bf16_scratch(z->d, z->n);
    return (f32 > bf16 ? f32 : bf16) * sizeof(float);
}

static struct operands make(const struct sizes *z)
{
    size_t q = z->n * z->q_heads * z->d, kv = z->n * z->kv_heads * z->d;
    struct operands o = {.q = moderate(q, 2),
        .k = moderate(kv, 2),
        .v = moderate(kv, 1),
        .out = moderate(q, 1),
        .d_out = moderate(q, 1),
        .max = moderate(z->n * z->q_heads, 1),
        .inverse = moderate(z->n * z->q_heads, 1),
        .scratch = check_buffer(scratch_size(z), 0),
        .p = check_buffer(z->n * z->n * sizeof(double), 0),
        .d_q = check_buffer(3 * z->n * z->d * sizeof(double), 0)};
    o.d_k = o.d_q + z->n * z->d;
    o.d_v = o.d_k + z->n * z->d;
    return o;
}

/* results: d_q, d_k, d_v of all rows, and the rows' dot. */
static struct pc_attention_head head_of(const struct sizes *z, const struct operands *o, float *results)
{
    size_t q = z->n * z->q_heads * z->d, qh = (z->q_heads - 1) * z->d, kh = (z->kv_heads - 1) * z->d;
    return (struct pc_attention_head){.n = z->n,
        .head_dim = z->d,
        .q_stride = z->q_heads * z->d,
        .kv_stride = z->kv_heads * z->d,
        .scale = 1.0f / sqrtf((float)z->d),
        .q = o->q + qh,
        .k = o->k + kh,
        .v = o->v + kh,
        .out = o->out + qh,
        .d_out = o->d_out + qh,
        .max = o->max + z->q_heads - 1,
        .inverse = o->inverse + z->q_heads - 1,
        .dot = results + 3 * q + z->q_heads - 1,
        .row_stride = z->q_heads,
        .d_q = results + qh,
        .d_k = results + q + qh,
        .d_v = results + 2 * q + qh};
}

/* A way to compute it. */
struct way {
    const char *name;
    void (*run)(const struct pc_kernels *kernels, const struct pc_attention_head *head, float *scratch);
    double bound, least; /* of the error: relative, and where all cancels */
};

static void run_f32(const struct pc_kernels *kernels, const struct pc_attention_head *head, float *scratch)
{
    kernels->attention_backward.head(head, scratch);
}

static const struct way f32 = {"f32", run_f32, 1e-5, 1e-6},
                        bf16 = {"bf16", pc_attention_backward_bf16, 1e-2, 5e-2};

static void check_exact(
    const struct sizes *z, const char *what, const float *got, const double *want, const struct way *way)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < z->n; i++)
        for (size_t c = 0; c < z->d; c++) {
            double delta = (double)got[i * z->q_heads * z->d + c] - want[i * z->d + c];
            off += delta * delta;
            size += want[i * z->d + c] * want[i * z->d + c];
        }
    if (!(sqrt(off) <= way->bound * sqrt(size) + way->least))
        check_fail("%s of (%zu,%zu): off by %g of %g", what, z->n, z->d, sqrt(off), sqrt(size));
}

static void check_size(
    const struct way *way, const struct pc_kernels *plain, const struct pc_kernels *fast, struct sizes z)
{
    struct operands o = make(&z);
    size_t n = (3 * z.d + 1) * z.n * z.q_heads;
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, z.n % 16 * 4);
    memcpy(got, want, n * sizeof *want); /* what is not this head's stays */
    struct pc_attention_head h = head_of(&z, &o, want);
    forward(&z, &o, (double)h.scale);
    backward(&z, &o, (double)h.scale);
    way->run(plain, &h, o.scratch);
    check_exact(&z, "d_q", h.d_q, o.d_q, way);
    check_exact(&z, "d_k", h.d_k, o.d_k, way);
    check_exact(&z, "d_v", h.d_v, o.d_v, way);
    h = head_of(&z, &o, got);
    way->run(fast, &h, o.scratch);
    check_same(want, got, n * sizeof *want, "%s, n=%zu, D=%zu", way->name, z.n, z.d);
    check_release();
}

struct call {
    const struct way *way;
    const struct pc_kernels *kernels;
    struct pc_attention_head head;
    float *scratch;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->way->run(c->kernels, &c->head, c->scratch);
}

static void time_one(const struct way *way, const struct pc_kernels *kernels, const struct check_level *level)
{
    struct sizes z = {512, 64, 9, 3};
    struct operands o = make(&z);
    float *results = check_buffer((3 * z.d + 1) * z.n * z.q_heads * sizeof *results, 0);
    for (size_t i = 0; i < z.n * z.q_heads; i++)
        o.max[i] = 20;
    struct call c = {way, kernels, head_of(&z, &o, results), o.scratch};
    char what[64];
    snprintf(what, sizeof what, "attention_backward %s (operations)", way->name);
    /* a "byte" is an operation: five products over half the square */
    check_time(what, level, 5 * z.n * z.n * z.d, run_call, &c);
    check_release();
}

void check_attention_backward(void)
{
    static const struct sizes sizes[] = {{1, 2, 1, 1}, {2, 64, 3, 1}, {31, 6, 2, 2}, {32, 64, 9, 3},
        {33, 34, 1, 1}, {49, 2, 1, 1}, {64, 128, 2, 1}, {70, 80, 4, 2}, {97, 16, 1, 1}, {160, 48, 2, 1},
        {191, 100, 1, 1}, {300, 64, 1, 1}};
    static const struct way *const ways[] = {&f32, &bf16};
    struct pc_kernels plain, fast;
    pc_kernels_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_kernels_init(&fast, l->flags);
        check_case("attention_backward", l);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                check_size(ways[w], &plain, &fast, sizes[i]);
            if (check_bench())
                time_one(ways[w], &fast, l);
        }
    }
}
