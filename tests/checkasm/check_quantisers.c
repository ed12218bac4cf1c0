// SPDX-License-Identifier: Apache-2.0
/* Scoring of candidates and whole blocks: the same bytes at every level. */
#include "checkasm.h"

#include "kernels/quantise.h"

#include <stdio.h>
#include <string.h>

static struct pc_quantise g_plain, g_fast;

/* What blocks are quantised from: runs of ordinary numbers of one magnitude, some zeros, some blocks of
 * denormals. */
static float *weights_like(size_t n)
{
    float *x = check_buffer(n * 4, 4 * (size_t)(check_random() % 4));
    for (size_t i = 0; i < n; i++) {
        static const float scales[] = {1e-40f, 1e-7f, 0.02f, 0.02f, 0.02f, 1, 3000, 0};
        float magnitude = scales[(check_random() >> 8) % 64 ? 2 + i / 32 % 3 : i / 32 % 8];
        x[i] = magnitude * ((float)(int64_t)(check_random() % 200001) / 100000 - 1);
    }
    return x;
}

static void fill_lanes(struct pc_quantise_lanes *c, bool offsets)
{
    memset(c, 0, sizeof *c);
    for (int l = 0; l < PC_QUANTISE_LANES; l++) {
        c->scale[l] = 0.001f * (float)(check_random() % 100);
        c->offset[l] = offsets ? -0.001f * (float)(check_random() % 100) : 0;
        c->inverse[l] = c->scale[l] > 0 ? 1 / c->scale[l] : 0;
    }
}

static void check_scoring(const struct check_level *l)
{
    for (int which = 0; which < 2; which++) {
        check_case(which ? "quantise_affine" : "quantise_scaled", l);
        for (size_t n = 0; n < 70; n++) {
            struct pc_quantise_lanes want, got;
            const float *x = weights_like(n), *w = check_floats(n);
            fill_lanes(&want, which);
            got = want;
            float lo = which ? 0 : -32, hi = which ? 15 : 31;
            (which ? g_plain.affine : g_plain.scaled)(&want, x, w, n, lo, hi);
            (which ? g_fast.affine : g_fast.scaled)(&got, x, w, n, lo, hi);
            check_same(&want, &got, sizeof want, "n=%zu", n);
            check_release();
        }
    }
}

static void check_blocks(const struct check_level *l, enum pc_dtype dtype)
{
    const struct pc_dtype_traits *t = pc_dtype_traits(dtype);
    char name[40];
    snprintf(name, sizeof name, "quantise_%s", t->name);
    check_case(name, l);
    for (size_t n = 0; n < 40; n++) {
        size_t count = n * t->n_block, size = n * t->block_size;
        const float *x = weights_like(count);
        uint8_t *want = check_buffer(size, 0), *got = check_buffer(size, n % 5);
        enum pc_quantise_result a = pc_quantise_run(&g_plain, dtype, want, x, count);
        enum pc_quantise_result b = pc_quantise_run(&g_fast, dtype, got, x, count);
        if (a != PC_QUANTISE_OK || b != PC_QUANTISE_OK)
            check_fail("n=%zu: %d and %d", count, a, b);
        check_same(want, got, size, "n=%zu", count);
        check_release();
    }
}

struct timed {
    const struct pc_quantise *table;
    enum pc_dtype dtype;
    void *dst;
    const float *src;
    size_t n;
};

static void run_timed(void *arg)
{
    const struct timed *a = arg;
    (void)pc_quantise_run(a->table, a->dtype, a->dst, a->src, a->n);
}

void check_quantisers(void)
{
    static const enum pc_dtype dtypes[] = {
        PC_Q4_0, PC_Q4_1, PC_Q5_0, PC_Q5_1, PC_Q8_0, PC_Q4_K, PC_Q5_K, PC_Q6_K};
    enum { TIMED = 8192 };
    pc_quantise_init(&g_plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_quantise_init(&g_fast, l->flags);
        check_scoring(l);
        for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
            check_blocks(l, dtypes[i]);
            if (check_bench()) {
                struct timed a = {
                    &g_fast, dtypes[i], check_buffer((size_t)TIMED * 2, 0), weights_like(TIMED), TIMED};
                check_time(pc_dtype_name(dtypes[i]), l, (uint64_t)TIMED * 4, run_timed, &a);
                check_release();
            }
        }
    }
}
