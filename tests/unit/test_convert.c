// SPDX-License-Identifier: Apache-2.0
/* The scalar conversions against definitions: values by ldexp, rounding by search over all codes. The fast
 * versions are held against the scalar ones in tests/checkasm, the block types against Python's gguf in
 * tests/parity. */
#include "unit.h"

#include "kernels/convert.h"

#include <math.h>
#include <stdlib.h>

static struct pc_convert g_table;

static int setup(void **state)
{
    (void)state;
    pc_convert_init(&g_table, 0);
    return 0;
}

struct small_float {
    enum pc_dtype dtype;
    int bits, m_bits, bias;
    bool infinity; /* else the all-ones exponent is ordinary but for its last code, NaN */
};

static const struct small_float g_small[] = {
    {PC_F16, 16, 10, 15, true},
    {PC_BF16, 16, 7, 127, true},
    {PC_F8_E4M3, 8, 3, 7, false},
    {PC_F8_E5M2, 8, 2, 15, true},
};
enum { N_SMALL = sizeof g_small / sizeof *g_small };

static double value_of(const struct small_float *f, uint32_t code)
{
    uint32_t sign = code >> (f->bits - 1), mantissa = code & ((1u << f->m_bits) - 1);
    uint32_t e_max = (1u << (f->bits - 1 - f->m_bits)) - 1, e = code >> f->m_bits & e_max;
    double v;
    if (e == e_max && (f->infinity || mantissa == (1u << f->m_bits) - 1))
        v = f->infinity && mantissa == 0 ? (double)INFINITY : (double)NAN;
    else if (e == 0)
        v = ldexp(mantissa, 1 - f->bias - f->m_bits);
    else
        v = ldexp(mantissa + (1u << f->m_bits), (int)e - f->bias - f->m_bits);
    return sign ? -v : v;
}

static float widen(const struct small_float *f, uint32_t code)
{
    uint16_t word = (uint16_t)code;
    uint8_t byte = (uint8_t)code;
    float x;
    g_table.to_f32[f->dtype](&x, f->bits == 16 ? (void *)&word : (void *)&byte, 1);
    return x;
}

static uint32_t narrow(const struct small_float *f, float x)
{
    uint16_t word = 0;
    g_table.from_f32[f->dtype](&word, &x, 1); // little-endian: one byte lands in the low half
    return word;
}

static void every_code_has_its_value_and_comes_back(void **state)
{
    (void)state;
    for (int i = 0; i < N_SMALL; i++)
        for (uint32_t code = 0; code < 1u << g_small[i].bits; code++) {
            double want = value_of(&g_small[i], code);
            float got = widen(&g_small[i], code);
            if (isnan(want)) {
                assert_true(isnan(got));
                double back = value_of(&g_small[i], narrow(&g_small[i], got));
                assert_true(isnan(back));
            } else {
                assert_true((double)got == want && !signbit(got) == !signbit(want));
                assert_int_equal(narrow(&g_small[i], got), code);
            }
        }
}

/* Between two neighbouring codes: below the middle down, above it up, at it to the even one. */
static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    for (int i = 0; i < N_SMALL; i++) {
        const struct small_float *f = &g_small[i];
        uint32_t sign = 1u << (f->bits - 1);
        for (uint32_t code = 0; !isnan(value_of(f, code)) && !isinf(value_of(f, code)); code++) {
            double low = value_of(f, code), high = value_of(f, code + 1);
            if (isinf(high))
                high = 2 * low - value_of(f, code - 1); // where the next finite code would be
            else if (isnan(high))
                high = 480; // E4M3's NaN sits where 480 would be
            float middle = (float)((low + high) / 2);
            if ((double)middle != (low + high) / 2)
                continue; // below F32's own denormals
            uint32_t even = code & 1 ? code + 1 : code;
            assert_int_equal(narrow(f, nextafterf(middle, 0)), code);
            assert_int_equal(narrow(f, middle), even);
            assert_int_equal(narrow(f, nextafterf(middle, INFINITY)), code + 1);
            assert_int_equal(narrow(f, -middle), even | sign);
        }
    }
}

static void overflow_and_nan(void **state)
{
    (void)state;
    float huge = 3.4e38f;
    assert_int_equal(narrow(&g_small[0], 65520.0f), 0x7c00);
    assert_int_equal(narrow(&g_small[0], -huge), 0xfc00);
    assert_int_equal(narrow(&g_small[1], 3.4028235e38f), 0x7f80);
    assert_int_equal(narrow(&g_small[1], 3.38e38f), 0x7f7e);
    assert_int_equal(narrow(&g_small[2], 464.0f), 0x7e);
    assert_int_equal(narrow(&g_small[2], nextafterf(464.0f, 500)), 0x7f);
    assert_int_equal(narrow(&g_small[2], -INFINITY), 0xff);
    assert_int_equal(narrow(&g_small[3], huge), 0x7c);
    uint32_t signalling = 0xff812345;
    float x;
    memcpy(&x, &signalling, 4);
    assert_int_equal(narrow(&g_small[0], x), 0xfe09);
    assert_int_equal(narrow(&g_small[1], x), 0xffc1);
    assert_int_equal(narrow(&g_small[3], x), 0xfe);
    assert_int_equal(narrow(&g_small[2], x), 0xff);
}

static void integers_convert_by_value(void **state)
{
    (void)state;
    float x;
    g_table.to_f32[PC_I64](&x, &(int64_t){-16777217}, 1);
    assert_true(x == -16777216.0f);
    g_table.to_f32[PC_U64](&x, &(uint64_t){UINT64_MAX}, 1);
    assert_true(x == 18446744073709551616.0f);
    g_table.to_f32[PC_I8](&x, &(int8_t){-128}, 1);
    assert_true(x == -128.0f);
    g_table.to_f32[PC_U16](&x, &(uint16_t){65535}, 1);
    assert_true(x == 65535.0f);
    g_table.to_f32[PC_BOOL](&x, &(uint8_t){2}, 1);
    assert_true(x == 1.0f);
    g_table.to_f32[PC_F64](&x, &(double){1 + 0x1p-24}, 1);
    assert_true(x == 1.0f);
}

static void sums_round_once_and_may_be_in_place(void **state)
{
    (void)state;
    float a[3] = {1, 0x1p-149f, 3.4e38f}, b[3] = {0x1p-24f, 0x1p-149f, 3.4e38f}, d[3];
    g_table.add(d, a, b, 3);
    assert_true(d[0] == 1 && d[1] == 0x1p-148f && isinf(d[2]));
    // 1 + 2^-12 squared is 1 + 2^-11 + 2^-24: the product alone rounds the last term away; fused, it would
    // stay.
    float x = 1 + 0x1p-12f, one = -1;
    g_table.add_scaled(d, &one, &x, x, 1);
    assert_true(d[0] == 0x1p-11f);
    g_table.sub(a, a, b, 2);
    assert_true(a[0] == 1 - 0x1p-24f && a[1] == 0);
    float mixed[5] = {1, NAN, INFINITY, -INFINITY, 0};
    assert_int_equal(g_table.count_nonfinite(mixed, 5), 3);
}

/* One block of each type by hand: d = 2, m or dmin = 0.5 where there is one. */
static void blocks_by_hand(void **state)
{
    (void)state;
    float x[256];
    uint8_t b[256] = {0x00, 0x40};
    b[2] = 0x81;
    b[33] = 0x7f;
    g_table.to_f32[PC_Q8_0](x, b, 32);
    assert_true(x[0] == -254 && x[1] == 0 && x[31] == 254);
    uint8_t q4_0[18] = {0x00, 0x40, 0xf3};
    g_table.to_f32[PC_Q4_0](x, q4_0, 32);
    assert_true(x[0] == -10 && x[16] == 14 && x[1] == -16);
    uint8_t q4_1[20] = {0x00, 0x40, 0x00, 0x38, 0xf3};
    g_table.to_f32[PC_Q4_1](x, q4_1, 32);
    assert_true(x[0] == 6.5f && x[16] == 30.5f && x[1] == 0.5f);
    uint8_t q5_0[22] = {0x00, 0x40, 0x01, 0x00, 0x01, 0x00, 0xf3};
    g_table.to_f32[PC_Q5_0](x, q5_0, 32);
    assert_true(x[0] == 6 && x[16] == 30 && x[1] == -32);
    uint8_t q5_1[24] = {0x00, 0x40, 0x00, 0x38, 0x01, 0x00, 0x01, 0x00, 0xf3};
    g_table.to_f32[PC_Q5_1](x, q5_1, 32);
    assert_true(x[0] == 38.5f && x[16] == 62.5f && x[1] == 0.5f);
    // Scale 0 is 3, min 0 is 1; scale 4 is 16 (two high bits in byte 0), min 4 is 5.
    uint8_t q4_k[144] = {0x00, 0x40, 0x00, 0x38, 0x43, 0, 0, 0, 0x01, 0, 0, 0, 0x50};
    q4_k[16] = 0x0a;
    q4_k[16 + 64] = 0x0f;
    g_table.to_f32[PC_Q4_K](x, q4_k, 256);
    assert_true(x[0] == 59.5f && x[1] == -0.5f && x[128] == 477.5f && x[129] == -2.5f && x[32] == 0);
    uint8_t q5_k[176] = {0x00, 0x40, 0x00, 0x38, 0x43, 0, 0, 0, 0x01, 0, 0, 0, 0x50};
    q5_k[16] = 0x11;
    q5_k[48] = 0x0a;
    g_table.to_f32[PC_Q5_K](x, q5_k, 256);
    assert_true(x[0] == 155.5f && x[1] == -0.5f && x[128] == 509.5f);
    uint8_t q6_k[210] = {[0] = 0x2f, [128] = 0x21, [192] = 0xff, [196] = 3, [208] = 0x00, [209] = 0x40};
    g_table.to_f32[PC_Q6_K](x, q6_k, 256);
    assert_true(x[0] == 2 && x[1] == 64 && x[64] == 6 * (2 + 32 - 32) && x[16] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_value_and_comes_back),
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(overflow_and_nan),
        cmocka_unit_test(integers_convert_by_value),
        cmocka_unit_test(sums_round_once_and_may_be_in_place),
        cmocka_unit_test(blocks_by_hand),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
