// SPDX-License-Identifier: Apache-2.0
/* Rounding is the same bits everywhere. Products are held to the bound of bf16.h at every level, scalar
 * included; and within a level a row alone, and an output alone, are the bytes they are in company. */
#include "checkasm.h"

#include "kernels/bf16.h"
#include "kernels/float_bits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef void matmul_fn(float *y, size_t y_stride, const uint16_t *x, size_t x_stride, size_t n_x,
    const void *w, size_t w_stride, size_t n_w, size_t k);

struct shape {
    size_t n_x, n_w, k;
    size_t y_stride, x_stride, w_stride;
};

static double flushed(uint16_t h)
{
    double x = (double)pc_bf16_to_f32(h);
    return fabs(x) < 0x1p-126 ? 0 : x;
}

/* n elements: all bit patterns with `all`, else mostly of ordinary size with some denormals and zeros. */
static uint16_t element(bool all)
{
    uint64_t r = check_random();
    uint16_t h = (uint16_t)r;
    if (all)
        return h;
    if (r >> 32 & 31)
        return (uint16_t)((h & 0x80ff) | (118 + (h >> 8 & 15)) << 7);
    return h & 0x80ff;
}

static uint16_t *elements(size_t n, bool all)
{
    uint16_t *x = check_buffer(n * sizeof *x, n % 7 * 2);
    for (size_t i = 0; i < n; i++)
        x[i] = element(all);
    return x;
}

static char *weights(size_t size, bool all)
{
    char *w = check_buffer(size, (size_t)check_random() % 64);
    for (size_t at = 0; at + 2 <= size; at += 2) {
        uint16_t h = element(all);
        memcpy(w + at, &h, sizeof h);
    }
    return w;
}

static void check_bound(struct shape s, const float *y, const uint16_t *x, const char *w)
{
    double n = 2 * ceil((double)s.k / 32) + 4, gamma = n * 0x1p-24 / (1 - n * 0x1p-24);
    for (size_t i = 0; i < s.n_x; i++)
        for (size_t j = 0; j < s.n_w; j++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < s.k; k++) {
                uint16_t h;
                memcpy(&h, w + j * s.w_stride + 2 * k, sizeof h);
                double product = flushed(x[i * s.x_stride + k]) * flushed(h);
                sum += product;
                size += fabs(product);
            }
            double off = fabs((double)y[i * s.y_stride + j] - sum);
            if (isfinite(size) && size < 1e38 && !(off <= gamma * size + 2 * n * 0x1p-126))
                check_fail("(%zu,%zu,%zu): output (%zu,%zu) is off by %g", s.n_x, s.n_w, s.k, i, j, off);
        }
}

static void calm(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(y[i]))
            y[i] = NAN;
}

/* Where two levels must agree although only a bound is promised: what is not a number, and what overflowed
 * cannot be hidden. */
static void check_nan(struct shape s, const float *want, const float *got)
{
    for (size_t i = 0; i < s.n_x; i++)
        for (size_t j = 0; j < s.n_w; j++)
            if (isnan(want[i * s.y_stride + j]) != isnan(got[i * s.y_stride + j]))
                check_fail("(%zu,%zu,%zu): output (%zu,%zu) is %g, scalar has %g", s.n_x, s.n_w, s.k, i, j,
                    (double)got[i * s.y_stride + j], (double)want[i * s.y_stride + j]);
}

static void check_shape(struct shape s, matmul_fn *plain, matmul_fn *fast, bool all)
{
    size_t y_size = ((s.n_x - 1) * s.y_stride + s.n_w) * sizeof(float);
    const uint16_t *x = elements(s.n_x * s.x_stride, all);
    const char *w = weights(s.n_w * s.w_stride, all);
    float *want = check_buffer(y_size, 0), *got = check_buffer(y_size, (size_t)check_random() % 16 * 4);
    float *row = check_buffer(s.n_w * sizeof *row, 0), *one = check_buffer(sizeof *one, 4);
    memset(want, 0, y_size);
    memset(got, 0, y_size);
    plain(want, s.y_stride, x, s.x_stride, s.n_x, w, s.w_stride, s.n_w, s.k);
    fast(got, s.y_stride, x, s.x_stride, s.n_x, w, s.w_stride, s.n_w, s.k);
    check_bound(s, want, x, w);
    check_bound(s, got, x, w);
    check_nan(s, want, got);

    size_t i = (size_t)check_random() % s.n_x, j = (size_t)check_random() % s.n_w;
    fast(row, s.n_w, x + i * s.x_stride, s.x_stride, 1, w, s.w_stride, s.n_w, s.k);
    fast(one, 1, x + i * s.x_stride, s.x_stride, 1, w + j * s.w_stride, s.w_stride, 1, s.k);
    calm(got, y_size / sizeof *got);
    calm(row, s.n_w);
    calm(one, 1);
    check_same(
        got + i * s.y_stride, row, s.n_w * sizeof *row, "(%zu,%zu,%zu) row %zu alone", s.n_x, s.n_w, s.k, i);
    check_same(row + j, one, sizeof *one, "(%zu,%zu,%zu) output (%zu,%zu) alone", s.n_x, s.n_w, s.k, i, j);
    check_release();
}

static void check_products(const struct pc_bf16 *plain, const struct pc_bf16 *fast)
{
    static const size_t n_x[] = {1, 2, 3, 5, 6, 7, 13, 32}, n_w[] = {1, 3, 4, 8, 9, 13},
                        k[] = {0, 1, 2, 15, 31, 32, 33, 63, 64, 129, 1100};
    for (size_t i = 0; i < sizeof n_x / sizeof *n_x; i++)
        for (size_t j = 0; j < sizeof n_w / sizeof *n_w; j++)
            for (size_t m = 0; m < sizeof k / sizeof *k; m++) {
                struct shape s = {n_x[i], n_w[j], k[m], 0, 0, 0};
                s.y_stride = s.n_w + (size_t)check_random() % 3;
                s.x_stride = s.k + (size_t)check_random() % 3;
                s.w_stride = 2 * s.k + (size_t)check_random() % 5;
                check_shape(s, plain->matmul, fast->matmul, false);
                check_shape(s, plain->matmul, fast->matmul, true);
            }
}

/* Rows long enough to be cut in chunks, and enough of them for more than one panel. */
static void check_long(const struct pc_bf16 *plain, const struct pc_bf16 *fast)
{
    static const struct shape shapes[] = {{53, 37, 1700, 37, 1700, 3400}, {9, 70, 3333, 71, 3334, 6670},
        {4, 12, 5000, 12, 5000, 10000}, {101, 6, 1569, 6, 1569, 3138}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(shapes[i], plain->matmul, fast->matmul, false);
}

static void check_rounding(const struct pc_bf16 *plain, const struct pc_bf16 *fast)
{
    for (size_t n = 0; n < 100; n++) {
        float *x = check_floats_all(n);
        for (size_t i = 0; i < n; i += 5) { /* any bits at all, and ties */
            uint32_t bits = (uint32_t)check_random();
            x[i] = pc_f32_from_bits(i % 2 ? bits : (bits & 0xffff0000u) | 0x8000u);
        }
        uint16_t *want = check_buffer(2 * n, 0), *got = check_buffer(2 * n, n % 31 * 2);
        plain->round(want, x, n);
        fast->round(got, x, n);
        check_same(want, got, 2 * n, "n=%zu", n);
        check_release();
    }
}

struct call {
    matmul_fn *fn;
    uint16_t *x;
    float *y;
    char *w;
    size_t n_x, n_w, k;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->fn(c->y, c->n_w, c->x, c->k, c->n_x, c->w, 2 * c->k, c->n_w, c->k);
}

static void bench(const struct check_level *l, matmul_fn *fn)
{
    for (size_t n_x = 1; n_x <= 128; n_x *= 128) {
        struct call c = {.fn = fn, .n_x = n_x, .n_w = 1536, .k = 576};
        c.x = elements(c.n_x * c.k, false);
        c.w = weights(c.n_w * c.k * 2, false);
        c.y = check_buffer(c.n_x * c.n_w * sizeof *c.y, 0);
        char title[64];
        snprintf(title, sizeof title, "bf16_matmul rows=%zu (GB/s of weights per row)", n_x);
        check_time(title, l, n_x * c.n_w * c.k * 2, run_call, &c);
        check_release();
    }
}

void check_bf16(void)
{
    struct pc_bf16 plain, fast;
    pc_bf16_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_bf16_init(&fast, l->flags);
        check_case("bf16_round", l);
        check_rounding(&plain, &fast);
        check_case("bf16_matmul", l);
        check_products(&plain, &fast);
        check_long(&plain, &fast);
        if (check_bench() && fast.native)
            bench(l, fast.matmul);
    }
    if (check_bench())
        bench(NULL, plain.matmul);
}
