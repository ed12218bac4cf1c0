// SPDX-License-Identifier: Apache-2.0
#include "checkasm.h"

#include "kernels/silu.h"

#include <math.h>
#include <string.h>

static void calm(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = isnan(x[i]) ? NAN : x[i];
}

static void check_length(const struct pc_silu *plain, const struct pc_silu *fast, size_t n)
{
    float *gate = check_floats_all(n), *up = check_floats_all(n);
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, 4 * (n % 16));
    for (size_t i = 0; i < n; i += 3)
        gate[i] *= 20; /* into the tails of the sigmoid */
    plain->mul(want, gate, up, n);
    fast->mul(got, gate, up, n);
    calm(want, n);
    calm(got, n);
    check_same(want, got, n * sizeof *want, "n=%zu", n);
    for (size_t i = 0; i < n; i++) {
        double exact = (double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i];
        if (isfinite(exact) && gate[i] > -87 && fabs(exact) < 3e38 &&
            !(fabs((double)want[i] - exact) <=
                4 * 0x1p-23 * fabs(exact) + 0x1p-148 * (1 + fabs((double)up[i]))))
            check_fail("silu(%g) * %g is %g, not %g", (double)gate[i], (double)up[i], (double)want[i], exact);
    }
    fast->mul(gate, gate, up, n); /* in place */
    calm(gate, n);
    check_same(want, gate, n * sizeof *want, "n=%zu in place", n);
    check_release();
}

/* act is mul's, whatever the numbers; the gradients are near the formula where they are moderate. */
static void check_backward(const struct pc_silu *plain, const struct pc_silu *fast, size_t n)
{
    float *gate = check_floats_all(n), *up = check_floats_all(n), *d_act = check_floats_all(n);
    float *want = check_buffer(3 * n * sizeof *want, 0), *got = check_buffer(3 * n * sizeof *got, 4),
          *act = check_buffer(n * sizeof *act, 0);
    for (size_t i = 0; i < n; i++)
        if (i % 3) {
            gate[i] = 30 * (float)((double)(check_random() >> 11) * 0x1p-52 - 1);
            up[i] = (float)((double)(check_random() >> 11) * 0x1p-52 - 1);
            d_act[i] = 2;
        }
    plain->backward(want, want + n, want + 2 * n, gate, up, d_act, n);
    fast->backward(got, got + n, got + 2 * n, gate, up, d_act, n);
    plain->mul(act, gate, up, n);
    calm(want, 3 * n);
    calm(got, 3 * n);
    calm(act, n);
    check_same(want, got, 3 * n * sizeof *want, "n=%zu", n);
    check_same(act, got + 2 * n, n * sizeof *act, "n=%zu: act", n);
    for (size_t i = 0; i < n; i++) {
        double s = 1 / (1 + exp(-(double)gate[i])),
               d_gate = 2 * (double)up[i] * s * (1 + (double)gate[i] * (1 - s)),
               d_up = 2 * (double)gate[i] * s;
        if (i % 3 && !(fabs((double)want[i] - d_gate) <= 4e-6 && fabs((double)want[n + i] - d_up) <= 3e-5))
            check_fail("gate %g, up %g: gradients %g, %g, not %g, %g", (double)gate[i], (double)up[i],
                (double)want[i], (double)want[n + i], d_gate, d_up);
    }
    fast->backward(gate, up, d_act, gate, up, d_act, n); /* in place */
    calm(gate, n);
    calm(up, n);
    calm(d_act, n);
    check_same(want, gate, n * sizeof *want, "n=%zu in place", n);
    check_same(want + n, up, n * sizeof *want, "n=%zu in place", n);
    check_same(want + 2 * n, d_act, n * sizeof *want, "n=%zu in place", n);
    check_release();
}

struct call {
    void (*fn)(float *, const float *, const float *, size_t);
    float *out, *gate, *up;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->fn(c->out, c->gate, c->up, 4096);
}

struct back {
    const struct pc_silu *table;
    float *x;
};

/* As in training: the gradients of gate and up in their place. */
static void run_back(void *arg)
{
    struct back *b = arg;
    float *gate = b->x, *up = gate + 4096, *d_act = up + 4096, *act = d_act + 4096;
    b->table->backward(gate, up, act, gate, up, d_act, 4096);
    memset(gate, 0, 64); /* so that they stay finite, more or less */
}

void check_silu(void)
{
    struct pc_silu plain, fast;
    pc_silu_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_silu_init(&fast, l->flags);
        check_case("silu_mul", l);
        for (size_t n = 0; n < 100; n++)
            check_length(&plain, &fast, n);
        check_case("silu_backward", l);
        for (size_t n = 0; n < 100; n++)
            check_backward(&plain, &fast, n);
        check_length(&plain, &fast, 4099);
        if (check_bench()) {
            struct call c = {fast.mul, check_floats(4096), check_floats(4096), check_floats(4096)};
            check_time("silu_mul", l, 3 * 4096 * 4, run_call, &c);
            struct back b = {&fast, check_floats(5 * 4096)};
            check_time("silu_backward", l, 6 * 4096 * 4, run_back, &b);
            c.fn = plain.mul;
            check_time("silu_mul", NULL, 3 * 4096 * 4, run_call, &c);
            check_release();
        }
    }
}
