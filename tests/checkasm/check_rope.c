// SPDX-License-Identifier: Apache-2.0
/* The same bytes at every level, and no others touched. */
#include "checkasm.h"

#include "kernels/rope.h"

#include <math.h>
#include <string.h>

static void calm(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = isnan(x[i]) ? NAN : x[i];
}

static void check_heads(
    const struct pc_rope *plain, const struct pc_rope *fast, size_t n_heads, size_t head_dim)
{
    size_t n = n_heads * head_dim;
    float *want = check_floats_all(n), *got = check_buffer(n * sizeof *got, n_heads % 4 * 4),
          *cos_sin = check_buffer(head_dim * sizeof *cos_sin, 4);
    memcpy(got, want, n * sizeof *got);
    for (size_t i = 0; i < head_dim; i++)
        cos_sin[i] = (float)(int32_t)check_random() * 0x1p-31f;
    plain->forward(want, cos_sin, n_heads, head_dim);
    fast->forward(got, cos_sin, n_heads, head_dim);
    calm(want, n);
    calm(got, n);
    check_same(want, got, n * sizeof *want, "(%zu,%zu)", n_heads, head_dim);
    plain->backward(want, cos_sin, n_heads, head_dim);
    fast->backward(got, cos_sin, n_heads, head_dim);
    calm(want, n);
    calm(got, n);
    check_same(want, got, n * sizeof *want, "(%zu,%zu) backward", n_heads, head_dim);
    check_release();
}

struct call {
    const struct pc_rope *table;
    float *x, *cos_sin;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->table->forward(c->x, c->cos_sin, 12, 64);
}

static void bench(const struct pc_rope *table, const struct check_level *l)
{
    struct call c = {table, check_floats(12 * 64), check_floats(64)};
    for (size_t i = 0; i < 64; i++)
        c.cos_sin[i] = i < 32 ? 0.8f : 0.6f;
    check_time("rope", l, 12 * 64 * 8, run_call, &c);
    check_release();
}

void check_rope(void)
{
    struct pc_rope plain, fast;
    pc_rope_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_rope_init(&fast, l->flags);
        check_case("rope", l);
        for (size_t head_dim = 2; head_dim <= 130; head_dim += 2)
            for (size_t n_heads = 1; n_heads <= 5; n_heads++)
                check_heads(&plain, &fast, n_heads, head_dim);
        if (check_bench())
            bench(&fast, l);
    }
    if (check_bench())
        bench(&plain, NULL);
}
