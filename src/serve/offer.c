// SPDX-License-Identifier: Apache-2.0
#include "serve/offer.h"

#include "base/memory.h"
#include "engine/variant.h"
#include "serve/server_parts.h"

/* The first step reads and packs the weights; whoever comes first shall not wait for that. */
static int warm_up(struct pc_scheduler *scheduler, struct paco_error *err)
{
    int32_t id = 0;
    const struct pc_request r = {.prompt = &id, .n_prompt = 1, .max_tokens = 1};
    int rc = pc_scheduler_submit(scheduler, &r, NULL, err);
    while (rc == 0 && pc_scheduler_n_open(scheduler) > 0)
        rc = pc_scheduler_step(scheduler, err);
    return rc;
}

static void free_desk(struct pc_desk *desk)
{
    if (desk)
        pc_scheduler_free(desk->scheduler);
    pc_free(desk);
}

static int open_desk(
    struct pc_engine *engine, int32_t max_running, struct pc_desk **out, struct paco_error *err)
{
    struct pc_desk *desk = pc_alloc_zero(1, sizeof *desk);
    if (!desk)
        return pc_error_mem(err, sizeof *desk, "a scheduler");
    desk->engine = engine;
    desk->n_wide = (size_t)pc_engine_config(engine)->hidden_size;
    pc_engine_arithmetic(engine, desk->arithmetic, sizeof desk->arithmetic);
    const struct pc_scheduler_options o = {.max_running = max_running, .shares_lanes = true};
    int rc = pc_scheduler_new(engine, &o, &desk->scheduler, err);
    if (rc == 0) {
        desk->n_lanes = pc_scheduler_room(desk->scheduler) / 2; /* twice as many may be open */
        rc = warm_up(desk->scheduler, err);
    }
    if (rc < 0) {
        free_desk(desk);
        return rc;
    }
    *out = desk;
    return 0;
}

static int fill(
    struct pc_server *s, const struct pc_offer *before, struct pc_offer *o, struct paco_error *err)
{
    int32_t n_vocab = 0;
    int rc = s->o.open(s->o.ctx, before ? &before->house : NULL, &o->house, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < o->house.n_models; i++)
        n_vocab = o->house.models[i].n_vocab > n_vocab ? o->house.models[i].n_vocab : n_vocab;
    o->limits = (struct pc_call_limits){o->house.context, s->o.default_tokens};
    o->room = pc_alloc((size_t)n_vocab, sizeof *o->room);
    if (!o->room)
        return pc_error_mem(err, (size_t)n_vocab * sizeof *o->room, "probabilities");
    if (before && before->desk->engine == o->house.engine)
        o->desk = before->desk;
    else
        rc = open_desk(o->house.engine, s->o.max_running, &o->desk, err);
    return rc;
}

int pc_offer_open(
    struct pc_server *s, const struct pc_offer *before, struct pc_offer **out, struct paco_error *err)
{
    struct pc_offer *o = pc_alloc_zero(1, sizeof *o);
    if (!o)
        return pc_error_mem(err, sizeof *o, "what is served");
    int rc = fill(s, before, o, err);
    if (rc < 0) {
        pc_offer_close(o);
        return rc;
    }
    *out = o;
    return 0;
}

void pc_offer_close(struct pc_offer *o)
{
    if (o->desk && o->desk->n_offers == 0)
        free_desk(o->desk);
    pc_free(o->room);
    if (o->house.close)
        o->house.close(o->house.ctx);
    pc_free(o);
}

int pc_offer_admit(struct pc_offer *o, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < o->house.n_models && rc == 0; i++)
        if (o->house.models[i].variant)
            rc = pc_engine_admit(o->desk->engine, o->house.models[i].variant, err);
    return rc;
}

struct pc_offer *pc_offer_take(struct pc_server *s)
{
    pthread_mutex_lock(&s->lock);
    struct pc_offer *o = s->offer ? pc_offer_share(s->offer) : NULL;
    pthread_mutex_unlock(&s->lock);
    return o;
}

struct pc_offer *pc_offer_share(struct pc_offer *o)
{
    atomic_fetch_add_explicit(&o->n_holders, 1, memory_order_relaxed);
    return o;
}

void pc_offer_drop(struct pc_offer *o)
{
    if (o)
        atomic_fetch_sub_explicit(&o->n_holders, 1, memory_order_release);
}
