// SPDX-License-Identifier: Apache-2.0
/* The quantisers against what their formats can say: read back with the conversions of kernels/convert.h,
 * which parity holds against Python's gguf. The fast versions are held against the scalar ones in
 * tests/checkasm. */
#include "unit.h"

#include "kernels/convert.h"
#include "kernels/quantise.h"

#include <math.h>
#include <stdlib.h>

enum { N = 4096, MOST_BYTES = 2 * N };

static const enum pc_dtype g_types[] = {
    PC_Q4_0, PC_Q4_1, PC_Q5_0, PC_Q5_1, PC_Q8_0, PC_Q4_K, PC_Q5_K, PC_Q6_K};
enum { N_TYPES = sizeof g_types / sizeof *g_types };

static struct pc_quantise g_table;
static struct pc_convert g_convert;
static uint64_t g_state;

static int setup(void **state)
{
    (void)state;
    pc_quantise_init(&g_table, 0);
    pc_convert_init(&g_convert, 0);
    g_state = 1;
    return 0;
}

static double uniform(void)
{
    g_state = g_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(g_state >> 11) * 0x1p-53;
}

/* Sums of four uniforms: bell-shaped, with outliers now and then. */
static void fill(float *x, size_t n, float size)
{
    for (size_t i = 0; i < n; i++) {
        double v = uniform() + uniform() + uniform() + uniform() - 2;
        x[i] = size * (float)(uniform() < 0.01 ? 4 * v : v);
    }
}

static void round_trip(enum pc_dtype dtype, const float *x, float *y, size_t n)
{
    static uint8_t blocks[MOST_BYTES];
    assert_int_equal(pc_quantise_run(&g_table, dtype, blocks, x, n), PC_QUANTISE_OK);
    g_convert.to_f32[dtype](y, blocks, n);
}

static double relative_error(const float *x, const float *y, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        size += (double)x[i] * (double)x[i];
    }
    return sqrt(error / size);
}

/* ---- quality ---- */

/* What rounding to the nearest level gives, scales from the extremes and unrounded: no search. */
static void round_to_grid(const float *x, float *y, size_t n, int n_levels, bool affine)
{
    for (size_t b = 0; b < n; b += 32) {
        float lo = x[b], hi = x[b], top = 0;
        for (size_t i = b; i < b + 32; i++) {
            lo = fminf(lo, x[i]);
            hi = fmaxf(hi, x[i]);
            top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
        }
        float scale = affine ? (hi - lo) / (float)(n_levels - 1) : top / (float)(-n_levels / 2);
        for (size_t i = b; i < b + 32; i++) {
            float q = rintf((x[i] - (affine ? lo : 0)) / scale);
            q = affine ? q : fminf(q, (float)(n_levels / 2 - 1));
            y[i] = scale * q + (affine ? lo : 0);
        }
    }
}

static void searching_beats_rounding(void **state)
{
    (void)state;
    static float x[N], y[N], z[N];
    static const struct {
        enum pc_dtype dtype;
        int n_levels;
        bool affine;
        double by; /* at most this much of plain rounding's error */
    } rows[] = {{PC_Q4_0, 16, false, 0.97}, {PC_Q4_1, 16, true, 0.95}, {PC_Q5_0, 32, false, 0.97},
        {PC_Q5_1, 32, true, 0.95}, {PC_Q8_0, 256, false, 1.0}, {PC_Q4_K, 16, true, 0.97},
        {PC_Q5_K, 32, true, 0.97}, {PC_Q6_K, 64, false, 0.97}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fill(x, N, 0.02f);
        round_trip(rows[i].dtype, x, y, N);
        round_to_grid(x, z, N, rows[i].n_levels, rows[i].affine);
        double ours = relative_error(x, y, N), plain = relative_error(x, z, N);
        if (ours > rows[i].by * plain)
            fail_msg("%s: error %.5f, plain rounding has %.5f", pc_dtype_name(rows[i].dtype), ours, plain);
    }
}

/* ---- what a format can hold comes back ---- */

static void blocks_on_the_grid_come_back(void **state)
{
    (void)state;
    static float x[N], y[N];
    static const struct {
        enum pc_dtype dtype;
        int lo, hi;
        float offset;
    } rows[] = {{PC_Q4_0, -8, 7, 0}, {PC_Q5_0, -16, 15, 0}, {PC_Q8_0, -127, 127, 0},
        {PC_Q4_1, 0, 15, -0.375f}, {PC_Q5_1, 0, 31, 2}, {PC_Q6_K, -32, 31, 0}, {PC_Q4_K, 0, 15, -0.25f},
        {PC_Q5_K, 0, 31, -0.25f}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        int span = rows[r].hi - rows[r].lo + 1;
        for (size_t i = 0; i < N; i++) {
            int q = i % 32 == 0   ? rows[r].lo
                    : i % 32 == 1 ? rows[r].hi
                                  : rows[r].lo + (int)(i * 7 % (size_t)span);
            x[i] = 0.03125f * (float)q + rows[r].offset;
        }
        round_trip(rows[r].dtype, x, y, N);
        for (size_t i = 0; i < N; i++)
            if (fabsf(x[i] - y[i]) > (rows[r].dtype >= PC_Q4_K ? 1e-2f * 0.03125f : 0))
                fail_msg("%s: element %zu is %a, was %a", pc_dtype_name(rows[r].dtype), i, (double)y[i],
                    (double)x[i]);
    }
}

static void constant_blocks_come_back(void **state)
{
    (void)state;
    static float x[N], y[N];
    static const float values[] = {0, 1, -1, 0.5f, -0.0625f, 1024};
    for (int t = 0; t < N_TYPES; t++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            for (size_t i = 0; i < N; i++)
                x[i] = values[v];
            round_trip(g_types[t], x, y, N);
            for (size_t i = 0; i < N; i++)
                if (fabsf(y[i] - x[i]) > 1e-3f * fabsf(x[i]))
                    fail_msg("%s: %g became %g", pc_dtype_name(g_types[t]), (double)x[i], (double)y[i]);
        }
}

static void an_outlier_leaves_other_blocks_alone(void **state)
{
    (void)state;
    static float x[N], y[N], z[N];
    for (int t = 0; t < N_TYPES; t++) {
        uint32_t n = pc_dtype_traits(g_types[t])->n_block;
        fill(x, N, 0.02f);
        round_trip(g_types[t], x, y, N);
        x[n + 3] = 40;
        round_trip(g_types[t], x, z, N);
        assert_memory_equal(y, z, n * sizeof *y);
        assert_memory_equal(y + 2 * n, z + 2 * n, (N - 2 * n) * sizeof *y);
        assert_true(fabsf(z[n + 3] - 40) < 3);
    }
}

/* ---- the ends of the range ---- */

static void tiny_numbers_become_zero_or_nearly_right(void **state)
{
    (void)state;
    static float x[N], y[N];
    static const float sizes[] = {1e-45f, 1e-40f, 1e-20f, 1e-9f, 1e-6f};
    for (int t = 0; t < N_TYPES; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            fill(x, N, sizes[s]);
            round_trip(g_types[t], x, y, N);
            for (size_t i = 0; i < N; i++) {
                assert_true(isfinite(y[i]));
                assert_true(fabsf(y[i] - x[i]) <= 9 * sizes[s]);
            }
        }
}

static void what_is_not_finite_is_refused(void **state)
{
    (void)state;
    static float x[N];
    static uint8_t blocks[MOST_BYTES];
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int t = 0; t < N_TYPES; t++)
        for (int b = 0; b < 3; b++) {
            fill(x, N, 0.02f);
            x[N - 1] = bad[b];
            assert_int_equal(pc_quantise_run(&g_table, g_types[t], blocks, x, N), PC_QUANTISE_NOT_FINITE);
        }
}

static void what_no_scale_can_hold_is_refused(void **state)
{
    (void)state;
    static float x[N], y[N];
    static uint8_t blocks[MOST_BYTES];
    static const float huge[] = {3e38f, 1e9f, 9e6f};
    for (int t = 0; t < N_TYPES; t++) {
        for (int h = 0; h < 3; h++) {
            // 9e6 fits a Q8_0 scale of 70866 no more than the others.
            fill(x, N, 0.02f);
            x[7] = huge[h];
            x[8] = -huge[h];
            bool fits = g_types[t] >= PC_Q4_K && huge[h] < 1e8f; // 63 or 127 times larger
            if (!fits)
                assert_int_equal(pc_quantise_run(&g_table, g_types[t], blocks, x, N), PC_QUANTISE_TOO_LARGE);
        }
        fill(x, N, 10000);
        round_trip(g_types[t], x, y, N);
        assert_true(relative_error(x, y, N) < 0.15);
    }
}

static void every_block_type_has_a_quantiser(void **state)
{
    (void)state;
    for (int d = 0; d < PC_N_DTYPES; d++)
        assert_int_equal(pc_quantise_knows((enum pc_dtype)d), pc_dtype_traits((enum pc_dtype)d)->is_quant);
    assert_int_equal(pc_quantise_run(&g_table, PC_Q4_0, NULL, NULL, 0), PC_QUANTISE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(searching_beats_rounding, setup),
        cmocka_unit_test_setup(blocks_on_the_grid_come_back, setup),
        cmocka_unit_test_setup(constant_blocks_come_back, setup),
        cmocka_unit_test_setup(an_outlier_leaves_other_blocks_alone, setup),
        cmocka_unit_test_setup(tiny_numbers_become_zero_or_nearly_right, setup),
        cmocka_unit_test_setup(what_is_not_finite_is_refused, setup),
        cmocka_unit_test_setup(what_no_scale_can_hold_is_refused, setup),
        cmocka_unit_test_setup(every_block_type_has_a_quantiser, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
