// SPDX-License-Identifier: Apache-2.0
/* The products of a linear layer's backward pass, and the forward one that shares their panels: the very bits
 * of gemm.h's chains, for any number of workers, and near the exact products. */
#include "unit.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "kernels/float_bits.h"
#include "model/linear_panels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 3 };

struct shape {
    size_t n_rows, n_in, n_out[JOBS];
};

struct rig {
    struct shape s;
    struct pc_kernels kernels;
    struct pc_convert plain;
    enum pc_dtype dtype;
    bool pairs; /* BF16 operands */
    struct pc_weight w[JOBS];
    float *wide[JOBS], *dy[JOBS], *x; /* the weights in F32 */
    unsigned char *forms[JOBS + 1];
    struct pc_input dys[JOBS], in;
    uint64_t random;
};

static float next(struct rig *r)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return (float)((int64_t)(r->random >> 40) - (1 << 23)) * 0x1p-23f;
}

static float *floats(struct rig *r, size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = next(r);
    return x;
}

static struct pc_input input(struct rig *r, const float *x, size_t n_in, unsigned char **forms)
{
    unsigned needs = pc_input_needs(&r->w[0]);
    struct pc_input in = {.x = x, .needs = needs, .n_rows = r->s.n_rows, .n_in = n_in};
    *forms = in.forms = pc_alloc_pages(r->s.n_rows * pc_input_form_size(needs, n_in) + 1);
    pc_input_prepare(&in, &r->kernels, 0, r->s.n_rows);
    return in;
}

static void setup(struct rig *r, struct shape s, enum pc_dtype dtype, bool pairs, unsigned flags)
{
    *r = (struct rig){.s = s, .dtype = dtype, .pairs = pairs, .random = 7};
    pc_kernels_init(&r->kernels, flags);
    pc_convert_init(&r->plain, 0);
    const struct pc_dtype_traits *traits = pc_dtype_traits(dtype);
    for (int i = 0; i < JOBS; i++) {
        size_t n = s.n_out[i] * s.n_in;
        r->wide[i] = floats(r, n);
        size_t size = n / traits->n_block * traits->block_size;
        unsigned char *data = malloc(size + 1);
        assert_non_null(data);
        if (dtype == PC_Q8_0)
            for (size_t b = 0; b < n / 32; b++) {
                memcpy(data + b * 34, "\x00\x1c", 2); /* 1/256 */
                for (int j = 0; j < 32; j++)
                    data[b * 34 + 2 + (size_t)j] = (unsigned char)(int)(next(r) * 100);
            }
        else
            r->plain.from_f32[dtype](data, r->wide[i], n);
        r->plain.to_f32[dtype](r->wide[i], data, n);
        r->w[i] = (struct pc_weight){.arithmetic = pairs             ? PC_CLASS_PANELS
                                                   : dtype == PC_F32 ? PC_CLASS_F32
                                                                     : PC_CLASS_WIDENED,
            .dtype = dtype,
            .n_out = s.n_out[i],
            .n_in = s.n_in,
            .row_size = s.n_in / traits->n_block * traits->block_size,
            .data = data};
    }
    for (int i = 0; i < JOBS; i++) {
        r->dy[i] = floats(r, s.n_rows * s.n_out[i]);
        r->dys[i] = input(r, r->dy[i], s.n_out[i], &r->forms[i]);
    }
    r->x = floats(r, s.n_rows * s.n_in);
    r->in = input(r, r->x, s.n_in, &r->forms[JOBS]);
}

static void teardown(struct rig *r)
{
    for (int i = 0; i < JOBS; i++) {
        free((void *)(uintptr_t)r->w[i].data);
        free(r->wide[i]);
        free(r->dy[i]);
        pc_free(r->forms[i]);
    }
    free(r->x);
    pc_free(r->forms[JOBS]);
}

/* ---- what is expected ---- */

static float bf16(float x)
{
    return pc_bf16_to_f32(pc_f32_to_bf16(x));
}

/* The chain of gemm.h over elements a_step and b_step apart; numbers here are far from denormal. */
static float chain(const struct rig *r, const float *a, size_t a_step, const float *b, size_t b_step,
    size_t k, double *exact)
{
    float total = 0;
    *exact = 0;
    for (size_t j = 0; j < k; j++)
        *exact += (double)a[j * a_step] * (double)b[j * b_step];
    for (size_t j = 0; j < k && !r->pairs; j++)
        total = fmaf(a[j * a_step], b[j * b_step], total);
    for (size_t j = 0; j < k && r->pairs; j += 2) {
        if (j + 1 < k)
            total = fmaf(bf16(a[(j + 1) * a_step]), bf16(b[(j + 1) * b_step]), total);
        total = fmaf(bf16(a[j * a_step]), bf16(b[j * b_step]), total);
    }
    return total;
}

static void expect(const struct rig *r, float got, float want, double exact, size_t k, const char *what)
{
    double near = sqrt((double)k) * (r->pairs ? 0.02 : 1e-5) + 1e-6;
    if (memcmp(&got, &want, sizeof got) != 0 || !(fabs((double)got - exact) <= near))
        fail_msg("%s of (%zu,%zu,%zu) %s%s: %a, not %a (%g)", what, r->s.n_rows, r->s.n_in, r->s.n_out[0],
            pc_dtype_name(r->dtype), r->pairs ? " as bf16" : "", (double)got, (double)want, exact);
}

/* ---- runs ---- */

static struct pc_compute compute(const struct rig *r, int n_threads)
{
    struct paco_error err = {0};
    struct pc_compute c = {.kernels = &r->kernels, .pool = pc_pool_new(n_threads, &err)};
    assert_non_null(c.pool);
    c.n_scratch = pc_linear_backward_scratch();
    if (pc_linear_scratch(&r->w[0]) > c.n_scratch)
        c.n_scratch = pc_linear_scratch(&r->w[0]);
    c.n_scratch = (c.n_scratch + 15) / 16 * 16;
    c.scratch = pc_alloc_pages((size_t)n_threads * c.n_scratch * sizeof(float));
    assert_non_null(c.scratch);
    return c;
}

static void release(struct pc_compute *c)
{
    pc_free(c->scratch);
    pc_pool_free(c->pool);
}

/* start, unless NULL, plus the chains of the pieces, one after the other. */
static float pieces(const struct rig *r, const float *start, const float *a, const float *b, size_t b_step,
    size_t k, double *exact)
{
    size_t most = PC_PANELS_STEPS * (r->pairs ? 2 : 1);
    float sum = start ? *start : 0;
    *exact = 0;
    for (size_t at = 0; at < k; at += most) {
        double part;
        float total = chain(r, a + at, 1, b + at * b_step, b_step, k - at < most ? k - at : most, &part);
        sum = start || at ? sum + total : total;
        *exact += part;
    }
    return sum;
}

static void check_dx(const struct rig *r, int n_threads, bool add)
{
    struct pc_compute c = compute(r, n_threads);
    size_t n_in = r->s.n_in;
    float *dx = malloc(r->s.n_rows * n_in * sizeof *dx);
    for (size_t i = 0; i < r->s.n_rows * n_in; i++)
        dx[i] = add ? (float)(i % 5) : NAN;
    const struct pc_linear_dx jobs[JOBS] = {
        {&r->w[0], &r->dys[0]}, {&r->w[1], &r->dys[1]}, {&r->w[2], &r->dys[2]}};
    pc_linear_backward_input(&c, jobs, JOBS, dx, add);
    for (size_t t = 0; t < r->s.n_rows; t += 1 + r->s.n_rows / 9)
        for (size_t i = 0; i < n_in; i++) {
            double sum = add ? (double)((t * n_in + i) % 5) : 0, exact;
            float want = (float)sum;
            for (int j = 0; j < JOBS; j++) {
                size_t n = r->s.n_out[j];
                want = pieces(r, add || j ? &want : NULL, r->dy[j] + t * n, r->wide[j] + i, n_in, n, &exact);
                sum += exact;
            }
            expect(r, dx[t * n_in + i], want, sum, r->s.n_out[0] + r->s.n_out[1] + r->s.n_out[2], "dX");
        }
    free(dx);
    release(&c);
}

static void check_dw(const struct rig *r, int n_threads)
{
    struct pc_compute c = compute(r, n_threads);
    size_t n_in = r->s.n_in, n_rows = r->s.n_rows;
    struct pc_linear_dw jobs[JOBS];
    for (int j = 0; j < JOBS; j++) {
        jobs[j] = (struct pc_linear_dw){.weight = &r->w[j], .dy = &r->dys[j]};
        jobs[j].dw = j == 1 ? NULL : malloc(r->s.n_out[j] * n_in * sizeof(float));
        jobs[j].db = j == 0 ? NULL : malloc(r->s.n_out[j] * sizeof(float));
        for (size_t i = 0; i < r->s.n_out[j] * n_in && jobs[j].dw; i++)
            jobs[j].dw[i] = (float)(i % 5);
        for (size_t i = 0; i < r->s.n_out[j] && jobs[j].db; i++)
            jobs[j].db[i] = (float)(i % 3);
    }
    void *panels = pc_alloc_pages(pc_linear_panels_size(&r->w[0], n_rows) + 1);
    pc_linear_backward_weight(&c, jobs, JOBS, &r->in, panels);
    for (int j = 0; j < JOBS; j++) {
        size_t n = r->s.n_out[j];
        double exact;
        for (size_t o = 0; o < n && jobs[j].dw; o += 1 + n / 9)
            for (size_t i = 0; i < n_in; i++) {
                float start = (float)((o * n_in + i) % 5);
                float total = chain(r, r->dy[j] + o, n, r->x + i, n_in, n_rows, &exact);
                expect(r, jobs[j].dw[o * n_in + i], start + total, (double)start + exact, n_rows, "dW");
            }
        for (size_t o = 0; o < n && jobs[j].db; o++) {
            float sum = 0;
            for (size_t t = 0; t < n_rows; t++)
                sum += r->dy[j][t * n + o];
            assert_true(jobs[j].db[o] == (float)(o % 3) + sum);
        }
        free(jobs[j].dw);
        free(jobs[j].db);
    }
    pc_free(panels);
    release(&c);
}

static void check_y(const struct rig *r, int n_threads)
{
    struct pc_compute c = compute(r, n_threads);
    size_t n_rows = r->s.n_rows, n_in = r->s.n_in;
    struct pc_linear jobs[JOBS];
    for (int j = 0; j < JOBS; j++)
        jobs[j] = (struct pc_linear){&r->w[j], malloc(n_rows * r->s.n_out[j] * sizeof(float))};
    pc_linear_forward(&c, jobs, JOBS, &r->in);
    for (int j = 0; j < JOBS; j++) {
        for (size_t t = 0; t < n_rows; t += 1 + n_rows / 9)
            for (size_t o = 0; o < r->s.n_out[j]; o++) {
                double exact;
                float want = pieces(r, NULL, r->x + t * n_in, r->wide[j] + o * n_in, 1, n_in, &exact);
                expect(r, jobs[j].y[t * r->s.n_out[j] + o], want, exact, n_in, "Y");
            }
        free(jobs[j].y);
    }
    release(&c);
}

static void check(struct shape s, enum pc_dtype dtype, bool pairs, unsigned flags)
{
    struct rig r;
    setup(&r, s, dtype, pairs, flags);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        check_dx(&r, n_threads, false);
        check_dx(&r, n_threads, true);
        check_dw(&r, n_threads);
        if (pairs)
            check_y(&r, n_threads);
    }
    teardown(&r);
}

static const struct shape g_shapes[] = {{1, 32, {1, 2, 3}}, {7, 64, {49, 16, 8}}, {65, 96, {48, 100, 17}},
    {130, 416, {96, 32, 33}}, {9, 992, {5, 7, 1}}};

static void test_products(void **state)
{
    (void)state;
    static const enum pc_dtype types[] = {PC_F32, PC_BF16, PC_F16, PC_Q8_0};
    for (size_t i = 0; i < sizeof g_shapes / sizeof *g_shapes; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (int pairs = 0; pairs < 2; pairs++)
                check(g_shapes[i], types[t], pairs, pc_cpu_flags());
}

static void test_scalar(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (int pairs = 0; pairs < 2; pairs++)
            check(g_shapes[i], PC_F32, pairs, 0);
}

/* Sums that go in pieces, over weights and over rows. */
static void test_pieces(void **state)
{
    (void)state;
    check((struct shape){30, 64, {5000, 20, 2049}}, PC_F32, true, pc_cpu_flags());
    check((struct shape){370, 416, {2100, 8, 1}}, PC_F16, false, pc_cpu_flags());
    check((struct shape){4100, 64, {20, 1, 2}}, PC_F32, true, pc_cpu_flags());
    check((struct shape){1027, 800, {20, 1, 2}}, PC_F32, false, pc_cpu_flags());
    check((struct shape){3, 4416, {60, 1, 2}}, PC_Q8_0, true, pc_cpu_flags());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_scalar),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
