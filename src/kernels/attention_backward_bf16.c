// SPDX-License-Identifier: Apache-2.0
/* Attention's backward in BF16, made of gemm.h's products: level by level they are as fast as these are, and
 * the same bits. For each tile of keys, and each block of the queries that see some of it,
 *
 *     S = Q K^T   dP = dO V^T   p, g   dV += P^T dO   dK += G^T Q   dQ += G K
 *
 * What is summed over queries needs them two by two, a pair of rows in a word: Q and dO are kept that way
 * beside their rows, and so are P and G. All of a head stays in the second level cache. */
#include "base/memory.h"
#include "kernels/kernels.h"

#include <string.h>

enum { KEYS = PC_GEMM_PANEL, QUERIES = 2 * KEYS, WORD = sizeof(float), ALIGN = 16 };

struct operands {
    const struct pc_attention_head *h;
    const struct pc_gemm_type *gemm;
    const struct pc_attention_backward *table;
    size_t n_panels, panel;           /* of head_dim columns: how many, words of one over all rows */
    uint16_t *q_rows, *d_rows;        /* (n, D) of q and dO */
    float *q_pairs, *d_pairs;         /* panels of their columns */
    float *k, *v, *k_pairs;           /* of a tile: panels of its rows, and of k's columns */
    float *s, *d, *p_pairs, *g_pairs; /* of a block */
    uint16_t *g;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Cut everything out of scratch; with NULL only count. Returns floats. */
static size_t lay_out(struct operands *o, size_t head_dim, size_t n, float *scratch)
{
    o->n_panels = (head_dim + KEYS - 1) / KEYS;
    o->panel = (n + 1) / 2 * KEYS;
    const struct {
        void *field;
        size_t n;
    } parts[] = {
        {&o->q_rows, n * head_dim / 2},
        {&o->d_rows, n * head_dim / 2},
        {&o->q_pairs, o->n_panels * o->panel},
        {&o->d_pairs, o->n_panels * o->panel},
        {&o->k, head_dim / 2 * KEYS},
        {&o->v, head_dim / 2 * KEYS},
        {&o->k_pairs, o->n_panels * KEYS / 2 * KEYS},
        {&o->s, QUERIES * KEYS},
        {&o->d, QUERIES * KEYS},
        {&o->p_pairs, QUERIES / 2 * KEYS},
        {&o->g_pairs, QUERIES / 2 * KEYS},
        {&o->g, QUERIES * KEYS / 2},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = scratch ? scratch + at : NULL;
        memcpy(parts[i].field, &p, sizeof p);
        at += (parts[i].n + ALIGN - 1) / ALIGN * ALIGN;
    }
    return at;
}

size_t pc_attention_backward_bf16_scratch(size_t head_dim, size_t n)
{
    return lay_out(&(struct operands){0}, head_dim, n, NULL);
}

/* Panels of columns, panel words apart. */
static void pack_columns(
    const struct operands *o, float *to, size_t panel, const float *from, size_t stride, size_t n)
{
    for (size_t i = 0; i < o->n_panels; i++)
        o->gemm->pack_columns(to + i * panel, from + i * KEYS, PC_F32, stride * sizeof *from,
            least(KEYS, o->h->head_dim - i * KEYS), n);
}

static void prepare_queries(const struct operands *o, const struct pc_bf16 *bf16)
{
    const struct pc_attention_head *h = o->h;
    for (size_t i = 0; i < h->n; i++) {
        bf16->round(o->q_rows + i * h->head_dim, h->q + i * h->q_stride, h->head_dim);
        bf16->round(o->d_rows + i * h->head_dim, h->d_out + i * h->q_stride, h->head_dim);
    }
    pack_columns(o, o->q_pairs, o->panel, h->q, h->q_stride, h->n);
    pack_columns(o, o->d_pairs, o->panel, h->d_out, h->q_stride, h->n);
    memset(o->s, 0, QUERIES * KEYS * sizeof *o->s); /* where a tile is short */
    memset(o->d, 0, QUERIES * KEYS * sizeof *o->d);
}

static void prepare_keys(const struct operands *o, size_t first, size_t n)
{
    const struct pc_attention_head *h = o->h;
    const float *k = h->k + first * h->kv_stride, *v = h->v + first * h->kv_stride;
    size_t size = h->kv_stride * sizeof *k;
    o->gemm->pack_rows(o->k, k, PC_F32, size, n, h->head_dim);
    o->gemm->pack_rows(o->v, v, PC_F32, size, n, h->head_dim);
    pack_columns(o, o->k_pairs, KEYS / 2 * KEYS, k, h->kv_stride, n);
}

/* c (n_rows, D) = or += a times panels of columns, panel words apart. */
static void multiply_columns(
    const struct operands *o, struct pc_gemm_call call, const float *panels, size_t panel)
{
    float *c = call.c;
    call.c_stride = o->h->q_stride;
    for (size_t i = 0; i < o->n_panels; i++) {
        call.c = c + i * KEYS;
        call.panels = panels + i * panel;
        call.n_columns = least(KEYS, o->h->head_dim - i * KEYS);
        o->gemm->multiply(&call);
    }
}

/* p and g of queries [at, at + n) and keys [first, first + n_keys). */
static void weigh(const struct operands *o, size_t first, size_t n_keys, size_t at, size_t n)
{
    const struct pc_attention_head *h = o->h;
    struct pc_gemm_call call = {.a_row = h->head_dim * sizeof *o->q_rows,
        .a_step = WORD,
        .n_rows = n,
        .n_columns = n_keys,
        .k = h->head_dim,
        .c_stride = KEYS};
    call.c = o->s;
    call.a = o->q_rows + at * h->head_dim;
    call.panels = o->k;
    o->gemm->multiply(&call);
    call.c = o->d;
    call.a = o->d_rows + at * h->head_dim;
    call.panels = o->v;
    o->gemm->multiply(&call);
    size_t row = at * h->row_stride;
    o->table->weigh(&(struct pc_attention_scores){.s = o->s,
        .d = o->d,
        .max = h->max + row,
        .inverse = h->inverse + row,
        .dot = h->dot + row,
        .n = n,
        .row_stride = h->row_stride,
        .seen = at + 1 - first,
        .scale = h->scale,
        .p_pairs = (uint16_t *)o->p_pairs,
        .g_pairs = (uint16_t *)o->g_pairs,
        .g = o->g});
}

static void fold(const struct operands *o, size_t first, size_t n_keys, size_t at, size_t n)
{
    const struct pc_attention_head *h = o->h;
    weigh(o, first, n_keys, at, n);
    struct pc_gemm_call to_keys = {
        .a_row = WORD, .a_step = KEYS * WORD, .n_rows = n_keys, .k = n, .add = at > first};
    to_keys.c = h->d_v + first * h->q_stride;
    to_keys.a = o->p_pairs;
    multiply_columns(o, to_keys, o->d_pairs + at / 2 * KEYS, o->panel);
    to_keys.c = h->d_k + first * h->q_stride;
    to_keys.a = o->g_pairs;
    multiply_columns(o, to_keys, o->q_pairs + at / 2 * KEYS, o->panel);
    struct pc_gemm_call to_queries = {.c = h->d_q + at * h->q_stride,
        .a = o->g,
        .a_row = KEYS * sizeof *o->g,
        .a_step = WORD,
        .n_rows = n,
        .k = n_keys,
        .add = first > 0};
    multiply_columns(o, to_queries, o->k_pairs, KEYS / 2 * KEYS);
}

void pc_attention_backward_bf16(
    const struct pc_kernels *kernels, const struct pc_attention_head *h, float *scratch)
{
    struct operands o = {.h = h, .gemm = &kernels->gemm.bf16, .table = &kernels->attention_backward};
    lay_out(&o, h->head_dim, h->n, scratch);
    o.table->dots(h);
    prepare_queries(&o, &kernels->bf16);
    for (size_t first = 0; first < h->n; first += KEYS) {
        size_t n_keys = least(KEYS, h->n - first);
        prepare_keys(&o, first, n_keys);
        for (size_t at = first; at < h->n; at += QUERIES)
            fold(&o, first, n_keys, at, least(QUERIES, h->n - at));
    }
    o.table->scale(h);
}
