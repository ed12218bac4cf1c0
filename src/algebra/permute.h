// SPDX-License-Identifier: Apache-2.0
/* The row order of query and key projections.
 *
 * Meta's code and GGUF rotate neighbouring elements of a head, (0,1), (2,3) ...; Hugging Face's rotates
 * element j with j + D/2. The same model in the other's hands has the rows of its q and k projections (and
 * biases) reordered within each head of D rows:
 *
 *     row h*D + a*(D/2) + j of ours  =  row h*D + 2*j + a of theirs,   a in {0,1}, 0 <= j < D/2
 *
 * Whole rows move, so blocks of quantised types stay whole.
 * Source: Transformers convert_llama_weights_to_hf.py, `permute`. */
#ifndef PC_ALGEBRA_PERMUTE_H
#define PC_ALGEBRA_PERMUTE_H

#include "format/checkpoint.h"

struct pc_head_count {
    const char *suffix; /* of tensor names: ".self_attn.q_proj.weight" */
    uint32_t n_heads;
};

enum pc_permutation {
    PC_PAIRS_TO_HALVES, /* Meta's and GGUF's order to Hugging Face's */
    PC_HALVES_TO_PAIRS,
};

/** source with the tensors whose names end in a suffix of table (ended by a NULL suffix) brought from one
 * order to the other; the others pass through, mapped where source maps them. source is *borrowed* until
 * *out, which is *owned*, is closed. PACO_EMISMATCH names a tensor whose rows are no even number per head,
 * PACO_ELIMIT one whose rows have more than PC_MAX_ROW elements.
 *
 *  Traced reads (trace.h) show rows of the source by the numbers that were asked for, not those the result
 * was made of: read front to back, each appears once and in order all the same. */
int pc_checkpoint_permute(const struct pc_checkpoint *source, const struct pc_head_count *table,
    enum pc_permutation direction, struct pc_checkpoint **out, struct paco_error *err);

#endif
