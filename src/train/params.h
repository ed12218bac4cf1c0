// SPDX-License-Identifier: Apache-2.0
/* What is trained: tensors laid out one after the other in one flat space of elements.
 *
 *     struct pc_params *p;
 *     pc_params_new(&p, &err);
 *     pc_params_add_llama(p, &config, &err);         full fine-tuning: every weight the model multiplies with
 *     pc_params_allocate(p, &err);                   w
 *     pc_params_read(p, source, pool, progress, &err);
 *     pc_llama_bind(p->ck, &config, ...); pc_llama_load(...); pc_params_attach(p, model);
 *     ...
 *     pc_params_free(p);                             after the model
 *
 * Gradients and the optimiser's states are arrays of the same length beside w, so that a norm, an update and
 * a shard of either are ranges of indices. Tensors begin at multiples of PC_PARAM_ALIGN; the gaps are zeros
 * and stay so. p->ck shows w as a checkpoint whose tensors are mapped where they lie: a model bound to it
 * computes with the weights as they are at that moment, saving is pc_write_checkpoint, and evaluation during
 * training is an engine over it.
 *
 * Elements are F32. With `matrices` set to PC_BF16 before the first tensor is added, those of two dimensions
 * are kept in BF16, half as much, and every update rounds them at random (docs/math/adamw.md); vectors,
 * norms and biases, a ten-thousandth of a model, stay F32. */
#ifndef PC_TRAIN_PARAMS_H
#define PC_TRAIN_PARAMS_H

#include "base/progress.h"
#include "base/threads.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "model/llama.h"

enum {
    PC_PARAM_ALIGN = 256, /* elements; a block of the 8-bit states (train/optimizer.h) */
    PC_PARAM_CHUNK =
        65536, /* elements of what is summed or updated as one; counted from the flat space's start */
};

struct pc_param {
    const char *name;     /* a view */
    uint64_t offset, n;   /* elements of the flat space */
    uint64_t n_out, n_in; /* shape; n_in 1 for vectors */
    uint64_t vector;      /* where it lies in pc_params.vectors, if it does */
    enum pc_dtype dtype;  /* of its weights: PC_F32 or PC_BF16 */
    int32_t layer;        /* it belongs to, by its name; -1: none */
    bool is_norm;         /* a norm's weight */
    bool is_bias;
};

struct pc_params {
    struct pc_param *v;
    size_t n, capacity;
    uint64_t n_flat;          /* elements of the flat space, a multiple of PC_PARAM_ALIGN */
    uint64_t n_elements;      /* without the gaps */
    enum pc_dtype matrices;   /* PC_F32, or PC_BF16 */
    float *w;                 /* (n_flat), 4096-byte aligned; NULL with BF16 matrices, which have */
    uint16_t *w16;            /* (n_flat), and */
    float *vectors;           /* (n_vectors) */
    uint64_t n_vectors;       /* elements of vectors, each a multiple of PC_PARAM_ALIGN */
    struct pc_checkpoint *ck; /* tensor i is v[i] */
    /** Elements [first, end) have been read: where ranks share weights, others' may be given back. NULL:
     * nobody asks. Called by the workers that read. */
    void (*arrived)(void *ctx, uint64_t first, uint64_t end);
    void *ctx;
};

/** An empty space. *owned*: pc_params_free. */
int pc_params_new(struct pc_params **out, struct paco_error *err);
void pc_params_free(struct pc_params *p);

/** Append a tensor (n_out, n_in), or with n_in == 0 a vector, before pc_params_allocate. name is copied. */
int pc_params_add(
    struct pc_params *p, const char *name, uint64_t n_out, uint64_t n_in, struct paco_error *err);

/** Append every tensor of a LLaMA under its Hugging Face name in state-dict order; no head where it is tied.
 */
int pc_params_add_llama(struct pc_params *p, const struct pc_config *config, struct paco_error *err);

/** Bytes of the weights. */
uint64_t pc_params_size(const struct pc_params *p);

/** Make w, whose memory is taken, and which means something, when pc_params_read or _zero has written it; ck
 *  leads there from now on. */
int pc_params_allocate(struct pc_params *p, struct paco_error *err);

/** Read every tensor from source, widened exactly to F32, or rounded to the nearest BF16. A missing one is
 * PACO_ENOENT; another shape PACO_EMISMATCH, but that a tensor may have fewer rows there: the others become
 * zeros (pc_params_fill_new_rows). */
int pc_params_read(struct pc_params *p, const struct pc_checkpoint *source, struct pc_pool *pool,
    const struct pc_progress *progress, struct paco_error *err);

/** Make all weights zeros. */
void pc_params_zero(struct pc_params *p);

/** What rows of the embedding and the head hold that the base has not. */
enum pc_new_rows {
    PC_ROWS_RANDOM, /* normal, standard deviation 0.02, from the seed: Open-Instruct's resize */
    PC_ROWS_MEAN,   /* the mean of the base's (algebra/column_mean.h): Stanford Alpaca's */
};

/** Fill the rows that source lacks, of the embedding and the head. */
int pc_params_fill_new_rows(struct pc_params *p, const struct pc_checkpoint *source, enum pc_new_rows how,
    uint64_t seed, struct paco_error *err);

/** Let a model that was bound to p->ck and loaded read its norms and biases from w too, instead of from
 *  copies: updates are seen at once. */
void pc_params_attach(const struct pc_params *p, struct pc_llama *model);

/** The layers there are. */
int32_t pc_params_n_layers(const struct pc_params *p);

/** Elements [*first, *end) are part's (train/pass.h): layer `part`, -1 what is before the layers, or as many
 * as there are layers: what is behind them. */
void pc_params_part(const struct pc_params *p, int32_t part, uint64_t *first, uint64_t *end);

/** The part a tensor of p belongs to. */
int32_t pc_params_part_of(const struct pc_params *p, const struct pc_param *param);

/** The tensor called name, or NULL. */
const struct pc_param *pc_params_find(const struct pc_params *p, const char *name);

/** Where the tensor called name lies in flat (w, gradients ...), or NULL when it is not trained. */
static inline float *pc_params_at(const struct pc_params *p, float *flat, const char *name)
{
    const struct pc_param *param = pc_params_find(p, name);
    return param ? flat + param->offset : NULL;
}

/** The weights of param, in its type. */
static inline void *pc_params_weights(const struct pc_params *p, const struct pc_param *param)
{
    if (p->w)
        return p->w + param->offset;
    return param->dtype == PC_F32 ? (void *)(p->vectors + param->vector) : (void *)(p->w16 + param->offset);
}

/** Chunks of PC_PARAM_CHUNK elements, the last one shorter. */
static inline uint64_t pc_params_n_chunks(const struct pc_params *p)
{
    return (p->n_flat + PC_PARAM_CHUNK - 1) / PC_PARAM_CHUNK;
}

#endif
