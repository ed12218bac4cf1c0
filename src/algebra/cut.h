// SPDX-License-Identifier: Apache-2.0
/* Tensors cut into equal pieces: what tensor-parallel code wants of a model. The reverse of join.h. */
#ifndef PC_ALGEBRA_CUT_H
#define PC_ALGEBRA_CUT_H

#include "format/checkpoint.h"

struct pc_cut {
    const char *name;           /* in the result */
    const struct pc_tensor *of; /* what is cut */
    int axis;                   /* 0: rows; 1: columns (matrices only) */
    uint32_t i, n;              /* piece i of n; n = 1: the tensor as it is */
};

/** The node whose tensor i is the piece table[i] speaks of. The tensors' checkpoints are *borrowed* until
 * *out, which is *owned*, is closed; table only for the call. path is for messages.
 *
 *  A piece of columns reads whole rows of what it is cut from. Traced reads show the source's rows for whole
 * tensors and for the first of the column pieces alone: so each of them is seen once, and in order; pieces of
 * rows show nothing.
 *
 *  Errors: rows or columns that n does not divide PACO_EMISMATCH, with the division; a block type whose
 * blocks a cut goes through PACO_EMISMATCH; a name used twice PACO_EFORMAT. */
int pc_checkpoint_cut(const struct pc_cut *table, size_t n, const char *path, struct pc_checkpoint **out,
    struct paco_error *err);

#endif
