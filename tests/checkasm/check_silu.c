// SPDX-License-Identifier: Apache-2.0
#include "checkasm.h"

#include "kernels/silu.h"

#include <math.h>

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

struct call {
    void (*fn)(float *, const float *, const float *, size_t);
    float *out, *gate, *up;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->fn(c->out, c->gate, c->up, 4096);
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
        check_length(&plain, &fast, 4099);
        if (check_bench()) {
            struct call c = {fast.mul, check_floats(4096), check_floats(4096), check_floats(4096)};
            check_time("silu_mul", l, 3 * 4096 * 4, run_call, &c);
            c.fn = plain.mul;
            check_time("silu_mul", NULL, 3 * 4096 * 4, run_call, &c);
            check_release();
        }
    }
}
