// SPDX-License-Identifier: Apache-2.0
/* What ranks keep shares of, put together to be saved, and dealt out again when it is loaded.
 *
 * Where nothing is shared the arrays are the trainer's own. Else rank 0 gets them in a file without a name
 * beside the checkpoint, mapped: memory stays what the plan says, and what is written is the same bytes as
 * with one rank, so that any number of ranks can go on from it. */
#ifndef PC_TRAIN_WHOLE_H
#define PC_TRAIN_WHOLE_H

#include "train/loop.h"

struct pc_whole {
    float *w;                    /* (n_flat) */
    struct pc_optim_moment m, v; /* data (n_flat), scale (n_flat / PC_PARAM_ALIGN) or NULL */
    void *map;
    size_t map_size;
};

/** All ranks call this; rank 0's out has the arrays, *borrowed* from the trainer or until release, the
 * others' are NULL. dir: where rank 0's file goes. Errors are everyone's (pc_collect_agree). */
int pc_whole_gather(
    struct pc_whole *out, const struct pc_trainer *t, const char *dir, struct paco_error *err);
/** The same of the weights alone: m and v are NULL. */
int pc_whole_gather_weights(
    struct pc_whole *out, const struct pc_trainer *t, const char *dir, struct paco_error *err);
void pc_whole_release(struct pc_whole *whole);

/** Bytes of that file, of the larger of both calls; 0 where nothing is shared. */
uint64_t pc_whole_file_size(
    const struct pc_ranks *ranks, const struct pc_params *params, enum pc_optim_states states);

enum pc_whole_array {
    PC_WHOLE_M,
    PC_WHOLE_V,
    PC_WHOLE_M_SCALE,
    PC_WHOLE_V_SCALE,
    PC_WHOLE_W,
    PC_WHOLE_ARRAYS
};

/** The tensor that holds param i of an array. */
typedef const struct pc_tensor *pc_whole_find(void *ctx, size_t i, enum pc_whole_array array);

/** All ranks call this: what rank 0 reads of its tensors (the others' find is not called) becomes everyone's
 *  weights, and everyone's share of the moments. Errors are everyone's. */
int pc_whole_deal(struct pc_trainer *t, pc_whole_find *find, void *ctx, struct paco_error *err);

#endif
