// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "eval/paired.h"

#include <math.h>

/* p-values of the exact binomial test, summed with exact fractions (Python 3.11). */
static void test_mcnemar(void **state)
{
    (void)state;
    static const struct {
        uint64_t a, b;
        double p;
    } cases[] = {{0, 0, 1}, {5, 5, 1}, {5, 15, 0.04138946533203125}, {15, 5, 0.04138946533203125},
        {0, 6, 0.03125}, {120, 80, 0.00568515599675}, {1000, 1100, 0.030720707864}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double p = pc_mcnemar(cases[i].a, cases[i].b);
        if (fabs(p - cases[i].p) > 1e-9 * cases[i].p)
            fail_msg("%d against %d: %.9g, expected %.9g", (int)cases[i].a, (int)cases[i].b, p, cases[i].p);
    }
}

static void test_bootstrap(void **state)
{
    (void)state;
    double d[400], low, high, again_low, again_high;
    for (int i = 0; i < 400; i++)
        d[i] = i % 4 == 0 ? 1 : i % 4 == 1 ? -1 : i % 8 == 2 ? 1 : 0;
    // Mean 1/8; variance 5/8 - 1/64: the normal interval is 0.125 +- 1.96 * 0.039.
    assert_int_equal(pc_bootstrap(d, 400, 10000, 1, &low, &high, NULL), 0);
    assert_true(fabs(low - (0.125 - 1.96 * 0.0390)) < 0.006);
    assert_true(fabs(high - (0.125 + 1.96 * 0.0390)) < 0.006);
    pc_bootstrap(d, 400, 10000, 1, &again_low, &again_high, NULL);
    assert_true(low == again_low && high == again_high);
    pc_bootstrap(d, 400, 10000, 2, &again_low, &again_high, NULL);
    assert_true(low != again_low || high != again_high);
    pc_bootstrap(d, 1, 10000, 1, &low, &high, NULL);
    assert_true(isnan(low) && isnan(high));
}

/* Figures computed by the formula in Python. */
static void test_wilson(void **state)
{
    (void)state;
    static const struct {
        double share;
        size_t n;
        double low, high;
    } cases[] = {{1, 2, 0.342380, 1}, {0, 20, 0, 0.161125}, {0.5, 10, 0.236593, 0.763407},
        {0.4, 10, 0.168180, 0.687326}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double low, high;
        pc_wilson(cases[i].share, cases[i].n, &low, &high);
        assert_true(fabs(low - cases[i].low) < 1e-6 && fabs(high - cases[i].high) < 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wilson), cmocka_unit_test(test_mcnemar), cmocka_unit_test(test_bootstrap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
