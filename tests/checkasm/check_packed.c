// SPDX-License-Identifier: Apache-2.0
/* Products of packed weights are the same bits at every level: with scalar, a row alone with the row in
 * company. Scalar itself is held to doubles by tests/unit/test_packed.c. A level's packing is its own, so it
 * is compared by what is multiplied with it; where the layout is the common one its bytes are compared as
 * well. */
#include "checkasm.h"

#include "kernels/float_bits.h"
#include "kernels/packed.h"
#include "kernels/packed_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum pc_dtype dtype;
    int halves[2]; /* where a block has its F16 numbers, -1 for none */
} g_types[] = {
    {"packed_q4_0", PC_Q4_0, {0, -1}},
    {"packed_q4_1", PC_Q4_1, {0, 2}},
    {"packed_q5_0", PC_Q5_0, {0, -1}},
    {"packed_q5_1", PC_Q5_1, {0, 2}},
    {"packed_q8_0", PC_Q8_0, {0, -1}},
    {"packed_q4_k", PC_Q4_K, {0, 2}},
    {"packed_q5_k", PC_Q5_K, {0, 2}},
    {"packed_q6_k", PC_Q6_K, {208, -1}},
};
enum { N_TYPES = sizeof g_types / sizeof *g_types };

struct shape {
    int type;
    size_t n_x, n_out, k, y_stride;
    bool all; /* NaN, infinities and denormals too, in activations and scales */
};

/* Random bits, the extremes of every value included; scales of ordinary size, or any at all. */
static uint8_t *weights(const struct shape *s, size_t row_size)
{
    size_t size = s->n_out * row_size, block = pc_dtype_traits(g_types[s->type].dtype)->block_size;
    uint8_t *w = check_buffer(size, (size_t)check_random() % 64);
    for (size_t at = 0; at + block <= size; at += block) {
        uint64_t r = check_random();
        if (r % 16 < 2)
            memset(w + at, r % 16 ? 0x00 : 0xff, block);
        for (int i = 0; i < 2; i++) {
            int half = g_types[s->type].halves[i];
            float x = ldexpf((float)(int32_t)check_random(), -31 - (int)(check_random() % 12));
            uint16_t h = s->all ? (uint16_t)check_random() : pc_f32_to_f16(x);
            if (half >= 0)
                memcpy(w + at + half, &h, sizeof h);
        }
    }
    return w;
}

/* Any NaN is as good as any other: which operand's payload survives is the processor's business. */
static void calm(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(y[i]))
            y[i] = NAN;
}

static char *quantised(const struct pc_packed *t, const float *x, size_t n_x, size_t k)
{
    size_t size = pc_quant_row_size(k);
    char *xq = check_buffer(n_x * size, (size_t)check_random() % 16 * 4);
    for (size_t i = 0; i < n_x; i++)
        t->quantise(xq + i * size, x + i * k, k);
    return xq;
}

static void *packed(const struct pc_packed *t, const struct shape *s, const uint8_t *w, size_t row_size)
{
    enum pc_dtype dtype = g_types[s->type].dtype;
    void *tiles = check_buffer((size_t)pc_packed_size(t, dtype, s->n_out, s->k),
        check_random() % 2 ? 0 : (size_t)check_random() % 32 * 2);
    t->type[dtype].pack(tiles, w, row_size, s->n_out, s->k);
    return tiles;
}

static void check_shape(struct shape s, const struct pc_packed *plain, const struct pc_packed *fast)
{
    enum pc_dtype dtype = g_types[s.type].dtype;
    uint64_t row_size = 0;
    pc_dtype_size(dtype, s.k, &row_size);
    const uint8_t *w = weights(&s, row_size);
    const float *x = s.all ? check_floats_all(s.n_x * s.k) : check_floats(s.n_x * s.k);
    const void *plain_tiles = packed(plain, &s, w, row_size), *tiles = packed(fast, &s, w, row_size);
    const char *plain_xq = quantised(plain, x, s.n_x, s.k), *xq = quantised(fast, x, s.n_x, s.k);

    size_t y_size = ((s.n_x - 1) * s.y_stride + s.n_out) * sizeof(float);
    float *want = check_buffer(y_size, 0), *got = check_buffer(y_size, (size_t)check_random() % 16 * 4);
    float *row = check_buffer(s.n_out * sizeof *row, 0);
    memset(want, 0, y_size);
    memset(got, 0, y_size);
    plain->type[dtype].multiply(want, s.y_stride, plain_xq, s.n_x, plain_tiles, s.n_out, s.k);
    fast->type[dtype].multiply(got, s.y_stride, xq, s.n_x, tiles, s.n_out, s.k);
    size_t i = (size_t)check_random() % s.n_x;
    fast->type[dtype].multiply(row, s.n_out, xq + i * pc_quant_row_size(s.k), 1, tiles, s.n_out, s.k);
    calm(want, y_size / sizeof *want);
    calm(got, y_size / sizeof *got);
    calm(row, s.n_out);
    check_same(want, got, y_size, "(%zu,%zu,%zu)", s.n_x, s.n_out, s.k);
    check_same(got + i * s.y_stride, row, s.n_out * sizeof *row, "(%zu,%zu,%zu) row %zu alone", s.n_x,
        s.n_out, s.k, i);
    if (fast->type[dtype].block_size == plain->type[dtype].block_size)
        check_same(plain_tiles, tiles, (size_t)pc_packed_size(plain, dtype, s.n_out, s.k), "tiles (%zu,%zu)",
            s.n_out, s.k);
    check_release();
}

static void check_type(int type, const struct pc_packed *plain, const struct pc_packed *fast)
{
    static const size_t n_x[] = {1, 2, 3, 4, 5, 7, 8, 11, 16, 17, 32, 45},
                        n_out[] = {1, 15, 16, 17, 31, 32, 50}, k[] = {32, 96, 576};
    size_t n_block = pc_dtype_traits(g_types[type].dtype)->n_block;
    for (size_t i = 0; i < sizeof n_x / sizeof *n_x; i++)
        for (size_t j = 0; j < sizeof n_out / sizeof *n_out; j++)
            for (size_t m = 0; m < sizeof k / sizeof *k; m++) {
                if (i * j * m % 5 > 1) /* a fair sample of them all */
                    continue;
                struct shape s = {.type = type, .n_x = n_x[i], .n_out = n_out[j]};
                s.k = (k[m] + n_block - 1) / n_block * n_block;
                s.y_stride = s.n_out + (size_t)check_random() % 3;
                check_shape(s, plain, fast);
                s.all = true;
                check_shape(s, plain, fast);
            }
    check_shape((struct shape){type, 2, 18, 4096, 18, false}, plain, fast);
    check_shape((struct shape){type, 3, 16, 11008, 16, false}, plain, fast);
    check_shape((struct shape){type, 2, 20, 0, 20, false}, plain, fast);
}

static void check_quantise(const struct pc_packed *plain, const struct pc_packed *fast)
{
    for (size_t k = 0; k < 2048; k += 32)
        for (int all = 0; all < 2; all++) {
            float *x = all ? check_floats_all(k) : check_floats(k);
            for (size_t i = 0; i < k; i++)
                if (i / 32 % 4 == 1)
                    x[i] = ldexpf(x[i], -100); /* blocks about the least scale */
                else if (i / 32 % 4 == 2)
                    x[i] = (float)((int)(check_random() % 509) - 254) / 2; /* many ties */
            size_t size = pc_quant_row_size(k);
            char *want = check_buffer(size, 0), *got = check_buffer(size, (size_t)check_random() % 16 * 4);
            plain->quantise(want, x, k);
            fast->quantise(got, x, k);
            check_same(want, got, size, "k=%zu", k);
            check_release();
        }
}

void check_packed(void)
{
    struct pc_packed plain, fast;
    pc_packed_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_packed_init(&fast, l->flags);
        check_case("quantise", l);
        check_quantise(&plain, &fast);
        for (int type = 0; type < N_TYPES; type++) {
            check_case(g_types[type].name, l);
            check_type(type, &plain, &fast);
        }
    }
}
