// SPDX-License-Identifier: Apache-2.0
#include "train/ranks.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, UNDER_WAY = 2 };

/* ---- the parts of a model ---- */

/* Where the parts begin: a new one wherever the layer changes. */
static int find_parts(
    struct pc_ranks *r, const struct pc_params *p, uint64_t **begin, size_t *n_parts, struct paco_error *err)
{
    int32_t before = -2;
    r->n_layers = pc_params_n_layers(p);
    r->group_of_layer = pc_alloc_zero((size_t)r->n_layers + 1, sizeof *r->group_of_layer);
    *begin = pc_alloc(p->n + 1, sizeof **begin);
    if (!r->group_of_layer || !*begin)
        return pc_error_mem(err, (p->n + 1) * sizeof **begin, "the parts of the model");
    *n_parts = 0;
    for (size_t i = 0; i < p->n; i++) {
        int32_t layer = p->v[i].layer;
        if (layer != before)
            (*begin)[(*n_parts)++] = p->v[i].offset;
        before = layer;
        if (layer >= 0)
            r->group_of_layer[layer] = *n_parts - 1;
    }
    r->group_of_end = before < 0 && *n_parts > 1 ? *n_parts - 1 : *n_parts;
    return 0;
}

int pc_ranks_new(struct pc_ranks **out, struct pc_collect *collect, const struct pc_params *params, int zero,
    struct paco_error *err)
{
    if (zero < 0 || zero > 3)
        return pc_error_set(err, PACO_EINVAL, "--zero %d: 0, 1, 2 or 3", zero);
    struct pc_ranks *r = pc_alloc_zero(1, sizeof *r);
    uint64_t *begin = NULL;
    size_t n_parts = 0;
    if (!r)
        return pc_error_mem(err, sizeof *r, "ranks");
    r->collect = collect;
    r->rank = pc_collect_rank(collect);
    r->size = pc_collect_size(collect);
    r->zero = zero;
    r->is_tied =
        pc_params_find(params, "model.embed_tokens.weight") && !pc_params_find(params, "lm_head.weight");
    r->bounds = pc_alloc((size_t)r->size + 1, sizeof *r->bounds);
    r->packed = pc_alloc((size_t)pc_params_n_chunks(params), sizeof *r->packed);
    int rc = r->bounds && r->packed ? find_parts(r, params, &begin, &n_parts, err)
                                    : pc_error_mem(err, pc_params_n_chunks(params), "ranks");
    if (rc == 0)
        rc = pc_shard_init(&r->shard, params->n_flat, begin, n_parts, r->rank, r->size, err);
    pc_free(begin);
    if (rc == 0) {
        r->ticket = pc_alloc_zero(r->shard.n_groups, sizeof *r->ticket);
        r->gather = pc_alloc_zero(r->shard.n_groups, sizeof *r->gather);
        r->where = pc_alloc_zero(r->shard.n_groups, sizeof *r->where);
        if (!r->ticket || !r->gather || !r->where)
            rc = pc_error_mem(err, r->shard.n_groups * sizeof *r->ticket, "ranks");
    }
    if (rc < 0)
        return pc_ranks_free(r), rc;
    *out = r;
    return 0;
}

void pc_ranks_free(struct pc_ranks *r)
{
    if (!r)
        return;
    pc_shard_release(&r->shard);
    pc_free(r->group_of_layer);
    pc_free(r->bounds);
    pc_free(r->ticket);
    pc_free(r->gather);
    pc_free(r->where);
    pc_free(r->packed);
    pc_free(r);
}

const struct pc_shard *pc_ranks_shard(const struct pc_ranks *r)
{
    return r && r->zero > 0 ? &r->shard : NULL;
}

/* ---- gradients ---- */

void pc_ranks_begin(struct pc_ranks *r, float *g)
{
    r->g = g;
    r->n_waiting = r->n_forgotten = r->shard.n_groups;
    r->rc = 0;
}

/* Zeros in elements [first, end): whole pages by giving them back. */
static void give_back(float *g, uint64_t first, uint64_t end)
{
    uintptr_t from = (uintptr_t)(g + first), to = (uintptr_t)(g + end);
    uintptr_t page = (from + PAGE - 1) / PAGE * PAGE, page_end = to / PAGE * PAGE;
    if (page >= page_end || madvise((void *)page, page_end - page, MADV_DONTNEED) < 0) {
        memset(g + first, 0, (size_t)(end - first) * sizeof *g);
        return;
    }
    memset(g + first, 0, page - from);
    memset((void *)page_end, 0, to - page_end);
}

void pc_ranks_clear(const struct pc_ranks *r, float *g)
{
    give_back(g, 0, r->shard.n_flat);
}

/* Zeros where others own a group. */
static void forget_others(const struct pc_ranks *r, float *g, size_t i_group)
{
    const struct pc_shard *s = &r->shard;
    uint64_t begin = s->group[i_group] * PC_PARAM_CHUNK, stop = s->group[i_group + 1] * PC_PARAM_CHUNK, first,
             end;
    stop = stop < s->n_flat ? stop : s->n_flat;
    pc_shard_range(s, i_group, r->rank, &first, &end);
    if (begin >= stop)
        return;
    if (r->zero < 2) {
        memset(g + begin, 0, (size_t)(first - begin) * sizeof *g);
        memset(g + end, 0, (size_t)(stop - end) * sizeof *g);
        return;
    }
    give_back(g, begin, first);
    give_back(g, end, stop);
}

/* Forget the groups from i_group on, when they are added. */
static void forget_from(struct pc_ranks *r, size_t i_group)
{
    while (r->n_forgotten > i_group && r->rc == 0) {
        r->rc = pc_collect_wait(r->collect, r->ticket[--r->n_forgotten], &r->err);
        if (r->rc == 0)
            forget_others(r, r->g, r->n_forgotten);
    }
}

/* Begin the groups from i_group on that have not. Behind an addition its gather, where all are to know. With
 * two on their way, memory is only given back when the first of them has arrived. */
static void begin_from(struct pc_ranks *r, size_t i_group)
{
    while (r->n_waiting > i_group && r->rc == 0) {
        size_t i = --r->n_waiting;
        pc_shard_bounds(&r->shard, i, r->bounds);
        r->rc = pc_collect_add(r->collect, r->g, r->bounds, &r->ticket[i], &r->err);
        if (r->rc == 0 && r->zero == 0)
            r->rc = pc_collect_gather(r->collect, r->g, r->bounds, sizeof *r->g, &r->ticket[i], &r->err);
        if (r->rc == 0 && r->zero >= 2)
            forget_from(r, i + UNDER_WAY < r->shard.n_groups ? i + UNDER_WAY : r->shard.n_groups);
    }
}

void pc_ranks_ready(struct pc_ranks *r, int32_t part)
{
    if (r->g)
        begin_from(r, part < r->n_layers ? r->group_of_layer[part] : r->group_of_end);
}

int pc_ranks_add(struct pc_ranks *r, float *g, struct paco_error *err)
{
    if (r->g != g)
        pc_ranks_begin(r, g);
    begin_from(r, 0);
    if (r->zero > 0)
        forget_from(r, 0);
    else if (r->rc == 0)
        r->rc = pc_collect_wait(r->collect, r->ticket[0], &r->err);
    r->g = NULL;
    if (r->rc < 0 && err)
        *err = r->err;
    return r->rc;
}

/* ---- weights ---- */

/* The groups part uses. */
static void groups_of(const struct pc_ranks *r, int32_t part, size_t *first, size_t *end)
{
    *first = part < 0 ? 0 : part < r->n_layers ? r->group_of_layer[part] : r->group_of_end;
    *end = part < 0             ? (r->n_layers ? r->group_of_layer[0] : r->group_of_end)
           : part < r->n_layers ? r->group_of_layer[part] + 1
                                : r->shard.n_groups;
}

/* The chunk a group ends in, in elements; the next part may begin in it. */
static void edge_of(const struct pc_shard *s, size_t i_group, uint64_t *first, uint64_t *end)
{
    *end = s->group[i_group + 1] * PC_PARAM_CHUNK;
    *first = s->group[i_group + 1] > s->group[i_group] ? *end - PC_PARAM_CHUNK : *end;
    *first = *first < s->n_flat ? *first : s->n_flat;
    *end = *end < s->n_flat ? *end : s->n_flat;
}

static void fetch(struct pc_ranks *r, float *w, size_t i)
{
    struct paco_error *err = &r->err;
    if (r->where[i] != PC_AWAY || r->weights_rc < 0)
        return;
    pc_shard_bounds(&r->shard, i, r->bounds);
    r->weights_rc = pc_collect_gather(r->collect, w, r->bounds, sizeof *w, &r->gather[i], err);
    r->where[i] = PC_COMING;
}

static void fetch_part(struct pc_ranks *r, float *w, int32_t part, bool wait)
{
    size_t first, end;
    groups_of(r, part, &first, &end);
    for (size_t i = first; i < end; i++)
        fetch(r, w, i);
    for (size_t i = first; i < end && wait && r->weights_rc == 0; i++) {
        r->weights_rc = pc_collect_wait(r->collect, r->gather[i], &r->err);
        r->where[i] = PC_HERE;
    }
}

void pc_ranks_need(struct pc_ranks *r, float *w, int32_t part, bool back)
{
    if (r->zero < 3)
        return;
    fetch_part(r, w, part, false);
    if (part == r->n_layers && r->is_tied)
        fetch_part(r, w, -1, true);
    int32_t next = back ? part - 1 : part + 1;
    if (next >= 0 && next <= r->n_layers)
        fetch_part(r, w, next, false);
    fetch_part(r, w, part, true);
}

void pc_ranks_give_back(const struct pc_ranks *r, float *w, uint64_t first, uint64_t end)
{
    uint64_t c = (first + PC_PARAM_CHUNK - 1) / PC_PARAM_CHUNK, last = end / PC_PARAM_CHUNK;
    if (end == r->shard.n_flat)
        last = r->shard.n_chunks;
    for (; c < last && r->zero >= 3; c++) {
        uint64_t edge, edge_end, at = c * PC_PARAM_CHUNK;
        edge_of(&r->shard, pc_shard_group_of(&r->shard, c), &edge, &edge_end);
        if (at != edge && !pc_shard_owns(&r->shard, c, NULL))
            give_back(w, at, at + PC_PARAM_CHUNK);
    }
}

static void give_back_part(struct pc_ranks *r, float *w, int32_t part)
{
    size_t first, end;
    groups_of(r, part, &first, &end);
    for (size_t i = first; i < end; i++) {
        uint64_t stop = r->shard.group[i + 1] * PC_PARAM_CHUNK;
        r->where[i] = PC_AWAY;
        pc_ranks_give_back(
            r, w, r->shard.group[i] * PC_PARAM_CHUNK, stop < r->shard.n_flat ? stop : r->shard.n_flat);
    }
}

void pc_ranks_done(struct pc_ranks *r, float *w, int32_t part)
{
    if (r->zero < 3)
        return;
    give_back_part(r, w, part);
    if (part == r->n_layers && r->is_tied)
        give_back_part(r, w, -1);
}

void pc_ranks_idle(struct pc_ranks *r, float *w)
{
    for (int32_t part = -1; part < r->n_layers; part++) {
        pc_ranks_need(r, w, part, false);
        pc_ranks_done(r, w, part);
    }
    for (int32_t part = r->n_layers; part >= 0; part--) {
        pc_ranks_need(r, w, part, true);
        pc_ranks_done(r, w, part);
        pc_ranks_ready(r, part);
    }
}

/* The chunks groups end in, from their owners. */
static int spread_edges(struct pc_ranks *r, float *w, int64_t *ticket, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->shard.n_groups && rc == 0; i++) {
        uint64_t first, end, from, to;
        edge_of(&r->shard, i, &first, &end);
        for (int k = 0; k < r->size; k++) {
            pc_shard_range(&r->shard, i, k, &from, &to);
            bool owner = first < end && from <= first && first < to;
            r->bounds[k] = k == 0 ? (int64_t)first : r->bounds[k];
            r->bounds[k + 1] = owner ? (int64_t)end : r->bounds[k];
        }
        rc = pc_collect_gather(r->collect, w, r->bounds, sizeof *w, ticket, err);
    }
    return rc;
}

int pc_ranks_spread(struct pc_ranks *r, float *w, struct paco_error *err)
{
    int64_t ticket = 0;
    int rc = r->weights_rc;
    if (rc < 0 && err)
        *err = r->err;
    if (rc == 0 && r->zero >= 3)
        rc = spread_edges(r, w, &ticket, err);
    for (size_t i = 0; i < r->shard.n_groups && rc == 0 && r->zero > 0 && r->zero < 3; i++) {
        pc_shard_bounds(&r->shard, i, r->bounds);
        rc = pc_collect_gather(r->collect, w, r->bounds, sizeof *w, &ticket, err);
    }
    return rc < 0 ? rc : pc_collect_wait(r->collect, ticket, err);
}

/* ---- small things ---- */

int pc_ranks_squares(struct pc_ranks *r, double *partial, struct paco_error *err)
{
    const struct pc_shard *s = &r->shard;
    int64_t at = 0, ticket;
    if (r->zero == 0)
        return 0;
    // Together by owner, then apart again: one message for each pair of ranks.
    for (int pass = 0; pass < 2; pass++) {
        at = 0;
        for (int k = 0; k < s->size; k++) {
            r->bounds[k] = at;
            for (size_t i = 0; i < s->n_groups; i++) {
                uint64_t first, end;
                pc_shard_range(s, i, k, &first, &end);
                for (uint64_t c = first / PC_PARAM_CHUNK; first < end && c * PC_PARAM_CHUNK < end; c++, at++)
                    *(pass ? &partial[c] : &r->packed[at]) = pass ? r->packed[at] : partial[c];
            }
        }
        r->bounds[s->size] = at;
        int rc =
            pass ? 0 : pc_collect_gather(r->collect, r->packed, r->bounds, sizeof *partial, &ticket, err);
        if (rc == 0 && !pass)
            rc = pc_collect_wait(r->collect, ticket, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int pc_ranks_share(struct pc_ranks *r, double *values, const uint64_t *bounds, struct paco_error *err)
{
    int64_t ticket;
    for (int k = 0; k <= r->size; k++)
        r->bounds[k] = (int64_t)bounds[k];
    int rc = pc_collect_gather(r->collect, values, r->bounds, sizeof *values, &ticket, err);
    return rc < 0 ? rc : pc_collect_wait(r->collect, ticket, err);
}

int pc_ranks_most(struct pc_ranks *r, int64_t mine, int64_t *most, struct paco_error *err)
{
    int64_t *all = pc_alloc((size_t)r->size, sizeof *all);
    if (!all)
        return pc_error_mem(err, (size_t)r->size * sizeof *all, "what ranks say");
    all[r->rank] = mine;
    int rc = pc_collect_all(r->collect, all, sizeof *all, err);
    *most = mine;
    for (int k = 0; k < r->size && rc == 0; k++)
        *most = all[k] > *most ? all[k] : *most;
    pc_free(all);
    return rc;
}

int pc_ranks_agree(struct pc_ranks *r, int rc, struct paco_error *err)
{
    return r ? pc_collect_agree(r->collect, rc, err) : rc;
}
