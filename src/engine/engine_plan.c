// SPDX-License-Identifier: Apache-2.0
/* What a model is going to take, before any of it is loaded; and whether there is so much. */
#include "base/cpu.h"
#include "base/host.h"
#include "engine/engine_parts.h"

#include <stdio.h>

static double gigabytes(uint64_t bytes)
{
    return (double)bytes * 1e-9;
}

/* A sum that stays at the largest number. */
static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return pc_add_u64(a, b, &sum) ? sum : UINT64_MAX;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return pc_mul_u64(a, b, &product) ? product : UINT64_MAX;
}

static uint64_t kv_size(const struct pc_engine *e, int64_t n_tokens)
{
    uint64_t n = ((uint64_t)n_tokens + PC_KV_BLOCK - 1) / PC_KV_BLOCK;
    return times(n, pc_kv_block_size(&e->model->config, e->kv_type));
}

/* What of it would fit: fewer tokens, or a narrower type of weights. */
static void advise(const struct pc_engine *e, uint64_t left, char *out, size_t size)
{
    static const enum pc_dtype types[] = {PC_BF16, PC_Q8_0, PC_Q4_0};
    const struct pc_engine_plan *p = &e->plan;
    uint64_t fixed = plus(p->weights, plus(p->scratch, p->loading));
    if (left > fixed && (left - fixed) / p->kv_token >= PC_KV_BLOCK) {
        snprintf(out, size, "a context of %llu tokens would fit",
            (unsigned long long)((left - fixed) / p->kv_token / PC_KV_BLOCK * PC_KV_BLOCK));
        return;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const struct pc_dtype_traits *t = pc_dtype_traits(types[i]);
        uint64_t weights = times(e->model->n_params / t->n_block, t->block_size);
        if (weights < p->weights && plus(weights, plus(p->scratch, p->loading)) < left) {
            snprintf(
                out, size, "converted to %s its weights would take about %.3f", t->name, gigabytes(weights));
            return;
        }
    }
    snprintf(out, size, "no type of weights makes it small enough");
}

static int check_memory(const struct pc_engine *e, const struct pc_engine_options *o, struct paco_error *err)
{
    const struct pc_engine_plan *p = &e->plan;
    uint64_t left = e->memory_limit ? e->memory_limit : pc_host_memory_available();
    uint64_t need = plus(plus(p->weights, p->loading), plus(p->kv, p->scratch));
    if (need <= left)
        return 0;
    char advice[128];
    advise(e, left, advice, sizeof advice);
    return pc_error_set(err, PACO_EMEM,
        "needs %.3f GB: weights %.3f, keys and values of %lld tokens %.3f, scratch %.3f, loading %.3f; %.3f "
        "GB "
        "are available (%s)",
        gigabytes(need), gigabytes(p->weights), (long long)o->plan_tokens, gigabytes(p->kv),
        gigabytes(p->scratch), gigabytes(p->loading), gigabytes(left), advice);
}

int pc_engine_plan_memory(struct pc_engine *e, const struct pc_engine_options *o, struct paco_error *err)
{
    const struct pc_config *c = &e->model->config;
    struct pc_engine_plan *p = &e->plan;
    size_t attention = pc_llama_attention_scratch(c);
    e->compute.n_scratch = e->model->n_scratch > attention ? e->model->n_scratch : attention;
    e->compute.n_scratch = (e->compute.n_scratch + 15) / 16 * 16;
    pc_kv_pool_init(&e->pages, (size_t)pc_kv_block_size(c, e->kv_type));
    p->program = pc_host_memory_resident();
    p->weights = e->model->weights_size;
    p->loading =
        e->model->largest_row ? pc_weights_fill_size(e->model->largest_row, pc_pool_size(e->pool)) : 0;
    p->scratch = pc_engine_lay_out(e, NULL);
    p->kv_token = pc_kv_block_size(c, e->kv_type) / PC_KV_BLOCK;
    p->kv = plus(kv_size(e, o->plan_tokens), o->prefix_size);
    return check_memory(e, o, err);
}

uint64_t pc_engine_memory_left(const struct pc_engine *e)
{
    if (e->memory_limit)
        return e->memory_limit;
    uint64_t left = pc_host_memory_available(), pending = e->model->n_filled ? 0 : e->model->own_size;
    return left > pending ? left - pending : 0;
}
