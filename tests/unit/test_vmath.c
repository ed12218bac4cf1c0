// SPDX-License-Identifier: Apache-2.0
/* Measures the errors kernels/vmath.h states, against long double. */
#include "unit.h"

#include "kernels/float_bits.h"
#include "kernels/vmath.h"

#include <stdio.h>
#include <stdlib.h>

/* An emulator computes long double in software's software: it does a fiftieth of the work. */
static uint32_t stride(void)
{
    return getenv("PACO_EMULATED") ? 50 : 1;
}

/* |got - exact| in units of the spacing of floats at exact; the spacing of denormals below them. */
static double ulps(float got, long double exact)
{
    int e;
    frexpl(exact, &e);
    if (e < -125)
        e = -125;
    return (double)(fabsl((long double)got - exact) / ldexpl(1, e - 24));
}

static void test_expf_accuracy(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t step = 0; step < 2000000; step += stride()) {
        float x = -104.0f + (float)step * (192.7f / 2000000);
        worst = fmax(worst, ulps(pc_expf(x), expl(x)));
    }
    for (uint32_t bits = 0; bits < 0x3f800000u;
         bits += 0x123 * stride()) { /* small arguments of both signs */
        worst = fmax(worst, ulps(pc_expf(pc_f32_from_bits(bits)), expl(pc_f32_from_bits(bits))));
        worst = fmax(worst, ulps(pc_expf(-pc_f32_from_bits(bits)), expl(-pc_f32_from_bits(bits))));
    }
    if (worst > 1.02)
        fail_msg("pc_expf is off by %.4f ulp", worst);
}

static void test_expf_edges(void **state)
{
    (void)state;
    assert_true(pc_expf(0.0f) == 1.0f && pc_expf(-0.0f) == 1.0f);
    assert_true(isnan(pc_expf(NAN)));
    assert_true(isinf(pc_expf(INFINITY)) && isinf(pc_expf(88.73f)) && isfinite(pc_expf(88.72f)));
    assert_true(pc_expf(-INFINITY) == 0.0f && pc_expf(-104.1f) == 0.0f);
    assert_true(pc_expf(-103.0f) > 0.0f); /* a denormal, not flushed */
}

static void test_double(void **state)
{
    (void)state;
    double worst_exp = 0, worst_log = 0, worst_pow = 0;
    for (int i = 0; i < 200000; i += (int)stride()) {
        double x = -700 + i * 0.007, y = ldexp(1.0 + i / 200000.0, i % 2000 - 1000);
        worst_exp = fmax(worst_exp, (double)fabsl(pc_exp(x) / expl(x) - 1));
        worst_log = fmax(worst_log, (double)fabsl((pc_log(y) - logl(y)) / (logl(y) == 0 ? 1 : logl(y))));
        double base = 10000.0 + i, e = (i % 128) / 128.0;
        double bound = (fabs(e * log(base)) + 4) * 0x1p-52;
        worst_pow = fmax(worst_pow, (double)fabsl(pc_pow(base, e) / powl(base, e) - 1) / bound);
    }
    assert_true(worst_exp < 4 * 0x1p-52);
    assert_true(worst_log < 4 * 0x1p-52);
    assert_true(worst_pow < 1);
    assert_true(pc_exp(-INFINITY) == 0 && isinf(pc_exp(1000)) && isnan(pc_exp(NAN)) && pc_exp(0) == 1);
    assert_true(isinf(pc_log(0)) && pc_log(0) < 0 && isnan(pc_log(NAN)) && pc_log(1) == 0);
}

static void test_sincos(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -500000; i < 500000; i += (int)stride()) {
        float x = i % 3 ? (float)i * 0.37f : (float)i * 2000.0f, s, c;
        pc_sincosf(x, &s, &c);
        worst = fmax(worst, fmax(ulps(s, sinl(x)), ulps(c, cosl(x))));
    }
    if (worst > 0.5001)
        fail_msg("pc_sincosf is off by %.6f ulp", worst);
    float s, c;
    pc_sincosf(0.0f, &s, &c);
    assert_true(s == 0.0f && c == 1.0f);
    pc_sincosf(0x1.1p30f, &s, &c);
    assert_true(isnan(s) && isnan(c));
    pc_sincosf(-INFINITY, &s, &c);
    assert_true(isnan(s) && isnan(c));
    pc_sincosf(NAN, &s, &c);
    assert_true(isnan(s) && isnan(c));
}

/* Every half there is, against the definition of binary16. */
static void test_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        int e = (int)(h >> 10 & 31), f = (int)(h & 1023);
        double want = e == 0 ? ldexp(f, -24) : ldexp(1024 + f, e - 25);
        float got = pc_f16_to_f32((uint16_t)h);
        assert_int_equal(signbit(got) != 0, h >> 15);
        if (e == 31)
            assert_true(f ? isnan(got) : isinf(got));
        else
            assert_true(fabs((double)got) == want);
        assert_int_equal(pc_f32_bits(pc_bf16_to_f32((uint16_t)h)), h << 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expf_accuracy),
        cmocka_unit_test(test_expf_edges),
        cmocka_unit_test(test_double),
        cmocka_unit_test(test_sincos),
        cmocka_unit_test(test_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
