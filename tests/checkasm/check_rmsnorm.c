// SPDX-License-Identifier: Apache-2.0
/* The same bytes at every level, for a row alone as for one of several, in place or not. */
#include "checkasm.h"

#include "kernels/rmsnorm.h"

#include <string.h>

static void calm(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = isnan(x[i]) ? NAN : x[i];
}

static void moderate(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fabsf(x[i]) < 1e6f ? x[i] : 1.0f;
}

static void check_rows(
    const struct pc_rmsnorm *plain, const struct pc_rmsnorm *fast, size_t n_rows, size_t n, bool all)
{
    size_t size = n_rows * n * sizeof(float);
    float *x = all ? check_floats_all(n_rows * n) : check_floats(n_rows * n), *weight = check_floats(n);
    if (!all) { /* what neither overflows nor loses digits is held to the formula too */
        moderate(x, n_rows * n);
        moderate(weight, n);
    }
    float *want = check_buffer(size, 0), *got = check_buffer(size, n % 16 * 4), *one = check_buffer(n * 4, 8);
    plain->forward(want, x, weight, n_rows, n, 1e-5f);
    fast->forward(got, x, weight, n_rows, n, 1e-5f);
    size_t row = (size_t)check_random() % n_rows;
    fast->forward(one, x + row * n, weight, 1, n, 1e-5f);
    calm(want, n_rows * n);
    calm(got, n_rows * n);
    calm(one, n);
    check_same(want, got, size, "(%zu,%zu)", n_rows, n);
    check_same(got + row * n, one, n * sizeof *one, "(%zu,%zu) row %zu alone", n_rows, n, row);
    for (size_t t = 0; t < n_rows && !all; t++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)x[t * n + i] * (double)x[t * n + i];
        double scale = 1 / sqrt(sum / (double)n + (double)1e-5f);
        for (size_t i = 0; i < n; i++) {
            double exact = (double)x[t * n + i] * scale * (double)weight[i];
            if (!(fabs((double)want[t * n + i] - exact) <=
                    ((double)n / 32 + 8) * 0x1p-23 * fabs(exact) + 1e-30))
                check_fail("(%zu,%zu): element (%zu,%zu) is %g, not %g", n_rows, n, t, i,
                    (double)want[t * n + i], exact);
        }
    }
    fast->forward(x, x, weight, n_rows, n, 1e-5f);
    calm(x, n_rows * n);
    check_same(want, x, size, "(%zu,%zu) in place", n_rows, n);
    check_release();
}

/* Both gradients: the same bytes at every level, in rows alone and in any columns, near the formula. */
static void check_backward(
    const struct pc_rmsnorm *plain, const struct pc_rmsnorm *fast, size_t n_rows, size_t n)
{
    size_t all = n_rows * n, size = all * sizeof(float), split = (size_t)check_random() % (n + 1);
    float *x = check_floats(all), *dy = check_floats(all), *weight = check_floats(n), *dx = check_floats(all),
          *dw = check_floats(n), *got = check_buffer(size, 4), *got_w = check_buffer(n * 4, 8),
          *scale = check_buffer(n_rows * 4, 0), *scale2 = check_buffer(n_rows * 4, 4);
    moderate(x, all);
    moderate(dy, all);
    moderate(weight, n);
    memset(dx, 0, size);
    memset(dw, 0, n * sizeof *dw);
    memcpy(got, dx, size);
    memcpy(got_w, dw, n * sizeof *dw);
    plain->backward(dx, scale, dy, x, weight, n_rows, n, 1e-5f);
    plain->backward_weight(dw, dy, x, scale, n_rows, n, 0, n);
    for (size_t t = 0; t < n_rows; t++)
        fast->backward(got + t * n, scale2 + t, dy + t * n, x + t * n, weight, 1, n, 1e-5f);
    fast->backward_weight(got_w, dy, x, scale2, n_rows, n, 0, split);
    fast->backward_weight(got_w, dy, x, scale2, n_rows, n, split, n);
    check_same(dx, got, size, "(%zu,%zu)", n_rows, n);
    check_same(scale, scale2, n_rows * sizeof *scale, "(%zu,%zu)", n_rows, n);
    check_same(dw, got_w, n * sizeof *dw, "(%zu,%zu) weight", n_rows, n);
    for (size_t t = 0; t < n_rows; t++) {
        double squares = 0, dot = 0, most = 0;
        for (size_t i = 0; i < n; i++) {
            double g = (double)weight[i] * (double)dy[t * n + i];
            squares += (double)x[t * n + i] * (double)x[t * n + i];
            dot += g * (double)x[t * n + i];
            most = fmax(most, fabs(g));
        }
        double r = 1 / sqrt(squares / (double)n + (double)1e-5f);
        for (size_t i = 0; i < n; i++) {
            double want = r * ((double)weight[i] * (double)dy[t * n + i] -
                                  (double)x[t * n + i] * dot / (double)n * r * r);
            if (!(fabs((double)dx[t * n + i] - want) <= 4e-6 * r * most * (double)n + 1e-30))
                check_fail("(%zu,%zu): gradient (%zu,%zu) is %g, not %g", n_rows, n, t, i,
                    (double)dx[t * n + i], want);
        }
    }
    check_release();
}

struct call {
    const struct pc_rmsnorm *table;
    float *out, *x, *weight;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->table->forward(c->out, c->x, c->weight, 8, 576, 1e-5f);
}

static void bench(const struct pc_rmsnorm *table, const struct check_level *l)
{
    struct call c = {table, check_floats(8 * 576), check_floats(8 * 576), check_floats(576)};
    check_time("rmsnorm", l, 8 * 576 * 4, run_call, &c);
    check_release();
}

void check_rmsnorm(void)
{
    static const size_t widths[] = {1, 2, 15, 16, 17, 31, 32, 48, 63, 64, 65, 576, 1001};
    struct pc_rmsnorm plain, fast;
    pc_rmsnorm_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_rmsnorm_init(&fast, l->flags);
        check_case("rmsnorm", l);
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
            for (size_t n_rows = 1; n_rows <= 9; n_rows++) {
                check_rows(&plain, &fast, n_rows, widths[i], false);
                check_rows(&plain, &fast, n_rows, widths[i], true);
            }
        check_case("rmsnorm_backward", l);
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
            for (size_t n_rows = 1; n_rows <= 9; n_rows += 4)
                check_backward(&plain, &fast, n_rows, widths[i]);
        if (check_bench())
            bench(&fast, l);
    }
    if (check_bench())
        bench(&plain, NULL);
}
