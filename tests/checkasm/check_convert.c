// SPDX-License-Identifier: Apache-2.0
/* Conversions and sums: the same bytes at every level, for all codes of the small types, for odd lengths and
 * addresses, and for every bit pattern a float can have. */
#include "checkasm.h"

#include "kernels/convert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct pc_convert g_plain, g_fast;

/* Floats of any bits: one in eight ordinary, the rest whatever the generator says, near the ends of the
 * ranges of the smaller types too. */
static float *any_floats(size_t n)
{
    uint8_t *bytes = check_buffer(n * 4, 4 * (size_t)(check_random() % 4));
    for (size_t i = 0; i < n; i++) {
        static const uint32_t bases[] = {
            0x477fe000, 0x33000000, 0x38800000, 0x7f7f0000, 0x7f800000, 0x00000000, 0x00800000, 0x43e80000};
        uint32_t r = (uint32_t)check_random(), bits = r;
        if (r % 4 == 0)
            bits = bases[(r >> 2) % 8] + (r >> 16) % 0x4000 - 0x2000;
        memcpy(bytes + 4 * i, &bits, 4);
    }
    return (float *)(void *)bytes;
}

/* NaN for NaN: of two NaN operands either may show in a sum. */
static void same_sums(const float *want, const float *got, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x, y, w, g;
        memcpy(&x, a + i, 4), memcpy(&y, b + i, 4), memcpy(&w, want + i, 4), memcpy(&g, got + i, 4);
        if (isnan(x) && isnan(y) ? !isnan(g) : memcmp(&w, &g, 4) != 0)
            check_fail("n=%zu: element %zu of %a and %a is %a, scalar has %a", n, i, (double)x, (double)y,
                (double)g, (double)w);
    }
}

static void check_all_codes(enum pc_dtype dtype, size_t size)
{
    const size_t n = size == 2 ? 65536 : 256;
    uint8_t *codes = check_buffer(n * size, 1);
    for (size_t i = 0; i < n; i++)
        memcpy(codes + i * size, &(uint16_t){(uint16_t)i}, size);
    float *want = check_buffer(n * 4, 0), *got = check_buffer(n * 4, 12);
    g_plain.to_f32[dtype](want, codes, n);
    g_fast.to_f32[dtype](got, codes, n);
    check_same(want, got, n * 4, "all codes of %s", pc_dtype_name(dtype));
    uint8_t *back = check_buffer(n * size, 1), *back_fast = check_buffer(n * size, 0);
    g_plain.from_f32[dtype](back, want, n);
    g_fast.from_f32[dtype](back_fast, want, n);
    check_same(back, back_fast, n * size, "all codes of %s and back", pc_dtype_name(dtype));
    check_release();
}

static void check_widening(const struct check_level *l, enum pc_dtype dtype)
{
    const struct pc_dtype_traits *t = pc_dtype_traits(dtype);
    char name[40];
    snprintf(name, sizeof name, "%s_to_f32", t->name);
    check_case(name, l);
    for (size_t n = 0; n < 150; n++) {
        size_t count = n * t->n_block, size = n * t->block_size;
        uint8_t *src = check_buffer(size, n % 3);
        float *want = check_buffer(count * 4, 0), *got = check_buffer(count * 4, n % 5 * 4);
        g_plain.to_f32[dtype](want, src, count);
        g_fast.to_f32[dtype](got, src, count);
        check_same(want, got, count * 4, "n=%zu", count);
        check_release();
    }
    if (!t->is_quant && t->block_size <= 2)
        check_all_codes(dtype, t->block_size);
}

static void check_narrowing(const struct check_level *l, enum pc_dtype dtype)
{
    const struct pc_dtype_traits *t = pc_dtype_traits(dtype);
    char name[40];
    snprintf(name, sizeof name, "%s_from_f32", t->name);
    check_case(name, l);
    for (size_t n = 0; n < 300; n++) {
        float *src = any_floats(n);
        void *want = check_buffer(n * t->block_size, 0), *got = check_buffer(n * t->block_size, n % 5);
        g_plain.from_f32[dtype](want, src, n);
        g_fast.from_f32[dtype](got, src, n);
        check_same(want, got, n * t->block_size, "n=%zu", n);
        check_release();
    }
}

static void check_sums(const struct check_level *l)
{
    static const char *const names[] = {"add", "sub", "add_scaled"};
    for (int op = 0; op < 3; op++) {
        check_case(names[op], l);
        for (size_t n = 0; n < 300; n++) {
            bool any = n % 2;
            float *a = any ? any_floats(n) : check_floats_all(n),
                  *b = any ? any_floats(n) : check_floats_all(n);
            float *want = check_buffer(n * 4, 0), *got = check_buffer(n * 4, n % 5 * 4);
            float alpha = n % 3 ? 0.3f : 1e-20f;
            op == 0   ? g_plain.add(want, a, b, n)
            : op == 1 ? g_plain.sub(want, a, b, n)
                      : g_plain.add_scaled(want, a, b, alpha, n);
            op == 0   ? g_fast.add(got, a, b, n)
            : op == 1 ? g_fast.sub(got, a, b, n)
                      : g_fast.add_scaled(got, a, b, alpha, n);
            same_sums(want, got, a, b, n);
            // In place, over either operand.
            float *a2 = check_buffer(n * 4, 0), *b2 = check_buffer(n * 4, 0);
            memcpy(a2, a, n * 4), memcpy(b2, b, n * 4);
            op == 0   ? g_fast.add(a2, a2, b, n)
            : op == 1 ? g_fast.sub(a2, a2, b, n)
                      : g_fast.add_scaled(a2, a2, b, alpha, n);
            op == 0   ? g_fast.add(b2, a, b2, n)
            : op == 1 ? g_fast.sub(b2, a, b2, n)
                      : g_fast.add_scaled(b2, a, b2, alpha, n);
            same_sums(want, a2, a, b, n);
            same_sums(want, b2, a, b, n);
            check_release();
        }
    }
    check_case("count_nonfinite", l);
    for (size_t n = 0; n < 300; n++) {
        float *x = n % 2 ? any_floats(n) : check_floats_all(n);
        size_t want = g_plain.count_nonfinite(x, n), got = g_fast.count_nonfinite(x, n);
        if (want != got)
            check_fail("n=%zu: %zu, scalar has %zu", n, got, want);
        check_release();
    }
}

enum { BENCH_N = 8192 }; /* 32 KiB of floats: the second-level cache, where pieces of a stream live */

static struct {
    float a[BENCH_N], b[BENCH_N], d[BENCH_N];
    uint8_t blocks[BENCH_N * 8];
    const struct pc_convert *table;
    enum pc_dtype dtype;
} g_bench;

static void bench_widen(void *arg)
{
    (void)arg;
    g_bench.table->to_f32[g_bench.dtype](g_bench.d, g_bench.blocks, BENCH_N);
}

static void bench_narrow(void *arg)
{
    (void)arg;
    g_bench.table->from_f32[g_bench.dtype](g_bench.blocks, g_bench.a, BENCH_N);
}

static void bench_add(void *arg)
{
    (void)arg;
    g_bench.table->add(g_bench.d, g_bench.a, g_bench.b, BENCH_N);
}

/* Bytes of floats read or written a second. */
static void bench(const struct check_level *l, const struct pc_convert *table)
{
    static const enum pc_dtype dtypes[] = {
        PC_F16, PC_BF16, PC_F8_E4M3, PC_Q8_0, PC_Q4_0, PC_Q4_1, PC_Q5_0, PC_Q5_1, PC_Q4_K, PC_Q5_K, PC_Q6_K};
    char name[40];
    g_bench.table = table;
    for (size_t i = 0; i < BENCH_N; i++)
        g_bench.a[i] = g_bench.b[i] = (float)i;
    memset(g_bench.blocks, 0x11, sizeof g_bench.blocks);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        g_bench.dtype = dtypes[i];
        snprintf(name, sizeof name, "%s_to_f32", pc_dtype_name(dtypes[i]));
        check_time(name, l, sizeof g_bench.d, bench_widen, NULL);
        if (!table->from_f32[dtypes[i]])
            continue;
        snprintf(name, sizeof name, "%s_from_f32", pc_dtype_name(dtypes[i]));
        check_time(name, l, sizeof g_bench.a, bench_narrow, NULL);
    }
    check_time("add", l, 3 * sizeof g_bench.a, bench_add, NULL);
}

void check_convert(void)
{
    pc_convert_init(&g_plain, 0);
    if (check_bench())
        bench(NULL, &g_plain);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_convert_init(&g_fast, l->flags);
        for (int i = 0; i < PC_N_DTYPES; i++) {
            if (g_fast.to_f32[i] && g_fast.to_f32[i] != g_plain.to_f32[i])
                check_widening(l, (enum pc_dtype)i);
            if (g_fast.from_f32[i] && g_fast.from_f32[i] != g_plain.from_f32[i])
                check_narrowing(l, (enum pc_dtype)i);
        }
        check_sums(l);
        if (check_bench())
            bench(l, &g_fast);
    }
}
