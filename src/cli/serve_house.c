// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_house.h"

#include "base/host.h"
#include "base/memory.h"
#include "cli/stamp.h"
#include "engine/constraint.h"
#include "model/llama_attention.h"

enum {
    DEFAULT_PARALLEL = 32,
    TOKENS_EACH = 2048,     /* of keys and values, for each sequence at once */
    DEFAULT_CONTEXT = 4096, /* of a model that does not say */
};

/* A base, shared by the houses that serve it. */
struct base {
    atomic_size_t n_holders;
    uint64_t stamp; /* of its files, before they were opened */
    struct pc_answering a;
    struct pc_engine *engine;
    struct pc_spelling *spelling;
    int32_t context;
    int64_t kv_tokens;
};

/* What a house holds. */
struct household {
    struct base *base;
    struct pc_tune **tunes;
    size_t n_tunes;
    struct pc_served *served;
    char name[256];
};

/* ---- the base ---- */

static void release_base(struct base *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->n_holders, 1, memory_order_acq_rel) > 1)
        return;
    pc_engine_close(b->engine);
    pc_spelling_free(b->spelling);
    pc_answering_close(&b->a);
    pc_free(b);
}

/* Keys and values for parallel answers of some length, or for one as long as the context; but a quarter of
 * the memory for them, and half as much for beginnings to be kept. kv_tokens: what the one before has, which
 * takes its part of the memory still; or 0. */
static void plan(const struct pc_serve_args *v, const struct pc_config *c, int32_t context, int64_t kv_tokens,
    struct pc_engine_options *o)
{
    uint64_t block = pc_kv_block_size(c, o->has_kv_type || o->f32 ? o->kv_type : PC_F16);
    uint64_t most = block ? pc_host_memory_available() / 4 / block * PC_KV_BLOCK : 0;
    int64_t wanted = (int64_t)o->max_logits * TOKENS_EACH;
    wanted = wanted > context ? wanted : context;
    o->plan_tokens = v->kv_tokens             ? v->kv_tokens
                     : kv_tokens              ? kv_tokens
                     : wanted < (int64_t)most ? wanted
                                              : (int64_t)most;
    o->plan_tokens = o->plan_tokens > 0 ? o->plan_tokens : 1;
    o->prefix_size = (uint64_t)o->plan_tokens / 2 / PC_KV_BLOCK * block;
}

/* Who copies a new model over the old one cuts its file short: what is served must not lie in it. */
static void keep_whole(struct pc_model *m)
{
    struct pc_checkpoint *weights = m->typed     ? m->typed
                                    : m->adapted ? m->adapted
                                    : m->sum     ? m->sum
                                                 : m->source.ck;
    weights->unmapped = true;
}

static int fill_base(struct base *b, const struct pc_house_plan *p, const struct pc_wishes *wishes,
    int64_t kv_tokens, struct paco_error *err)
{
    const struct pc_serve_args *v = p->args;
    int rc = pc_answering_open(p->self, wishes, &b->a, err);
    if (rc < 0)
        return rc;
    const struct pc_config *c = b->a.model.config;
    struct pc_engine_options o = pc_model_engine_options(&v->model);
    int32_t own = c->max_positions > 0 ? c->max_positions : DEFAULT_CONTEXT;
    b->context = v->context ? (int32_t)v->context : own;
    o.max_logits = v->parallel ? (int32_t)v->parallel : DEFAULT_PARALLEL;
    plan(v, c, b->context, kv_tokens, &o);
    b->kv_tokens = o.plan_tokens;
    if (b->context > o.plan_tokens)
        b->context = (int32_t)o.plan_tokens;
    if (v->context > b->context)
        return pc_error_set(err, PACO_ELIMIT,
            "a context of %lld tokens, but there is room for the keys and values of %d",
            (long long)v->context, b->context);
    pc_model_remark_context(p->self, &b->a.model, b->context);
    keep_whole(&b->a.model);
    rc = pc_engine_open(b->a.model.weights, c, &o, &b->engine, err);
    return rc == 0 ? pc_spelling_new(b->a.tok, &b->spelling, err) : rc;
}

/* before's, if the files are the same ones; else opened. */
static int get_base(const struct pc_house_plan *p, const struct pc_wishes *wishes, struct base *before,
    struct base **out, struct paco_error *err)
{
    const struct pc_model_args *m = &p->args->model;
    uint64_t stamp = 0;
    int rc = pc_stamp(m->model, &stamp, err);
    if (rc == 0)
        rc = pc_stamp(m->diff, &stamp, err);
    if (rc == 0)
        rc = pc_stamp(m->adapter, &stamp, err);
    if (rc < 0)
        return rc;
    if (before && before->stamp == stamp) {
        atomic_fetch_add_explicit(&before->n_holders, 1, memory_order_relaxed);
        *out = before;
        return 0;
    }
    struct base *b = pc_alloc_zero(1, sizeof *b);
    if (!b)
        return pc_error_mem(err, sizeof *b, "a model");
    b->n_holders = 1;
    b->stamp = stamp;
    rc = fill_base(b, p, wishes, before ? before->kv_tokens : 0, err);
    *out = b; /* the household's, also after a failure */
    return rc;
}

/* ---- beside it ---- */

/* That of before, if it is of the same base and its files are the same ones; else opened. */
static int get_tune(const struct pc_house_plan *p, const struct pc_wishes *wishes, size_t i,
    const struct household *before, struct household *h, struct paco_error *err)
{
    const struct pc_tune_wish *wish = &p->tunes->v[i];
    uint64_t stamp = 0;
    int rc = pc_stamp(wish->options.path, &stamp, err);
    if (rc < 0) {
        pc_error_prefix(err, "fine-tune '%s'", wish->name);
        return rc;
    }
    struct pc_tune *same = before && before->base == h->base ? before->tunes[i] : NULL;
    if (same && same->stamp == stamp) {
        h->tunes[h->n_tunes++] = pc_tune_share(same);
        return 0;
    }
    struct pc_tune *t = NULL;
    rc = pc_tune_open(wish, p->self, wishes, &h->base->a, h->base->engine, &t, err);
    if (rc < 0)
        return rc;
    t->stamp = stamp;
    h->tunes[h->n_tunes++] = t;
    return 0;
}

/* ---- all of it ---- */

/* As the server sees it. */
static void list_models(struct household *h, const struct pc_serve_args *v, struct pc_house *house)
{
    const struct base *b = h->base;
    const char *name = v->alias ? v->alias : pc_served_base_name(&v->model, h->name, sizeof h->name);
    h->served[0] = pc_served_of(name, &b->a, b->spelling, v->temp);
    h->served[0].stamp = b->stamp;
    for (size_t i = 0; i < h->n_tunes; i++) {
        const struct pc_tune *t = h->tunes[i];
        struct pc_served *m = &h->served[1 + i];
        *m = pc_served_of(t->name, &t->a, t->spelling ? t->spelling : b->spelling, v->temp);
        m->variant = t->variant;
        m->parent = name;
        m->stamp = t->stamp;
        m->size = pc_variant_size(t->variant);
    }
    house->engine = b->engine;
    house->models = h->served;
    house->n_models = 1 + h->n_tunes;
    house->context = b->context;
    house->kv_tokens = (uint64_t)b->kv_tokens;
}

static void close_house(void *ctx)
{
    struct household *h = ctx;
    while (h->n_tunes > 0)
        pc_tune_release(h->tunes[--h->n_tunes]);
    release_base(h->base);
    pc_free(h->tunes);
    pc_free(h->served);
    pc_free(h);
}

static int fill_house(const struct pc_house_plan *p, const struct household *before, struct household *h,
    struct paco_error *err)
{
    const struct pc_serve_args *v = p->args;
    const struct pc_wishes wishes = {.model = &v->model,
        .format = v->format,
        .system = v->system,
        .bos = v->bos,
        .stops = &v->stops,
        .temperature = v->temp,
        .top_p = v->top_p,
        .min_p = v->min_p,
        .repetition_penalty = v->repeat_penalty,
        .top_k = v->top_k,
        .seed = 0};
    h->tunes = pc_alloc(p->tunes->n + 1, sizeof(void *));
    h->served = pc_alloc(p->tunes->n + 1, sizeof *h->served);
    if (!h->tunes || !h->served)
        return pc_error_mem(err, (p->tunes->n + 1) * sizeof *h->served, "models");
    int rc = get_base(p, &wishes, before ? before->base : NULL, &h->base, err);
    for (size_t i = 0; i < p->tunes->n && rc == 0; i++)
        rc = get_tune(p, &wishes, i, before, h, err);
    return rc;
}

int pc_house_open(const struct pc_house_plan *p, const struct pc_house *before, struct pc_house *house,
    struct paco_error *err)
{
    struct household *h = pc_alloc_zero(1, sizeof *h);
    if (!h)
        return pc_error_mem(err, sizeof *h, "models");
    *house = (struct pc_house){.ctx = h, .close = close_house};
    int rc = fill_house(p, before ? before->ctx : NULL, h, err);
    if (rc == 0)
        list_models(h, p->args, house);
    return rc;
}
