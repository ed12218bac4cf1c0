// SPDX-License-Identifier: Apache-2.0
#include "train/in_backward.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>

/* Elements of the largest part that uses the common memory, and of the embedding where it has its own. */
static void measure(const struct pc_params *p, uint64_t *n_part, uint64_t *n_embedding)
{
    bool tied = !pc_params_find(p, "lm_head.weight");
    int32_t n_layers = pc_params_n_layers(p);
    *n_part = *n_embedding = 0;
    for (int32_t part = -1; part <= n_layers; part++) {
        uint64_t first, end, *n = part < 0 && tied ? n_embedding : n_part;
        pc_params_part(p, part, &first, &end);
        *n = end - first > *n ? end - first : *n;
    }
}

uint64_t pc_in_backward_size(const struct pc_params *params)
{
    uint64_t n_part, n_embedding;
    measure(params, &n_part, &n_embedding);
    return (n_part + n_embedding) * sizeof(float);
}

static void clear(const struct pc_in_backward *u)
{
    pc_clear_flat(u->parts.part, u->n_part * sizeof *u->parts.part, u->pool);
    if (u->n_embedding)
        pc_clear_flat(u->parts.embedding, u->n_embedding * sizeof *u->parts.embedding, u->pool);
}

int pc_in_backward_new(struct pc_in_backward **out, const struct pc_params *params,
    struct pc_optimizer *optimizer, struct pc_pool *pool, struct paco_error *err)
{
    struct pc_in_backward *u = pc_alloc_zero(1, sizeof *u);
    if (!u)
        return pc_error_mem(err, sizeof *u, "updates in backward");
    u->params = params;
    u->optimizer = optimizer;
    u->pool = pool;
    measure(params, &u->n_part, &u->n_embedding);
    u->parts.part = u->parts.embedding = pc_alloc_huge((size_t)u->n_part * sizeof *u->parts.part);
    if (u->n_embedding)
        u->parts.embedding = pc_alloc_huge((size_t)u->n_embedding * sizeof *u->parts.embedding);
    if (!u->parts.part || !u->parts.embedding) {
        pc_in_backward_free(u);
        return pc_error_mem(err, pc_in_backward_size(params), "gradients");
    }
    clear(u);
    *out = u;
    return 0;
}

void pc_in_backward_free(struct pc_in_backward *u)
{
    if (!u)
        return;
    if (u->n_embedding)
        pc_free(u->parts.embedding);
    pc_free(u->parts.part);
    pc_free(u);
}

void pc_in_backward_begin(struct pc_in_backward *u, double rate)
{
    u->rate = rate;
    u->last = PC_NONE_UPDATED;
    u->rc = 0;
    u->err = (struct paco_error){.code = 0};
    pc_optimizer_squares_begin(u->optimizer);
    if (u->optimizer->file)
        pc_states_file_begin(u->optimizer->file);
}

/* "layer 7", or what else a part is. */
static const char *name_of(const struct pc_in_backward *u, int32_t part, char text[32])
{
    snprintf(text, 32, "layer %d", part);
    return part < 0 ? "the embedding" : part == pc_params_n_layers(u->params) ? "the model's end" : text;
}

static void fail_not_finite(struct pc_in_backward *u, int32_t part, double squares)
{
    char text[32];
    u->torn = u->last != PC_NONE_UPDATED;
    u->rc = pc_error_set(&u->err, PACO_EVERIFY, "the norm of the gradient of %s is %g: %s",
        name_of(u, part, text), sqrt(squares),
        u->torn ? "what is behind it has been updated already, so that this model is no good any more"
                : "the weights are left as they were before this step");
}

/* The states of a part; from a file they may not come, and then none are good any more. */
static int take_states(struct pc_in_backward *u, int32_t part, struct pc_optim_part *p)
{
    struct pc_optimizer *o = u->optimizer;
    if (o->file) {
        u->rc = pc_states_file_take(o->file, part, &p->m, &p->v, &u->err);
        u->torn = u->torn || u->rc < 0;
        return u->rc;
    }
    p->m = pc_optimizer_moment_at(o, &o->m, p->first);
    p->v = pc_optimizer_moment_at(o, &o->v, p->first);
    return 0;
}

bool pc_in_backward_ready(struct pc_in_backward *u, int32_t part)
{
    struct pc_optim_part p = {.g = part < 0 ? u->parts.embedding : u->parts.part};
    pc_params_part(u->params, part, &p.first, &p.end);
    double squares = pc_optimizer_squares_part(u->optimizer, &p, u->pool);
    if (!isfinite(squares))
        return fail_not_finite(u, part, squares), false;
    if (take_states(u, part, &p) < 0)
        return false;
    if (u->last == PC_NONE_UPDATED)
        pc_optimizer_begin(u->optimizer, u->rate, 1);
    pc_optimizer_update_part(u->optimizer, &p, u->pool);
    if (u->optimizer->file)
        pc_states_file_give(u->optimizer->file, part);
    u->last = part;
    return true;
}

int pc_in_backward_end(struct pc_in_backward *u, double *norm, struct paco_error *err)
{
    if (u->rc == 0 && u->last != PC_NONE_UPDATED)
        (void)pc_in_backward_ready(u, -1);
    *norm = u->last == PC_NONE_UPDATED ? NAN : pc_optimizer_norm_of_squares(u->optimizer);
    if (u->rc == 0 && u->last == -1)
        return 0;
    clear(u);
    if (u->rc < 0 && err)
        *err = u->err;
    return u->rc;
}
