// SPDX-License-Identifier: Apache-2.0
/* What variant.c, variant_make.c and the engine share. */
#ifndef PC_ENGINE_VARIANT_PARTS_H
#define PC_ENGINE_VARIANT_PARTS_H

#include "algebra/lowrank.h"
#include "engine/engine_parts.h"
#include "engine/variant.h"

#include <stdatomic.h>

struct pc_variant {
    _Atomic uint32_t n_holders;
    struct pc_engine *engine;
    uint64_t id; /* never given again, unlike an address: what keys and values are known by */
    uint64_t size;
    struct pc_config config;
    struct pc_llama_delta delta;
    size_t low;                          /* pc_llama_delta_low */
    size_t n_factors, largest_rank;      /* for people */
    uint64_t n_dense, n_sparse, n_signs; /* rows; elements */
    struct pc_arena arena;               /* small things, not counted */
    void **blocks;                       /* (n_blocks) the rest */
    size_t n_blocks, max_blocks;
    unsigned char *run; /* the rest of one of them that is given out in pieces */
    uint64_t run_left;
};

/** Bytes for the variant, 64-byte aligned; counted before they are taken. what: for messages. NULL: err is
 * set. */
void *pc_variant_take(
    struct pc_variant *v, uint64_t n, uint64_t size, const char *what, struct paco_error *err);

/** Take size bytes now, from which what is taken next comes as long as there is enough: one after the other,
 * as they are going to be read. */
int pc_variant_take_run(struct pc_variant *v, uint64_t size, const char *what, struct paco_error *err);

/** Bytes in a run of a piece of n times size. */
static inline uint64_t pc_variant_piece(uint64_t n, uint64_t size)
{
    return (n * size + 63) / 64 * 64;
}

/** What a variant is made of: two models, and where one was made with an adapter, how. */
struct pc_variant_parts {
    const struct pc_checkpoint *base, *tuned;
    const struct pc_checkpoint
        *packed; /* of a packed diff (weights/packed_diff.h), whose matrices stay packed; or NULL */
    bool base_tied, tuned_tied;
    const struct pc_lowrank_term
        *terms; /* by index of base's tensors: those without a name are unchanged. NULL: look at all */
};

/** Fill v->delta, and v->config's vocabulary. */
int pc_variant_make(struct pc_variant *v, const struct pc_variant_parts *parts, struct paco_error *err);

static inline uint64_t pc_variant_id(const struct pc_variant *v)
{
    return v ? v->id : 0;
}

#endif
