// SPDX-License-Identifier: Apache-2.0
/* Products are the same bits at every level, so most of this compares bytes: with scalar, a row alone with
 * the row in company, an output alone with the output in its row. Scalar itself is held to the bound of
 * matmul.h. */
#include "checkasm.h"

#include "kernels/float_bits.h"
#include "kernels/matmul.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct shape {
    enum pc_dtype dtype;
    size_t n_x, n_w, k;
    size_t y_stride, w_stride;
};

static const struct {
    const char *name;
    enum pc_dtype dtype;
    size_t size;
} g_types[] = {{"matmul_f32", PC_F32, 4}, {"matmul_f16", PC_F16, 2}, {"matmul_bf16", PC_BF16, 2}};

static float widen(enum pc_dtype dtype, const char *w, size_t i)
{
    float f;
    uint16_t h;
    if (dtype == PC_F32)
        return memcpy(&f, w + i * sizeof f, sizeof f), f;
    memcpy(&h, w + i * sizeof h, sizeof h);
    return dtype == PC_F16 ? pc_f16_to_f32(h) : pc_bf16_to_f32(h);
}

/* n weights on any address: random bits for the halves (denormals included), but neither infinite nor NaN. */
static char *weights(enum pc_dtype dtype, size_t size)
{
    char *w = check_buffer(size, (size_t)check_random() % 64);
    for (size_t at = 0; dtype == PC_F32 && at + 4 <= size; at += 4) {
        float f = ldexpf((float)(int32_t)check_random(), -31 - (check_random() % 64 ? 0 : 126));
        memcpy(w + at, &f, 4);
    }
    for (size_t at = 0; dtype != PC_F32 && at + 2 <= size; at += 2) {
        uint16_t h = (uint16_t)check_random();
        h &= dtype == PC_F16 ? 0xbfff : 0xbf8f;
        memcpy(w + at, &h, 2);
    }
    return w;
}

static void check_bound(struct shape s, const float *y, const float *x, const char *w)
{
    double n = ceil((double)s.k / PC_LANES) + 4, gamma = n * 0x1p-24 / (1 - n * 0x1p-24);
    for (size_t i = 0; i < s.n_x; i++)
        for (size_t j = 0; j < s.n_w; j++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < s.k; k++) {
                double product = (double)x[i * s.k + k] * (double)widen(s.dtype, w + j * s.w_stride, k);
                sum += product;
                size += fabs(product);
            }
            double off = fabs((double)y[i * s.y_stride + j] - sum);
            if (isfinite(size) && size < 1e38 && !(off <= gamma * size + n * 0x1p-149))
                check_fail("(%zu,%zu,%zu): output (%zu,%zu) is off by %g", s.n_x, s.n_w, s.k, i, j, off);
        }
}

/* Any NaN is as good as any other: which operand's payload survives is the processor's business. */
static void calm(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(y[i]))
            y[i] = NAN;
}

static void check_shape(struct shape s, pc_matmul_fn *plain, pc_matmul_fn *fast, bool all)
{
    size_t y_size = ((s.n_x - 1) * s.y_stride + s.n_w) * sizeof(float), n_x = s.n_x * s.k;
    const float *x = all ? check_floats_all(n_x) : check_floats(n_x);
    const char *w = weights(s.dtype, s.n_w * s.w_stride);
    float *want = check_buffer(y_size, 0), *got = check_buffer(y_size, (size_t)check_random() % 16 * 4);
    float *row = check_buffer(s.n_w * sizeof *row, 0), *one = check_buffer(sizeof *one, 4);
    memset(want, 0, y_size);
    memset(got, 0, y_size);
    plain(want, s.y_stride, x, s.k, s.n_x, w, s.w_stride, s.n_w, s.k);
    fast(got, s.y_stride, x, s.k, s.n_x, w, s.w_stride, s.n_w, s.k);
    check_bound(s, want, x, w);

    size_t i = (size_t)check_random() % s.n_x, j = (size_t)check_random() % s.n_w;
    fast(row, s.n_w, x + i * s.k, s.k, 1, w, s.w_stride, s.n_w, s.k);
    fast(one, 1, x + i * s.k, s.k, 1, w + j * s.w_stride, s.w_stride, 1, s.k);
    calm(want, y_size / sizeof *want);
    calm(got, y_size / sizeof *got);
    calm(row, s.n_w);
    calm(one, 1);
    check_same(want, got, y_size, "(%zu,%zu,%zu)", s.n_x, s.n_w, s.k);
    check_same(
        got + i * s.y_stride, row, s.n_w * sizeof *row, "(%zu,%zu,%zu) row %zu alone", s.n_x, s.n_w, s.k, i);
    check_same(row + j, one, sizeof *one, "(%zu,%zu,%zu) output (%zu,%zu) alone", s.n_x, s.n_w, s.k, i, j);
    check_release();
}

/* Rows long enough to be cut in chunks, and enough of them for more than one panel. */
static void check_long(enum pc_dtype dtype, size_t size, pc_matmul_fn *plain, pc_matmul_fn *fast)
{
    static const size_t shapes[][3] = {{53, 37, 810}, {9, 70, 1601}, {4, 12, 2500}, {101, 6, 785}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct shape s = {dtype, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][1] + i % 2, 0};
        s.w_stride = s.k * size;
        check_shape(s, plain, fast, false);
    }
}

struct call {
    pc_matmul_fn *fn;
    float *x, *y;
    char *w;
    size_t n_x, n_w, k, w_stride;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->fn(c->y, c->n_w, c->x, c->k, c->n_x, c->w, c->w_stride, c->n_w, c->k);
}

static void bench(
    const char *name, enum pc_dtype dtype, size_t size, const struct check_level *l, pc_matmul_fn *fn)
{
    for (size_t n_x = 1; n_x <= 128; n_x *= 128) {
        struct call c = {.fn = fn, .n_x = n_x, .n_w = 1536, .k = 576, .w_stride = 576 * size};
        c.x = check_floats(c.n_x * c.k);
        c.w = weights(dtype, c.n_w * c.w_stride);
        c.y = check_buffer(c.n_x * c.n_w * sizeof *c.y, 0);
        char title[64];
        snprintf(title, sizeof title, "%s rows=%zu (GB/s of weights per row)", name, n_x);
        check_time(title, l, n_x * c.n_w * c.w_stride, run_call, &c);
        check_release();
    }
}

void check_matmul(void)
{
    static const size_t n_x[] = {1, 2, 3, 5, 6, 7, 32}, n_w[] = {1, 3, 4, 8, 9, 13},
                        k[] = {0, 1, 7, 15, 16, 17, 31, 48, 129};
    struct pc_matmul plain, fast;
    pc_matmul_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++)
        for (size_t t = 0; t < sizeof g_types / sizeof *g_types; t++) {
            pc_matmul_init(&fast, l->flags);
            pc_matmul_fn *a = pc_matmul_for(&plain, g_types[t].dtype),
                         *b = pc_matmul_for(&fast, g_types[t].dtype);
            check_case(g_types[t].name, l);
            for (size_t i = 0; i < sizeof n_x / sizeof *n_x; i++)
                for (size_t j = 0; j < sizeof n_w / sizeof *n_w; j++)
                    for (size_t m = 0; m < sizeof k / sizeof *k; m++) {
                        struct shape s = {g_types[t].dtype, n_x[i], n_w[j], k[m], 0, 0};
                        s.y_stride = s.n_w + (size_t)check_random() % 3;
                        s.w_stride = s.k * g_types[t].size + (size_t)check_random() % 5;
                        check_shape(s, a, b, false);
                        check_shape(s, a, b, true);
                    }
            check_long(g_types[t].dtype, g_types[t].size, a, b);
            if (check_bench()) {
                bench(g_types[t].name, g_types[t].dtype, g_types[t].size, l, b);
                if (l == check_levels())
                    bench(g_types[t].name, g_types[t].dtype, g_types[t].size, NULL, a);
            }
        }
}
