// SPDX-License-Identifier: Apache-2.0
/* Tensors made of parts of others, side by side or one below the other: what tensor-parallel training cut up.
 *
 * A matrix cut along its rows is put together by reading one part after the other; cut along its columns,
 * each row is a piece of every part. Nothing is held but the rows at hand. */
#ifndef PC_ALGEBRA_JOIN_H
#define PC_ALGEBRA_JOIN_H

#include "format/checkpoint.h"

struct pc_join {
    const char *name;                     /* in the result */
    int axis;                             /* 0: below each other; 1: side by side (matrices only) */
    uint32_t n_parts;                     /* 1: the part as it is */
    const struct pc_tensor *const *parts; /* in order */
};

/** The node whose tensor i is made of table[i]. The parts' checkpoints are *borrowed* until *out, which is
 * *owned*, is closed; table and its lists only for the call. path is for messages.
 *
 *  Errors: parts of different types or of shapes that differ in another dimension than the axis
 * PACO_EMISMATCH, saying which; a name used twice PACO_EFORMAT; a block type whose blocks a cut goes through
 * PACO_EFORMAT. A tensor of one part can be mapped if that can. */
int pc_checkpoint_join(const struct pc_join *table, size_t n, const char *path, struct pc_checkpoint **out,
    struct paco_error *err);

#endif
