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
 * others' are NULL. dir: where the file goes. Errors of rank 0 (PACO_ENOSPC) are its own: the others go on.
 */
int pc_whole_gather(
    struct pc_whole *out, const struct pc_trainer *t, const char *dir, struct paco_error *err);
/** The same of the weights alone: m and v are NULL. */
int pc_whole_gather_weights(
    struct pc_whole *out, const struct pc_trainer *t, const char *dir, struct paco_error *err);
void pc_whole_release(struct pc_whole *whole);

/** Read from, a tensor of one of the moments of param, into this rank's share. scale: its blocks' magnitudes.
 */
int pc_whole_read_share(struct pc_trainer *t, struct pc_optim_moment *moment, bool scale,
    const struct pc_param *param, const struct pc_tensor *from, struct paco_error *err);

#endif
