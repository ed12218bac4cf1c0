// SPDX-License-Identifier: Apache-2.0
/* One pass: whole examples laid one after the other, forward through the model and back to every gradient.
 *
 *     pc_pass_new(model, params, &options, &pass, &err);
 *     pc_pass_begin(pass);
 *     pc_pass_add(pass, n_ids, &ids, &labels, &weights);   ... fill them ...
 *     pc_pass_run(pass, gradients, losses);                gradients (n_flat) are added to
 *     pc_pass_free(pass);
 *
 * All memory is planned when the pass is made: pc_pass_run allocates nothing and cannot fail. In F32 the
 * forward half is the engine's own, bit for bit. */
#ifndef PC_TRAIN_PASS_H
#define PC_TRAIN_PASS_H

#include "model/llama.h"
#include "model/llama_lora.h"
#include "train/params.h"

/** What a pass tells those who share gradients or weights, or update them on the way. Parts of the model: its
 * layers, -1 before them, and n_layers behind. */
struct pc_pass_hooks {
    /** Weights of part are about to be used, on the way there or back; and have been. */
    void (*need)(void *ctx, int32_t part, bool back);
    void (*done)(void *ctx, int32_t part, bool back);
    /** Gradients of part and of all behind it are complete; with a tied head but for those of the embedding.
     * Losses are known. Not called for part -1. false: the pass is of no use any more, and ends. */
    bool (*ready)(void *ctx, int32_t part);
    void *ctx;
};

struct pc_pass_options {
    const struct pc_kernels *kernels;
    struct pc_pool *pool;
    size_t max_rows, max_examples; /* of a pass */
    enum pc_dtype kv_type;         /* PC_F32, or PC_BF16: what keys and values are rounded to */
    const struct pc_lora *lora;    /* bound to params->ck: then its factors are trained; or NULL */
    float dropout;                 /* of its inputs */
    bool recompute; /* keep the streams between layers alone, and compute the rest again on the way back */
    struct pc_pass_hooks hooks; /* any of them */
};

struct pc_pass;

/** Bytes a pass takes beside model and gradients, by class. */
struct pc_pass_plan {
    uint64_t activations; /* tapes of all layers */
    uint64_t scratch;     /* what one layer, or a piece of the loss, needs on its way */
};
struct pc_pass_plan pc_pass_plan(const struct pc_llama *model, const struct pc_pass_options *options);

/** model is bound, loaded and attached (train/params.h); its matrices are filled here. model and params are
 *  *borrowed*. *owned*: pc_pass_free. */
int pc_pass_new(struct pc_llama *model, const struct pc_params *params, const struct pc_pass_options *options,
    struct pc_pass **out, struct paco_error *err);
void pc_pass_free(struct pc_pass *pass);

/** Where ids, labels, weights of the losses and keys of an example's rows go; views. */
struct pc_pass_rows {
    int32_t *id, *label;
    float *weight;
    uint64_t *key; /* what dropout follows from, of each row; the same for all of an example */
};

/** Forget the examples of the last pass. */
void pc_pass_begin(struct pc_pass *pass);
/** Whether one more example of n rows has room. */
bool pc_pass_fits(const struct pc_pass *pass, size_t n);
/** Append an example of n rows, at least 1. Every id is below the model's vocabulary. */
struct pc_pass_rows pc_pass_add(struct pc_pass *pass, size_t n);

/** Forward and backward. loss: for each example the sum of its rows' losses (nats, unweighted, rows
 *  ascending). gradients of sum over rows of weight * loss are added to those there are, (n_flat). */
void pc_pass_run(struct pc_pass *pass, float *gradients, double *loss);

/** Gradients of a part at a time, whose first element in the flat space is the first here. */
struct pc_pass_parts {
    float *part;      /* zeros when backward comes to a part, and again when hooks.ready returns */
    float *embedding; /* of part -1: the same memory, but with a tied head memory of its own */
};

/** The same where hooks.ready takes each part's gradients before those of the next are made; when it returns
 * true, those of part -1 stand in `embedding`. false: hooks.ready has ended it. */
bool pc_pass_run_parts(struct pc_pass *pass, const struct pc_pass_parts *parts, double *loss);

/** Forward alone: the losses, for validation. */
void pc_pass_measure(struct pc_pass *pass, double *loss);

#endif
