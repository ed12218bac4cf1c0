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

/** source with the tensors whose names end in a suffix of table (ended by a NULL suffix) brought from pairs
 * to halves; the others pass through, mapped where source maps them. source is *borrowed* until *out, which
 * is *owned*, is closed. PACO_EMISMATCH names a tensor whose rows are no even number per head.
 *
 *  Traced reads (trace.h) show each source row once and in order when a tensor is read front to back, though
 * not always the rows just asked for: a head's rows all appear when its first row is read. */
int pc_checkpoint_permute(const struct pc_checkpoint *source, const struct pc_head_count *table,
    struct pc_checkpoint **out, struct paco_error *err);

#endif
