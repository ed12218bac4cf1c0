// SPDX-License-Identifier: Apache-2.0
/* Panels and products are the bits of scalar at every level, and a row alone is that row in company. */
#include "checkasm.h"

#include "kernels/float_bits.h"
#include "kernels/gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PANEL = PC_GEMM_PANEL };

static size_t below(size_t n)
{
    return (size_t)check_random() % n;
}

/* ---- packing ---- */

/* Any bits: NaN, infinities, denormals and ties among them. */
static char *elements(size_t size, size_t pad)
{
    char *x = check_buffer(size, pad);
    for (size_t i = 0; i + 2 <= size; i += 2) {
        uint64_t r = check_random();
        uint16_t h = (uint16_t)(r >> 32 & 3 ? r : r & 0x807f);
        memcpy(x + i, &h, sizeof h);
    }
    return x;
}

typedef void pack_fn(void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k);

static void check_pack_case(
    pack_fn *plain, pack_fn *fast, bool rows, size_t step, enum pc_dtype dtype, size_t n, size_t k)
{
    size_t element = dtype == PC_F32 ? 4 : 2, stride = (rows ? k : n) * element + below(5) * (rows ? 2 : 1);
    size_t count = rows ? n : k, size = count ? (count - 1) * stride + (rows ? k : n) * element : 0;
    const char *from = elements(size, below(64));
    size_t panel = (k + step - 1) / step * PANEL * sizeof(float);
    float *want = check_buffer(panel, 0), *got = check_buffer(panel, 0);
    memset(want, 0x5a, panel);
    memset(got, 0x5a, panel);
    plain(want, from, dtype, stride, n, k);
    fast(got, from, dtype, stride, n, k);
    check_same(want, got, panel, "%zu %s of %zu %s", n, rows ? "rows" : "columns", k, pc_dtype_name(dtype));
    check_release();
}

static void check_pack(const struct pc_gemm_type *plain, const struct pc_gemm_type *fast)
{
    static const size_t ks[] = {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 47, 64, 101};
    for (size_t n = 1; n <= PANEL; n++)
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
            for (int wide = 0; wide < 2; wide++) {
                enum pc_dtype dtype = wide ? PC_F32 : PC_BF16;
                check_pack_case(plain->pack_rows, fast->pack_rows, true, plain->step, dtype, n, ks[i]);
                check_pack_case(plain->pack_columns, fast->pack_columns, false, plain->step, dtype, n, ks[i]);
            }
}

/* ---- products ---- */

/* Floats, or as many bytes of BF16 pairs: ordinary, or with special ones among them. */
static void fill(void *to, size_t n, bool pairs, bool all)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t r = check_random();
        uint32_t bits = (uint32_t)r & 0x807fffff, small = (uint32_t)(r >> 40 & 15);
        bits |= (118 + small) << 23;
        if ((r >> 48 & 31) == 0)
            bits &= 0x807fffff; /* denormal */
        if (all && (r >> 53 & 63) == 0)
            bits |= 0x7f800000;
        if (all && (r >> 53 & 63) == 1) /* products that come out denormal, or overflow */
            bits = (bits & 0x807fffff) | (r >> 60 & 1 ? 62u : 191u) << 23;
        if (pairs)
            bits = (bits & 0xffff0000) | ((uint32_t)check_random() & 0x80ff) | (120 + small) << 7;
        memcpy((char *)to + i * 4, &bits, sizeof bits);
    }
}

static void calm(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))
            x[i] = NAN;
}

struct shape {
    size_t n_rows, n_columns, k;
    bool panel_rows, start, add, all;
};

static struct pc_gemm_call make_call(struct shape s, size_t step)
{
    size_t steps = (s.k + step - 1) / step, n_panels = (s.n_columns + PANEL - 1) / PANEL;
    struct pc_gemm_call call = {.n_rows = s.n_rows, .n_columns = s.n_columns, .k = s.k, .add = s.add};
    float *panels = check_buffer(n_panels * steps * PANEL * sizeof *panels, 0);
    fill(panels, n_panels * steps * PANEL, step == 2, s.all);
    call.panels = panels;
    if (s.panel_rows) {
        call.a_row = sizeof(float);
        call.a_step = PANEL * sizeof(float);
        float *a = check_buffer(steps * PANEL * sizeof *a, 0);
        fill(a, steps * PANEL, step == 2, s.all);
        call.a = a + below(PANEL + 1 - s.n_rows);
    } else { /* an odd row of BF16 ends within a pair, the last one where the memory does */
        size_t row = s.k * 4 / step;
        call.a_step = sizeof(float);
        call.a_row = row + below(3) * 4 / step;
        size_t size = (s.n_rows - 1) * call.a_row + row;
        char *a = check_buffer(size, below(16) * 4 / step);
        float some[64];
        for (size_t at = 0, n; at < size; at += n) {
            n = size - at < sizeof some ? size - at : sizeof some;
            fill(some, sizeof some / 4, step == 2, s.all);
            memcpy(a + at, some, n);
        }
        call.a = a;
    }
    call.c_stride = s.n_columns + below(4);
    call.start_stride = s.n_columns + below(4);
    if (s.start) {
        float *start = check_buffer(((s.n_rows - 1) * call.start_stride + s.n_columns) * sizeof *start, 4);
        fill(start, (s.n_rows - 1) * call.start_stride + s.n_columns, false, s.all);
        call.start = start;
    }
    return call;
}

static void check_shape(struct shape s, const struct pc_gemm_type *plain, const struct pc_gemm_type *fast)
{
    struct pc_gemm_call call = make_call(s, plain->step);
    size_t n = (s.n_rows - 1) * call.c_stride + s.n_columns, i = below(s.n_rows);
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, below(16) * 4);
    float *row = check_buffer(s.n_columns * sizeof *row, 0);
    fill(want, n, false, false);
    memcpy(got, want, n * sizeof *got);
    memcpy(row, want + i * call.c_stride, s.n_columns * sizeof *row);
    call.c = want;
    plain->multiply(&call);
    call.c = got;
    fast->multiply(&call);
    call.c = row;
    call.n_rows = 1;
    call.a = (const char *)call.a + i * call.a_row;
    call.start = call.start ? call.start + i * call.start_stride : NULL;
    fast->multiply(&call);
    calm(want, n);
    calm(got, n);
    calm(row, s.n_columns);
    check_same(want, got, n * sizeof *want, "(%zu,%zu,%zu)%s%s%s", s.n_rows, s.k, s.n_columns,
        s.panel_rows ? " rows of a panel" : "", s.start ? " started" : "", s.add ? " added" : "");
    check_same(got + i * call.c_stride, row, s.n_columns * sizeof *row, "(%zu,%zu,%zu): row %zu alone",
        s.n_rows, s.k, s.n_columns, i);
    check_release();
}

/* A sum in two pieces, the second taking up where the first stopped, in place. */
static void check_in_place(const struct pc_gemm_type *type)
{
    struct pc_gemm_call call =
        make_call((struct shape){.n_rows = 21, .n_columns = PANEL - 1, .k = 90}, type->step);
    size_t n = 20 * call.c_stride + PANEL - 1;
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, 0);
    memset(want, 0, n * sizeof *want);
    memset(got, 0, n * sizeof *got);
    call.c = want;
    type->multiply(&call);
    call.c = got;
    call.k = 64;
    type->multiply(&call);
    call.start = got;
    call.start_stride = call.c_stride;
    call.panels = (const float *)call.panels + 64 / type->step * PANEL;
    call.a = (const char *)call.a + 64 / type->step * call.a_step;
    call.k = 26;
    type->multiply(&call);
    check_same(want, got, n * sizeof *want, "in two pieces");
    check_release();
}

static void check_products(const struct pc_gemm_type *plain, const struct pc_gemm_type *fast)
{
    static const size_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 23, 48}, ks[] = {0, 1, 2, 3, 8, 17, 64, 131},
                        columns[] = {1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 100, 144};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
            for (size_t k = 0; k < sizeof ks / sizeof *ks; k++) {
                uint64_t kind = check_random();
                check_shape(
                    (struct shape){rows[r], columns[c], ks[k], kind & 1, kind & 2, kind & 4, kind & 8}, plain,
                    fast);
            }
    check_in_place(fast);
}

/* ---- speed ---- */

struct timed {
    const struct pc_gemm_type *type;
    struct pc_gemm_call call;
    const float *from;
};

static void run_multiply(void *arg)
{
    struct timed *t = arg;
    t->type->multiply(&t->call);
}

static void run_rows(void *arg)
{
    struct timed *t = arg;
    t->type->pack_rows((void *)(uintptr_t)t->call.panels, t->from, PC_F32, 576 * 4, PANEL, 576);
}

static void run_columns(void *arg)
{
    struct timed *t = arg;
    t->type->pack_columns((void *)(uintptr_t)t->call.panels, t->from, PC_F32, 576 * 4, PANEL, 576);
}

static void bench(const char *name, const struct check_level *l, const struct pc_gemm_type *type)
{
    char title[64];
    struct timed t = {.type = type,
        .call = make_call((struct shape){.n_rows = 64, .n_columns = 4 * PANEL, .k = 576}, type->step)};
    t.call.c = check_buffer(64 * t.call.c_stride * sizeof(float), 0);
    t.from = check_floats(576 * 576);
    snprintf(title, sizeof title, "gemm_%s (GFLOP/s)", name);
    check_time(title, l, UINT64_C(2) * 64 * 4 * PANEL * 576, run_multiply, &t);
    snprintf(title, sizeof title, "gemm_%s_pack_rows", name);
    check_time(title, l, PANEL * 576 * 4, run_rows, &t);
    snprintf(title, sizeof title, "gemm_%s_pack_columns", name);
    check_time(title, l, PANEL * 576 * 4, run_columns, &t);
    check_release();
}

static void check_type(const char *name, const struct check_level *l, const struct pc_gemm_type *plain,
    const struct pc_gemm_type *fast)
{
    char title[64];
    snprintf(title, sizeof title, "gemm_%s_pack", name);
    check_case(title, l);
    check_pack(plain, fast);
    snprintf(title, sizeof title, "gemm_%s", name);
    check_case(title, l);
    check_products(plain, fast);
    if (check_bench())
        bench(name, l, fast);
}

void check_gemm(void)
{
    struct pc_gemm plain, fast;
    pc_gemm_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_gemm_init(&fast, l->flags);
        check_type("f32", l, &plain.f32, &fast.f32);
        check_type("bf16", l, &plain.bf16, &fast.bf16);
    }
    if (check_bench()) {
        bench("f32", NULL, &plain.f32);
        bench("bf16", NULL, &plain.bf16);
    }
}
