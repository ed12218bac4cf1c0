// SPDX-License-Identifier: Apache-2.0
/* What a model is going to take, before any of it is loaded, and whether there is so much; and what is going
 * to compute. */
#include "base/cpu.h"
#include "base/host.h"
#include "engine/engine_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* Whole blocks of positions for which there is room, in tokens. */
static unsigned long long tokens_in(uint64_t bytes, uint64_t block_size)
{
    return block_size ? bytes / block_size * PC_KV_BLOCK : 0;
}

/* What of it would fit: fewer tokens, narrower keys and values, or a narrower type of weights. */
static void advise(const struct pc_engine *e, uint64_t left, char *out, size_t size)
{
    static const enum pc_dtype types[] = {PC_BF16, PC_Q8_0, PC_Q4_0};
    const struct pc_engine_plan *p = &e->plan;
    const struct pc_config *c = &e->model->config;
    uint64_t fixed = plus(p->weights, plus(p->scratch, p->loading)), room = left > fixed ? left - fixed : 0;
    uint64_t block = pc_kv_block_size(c, e->kv_type), narrow = pc_kv_block_size(c, PC_Q8_0);
    if (room >= narrow) {
        int n = 0;
        if (room >= block)
            n = snprintf(out, size, "a context of %llu tokens would fit", tokens_in(room, block));
        if (narrow < block)
            snprintf(out + n, size - (size_t)n, "%s%llu tokens%s with keys and values in q8_0", n ? ", " : "",
                tokens_in(room, narrow), n ? "" : " would fit");
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
    char advice[160];
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

uint64_t pc_engine_plan_total(const struct pc_engine *e)
{
    const struct pc_engine_plan p = pc_engine_plan(e);
    return plus(plus(p.program, p.weights), plus(plus(p.loading, p.variants), plus(p.kv, p.scratch)));
}

uint64_t pc_engine_memory_left(const struct pc_engine *e)
{
    if (e->memory_limit)
        return e->memory_limit;
    uint64_t left = pc_host_memory_available(), pending = e->model->n_filled ? 0 : e->model->own_size;
    return left > pending ? left - pending : 0;
}

/* ---- what computes ---- */

/* The types of weights that are multiplied in one arithmetic, as bits. */
static void collect(const struct pc_llama *m, uint64_t types[])
{
    types[m->head.arithmetic] |= UINT64_C(1) << m->head.dtype;
    for (int32_t i = 0; i < m->config.n_layers; i++)
        for (int k = 0; k < PC_LLAMA_N_MATRICES; k++) {
            const struct pc_weight *w = &m->layers[i].matrix[k];
            types[w->arithmetic] |= UINT64_C(1) << w->dtype;
        }
}

/* Append to out, as much as fits. */
static void PC_PRINTF(3, 4) append(char *out, size_t size, const char *fmt, ...)
{
    size_t len = strlen(out);
    va_list args;
    va_start(args, fmt);
    vsnprintf(out + len, size - len, fmt, args);
    va_end(args);
}

/* The products, and what keys and values are kept in. */
static void append_products(const struct pc_engine *e, char *out, size_t out_size)
{
    uint64_t types[PC_N_CLASSES] = {0};
    collect(e->model, types);
    const char *between = " ";
    for (int c = 0; c < PC_N_CLASSES; c++) {
        if (!types[c])
            continue;
        append(out, out_size, "%s%s products of ", between, pc_weight_class_name((enum pc_weight_class)c));
        between = "";
        for (int t = 0; t < PC_N_DTYPES; t++)
            if (types[c] >> t & 1) {
                append(out, out_size, "%s%s", between, pc_dtype_name((enum pc_dtype)t));
                between = " and ";
            }
        between = ", ";
    }
    append(out, out_size, "; keys and values in %s", pc_dtype_name(e->kv_type));
}

static const char *level_of(const struct pc_engine *e)
{
    return e->scalar ? "scalar" : pc_cpu_level();
}

char *pc_engine_describe(const struct pc_engine *e, char *out, size_t out_size)
{
    int n_threads = pc_pool_size(e->pool);
    snprintf(out, out_size, "%s, %d thread%s:", level_of(e), n_threads, n_threads == 1 ? "" : "s");
    append_products(e, out, out_size);
    return out;
}

char *pc_engine_arithmetic(const struct pc_engine *e, char *out, size_t out_size)
{
    snprintf(out, out_size, "%s:", level_of(e));
    append_products(e, out, out_size);
    return out;
}
