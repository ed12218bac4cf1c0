// SPDX-License-Identifier: Apache-2.0
/* The same bits at every level; and the scalar version against the contract of llm_int8.h in double, over
 * operands that are quantised here once more. */
#include "checkasm.h"

#include "kernels/float_bits.h"
#include "kernels/llm_int8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double half(double x)
{
    return (double)pc_f16_to_f32(pc_f32_to_f16((float)x));
}

/* Of ordinary size, some outliers, zeros and just at the limit; with all, what a broken model may give. */
static float element(bool all)
{
    uint64_t r = check_random();
    float x = (float)((double)(r >> 40) * 0x1p-24 * 4 - 2);
    switch (r & 63) {
    case 0: return x * 20;
    case 1: return 0;
    case 2: return r & 64 ? 6 : -6;
    case 3: return r & 64 ? 5.99f : 5.9985f; /* which rounds up to 6 */
    case 4: return x * 1e-6f;
    case 5: return all && (r >> 8 & 15) == 0 ? (r & 64 ? INFINITY : NAN) : x;
    default: return x;
    }
}

struct operands {
    size_t n_x, n_out, k;
    float *x, *w; /* w of F16 values */
    void *rows, *tiles;
    struct pc_llm_outlier *outliers;
};

static struct operands make(size_t n_x, size_t n_out, size_t k, bool all)
{
    struct operands o = {.n_x = n_x, .n_out = n_out, .k = k};
    size_t tiles = (n_out + PC_LLM_TILE_ROWS - 1) / PC_LLM_TILE_ROWS * pc_llm_tile_size(k);
    o.x = check_buffer(n_x * k * sizeof(float), 4 * (k % 3));
    o.w = check_buffer(n_out * k * sizeof(float), 0);
    o.rows = check_buffer(n_x * pc_llm_row_size(k), 4 * (k % 5));
    o.tiles = check_buffer(tiles, 4 * (k % 7));
    o.outliers = check_buffer(n_x * k * sizeof *o.outliers, 0);
    for (size_t i = 0; i < n_x * k; i++)
        o.x[i] = element(all);
    for (size_t i = 0; i < n_out * k; i++)
        o.w[i] = (float)half(element(false) * 0.1);
    for (size_t i = 0; i < k; i++)
        o.w[i] = n_out % 2 ? 0 : o.w[i];
    memset(o.tiles, (int)(check_random() & 255), tiles);
    for (size_t r = 0; r < n_out; r++)
        pc_llm_int8_pack_row(o.tiles, r, o.w + r * k, k);
    return o;
}

static double magnitude(const float *x, size_t k, bool outliers)
{
    double a = 0;
    for (size_t i = 0; i < k; i++)
        if (outliers || fabs(half((double)x[i])) < 6)
            a = fmax(a, fabs(half((double)x[i])));
    return a;
}

/* Twice the rounding of each of the few operations on numbers of that size. */
static void check_contract(const struct operands *o, const float *y)
{
    for (size_t i = 0; i < o->n_x; i++)
        for (size_t j = 0; j < o->n_out; j++) {
            const float *x = o->x + i * o->k, *w = o->w + j * o->k;
            double ax = magnitude(x, o->k, false), aw = magnitude(w, o->k, true), sum = 0, rest = 0, size = 0;
            float sx = 127 / (float)ax, sw = 127 / (float)aw;
            int n = 0;
            for (size_t k = 0; k < o->k; k++) {
                double h = half((double)x[k]), qw = aw > 0 ? (double)rintf(w[k] * sw) : 0;
                double product = fabs(h) >= 6 ? h * half(qw * aw / 127)
                                 : ax > 0     ? (double)rintf((float)h * sx) * qw
                                              : 0;
                *(fabs(h) >= 6 ? &rest : &sum) += product;
                size += fabs(h) >= 6 ? fabs(product) : 0;
                n += fabs(h) >= 6;
            }
            double want = sum * (ax * aw / 16129) + rest;
            size += fabs(sum * (ax * aw / 16129));
            /* F16(qw aw / 127) may fall to the other side: half a step in 2^-11. */
            double bound = (n + 6) * 0x1p-23 * size + (n ? 0x1p-11 * size : 0);
            double off = fabs((double)y[i * o->n_out + j] - want);
            if (!(off <= bound))
                check_fail("(%zu,%zu,%zu): output (%zu,%zu) is %g, off by %g", o->n_x, o->n_out, o->k, i, j,
                    (double)y[i * o->n_out + j], off);
        }
}

static void calm(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(y[i]))
            y[i] = NAN;
}

static void compare(const struct pc_llm_int8 *plain, const struct pc_llm_int8 *fast, const struct operands *o)
{
    size_t n = o->n_x * o->n_out, row_size = pc_llm_row_size(o->k);
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, 4);
    unsigned char *rows = check_buffer(o->n_x * row_size, 0);
    struct pc_llm_outlier *outliers = check_buffer(o->n_x * o->k * sizeof *outliers, 0);
    for (size_t i = 0; i < o->n_x; i++) {
        struct pc_llm_row *row = (void *)((char *)o->rows + i * row_size);
        plain->quantise(row, o->outliers + i * o->k, o->x + i * o->k, o->k);
        fast->quantise(rows + i * row_size, outliers + i * o->k, o->x + i * o->k, o->k);
        float *a[] = {&row->a, &((struct pc_llm_row *)(void *)(rows + i * row_size))->a};
        calm(a[0], 1);
        calm(a[1], 1);
        check_same(outliers + i * o->k, o->outliers + i * o->k, (size_t)row->n_outliers * sizeof *outliers,
            "outliers of row %zu, k=%zu", i, o->k);
    }
    check_same(o->rows, rows, o->n_x * row_size, "rows of k=%zu", o->k);
    plain->multiply(want, o->n_out, o->rows, o->outliers, o->n_x, o->tiles, o->n_out, o->k);
    fast->multiply(got, o->n_out, o->rows, o->outliers, o->n_x, o->tiles, o->n_out, o->k);
    calm(want, n);
    calm(got, n);
    check_same(want, got, n * sizeof *want, "(%zu,%zu,%zu)", o->n_x, o->n_out, o->k);
}

static void check_scalar(const struct pc_llm_int8 *plain)
{
    static const size_t k[] = {0, 1, 3, 64, 70, 577};
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        struct operands o = make(3, 18 + i % 2, k[i], false);
        float *y = check_buffer(o.n_x * o.n_out * sizeof *y, 0);
        for (size_t t = 0; t < o.n_x; t++)
            plain->quantise(
                (char *)o.rows + t * pc_llm_row_size(o.k), o.outliers + t * o.k, o.x + t * o.k, o.k);
        plain->multiply(y, o.n_out, o.rows, o.outliers, o.n_x, o.tiles, o.n_out, o.k);
        check_contract(&o, y);
        check_release();
    }
}

struct bench {
    const struct pc_llm_int8 *table;
    const struct operands *o;
    float *y;
};

static void multiply(void *arg)
{
    struct bench *b = arg;
    b->table->multiply(
        b->y, b->o->n_out, b->o->rows, b->o->outliers, b->o->n_x, b->o->tiles, b->o->n_out, b->o->k);
}

static void quantise(void *arg)
{
    struct bench *b = arg;
    for (size_t i = 0; i < b->o->n_x; i++)
        b->table->quantise((char *)b->o->rows + i * pc_llm_row_size(b->o->k), b->o->outliers + i * b->o->k,
            b->o->x + i * b->o->k, b->o->k);
}

static void measure(const struct pc_llm_int8 *table, const struct check_level *level)
{
    struct operands o = make(64, 1536, 576, false);
    struct bench b = {table, &o, check_buffer(64 * 1536 * sizeof(float), 0)};
    quantise(&b);
    check_time("llm_int8 multiply", level, 64.0 * 1536 * 576, multiply, &b);
    check_time("llm_int8 quantise", level, 64.0 * 576 * 4, quantise, &b);
    check_release();
}

void check_llm_int8(void)
{
    struct pc_llm_int8 plain, fast;
    pc_llm_int8_init(&plain, 0);
    check_case("llm_int8 contract", &(struct check_level){"scalar", 0});
    check_scalar(&plain);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_llm_int8_init(&fast, l->flags);
        check_case("llm_int8", l);
        for (size_t n = 0; n < 120; n++) {
            struct operands o = make(1 + n % 37, 1 + n * 5 % 50, n < 90 ? n : n * 11 % 700, n % 4 == 3);
            compare(&plain, &fast, &o);
            check_release();
        }
        if (check_bench())
            measure(&fast, l);
    }
}
