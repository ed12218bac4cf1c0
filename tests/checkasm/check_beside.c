// SPDX-License-Identifier: Apache-2.0
/* What is added in INT8: the same bytes at every level, in any company of rows and outputs, and the sums that
 * the weights stand for. */
#include "checkasm.h"

#include "kernels/beside.h"

#include <math.h>
#include <string.h>

enum { MOST = 9 };

typedef void add_fn(const struct pc_beside_call *call);

/* Rows of ordinary numbers, quantised; more_than_k of a row are zeros. */
static unsigned char *make_rows(size_t n_x, size_t k, size_t *stride)
{
    struct pc_packed packed;
    size_t whole = (k + PC_QUANT_BLOCK - 1) / PC_QUANT_BLOCK * PC_QUANT_BLOCK;
    pc_packed_init(&packed, 0);
    *stride = pc_quant_row_size(whole);
    unsigned char *rows = check_buffer(n_x * *stride, 0);
    float x[256];
    for (size_t i = 0; i < n_x; i++) {
        for (size_t e = 0; e < whole; e++)
            x[e] = e < k ? (float)(int32_t)check_random() * 0x1p-31f : 0;
        packed.quantise(rows + i * *stride, x, whole);
    }
    return rows;
}

static void compare(add_fn *plain, add_fn *fast, struct pc_beside_call c)
{
    size_t n = c.n_x * c.n_out;
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, 4);
    for (size_t i = 0; i < n; i++)
        want[i] = got[i] = (float)i;
    c.y_stride = c.n_out;
    c.y = want;
    plain(&c);
    c.y = got;
    fast(&c);
    check_same(want, got, n * sizeof *want, "%zu rows by %zu, k=%zu", c.n_x, c.n_out, c.k);
    size_t n_x = c.n_x;
    for (size_t i = 0; i < n_x; i++) {
        for (size_t j = 0; j < c.n_out; j++)
            got[j] = (float)(i * c.n_out + j);
        c.xq = i ? (const char *)c.xq + c.x_stride : c.xq;
        c.n_x = 1;
        fast(&c);
        check_same(want + i * c.n_out, got, c.n_out * sizeof *want, "row %zu alone, k=%zu", i, c.k);
    }
}

/* The sum with weights as they were, within what rounding them and the sum may do. */
static void check_meaning(add_fn *plain, struct pc_beside_call c, const float *w, const float *step)
{
    size_t n = c.n_x * c.n_out;
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, 0);
    float *bound = check_buffer(n * sizeof *bound, 0);
    for (size_t i = 0; i < c.n_x; i++)
        for (size_t j = 0; j < c.n_out; j++) {
            const struct pc_quant_block *x = pc_beside_row(&c, i);
            double sum = 0, most = 0;
            for (size_t e = 0; e < c.k; e++) {
                double value = (double)x[e / PC_QUANT_BLOCK].d * x[e / PC_QUANT_BLOCK].q[e % PC_QUANT_BLOCK];
                sum += value * (double)w[j * c.k + e];
                most += fabs(value) * ((double)step[j] + 1e-6 * fabs((double)w[j * c.k + e]));
            }
            want[i * c.n_out + j] = (float)sum;
            bound[i * c.n_out + j] = (float)(most * 1.001);
            got[i * c.n_out + j] = 0;
        }
    c.y = got;
    c.y_stride = c.n_out;
    plain(&c);
    check_near(want, got, bound, n, "meaning of %zu rows by %zu, k=%zu", c.n_x, c.n_out, c.k);
}

static void check_factor(
    const struct pc_beside *plain, const struct pc_beside *fast, size_t n_x, size_t n_out, size_t k)
{
    size_t stride, size = pc_beside_factor_size(n_out, k);
    unsigned char *rows = make_rows(n_x, k, &stride), *tiles = check_buffer(size, 0);
    float *w = check_buffer(n_out * k * sizeof *w, 0), *step = check_buffer(n_out * sizeof *step, 0);
    for (size_t j = 0; j < n_out; j++) {
        step[j] = 0;
        for (size_t e = 0; e < k; e++) {
            w[j * k + e] = (float)(int32_t)check_random() * 0x1p-16f; /* to 2^15, as they are kept */
            step[j] = fmaxf(step[j], fabsf(w[j * k + e]) / 127 * (0.5f + 0.07f)); /* F16 may round down */
        }
    }
    pc_beside_pack_factor(tiles, w, n_out, k);
    struct pc_beside_call c = {
        .xq = rows, .x_stride = stride, .n_x = n_x, .tiles = tiles, .n_out = n_out, .k = k};
    compare(plain->add_factor, fast->add_factor, c);
    check_meaning(plain->add_factor, c, w, step);
    check_release();
}

static void check_signs_of(
    const struct pc_beside *plain, const struct pc_beside *fast, size_t n_x, size_t n_out, size_t k)
{
    size_t stride;
    unsigned char *rows = make_rows(n_x, k, &stride), *bits = check_buffer(n_out * k / 8, 1);
    unsigned char *tiles = check_buffer(pc_beside_signs_size(n_out, k), 0);
    float *scale = check_buffer(n_out * sizeof *scale, 4), *step = check_buffer(n_out * sizeof *step, 0);
    float *w = check_buffer(n_out * k * sizeof *w, 0);
    for (size_t j = 0; j < n_out; j++) {
        scale[j] = (float)(j + 1) / 64;
        step[j] = 0;
        for (size_t e = 0; e < k; e++) {
            bits[j * k / 8 + e / 8] = (unsigned char)(e % 8 ? bits[j * k / 8 + e / 8] : check_random());
            w[j * k + e] = bits[j * k / 8 + e / 8] >> e % 8 & 1 ? scale[j] : -scale[j];
        }
    }
    pc_beside_pack_signs(tiles, bits, n_out, k);
    struct pc_beside_call c = {
        .xq = rows, .x_stride = stride, .n_x = n_x, .tiles = tiles, .scale = scale, .n_out = n_out, .k = k};
    compare(plain->add_signs, fast->add_signs, c);
    check_meaning(plain->add_signs, c, w, step);
    check_release();
}

void check_beside(void)
{
    static const size_t ranks[] = {1, 3, 4, 8, 16, 30, 32, 33, 64, 100}, outs[] = {1, 7, 16, 17, 48, 50};
    struct pc_beside plain, fast;
    pc_beside_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_beside_init(&fast, l->flags);
        check_case("beside: factors", l);
        for (size_t n_x = 1; n_x <= MOST; n_x++)
            for (size_t j = 0; j < sizeof outs / sizeof *outs; j++)
                for (size_t k = 0; k < sizeof ranks / sizeof *ranks; k++)
                    check_factor(&plain, &fast, n_x, outs[j], ranks[k]);
        check_case("beside: signs", l);
        for (size_t n_x = 1; n_x <= MOST; n_x++)
            for (size_t j = 0; j < sizeof outs / sizeof *outs; j++)
                for (size_t k = 0; k <= 160; k += 32)
                    check_signs_of(&plain, &fast, n_x, outs[j], k);
    }
}
