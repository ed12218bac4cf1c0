// SPDX-License-Identifier: Apache-2.0
/* Storing gives the same bytes at every level. Folding does for F32, F16 and Q8_0; BF16 is held to the bound
 * that all are held to, of a double reference over keys and values as the cache has them. At each level and
 * for each type a query alone gives the bytes it gives in company, and whatever lies beyond its keys makes no
 * difference. */
#include "checkasm.h"

#include "kernels/attention_cache.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_TILES = 3, N_KEYS = N_TILES * PC_KV_BLOCK, MAX_Q = 29 };

static const struct {
    const char *name;
    enum pc_dtype type;
    bool exact; /* the same bits at every level */
} g_types[] = {
    {"f32", PC_F32, true}, {"f16", PC_F16, true}, {"bf16", PC_BF16, false}, {"q8_0", PC_Q8_0, true}};

struct problem {
    enum pc_dtype type;
    size_t n_q, head_dim, tile_size;
    float *q, *key, *value; /* (n_q, D), (N_KEYS, D) twice */
    struct pc_kv_tile tiles[N_TILES];
    int32_t n_keys[MAX_Q];
    float scale;
};

static void solve(
    const struct pc_attention *table, const struct problem *p, size_t first, size_t n_q, float *out)
{
    size_t n_state = pc_attention_state_size(n_q, p->head_dim);
    float *memory = check_buffer(n_state * sizeof(float), 4),
          *scratch = check_buffer(pc_attention_scratch(p->head_dim) * sizeof(float), 0);
    struct pc_attention_state s = pc_attention_state_place(memory, n_q, p->head_dim);
    pc_attention_begin(&s, n_q, p->head_dim);
    pc_attention_for(table, p->type)
        ->fold(&s, p->q + first * p->head_dim, n_q, p->head_dim, p->tiles, N_TILES, p->n_keys + first,
            p->scale, scratch);
    for (size_t i = 0; i < n_q; i++)
        table->end(out + i * p->head_dim, &s, i, p->head_dim);
}

/* Elements as the cache has them. */
static double cached(const struct problem *p, bool is_key, size_t d, size_t position)
{
    size_t j = position % PC_KV_BLOCK;
    struct pc_kv_tile t = p->tiles[position / PC_KV_BLOCK];
    void *tile = is_key ? t.k : t.v;
    size_t at = is_key ? pc_key_index(p->type, d, j) : pc_value_index(p->type, d, j, p->head_dim);
    switch (p->type) {
    case PC_F32: return (double)((float *)tile)[at];
    case PC_F16: return (double)pc_f16_to_f32(((uint16_t *)tile)[at]);
    case PC_BF16: return (double)pc_bf16_to_f32(((uint16_t *)tile)[at]);
    default:
        return (double)((int8_t *)tile)[at] *
               (double)pc_f16_to_f32(pc_tile_scales(tile, p->head_dim)[d / 32 * 32 + j]);
    }
}

/* Rounding to a cache type moves an element by so much of itself, or of its block's largest, at most 1 here.
 */
static double step(enum pc_dtype type)
{
    return type == PC_F32 ? 0 : type == PC_F16 ? 0x1p-11 : type == PC_BF16 ? 0x1p-8 : 0.5 / 127 + 0x1p-11;
}

static void check_cache(const struct problem *p)
{
    for (size_t j = 0; j < N_KEYS; j++)
        for (size_t d = 0; d < p->head_dim; d++) {
            double k = cached(p, true, d, j) - (double)p->key[j * p->head_dim + d];
            double v = cached(p, false, d, j) - (double)p->value[j * p->head_dim + d];
            if (!(fabs(k) <= step(p->type) && fabs(v) <= step(p->type)))
                check_fail(
                    "D=%zu position %zu element %zu: key off by %g, value by %g", p->head_dim, j, d, k, v);
        }
}

/* |q|, |k|, |v| are at most 1: a score is then within D (u + rounding of q) of exact, before the scale, and p
 * within its own rounding; each moves the weighted mean of values by as much, at most twice. */
static void check_exact(const struct problem *p, const float *out)
{
    double narrow = p->type == PC_BF16 ? 0x1p-8 : 0, n_d = (double)p->head_dim;
    double bound = 2 * (sqrt(n_d) * (narrow + (n_d + 8) * 0x1p-24) + narrow + 200 * 0x1p-24);
    for (size_t i = 0; i < p->n_q; i++) {
        size_t n = (size_t)p->n_keys[i];
        double max = -INFINITY, weight[N_KEYS], sum = 0;
        for (size_t j = 0; j < n; j++) {
            weight[j] = 0;
            for (size_t d = 0; d < p->head_dim; d++)
                weight[j] += (double)p->q[i * p->head_dim + d] * cached(p, true, d, j) * (double)p->scale;
            max = fmax(max, weight[j]);
        }
        for (size_t j = 0; j < n; j++)
            sum += weight[j] = exp(weight[j] - max);
        for (size_t d = 0; d < p->head_dim; d++) {
            double want = 0;
            for (size_t j = 0; j < n; j++)
                want += weight[j] / sum * cached(p, false, d, j);
            if (!(fabs((double)out[i * p->head_dim + d] - want) <= bound))
                check_fail("D=%zu query %zu of %zu element %zu is %g, not %g", p->head_dim, i, p->n_q, d,
                    (double)out[i * p->head_dim + d], want);
        }
    }
}

static float *uniform(size_t n, size_t pad)
{
    float *x = check_buffer(n * sizeof *x, pad);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)check_random() * 0x1p-31f;
    return x;
}

/* Tiles with any bytes where nothing was stored. */
static void new_tiles(struct problem *p)
{
    for (int t = 0; t < N_TILES; t++)
        p->tiles[t] = (struct pc_kv_tile){check_buffer(p->tile_size, 0), check_buffer(p->tile_size, 0)};
}

/* Positions [first, first + n) of all tiles, cut where tiles begin. */
static void store(const struct pc_attention *table, struct problem *p, size_t first, size_t n)
{
    while (n) {
        size_t j = first % PC_KV_BLOCK, len = n < PC_KV_BLOCK - j ? n : PC_KV_BLOCK - j;
        pc_attention_for(table, p->type)
            ->store(p->tiles[first / PC_KV_BLOCK], j, len, p->key + first * p->head_dim,
                p->value + first * p->head_dim, p->head_dim, p->head_dim);
        first += len;
        n -= len;
    }
}

static struct problem new_problem(enum pc_dtype type, size_t head_dim, size_t n_q)
{
    struct problem p = {.type = type, .n_q = n_q, .head_dim = head_dim};
    p.tile_size = pc_kv_tile_size(type, head_dim);
    p.scale = 1 / sqrtf((float)head_dim);
    p.q = uniform(n_q * head_dim, 4);
    p.key = uniform(N_KEYS * head_dim, 8);
    p.value = uniform(N_KEYS * head_dim, 12);
    new_tiles(&p);
    /* As rows of a prompt see them, by groups of heads; at times all of them. */
    int32_t seen = (int32_t)(check_random() % N_KEYS) + 1;
    for (size_t i = 0; i < n_q; i++) {
        p.n_keys[i] = seen;
        if (check_random() % 3 == 0 && seen < N_KEYS + 9)
            seen++;
    }
    return p;
}

/* All that no query of the last tile sees, and what only others see, is overwritten with NaN and infinity. */
static void spoil(struct problem *p, size_t n_keys)
{
    struct problem other = *p;
    other.key = uniform(N_KEYS * p->head_dim, 0);
    other.value = uniform(N_KEYS * p->head_dim, 0);
    for (size_t i = 0; i < N_KEYS * p->head_dim; i++)
        other.key[i] = other.value[i] = check_random() % 2 ? NAN : INFINITY;
    struct pc_attention plain;
    pc_attention_init(&plain, 0);
    if (n_keys < N_KEYS)
        store(&plain, &other, n_keys, N_KEYS - n_keys);
}

static void check_fold(
    const struct pc_attention *plain, const struct pc_attention *fast, struct problem p, bool exact)
{
    size_t size = p.n_q * p.head_dim * sizeof(float), row = p.head_dim * sizeof(float);
    store(plain, &p, 0, N_KEYS);
    check_cache(&p);
    struct problem clipped = p;
    for (size_t i = 0; i < p.n_q; i++)
        clipped.n_keys[i] = p.n_keys[i] < N_KEYS ? p.n_keys[i] : N_KEYS;
    float *want = check_buffer(size, 0), *got = check_buffer(size, 4), *one = check_buffer(row, 0);
    solve(plain, &clipped, 0, p.n_q, want);
    solve(fast, &p, 0, p.n_q, got);
    check_exact(&clipped, want);
    check_exact(&clipped, got);
    if (exact)
        check_same(want, got, size, "D=%zu n_q=%zu", p.head_dim, p.n_q);

    size_t i = (size_t)check_random() % p.n_q;
    solve(fast, &p, i, 1, one);
    check_same(got + i * p.head_dim, one, row, "D=%zu n_q=%zu query %zu alone", p.head_dim, p.n_q, i);
    spoil(&p, (size_t)clipped.n_keys[i]);
    solve(fast, &p, i, 1, one);
    check_same(got + i * p.head_dim, one, row, "D=%zu query %zu beside NaN", p.head_dim, i);
    if (i + 1 < p.n_q) { /* and in company of a query that sees some of it */
        float *two = check_buffer(2 * row, 0);
        solve(fast, &p, i, 2, two);
        check_same(got + i * p.head_dim, two, row, "D=%zu query %zu before one that sees NaN", p.head_dim, i);
    }
    check_release();
}

/* Some positions at a time, with values of all sizes: the bytes of scalar, and no other bytes. */
static void check_store(const struct pc_attention *plain, const struct pc_attention *fast, enum pc_dtype type,
    size_t head_dim, bool all)
{
    size_t first = (size_t)check_random() % PC_KV_BLOCK,
           n = (size_t)check_random() % (PC_KV_BLOCK - first) + 1, stride = head_dim + check_random() % 3,
           size = pc_kv_tile_size(type, head_dim);
    float *key = all ? check_floats_all(n * stride) : check_floats(n * stride),
          *value = all ? check_floats_all(n * stride) : check_floats(n * stride);
    struct pc_kv_tile a = {check_buffer(size, 0), check_buffer(size, 0)},
                      b = {check_buffer(size, 0), check_buffer(size, 0)};
    memcpy(b.k, a.k, size);
    memcpy(b.v, a.v, size);
    pc_attention_for(plain, type)->store(a, first, n, key, value, stride, head_dim);
    pc_attention_for(fast, type)->store(b, first, n, key, value, stride, head_dim);
    check_same(a.k, b.k, size, "D=%zu keys [%zu, +%zu)", head_dim, first, n);
    check_same(a.v, b.v, size, "D=%zu values [%zu, +%zu)", head_dim, first, n);
    check_release();
}

static void check_join(const struct pc_attention *plain, const struct pc_attention *fast, size_t head_dim)
{
    enum { N = 5 };
    size_t n = pc_attention_state_size(N, head_dim);
    float *want = uniform(n, 0), *got = check_buffer(n * sizeof *got, 4), *from = uniform(n, 8);
    want[N * head_dim + 1] = from[N * head_dim + 2] = -200; /* one so far below that nothing of it is left */
    memcpy(got, want, n * sizeof *got);
    struct pc_attention_state a = pc_attention_state_place(want, N, head_dim),
                              b = pc_attention_state_place(got, N, head_dim),
                              c = pc_attention_state_place(from, N, head_dim);
    plain->join(&a, &c, N, head_dim);
    fast->join(&b, &c, N, head_dim);
    check_same(want, got, n * sizeof *got, "D=%zu", head_dim);
    float *out = check_buffer(head_dim * sizeof *out, 0), *out_fast = check_buffer(head_dim * sizeof *out, 4);
    for (size_t i = 0; i < N; i++) {
        plain->end(out, &a, i, head_dim);
        fast->end(out_fast, &b, i, head_dim);
        check_same(out, out_fast, head_dim * sizeof *out, "D=%zu end of %zu", head_dim, i);
    }
    check_release();
}

struct call {
    const struct pc_attention *table;
    struct problem p;
    struct pc_attention_state state;
    float *scratch;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    pc_attention_begin(&c->state, c->p.n_q, c->p.head_dim);
    pc_attention_for(c->table, c->p.type)
        ->fold(&c->state, c->p.q, c->p.n_q, c->p.head_dim, c->p.tiles, N_TILES, c->p.n_keys, c->p.scale,
            c->scratch);
}

static void bench(
    const struct pc_attention *table, const char *name, enum pc_dtype type, const struct check_level *l)
{
    struct call c = {.table = table, .p = new_problem(type, 64, 24)};
    store(table, &c.p, 0, N_KEYS);
    for (size_t i = 0; i < c.p.n_q; i++)
        c.p.n_keys[i] = N_KEYS;
    float *memory = check_buffer(pc_attention_state_size(24, 64) * sizeof(float), 0);
    c.state = pc_attention_state_place(memory, 24, 64);
    c.scratch = check_buffer(pc_attention_scratch(64) * sizeof(float), 0);
    char title[64];
    snprintf(title, sizeof title, "attention %s 24 queries (GFLOP/s for GB/s)", name);
    check_time(title, l, (uint64_t)24 * N_KEYS * 64 * 4, run_call, &c);
    check_release();
}

static void check_type(const struct pc_attention *plain, const struct pc_attention *fast, size_t i_type,
    const struct check_level *l)
{
    static const size_t head_dims[] = {2, 6, 16, 30, 32, 34, 64, 80, 96, 128};
    enum pc_dtype type = g_types[i_type].type;
    char title[64];
    snprintf(title, sizeof title, "attention_store_%s", g_types[i_type].name);
    check_case(title, l);
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
        for (int round = 0; round < 20; round++)
            check_store(plain, fast, type, head_dims[i], round % 2);
    snprintf(title, sizeof title, "attention_fold_%s", g_types[i_type].name);
    check_case(title, l);
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
        for (size_t n_q = 1; n_q <= MAX_Q; n_q += n_q < 13 ? 1 : 5)
            check_fold(plain, fast, new_problem(type, head_dims[i], n_q), g_types[i_type].exact);
    if (check_bench()) {
        bench(fast, g_types[i_type].name, type, l);
        if (l == check_levels())
            bench(plain, g_types[i_type].name, type, NULL);
    }
}

void check_attention(void)
{
    struct pc_attention plain, fast;
    pc_attention_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_attention_init(&fast, l->flags);
        for (size_t t = 0; t < sizeof g_types / sizeof *g_types; t++)
            check_type(&plain, &fast, t, l);
        check_case("attention_join", l);
        for (size_t d = 2; d <= 70; d += 2)
            check_join(&plain, &fast, d);
    }
}
