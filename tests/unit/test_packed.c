// SPDX-License-Identifier: Apache-2.0
/* The scalar products of packed weights, against doubles over the weights as kernels/convert.h widens them
 * and the activations as they were quantised. */
#include "unit.h"

#include "kernels/convert.h"
#include "kernels/float_bits.h"
#include "kernels/packed.h"
#include "kernels/packed_layout.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const enum pc_dtype g_types[] = {
    PC_Q4_0, PC_Q4_1, PC_Q5_0, PC_Q5_1, PC_Q8_0, PC_Q4_K, PC_Q5_K, PC_Q6_K};
enum { N_TYPES = sizeof g_types / sizeof *g_types };

static struct pc_packed g_table;
static uint64_t g_random = 1;

static uint32_t random_bits(void)
{
    g_random = g_random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g_random >> 32);
}

static float random_float(void)
{
    return ldexpf((float)(int32_t)random_bits(), -31);
}

/* Where a type's blocks keep F16 numbers: offsets, -1 for none. */
static void half_offsets(enum pc_dtype dtype, int at[2])
{
    at[0] = dtype == PC_Q6_K ? 208 : 0;
    at[1] = dtype == PC_Q4_1 || dtype == PC_Q5_1 || dtype == PC_Q4_K || dtype == PC_Q5_K ? 2 : -1;
}

static void set_half(uint8_t *p, uint16_t h)
{
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* Random bits with scales of ordinary size, now and then denormal, negative or zero. */
static uint8_t *random_matrix(enum pc_dtype dtype, size_t n_out, size_t k, uint64_t *row_size)
{
    assert_true(pc_dtype_size(dtype, k, row_size));
    size_t size = n_out * *row_size, block = pc_dtype_traits(dtype)->block_size;
    uint8_t *w = malloc(size + 1);
    int at[2];
    half_offsets(dtype, at);
    for (size_t i = 0; i < size; i++)
        w[i] = (uint8_t)random_bits();
    for (size_t i = 0; i + block <= size; i += block)
        for (int j = 0; j < 2; j++)
            if (at[j] >= 0) {
                uint16_t h = pc_f32_to_f16(ldexpf(1 + random_float() / 2, -6));
                uint32_t r = random_bits() % 32;
                set_half(w + i + at[j], r == 0 ? 0 : r == 1 ? h & 0x3ff : r < 8 ? h | 0x8000 : h);
            }
    return w;
}

static void multiply(enum pc_dtype dtype, float *y, size_t y_stride, const float *x, size_t n_x,
    const uint8_t *w, uint64_t row_size, size_t n_out, size_t k)
{
    size_t q_size = pc_quant_row_size(k);
    char *xq = malloc(n_x * q_size);
    void *tiles = malloc(pc_packed_size(&g_table, dtype, n_out, k) + 1);
    for (size_t i = 0; i < n_x; i++)
        g_table.quantise(xq + i * q_size, x + i * k, k);
    g_table.type[dtype].pack(tiles, w, row_size, n_out, k);
    g_table.type[dtype].multiply(y, y_stride, xq, n_x, tiles, n_out, k);
    free(tiles);
    free(xq);
}

/* One output in double, and what its rounding errors are a multiple of. A minimum and a value times its scale
 * may nearly cancel in a weight but not in every weight of a block: hence the largest weight. */
static double exact(const float *w, const struct pc_quant_block *x, size_t k, double *size)
{
    double sum = 0;
    *size = 0;
    for (size_t b = 0; b < k / 32; b++) {
        double largest = 0, total = 0;
        for (int e = 0; e < 32; e++) {
            sum += (double)w[b * 32 + (size_t)e] * (double)x[b].d * x[b].q[e];
            largest = fmax(largest, fabs((double)w[b * 32 + (size_t)e]));
            total += fabs((double)x[b].d * x[b].q[e]);
        }
        *size += 8 * largest * total;
    }
    return sum;
}

static void check_product(enum pc_dtype dtype, size_t n_x, size_t n_out, size_t k)
{
    uint64_t row_size;
    uint8_t *w = random_matrix(dtype, n_out, k, &row_size);
    size_t stride = n_out + 3, q_size = pc_quant_row_size(k);
    float *x = malloc(n_x * k * sizeof *x), *y = malloc(n_x * stride * sizeof *y),
          *wide = malloc(k * sizeof *wide);
    struct pc_quant_block *xq = malloc(q_size);
    for (size_t i = 0; i < n_x * k; i++)
        x[i] = random_float();
    for (size_t i = 0; i < n_x * stride; i++)
        y[i] = 7;
    multiply(dtype, y, stride, x, n_x, w, row_size, n_out, k);
    for (size_t i = 0; i < n_x; i++) {
        g_table.quantise(xq, x + i * k, k);
        for (size_t j = 0; j < n_out; j++) {
            pc_convert()->to_f32[dtype](wide, w + j * row_size, k);
            double size, want = exact(wide, xq, k, &size);
            double gamma = ((double)k / 16 + 8) * 0x1p-24, off = fabs((double)y[i * stride + j] - want);
            if (!(off <= gamma * size + 1e-37))
                fail_msg("%s (%zu,%zu,%zu) output (%zu,%zu): %g, not %g", pc_dtype_name(dtype), n_x, n_out, k,
                    i, j, (double)y[i * stride + j], want);
        }
        for (size_t j = n_out; j < stride; j++)
            assert_true(y[i * stride + j] == 7);
    }
    free(xq);
    free(wide);
    free(y);
    free(x);
    free(w);
}

static void products_are_near_doubles(void **state)
{
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        size_t n_block = pc_dtype_traits(g_types[t])->n_block;
        check_product(g_types[t], 1, 1, n_block);
        check_product(g_types[t], 2, 17, n_block * 3);
        check_product(g_types[t], 3, 40, 768);
        check_product(g_types[t], 1, 33, 4096);
    }
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(pc_packed_tile_size(&g_table, PC_Q4_0, 96), 3 * 16 * 18);
    assert_int_equal(pc_packed_size(&g_table, PC_Q4_0, 17, 96), 2 * 3 * 16 * 18);
    assert_int_equal(pc_packed_size(&g_table, PC_Q6_K, 16, 512), 2 * 16 * 210);
    assert_int_equal(pc_packed_size(&g_table, PC_Q4_K, 16, 256), 16 * (144 + 4));
    assert_int_equal(pc_packed_size(&g_table, PC_Q8_0, 0, 96), 0);
    assert_int_equal(pc_packed_size(&g_table, PC_BF16, 16, 96), 0);
    assert_null(g_table.type[PC_F32].multiply);
    assert_int_equal(pc_quant_row_size(32), 64);
    assert_int_equal(pc_quant_row_size(576) / 64 % 2, 1);
    for (int t = 0; t < N_TYPES; t++) {
        uint64_t packed = pc_packed_size(&g_table, g_types[t], 64, 4096), plain;
        assert_true(pc_dtype_size(g_types[t], 64 * 4096, &plain));
        assert_true(packed >= plain && packed <= plain + plain / 32);
    }
}

static void no_elements_give_zero(void **state)
{
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        float y[3] = {7, 7, 7};
        multiply(g_types[t], y, 2, NULL, 1, (const uint8_t *)"", 0, 2, 0);
        assert_true(y[0] == 0 && y[1] == 0 && y[2] == 7);
    }
}

static void check_quant_block(const float *x, const struct pc_quant_block *b)
{
    int low = 0, high = 0;
    float most = 0;
    for (int e = 0; e < 32; e++) {
        most = fmaxf(most, fabsf(x[e]));
        assert_in_range(b->q[e] + 127, 0, 254);
        double off = fabs((double)x[e] - (double)b->d * b->q[e]);
        assert_true(off <= (double)b->d * (0.5 + 0x1p-15) || off < (double)PC_QUANT_LEAST);
        *(e < 16 ? &low : &high) += b->q[e];
    }
    assert_true(b->d == (most < PC_QUANT_LEAST ? 0 : most / 127));
    assert_true(b->d_sum == b->d * (float)(low + high));
    assert_int_equal(b->less_8, -8 * (low + high));
    assert_int_equal(b->less_16, -16 * (low + high));
    assert_int_equal(b->less_128, -128 * (low + high));
    assert_int_equal(b->less_32[0], -32 * low);
    assert_int_equal(b->less_32[1], -32 * high);
}

static void quantised_rows(void **state)
{
    (void)state;
    struct pc_quant_block b[5];
    float x[128];
    assert_int_equal(sizeof b, pc_quant_row_size(128));
    for (int round = 0; round < 270; round++) {
        for (int i = 0; i < 128; i++)
            x[i] = ldexpf(random_float(), round - 150);
        if (round == 1)
            memset(x, 0, sizeof x);
        if (round == 2)
            x[7] = FLT_MAX, x[40] = -FLT_MAX;
        g_table.quantise(b, x, 128);
        for (int i = 0; i < 4; i++)
            check_quant_block(x + 32 * i, &b[i]);
    }
}

static void halves_round_to_even(void **state)
{
    (void)state;
    float x[32] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f};
    struct pc_quant_block b;
    g_table.quantise(&b, x, 32);
    const int8_t want[7] = {127, 0, 2, 2, 0, -2, -2};
    assert_memory_equal(b.q, want, 7);
}

/* A block with a NaN or an infinity makes its row NaN, and no other row. */
static void not_finite_activations(void **state)
{
    (void)state;
    for (int t = 0; t < N_TYPES; t++)
        for (int bad = 0; bad < 3; bad++) {
            enum { K = 512, N = 20 };
            uint64_t row_size;
            uint8_t *w = random_matrix(g_types[t], N, K, &row_size);
            float x[2 * K], y[2 * N];
            for (int i = 0; i < 2 * K; i++)
                x[i] = random_float();
            x[random_bits() % K] = bad == 0 ? NAN : bad == 1 ? INFINITY : -INFINITY;
            multiply(g_types[t], y, N, x, 2, w, row_size, N, K);
            for (int j = 0; j < N; j++)
                assert_true(isnan(y[j]) && isfinite(y[N + j]));
            free(w);
        }
}

static void not_finite_scales(void **state)
{
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        enum { K = 256, N = 18, BAD = 16 };
        uint64_t row_size;
        uint8_t *w = random_matrix(g_types[t], N, K, &row_size);
        float x[K], y[N];
        int at[2];
        half_offsets(g_types[t], at);
        set_half(w + BAD * row_size + at[at[1] >= 0], random_bits() % 2 ? 0x7c00 : 0x7e01);
        for (int i = 0; i < K; i++)
            x[i] = random_float();
        multiply(g_types[t], y, N, x, 1, w, row_size, N, K);
        for (int j = 0; j < N; j++)
            assert_int_equal(isfinite(y[j]) != 0, j != BAD);
        free(w);
    }
}

int main(void)
{
    pc_packed_init(&g_table, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_near_doubles),
        cmocka_unit_test(sizes),
        cmocka_unit_test(no_elements_give_zero),
        cmocka_unit_test(quantised_rows),
        cmocka_unit_test(halves_round_to_even),
        cmocka_unit_test(not_finite_activations),
        cmocka_unit_test(not_finite_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
