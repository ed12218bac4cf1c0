// SPDX-License-Identifier: Apache-2.0
#include "checkasm.h"

#include "kernels/softmax.h"

#include <math.h>

static void check_length(const struct pc_softmax *plain, const struct pc_softmax *fast, size_t n)
{
    float *x = check_floats_all(n), shift = x && n ? x[n / 2] : 0;
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, 4 * (n % 16));
    plain->exp_shifted(want, x, shift, n);
    fast->exp_shifted(got, x, shift, n);
    for (size_t i = 0; i < n; i++) {
        want[i] = isnan(want[i]) ? NAN : want[i];
        got[i] = isnan(got[i]) ? NAN : got[i];
    }
    check_same(want, got, n * sizeof *want, "exp_shifted, n=%zu", n);

    float max_want, max_got;
    double sum_want = pc_softmax_forward(plain, want, x, n, &max_want);
    double sum_got = pc_softmax_forward(fast, got, x, n, &max_got);
    check_same(want, got, n * sizeof *want, "softmax, n=%zu", n);
    if (max_want != max_got || sum_want != sum_got)
        check_fail("max %g and %g, sum %g and %g", (double)max_want, (double)max_got, sum_want, sum_got);
    for (size_t i = 0; i < n; i++)
        if (!(want[i] >= 0 && want[i] <= 1))
            check_fail("softmax of %g gives %g", (double)x[i], (double)want[i]);
    check_release();
}

struct call {
    void (*fn)(float *, const float *, float, size_t);
    float *out, *x;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->fn(c->out, c->x, 1.0f, 4096);
}

void check_softmax(void)
{
    struct pc_softmax plain, fast;
    pc_softmax_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_softmax_init(&fast, l->flags);
        check_case("exp_shifted", l);
        for (size_t n = 0; n < 100; n++)
            check_length(&plain, &fast, n);
        check_length(&plain, &fast, 4099);
        if (check_bench()) {
            struct call c = {fast.exp_shifted, check_floats(4096), check_floats(4096)};
            check_time("exp_shifted", l, 2 * 4096 * 4, run_call, &c);
            c.fn = plain.exp_shifted;
            check_time("exp_shifted", NULL, 2 * 4096 * 4, run_call, &c);
            check_release();
        }
    }
}
