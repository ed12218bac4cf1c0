// SPDX-License-Identifier: Apache-2.0
/* What engine.c, engine_plan.c, seq.c and prefix.c share. */
#ifndef PC_ENGINE_ENGINE_PARTS_H
#define PC_ENGINE_ENGINE_PARTS_H

#include "engine/engine.h"
#include "engine/kv_pool.h"
#include "model/llama_forward.h"

#include <stdatomic.h>

struct pc_prefix;

struct pc_engine {
    struct pc_llama *model;
    struct pc_kernels kernels;
    struct pc_pool *pool;
    struct pc_compute compute;
    struct pc_engine_plan plan;
    uint64_t memory_limit;
    size_t max_rows, max_logits;
    int64_t plan_tokens;
    enum pc_dtype kv_type;
    bool scalar;
    struct pc_kv_pool pages;
    struct pc_prefix *prefix; /* NULL: nothing is kept */

    void *memory; /* holds all that follows */
    struct pc_llama_activations activations;
    float *x, *hidden, *logits, *cos_sin; /* (max_rows, C), (max_logits, C), (max_logits, V), (max_rows, D) */
    void **seq;                           /* (max_rows) */
    int32_t *pos, *token;                 /* (max_rows) */
    struct pc_llama_piece *pieces;        /* (max_rows) */
    size_t *logits_row;                   /* (max_logits) which row of the step has them */
    float **logits_at;                    /* (max_logits) where: in logits, or in wide */
    const struct pc_llama_delta **logits_delta; /* (max_logits) whose */
    size_t n_logits;
    size_t *order;               /* (max_rows) rows of a piece, those of one variant together */
    struct pc_delta_job *jobs;   /* PC_DELTA_JOBS times as many */
    struct pc_delta_span *spans; /* (max_rows or max_logits, whichever is more) */

    /* Of the variants there are: what pc_engine_admit made room for. */
    float *low, *wide; /* (max_rows, ..) between two products; (max_logits, wide_stride) logits of more tokens
                          than the base's */
    size_t n_low, n_wide, wide_stride;
    _Atomic uint64_t variants_size, last_variant;
    _Atomic bool is_filled; /* everything is loaded */
};

struct pc_seq {
    struct pc_engine *engine;
    int32_t capacity, length;
    int32_t staged;   /* the last position a step under validation gives it, -1 none */
    uint64_t variant; /* whose keys and values: pc_variant_id; of an empty one it means nothing */
    uint64_t staged_variant;
    int32_t n_pages, max_pages;
    struct pc_kv_page *pages[]; /* the first n_pages are there: at least those of length positions */
};

/** The scratch, laid out one thing after another from base on: its bytes. With base NULL only measured. */
size_t pc_engine_lay_out(struct pc_engine *e, unsigned char *base);

/** Fill e->plan and what memory it is about; PACO_EMEM, in numbers, when there is not so much. */
int pc_engine_plan_memory(struct pc_engine *e, const struct pc_engine_options *o, struct paco_error *err);

/** Bytes there are for more, after what the engine has still to load. */
uint64_t pc_engine_memory_left(const struct pc_engine *e);

/** Make position pos writable: the page is there and nobody else's, and so are those before it. */
void pc_seq_prepare(struct pc_seq *seq, int32_t pos);

/** Whether pc_engine_admit has made room for it. */
bool pc_variant_is_admitted(const struct pc_engine *e, const struct pc_variant *v);

/** A cache of at most size bytes of pages, reserved now. */
int pc_prefix_new(struct pc_kv_pool *pages, uint64_t size, struct pc_prefix **out, struct paco_error *err);
void pc_prefix_free(struct pc_prefix *prefix);

#endif
