// SPDX-License-Identifier: Apache-2.0
/* Base plus low-rank updates, as a checkpoint: what a LoRA adapter makes of its base, read by rows.
 *
 *     W'[i][j] = W[i][j] + scale * sum over k of B[i][k] * A[k][j]
 *
 * All in F32, each operation rounded: the sum starts at 0 and adds the rounded products with k ascending;
 * then the sum is multiplied by scale; then it is added to W. The result depends neither on which rows are
 * read together nor on the thread. Stored the other way round (W is (in, out): embeddings, GPT-2's Conv1D)
 * the same sums land transposed.
 *
 * Tensors no term names pass through in their own dtype, mapped where the base maps them; the others are F32,
 * or when only replaced, what the replacement is. The factors of a tensor are in memory, widened, while its
 * rows are being read. */
#ifndef PC_ALGEBRA_LOWRANK_H
#define PC_ALGEBRA_LOWRANK_H

#include "format/checkpoint.h"

/** What happens to one tensor of the base. source alone replaces it (its shape may differ); a and b alone
 * update it; all three update the replacement. */
struct pc_lowrank_term {
    const char *name;               /* the base's tensor */
    const struct pc_tensor *source; /* takes its place, or NULL */
    const struct pc_tensor *a;      /* (r, in), or NULL */
    const struct pc_tensor *b;      /* (out, r), or NULL */
    float scale;
    bool transposed; /* W is (in, out) instead of (out, in) */
};

/** Make the node. base and the terms' tensors are *borrowed* until *out is closed; terms only for the call.
 * *out is *owned*: pc_checkpoint_close. PACO_ENOENT for a name the base lacks, PACO_EMISMATCH for shapes that
 * do not fit, PACO_EINVAL when a name comes twice, PACO_EUNSUPPORTED for types that cannot be widened,
 * PACO_ELIMIT for factors above 1 GiB; each names the tensor. */
int pc_checkpoint_lowrank(const struct pc_checkpoint *base, const struct pc_lowrank_term *terms,
    size_t n_terms, struct pc_checkpoint **out, struct paco_error *err);

#endif
