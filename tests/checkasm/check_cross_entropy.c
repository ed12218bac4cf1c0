// SPDX-License-Identifier: Apache-2.0
/* Cross entropy and its gradient: the same bytes at every level, near the formula in double, and not finite
 * where logits are not. */
#include "checkasm.h"

#include "kernels/cross_entropy.h"

#include <math.h>
#include <string.h>

static float *logits(size_t n, float scale)
{
    float *z = check_buffer(n * sizeof *z, 0);
    for (size_t i = 0; i < n; i++)
        z[i] = scale * (float)((double)(check_random() >> 11) * 0x1p-52 - 1);
    return z;
}

static void check_exact(const float *z, const float *d, size_t n, size_t label, double loss, float weight)
{
    double sum = 0, max = (double)z[0];
    for (size_t i = 1; i < n; i++)
        if ((double)z[i] > max)
            max = (double)z[i];
    for (size_t i = 0; i < n; i++)
        sum += exp((double)z[i] - max);
    double want = log(sum) + max - (double)z[label];
    if (!(fabs(loss - want) <= 1e-6 * (1 + want)))
        check_fail("n=%zu: loss %g, not %g", n, loss, want);
    for (size_t i = 0; i < n; i++) {
        double p = exp((double)z[i] - max) / sum, gradient = (p - (i == label)) * (double)weight;
        double off = (4e-7 + (max - (double)z[i]) * 0x1p-23) * fabs((double)weight) * (i == label ? 1 : p);
        if (!(fabs((double)d[i] - gradient) <= off + 1e-40))
            check_fail("n=%zu: gradient %zu is %g, not %g", n, i, (double)d[i], gradient);
    }
}

static void check_length(
    const struct pc_cross_entropy *plain, const struct pc_cross_entropy *fast, size_t n, float scale)
{
    float *z = logits(n, scale), *want = check_buffer(n * sizeof *want, 0),
          *got = check_buffer(n * sizeof *got, n % 16 * 4), weight = 0.3f;
    size_t label = (size_t)check_random() % n;
    memcpy(want, z, n * sizeof *z);
    memcpy(got, z, n * sizeof *z);
    double losses[] = {plain->forward(z, n, label), fast->forward(z, n, label),
        plain->backward(want, n, label, weight), fast->backward(got, n, label, weight)};
    for (int i = 1; i < 4; i++)
        check_same(losses, &losses[i], sizeof *losses, "loss %d of n=%zu", i, n);
    check_same(want, got, n * sizeof *want, "n=%zu", n);
    check_exact(z, want, n, label, losses[0], weight);

    static const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        z[(size_t)check_random() % n] = bad[i];
        if (isfinite(fast->forward(z, n, label)) && n > 1)
            check_fail("n=%zu: a loss from %g", n, (double)bad[i]);
    }
    check_release();
}

struct call {
    const struct pc_cross_entropy *table;
    float *z;
    size_t n;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->table->backward(c->z, c->n, 17, 1.0f);
}

void check_cross_entropy(void)
{
    struct pc_cross_entropy plain, fast;
    pc_cross_entropy_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_cross_entropy_init(&fast, l->flags);
        check_case("cross_entropy", l);
        for (size_t n = 1; n < 70; n++)
            check_length(&plain, &fast, n, 1);
        check_length(&plain, &fast, 2051, 30);
        if (check_bench()) {
            struct call c = {&fast, logits(49152, 10), 49152};
            check_time("cross_entropy", l, 49152 * 4, run_call, &c);
            c.table = &plain;
            check_time("cross_entropy", NULL, 49152 * 4, run_call, &c);
            check_release();
        }
    }
}
