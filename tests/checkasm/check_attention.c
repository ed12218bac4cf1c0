// SPDX-License-Identifier: Apache-2.0
/* Folding tiles gives the same bytes at every level, for a query alone as for one in company, and whatever
 * lies beyond its keys; and the scalar result is the softmax-weighted mean a double computes. */
#include "checkasm.h"

#include "kernels/attention.h"

#include <math.h>
#include <string.h>

enum { N_TILES = 3, MAX_Q = 9 };

struct problem {
    size_t n_q, head_dim;
    float *q, *k, *v;
    int32_t n_keys[MAX_Q]; /* in the last tile; the ones before are full */
    float scale;
};

static void solve(
    const struct pc_attention *table, const struct problem *p, size_t first, size_t n_q, float *out)
{
    static const int32_t full[MAX_Q] = {32, 32, 32, 32, 32, 32, 32, 32, 32};
    float max[MAX_Q], sum[MAX_Q];
    struct pc_attention_state state = {out, max, sum};
    pc_attention_begin(&state, n_q, p->head_dim);
    for (size_t t = 0; t < N_TILES; t++)
        table->fold(&state, p->q + first * p->head_dim, n_q, p->head_dim,
            p->k + t * PC_KV_BLOCK * p->head_dim, p->v + t * PC_KV_BLOCK * p->head_dim,
            t + 1 < N_TILES ? full : p->n_keys + first, p->scale);
    pc_attention_end(&state, n_q, p->head_dim);
}

static double score(const struct problem *p, size_t i, size_t j)
{
    const float *tile = p->k + j / PC_KV_BLOCK * PC_KV_BLOCK * p->head_dim;
    double dot = 0;
    for (size_t d = 0; d < p->head_dim; d++)
        dot += (double)p->q[i * p->head_dim + d] * (double)tile[d * PC_KV_BLOCK + j % PC_KV_BLOCK];
    return dot * (double)p->scale;
}

static void check_exact(const struct problem *p, const float *out)
{
    for (size_t i = 0; i < p->n_q; i++) {
        size_t n = (size_t)(N_TILES - 1) * PC_KV_BLOCK + (size_t)p->n_keys[i];
        double max = -INFINITY, weight[N_TILES * PC_KV_BLOCK], sum = 0;
        for (size_t j = 0; j < n; j++)
            max = fmax(max, weight[j] = score(p, i, j));
        for (size_t j = 0; j < n; j++)
            sum += weight[j] = exp(weight[j] - max);
        for (size_t d = 0; d < p->head_dim; d++) {
            double want = 0;
            for (size_t j = 0; j < n; j++)
                want += weight[j] / sum * (double)p->v[j * p->head_dim + d];
            if (!(fabs((double)out[i * p->head_dim + d] - want) <= 2e-5))
                check_fail("D=%zu query %zu element %zu is %g, not %g", p->head_dim, i, d,
                    (double)out[i * p->head_dim + d], want);
        }
    }
}

static float *uniform(size_t n, size_t pad)
{
    float *x = check_buffer(n * sizeof *x, pad);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)check_random() * 0x1p-30f;
    return x;
}

static void check_problem(
    const struct pc_attention *plain, const struct pc_attention *fast, size_t head_dim, size_t n_q)
{
    size_t tiles = N_TILES * PC_KV_BLOCK * head_dim, size = n_q * head_dim * sizeof(float);
    struct problem p = {.n_q = n_q, .head_dim = head_dim, .scale = 1 / sqrtf((float)head_dim)};
    p.q = uniform(n_q * head_dim, 4);
    p.k = uniform(tiles, 8);
    p.v = uniform(tiles, 12);
    for (size_t i = 0; i < n_q; i++)
        p.n_keys[i] = i && check_random() % 2 ? p.n_keys[i - 1] : (int32_t)(check_random() % PC_KV_BLOCK) + 1;
    float *want = check_buffer(size, 0), *got = check_buffer(size, 4),
          *one = check_buffer(head_dim * sizeof(float), 0);
    solve(plain, &p, 0, n_q, want);
    solve(fast, &p, 0, n_q, got);
    check_exact(&p, want);
    check_same(want, got, size, "D=%zu n_q=%zu", head_dim, n_q);

    /* Alone, and with other bytes where this query does not look. */
    size_t i = (size_t)check_random() % n_q;
    float *k = p.k + (N_TILES - 1) * PC_KV_BLOCK * head_dim,
          *v = p.v + (N_TILES - 1) * PC_KV_BLOCK * head_dim;
    for (size_t j = (size_t)p.n_keys[i]; j < PC_KV_BLOCK; j++)
        for (size_t d = 0; d < head_dim; d++)
            k[d * PC_KV_BLOCK + j] = v[j * head_dim + d] = check_random() % 2 ? NAN : INFINITY;
    solve(fast, &p, i, 1, one);
    check_same(want + i * head_dim, one, head_dim * sizeof(float), "D=%zu query %zu alone", head_dim, i);
    check_release();
}

struct call {
    const struct pc_attention *table;
    struct problem p;
    float *out;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    solve(c->table, &c->p, 0, c->p.n_q, c->out);
}

static void bench(const struct pc_attention *table, const struct check_level *l)
{
    struct call c = {table, {.n_q = 8, .head_dim = 64, .scale = 0.125f}, NULL};
    size_t tiles = N_TILES * PC_KV_BLOCK * c.p.head_dim;
    c.p.q = uniform(8 * 64, 0);
    c.p.k = uniform(tiles, 0);
    c.p.v = uniform(tiles, 0);
    c.out = check_buffer(8 * 64 * 4, 0);
    for (int i = 0; i < 8; i++)
        c.p.n_keys[i] = 32;
    check_time("attention 8 queries (GB/s per query)", l, 8 * tiles * 8, run_call, &c);
    check_release();
}

void check_attention(void)
{
    static const size_t head_dims[] = {2, 6, 16, 30, 32, 34, 64, 80, 128};
    struct pc_attention plain, fast;
    pc_attention_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_attention_init(&fast, l->flags);
        check_case("attention_fold", l);
        for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
            for (size_t n_q = 1; n_q <= MAX_Q; n_q++)
                check_problem(&plain, &fast, head_dims[i], n_q);
        if (check_bench()) {
            bench(&fast, l);
            bench(&plain, NULL);
        }
    }
}
