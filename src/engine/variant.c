// SPDX-License-Identifier: Apache-2.0
#include "engine/variant.h"

#include "base/memory.h"
#include "engine/engine_parts.h"

#include <stdatomic.h>
#include <stdio.h>

struct pc_variant {
    _Atomic uint32_t n_holders;
    uint64_t size;
    struct pc_config config;
};

int pc_variant_open(struct pc_engine *engine, const struct pc_source *base,
    const struct pc_variant_options *options, struct pc_variant **out, struct paco_error *err)
{
    (void)engine;
    (void)base;
    (void)out;
    pc_error_set(err, PACO_EUNSUPPORTED, "variants cannot be run yet");
    pc_error_path(err, options->path);
    return PACO_EUNSUPPORTED;
}

int pc_engine_admit(struct pc_engine *engine, const struct pc_variant *variant, struct paco_error *err)
{
    (void)engine;
    (void)variant;
    return pc_error_set(err, PACO_EUNSUPPORTED, "variants cannot be run yet");
}

struct pc_variant *pc_variant_share(struct pc_variant *v)
{
    if (v)
        atomic_fetch_add_explicit(&v->n_holders, 1, memory_order_relaxed);
    return v;
}

void pc_variant_release(struct pc_variant *v)
{
    if (v && atomic_fetch_sub_explicit(&v->n_holders, 1, memory_order_acq_rel) == 1)
        pc_free(v);
}

uint64_t pc_variant_size(const struct pc_variant *v)
{
    return v ? v->size : 0;
}

const struct pc_config *pc_variant_config(const struct pc_engine *engine, const struct pc_variant *v)
{
    return v ? &v->config : &engine->model->config;
}

int32_t pc_variant_vocab(const struct pc_engine *engine, const struct pc_variant *v)
{
    return pc_variant_config(engine, v)->vocab_size;
}

char *pc_variant_describe(const struct pc_variant *v, char *out, size_t out_size)
{
    snprintf(out, out_size, "%.1f MB", (double)v->size * 1e-6);
    return out;
}
