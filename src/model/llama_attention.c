// SPDX-License-Identifier: Apache-2.0
#include "model/llama_attention.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    QUERIES = 48,    /* of a piece, if there are so many: whole blocks of the kernels */
    SPLIT = 8,       /* segments of a piece that workers share at a time */
    SPLIT_UNITS = 2, /* for each worker: fewer pieces and heads than that are split */
};

/* What a query and key cost for each element of a head, about, in nanoseconds. */
static const double KEY_NS = 0.04;

static size_t group(const struct pc_config *c)
{
    return (size_t)(c->n_heads / c->n_kv_heads);
}

static size_t piece_rows(const struct pc_config *c)
{
    return group(c) < QUERIES ? QUERIES / group(c) : 1;
}

size_t pc_llama_cut(const struct pc_config *config, void *const *seq, const int32_t *pos, size_t n,
    struct pc_llama_piece *pieces)
{
    size_t n_pieces = 0, most = piece_rows(config);
    for (size_t t = 0; t < n; t++) {
        struct pc_llama_piece *last = n_pieces ? &pieces[n_pieces - 1] : NULL;
        if (last && last->n < most && seq[t] == seq[t - 1] && pos[t] > pos[t - 1])
            last->n++;
        else
            pieces[n_pieces++] = (struct pc_llama_piece){(uint32_t)t, 1};
    }
    return n_pieces;
}

uint64_t pc_kv_block_size(const struct pc_config *c, enum pc_dtype kv_type)
{
    return (uint64_t)c->n_layers * (uint64_t)c->n_kv_heads * 2 *
           pc_kv_tile_size(kv_type, (size_t)c->head_dim);
}

static size_t piece_queries(const struct pc_config *c)
{
    return piece_rows(c) * group(c);
}

/* The kernel's own, gathered queries with n_keys of each, and their states: of a segment and of all so far.
 */
size_t pc_llama_attention_scratch(const struct pc_config *c)
{
    size_t n = piece_queries(c), d = (size_t)c->head_dim;
    return pc_attention_scratch(d) + n * (d + 1) + 2 * pc_attention_state_size(n, d);
}

/* For each unit that is split the states of SPLIT segments, and of all so far. */
size_t pc_llama_attention_parts(const struct pc_config *c, int n_workers)
{
    size_t state = pc_attention_state_size(piece_queries(c), (size_t)c->head_dim);
    return n_workers > 1 ? (size_t)n_workers * SPLIT_UNITS * (SPLIT + 1) * state : 0;
}

struct attention {
    const struct pc_compute *compute;
    const struct pc_config *config;
    const struct pc_llama_rows *rows;
    const struct pc_attention_type *kernels;
    int32_t i_layer;
    const float *q;
    float *mix, *max, *inverse;
    int32_t first; /* of the segments that are shared now */
};

/* The queries of one piece on one key/value head, row after row, the heads of the group together. */
struct unit {
    struct pc_llama_piece piece;
    int32_t head, last; /* last: its last position's segment */
    const int32_t *pos; /* of each row */
    void *seq;
    size_t n_heads, n, d; /* heads of the group; queries; elements */
};

static struct unit unit_of(const struct attention *a, int64_t i)
{
    const struct pc_config *c = a->config;
    struct unit u = {.piece = a->rows->pieces[i / c->n_kv_heads], .head = (int32_t)(i % c->n_kv_heads)};
    u.pos = a->rows->pos + u.piece.first;
    u.seq = a->rows->seq[u.piece.first];
    u.n_heads = group(c);
    u.n = u.piece.n * u.n_heads;
    u.d = (size_t)c->head_dim;
    u.last = u.pos[u.piece.n - 1] / PC_KV_SEGMENT;
    return u;
}

/* A worker's memory for the queries of a unit. */
struct workspace {
    float *kernel, *q, *states;
    int32_t *n_keys;
};

static struct workspace workspace_of(const struct attention *a, const struct unit *u, int i_worker)
{
    float *scratch = a->compute->scratch + (size_t)i_worker * a->compute->n_scratch;
    struct workspace w = {.kernel = scratch, .q = scratch + pc_attention_scratch(u->d)};
    w.n_keys = (int32_t *)(w.q + u->n * u->d);
    w.states = w.q + u->n * (u->d + 1);
    return w;
}

/* Where a row's heads of the unit begin in q and mix. */
static size_t place_of(const struct attention *a, const struct unit *u, size_t t)
{
    return ((u->piece.first + t) * (size_t)a->config->n_heads + (size_t)u->head * u->n_heads) * u->d;
}

static void gather(const struct attention *a, const struct unit *u, float *q)
{
    size_t span = u->n_heads * u->d;
    for (size_t t = 0; t < u->piece.n; t++)
        memcpy(q + t * span, a->q + place_of(a, u, t), span * sizeof *q);
}

/* Queries of the rows that end before segment i: the first ones of the piece. */
static size_t n_before(const struct unit *u, int32_t i)
{
    size_t t = 0;
    while (u->pos[t] / PC_KV_SEGMENT < i)
        t++;
    return t * u->n_heads;
}

static struct pc_attention_state rest(const struct pc_attention_state *s, size_t skip, size_t d)
{
    return (struct pc_attention_state){s->acc + skip * d, s->max + skip, s->sum + skip};
}

/* Segment i into state, for the rows that have reached it. */
static void fold_segment(const struct attention *a, const struct unit *u, const struct workspace *w,
    const struct pc_attention_state *state, int32_t i)
{
    int32_t first = i * PC_KV_SEGMENT, last = u->pos[u->piece.n - 1];
    for (size_t t = 0; t < u->piece.n; t++)
        for (size_t h = 0; h < u->n_heads; h++)
            w->n_keys[t * u->n_heads + h] = u->pos[t] + 1 - first;
    struct pc_kv_tile tiles[PC_KV_SEGMENT_TILES];
    size_t n_tiles = 0, skip = n_before(u, i);
    for (int32_t at = first; at <= last && n_tiles < PC_KV_SEGMENT_TILES; at += PC_KV_BLOCK)
        tiles[n_tiles++] = pc_kv_tiles(a->config, a->rows->kv_type,
            a->rows->kv_block(u->seq, at / PC_KV_BLOCK), pc_kv_layer(a->rows, a->i_layer), u->head);
    struct pc_attention_state s = rest(state, skip, u->d);
    pc_attention_begin(&s, u->n - skip, u->d);
    a->kernels->fold(&s, w->q + skip * u->d, u->n - skip, u->d, tiles, n_tiles, w->n_keys + skip,
        1.0f / sqrtf((float)u->d), w->kernel);
}

static void join_segment(const struct attention *a, const struct unit *u,
    const struct pc_attention_state *total, const struct pc_attention_state *part, int32_t i)
{
    size_t skip = n_before(u, i);
    struct pc_attention_state into = rest(total, skip, u->d), from = rest(part, skip, u->d);
    a->compute->kernels->attention.join(&into, &from, u->n - skip, u->d);
}

static void finish(const struct attention *a, const struct unit *u, const struct pc_attention_state *total)
{
    for (size_t t = 0; t < u->piece.n; t++)
        for (size_t h = 0; h < u->n_heads; h++)
            a->compute->kernels->attention.end(
                a->mix + place_of(a, u, t) + h * u->d, total, t * u->n_heads + h, u->d);
    for (size_t t = 0; t < u->piece.n && a->max; t++)
        for (size_t h = 0; h < u->n_heads; h++) {
            size_t i = t * u->n_heads + h, at = place_of(a, u, t) / u->d + h;
            a->max[at] = total->max[i];
            a->inverse[at] = 1.0f / total->sum[i];
        }
}

/* ---- whole units ---- */

static void attend(void *arg, int64_t first, int64_t end, int i_worker)
{
    const struct attention *a = arg;
    for (; first < end; first++) {
        struct unit u = unit_of(a, first);
        struct workspace w = workspace_of(a, &u, i_worker);
        struct pc_attention_state total = pc_attention_state_place(w.states, u.n, u.d);
        struct pc_attention_state part =
            pc_attention_state_place(w.states + pc_attention_state_size(u.n, u.d), u.n, u.d);
        gather(a, &u, w.q);
        fold_segment(a, &u, &w, &total, 0);
        for (int32_t i = 1; i <= u.last; i++) {
            fold_segment(a, &u, &w, &part, i);
            join_segment(a, &u, &total, &part, i);
        }
        finish(a, &u, &total);
    }
}

/* ---- units shared by segments ---- */

/* The states of unit i: slot 0 is of all segments so far, the others of those that are shared now. */
static struct pc_attention_state slot(
    const struct attention *a, const struct unit *u, int64_t i, int32_t i_slot)
{
    size_t state = pc_attention_state_size(piece_queries(a->config), u->d);
    return pc_attention_state_place(
        a->compute->parts + ((size_t)i * (SPLIT + 1) + (size_t)i_slot) * state, u->n, u->d);
}

static void attend_part(void *arg, int64_t first, int64_t end, int i_worker)
{
    const struct attention *a = arg;
    for (; first < end; first++) {
        struct unit u = unit_of(a, first / SPLIT);
        int32_t i = (int32_t)(first % SPLIT), segment = a->first + i;
        if (segment > u.last)
            continue;
        struct workspace w = workspace_of(a, &u, i_worker);
        struct pc_attention_state part = slot(a, &u, first / SPLIT, segment ? i + 1 : 0);
        gather(a, &u, w.q);
        fold_segment(a, &u, &w, &part, segment);
    }
}

static void attend_parts(struct attention *a, int64_t n_units, int32_t last, int n_workers)
{
    for (a->first = 0; a->first <= last; a->first += SPLIT) {
        pc_pool_share(a->compute->pool, n_units * SPLIT, n_workers, attend_part, a);
        for (int64_t k = 0; k < n_units; k++) {
            struct unit u = unit_of(a, k);
            struct pc_attention_state total = slot(a, &u, k, 0);
            for (int32_t i = a->first ? 0 : 1; i < SPLIT && a->first + i <= u.last; i++) {
                struct pc_attention_state part = slot(a, &u, k, i + 1);
                join_segment(a, &u, &total, &part, a->first + i);
            }
            if (u.last < a->first + SPLIT && u.last >= a->first)
                finish(a, &u, &total);
        }
    }
}

void pc_llama_attention_forward(const struct pc_compute *compute, const struct pc_config *config,
    const struct pc_llama_rows *rows, int32_t i_layer, const float *q, float *mix, float *max, float *inverse)
{
    assert(pc_llama_attention_scratch(config) <= compute->n_scratch);
    struct attention a = {.compute = compute,
        .config = config,
        .rows = rows,
        .kernels = pc_attention_for(&compute->kernels->attention, rows->kv_type),
        .i_layer = i_layer,
        .q = q,
        .mix = mix,
        .max = max,
        .inverse = inverse};
    double keys = 0;
    int32_t last = 0;
    for (size_t t = 0; t < rows->n; t++) {
        keys += rows->pos[t] + 1;
        last = rows->pos[t] > last ? rows->pos[t] : last;
    }
    int n_workers = pc_compute_workers(compute, KEY_NS * keys * config->n_heads * config->head_dim);
    int64_t n_units = (int64_t)rows->n_pieces * config->n_kv_heads;
    if (compute->parts && n_workers > 1 && n_units < n_workers * SPLIT_UNITS && last >= PC_KV_SEGMENT)
        attend_parts(&a, n_units, last / PC_KV_SEGMENT, n_workers);
    else
        pc_pool_share(compute->pool, n_units, n_workers, attend, &a);
}
