// SPDX-License-Identifier: Apache-2.0
/* A model whose vocabulary is larger: the embedding and the head with more rows, as a checkpoint. */
#ifndef PC_ALGEBRA_GROW_H
#define PC_ALGEBRA_GROW_H

#include "format/checkpoint.h"

enum pc_grow_row {
    PC_GROW_MEAN, /* the mean of the rows there are (algebra/column_mean.h) */
    PC_GROW_ZERO,
};

/** inner with model.embed_tokens.weight and lm_head.weight (where it has one) made n_rows long. They are F32
 * in the result; all else passes through. The means are computed here, which reads both tensors whole. inner
 * is *borrowed* until *out, which is *owned*, is closed. PACO_EMISMATCH if one of them has more rows already
 * or is no matrix. */
int pc_checkpoint_grow(const struct pc_checkpoint *inner, uint64_t n_rows, enum pc_grow_row how,
    struct pc_checkpoint **out, struct paco_error *err);

#endif
