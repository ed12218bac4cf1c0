// SPDX-License-Identifier: Apache-2.0
/* RMSNorm and RoPE against their formulas in double, and against values of the reference. */
#include "unit.h"

#include "base/cpu.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"

#include <math.h>

static void test_rmsnorm(void **state)
{
    (void)state;
    enum { T = 3, C = 37 };
    struct pc_rmsnorm norm;
    pc_rmsnorm_init(&norm, pc_cpu_flags());
    float x[T * C], weight[C], out[T * C], in_place[T * C];
    for (int i = 0; i < T * C; i++)
        in_place[i] = x[i] = sinf((float)i) * (float)(1 + i / C * 100);
    for (int c = 0; c < C; c++)
        weight[c] = 0.5f + (float)c / C;
    norm.forward(out, x, weight, T, C, 1e-5f);
    for (int t = 0; t < T; t++) {
        double squares = 0;
        for (int c = 0; c < C; c++)
            squares += (double)x[t * C + c] * (double)x[t * C + c];
        for (int c = 0; c < C; c++) {
            double want = (double)weight[c] * (double)x[t * C + c] / sqrt(squares / C + 1e-5);
            assert_true(fabs((double)out[t * C + c] - want) <= 1e-6 * fabs(want) + 1e-12);
        }
    }
    norm.forward(in_place, in_place, weight, T, C, 1e-5f);
    assert_memory_equal(in_place, out, sizeof out);
    float zero[C] = {0};
    norm.forward(out, zero, weight, 1, C, 1e-5f);
    for (int c = 0; c < C; c++)
        assert_true(out[c] == 0.0f);
}

static void test_frequencies(void **state)
{
    (void)state;
    float f[64];
    pc_rope_frequencies(f, 10000.0f, 128);
    for (int i = 0; i < 64; i++) {
        double want = 1 / pow(10000, 2.0 * i / 128);
        assert_true(fabs((double)f[i] - want) <= 2 * 0x1p-23 * want);
    }
    assert_true(f[0] == 1.0f);
    pc_rope_frequencies(f, 500000.0f, 6); /* any even head size */
    assert_true(fabsf(f[2] - 0.00015874011f) < 1e-10f);

    pc_rope_frequencies(f, 10000.0f, 8);
    float kept = f[3];
    pc_rope_scale_linear(f, 8, 4.0f);
    assert_true(f[0] == 0.25f && f[3] == kept / 4.0f);
}

/* Transformers 5.x, rope_theta 500000, head_dim 16, factor 8, low 1, high 4, original 8192: the short waves
 * stay, the long ones are divided, what is between is blended. */
static void test_llama3(void **state)
{
    (void)state;
    float plain[8], f[8];
    pc_rope_frequencies(plain, 500000.0f, 16);
    memcpy(f, plain, sizeof f);
    pc_rope_scale_llama3(f, 16, 8.0f, 1.0f, 4.0f, 8192.0f);
    for (int i = 0; i < 8; i++) {
        double wave = 2 * 3.14159265358979 / (double)plain[i], want = (double)plain[i];
        if (wave > 8192) {
            want /= 8;
        } else if (wave >= 2048) {
            double smooth = (8192 / wave - 1) / 3;
            want = (1 - smooth) * want / 8 + smooth * want;
        }
        assert_true(fabs((double)f[i] - want) <= 1e-6 * want);
    }
    assert_true(f[0] == plain[0] && f[7] == plain[7] / 8.0f && f[4] < plain[4] && f[4] > plain[4] / 8.0f);
}

/* What Transformers 5.17's _compute_yarn_parameters gives for heads of 16, to a step of the last bit or two:
 * the defaults, and everything changed. */
static void test_yarn(void **state)
{
    (void)state;
    static const struct pc_rope_yarn yarn[] = {{10000, 4, 32, 1, 64, true}, {500000, 16, 16, 2, 4096, false}};
    static const float want[][8] = {
        {0x1.0000000000000p+0f, 0x1.e5b9d00000000p-3f, 0x1.9999980000000p-5f, 0x1.030dc60000000p-7f,
            0x1.47ae140000000p-9f, 0x1.9e7c700000000p-11f, 0x1.0624de0000000p-12f, 0x1.4b96c00000000p-14f},
        {0x1.0000000000000p+0f, 0x1.8d27600000000p-3f, 0x1.3411900000000p-5f, 0x1.b0e0700000000p-9f,
            0x1.72ba420000000p-14f, 0x1.1f91f00000000p-16f, 0x1.be21880000000p-19f, 0x1.5a0f4e0000000p-21f}};
    float f[8], cos_sin[16];
    for (int k = 0; k < 2; k++) {
        pc_rope_frequencies_yarn(f, &yarn[k], 16);
        for (int i = 0; i < 8; i++)
            assert_true(fabsf(f[i] - want[k][i]) <= 0x1p-22f * want[k][i]);
    }
    pc_rope_angles(cos_sin, f, 1.5f, 0, 16);
    assert_true(cos_sin[0] == 1.5f && cos_sin[7] == 1.5f && cos_sin[8] == 0);
}

static void test_rotation(void **state)
{
    (void)state;
    enum { H = 2, D = 6 };
    struct pc_rope rope;
    pc_rope_init(&rope, pc_cpu_flags());
    float f[D / 2], cos_sin[D], x[H * D], y[H * D];
    pc_rope_frequencies(f, 10000.0f, D);
    for (int i = 0; i < H * D; i++)
        x[i] = y[i] = (float)i - 4;
    pc_rope_angles(cos_sin, f, 1, 0, D);
    rope.forward(y, cos_sin, H, D);
    assert_memory_equal(x, y, sizeof x); /* position 0 turns nothing */
    pc_rope_angles(cos_sin, f, 1, 4095, D);
    rope.forward(y, cos_sin, H, D);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < D / 2; i++) {
            double angle = (double)(4095.0f * f[i]), a = (double)x[h * D + i],
                   b = (double)x[h * D + D / 2 + i];
            assert_true(fabs((double)y[h * D + i] - (a * cos(angle) - b * sin(angle))) < 2e-6);
            assert_true(fabs((double)y[h * D + D / 2 + i] - (b * cos(angle) + a * sin(angle))) < 2e-6);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
