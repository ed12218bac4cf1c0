// SPDX-License-Identifier: Apache-2.0
/* Updates in the middle of backward: gradients exist for one part of the model at a time.
 *
 *     pc_in_backward_new(&u, params, optimizer, pool, &err);
 *     pc_in_backward_begin(u, rate);                      of a step, which is one pass
 *     pc_pass_run_parts(pass, pc_in_backward_parts(u), loss)
 *         hooks.ready(part): pc_in_backward_ready(u, part)     from the end of the model to its first layer
 *     pc_in_backward_end(u, &norm, &err);                 the embedding
 *     pc_in_backward_free(u);
 *
 * As soon as backward is through with a part (what is behind the layers, each layer, the embedding) its
 * weights are not needed any more in this step: they are updated, and the memory of its gradients serves the
 * next. What has to know the norm of all gradients before any update, clipping, cannot be had, nor can the
 * sum of several passes. With a tied head the embedding's gradient begins at the end and is complete at the
 * beginning: it has memory of its own.
 *
 * A gradient that is not finite is found when parts behind it have been updated. Then nothing undoes those:
 * the model in memory is torn, u->torn says so, and only a checkpoint is good to go on from. One that is not
 * finite in the first part to be updated, like a loss that is not (the caller's to see), tears nothing. Where
 * the optimiser's states are in a file (train/states_file.h), they are fetched ahead of backward, and what
 * cannot be read or written tears the model too. */
#ifndef PC_TRAIN_IN_BACKWARD_H
#define PC_TRAIN_IN_BACKWARD_H

#include "train/optimizer.h"
#include "train/pass.h"

struct pc_in_backward {
    const struct pc_params *params;
    struct pc_optimizer *optimizer;
    struct pc_pool *pool;
    struct pc_pass_parts parts;
    uint64_t n_part, n_embedding; /* elements of their memory; n_embedding 0: it is the part's */
    double rate;
    int32_t last; /* the part that was updated last in this step, or PC_NONE_UPDATED */
    bool torn;    /* parts of the model are a step ahead of others */
    int rc;       /* of what went wrong in this step, and */
    struct paco_error err;
};
enum { PC_NONE_UPDATED = INT32_MAX };

/** Bytes of gradients, of a model whose head is tied or not. */
uint64_t pc_in_backward_size(const struct pc_params *params);

/** optimizer has no shard. All *borrowed*. *owned*: pc_in_backward_free. */
int pc_in_backward_new(struct pc_in_backward **out, const struct pc_params *params,
    struct pc_optimizer *optimizer, struct pc_pool *pool, struct paco_error *err);
void pc_in_backward_free(struct pc_in_backward *u);

/** A step begins, at this learning rate. */
void pc_in_backward_begin(struct pc_in_backward *u, double rate);

/** The gradients of part are complete: update it. false when they are not finite, or its states cannot be
 * had; the step is to be ended then. */
bool pc_in_backward_ready(struct pc_in_backward *u, int32_t part);

/** The last part, unless something went wrong before, and the norm of all parts. PACO_EVERIFY when a gradient
 * is not finite. Gradients are zeros afterwards, whatever happened. */
int pc_in_backward_end(struct pc_in_backward *u, double *norm, struct paco_error *err);

#endif
