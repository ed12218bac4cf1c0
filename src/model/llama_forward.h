// SPDX-License-Identifier: Apache-2.0
/* Tokens to hidden states to logits: what stands before and behind the blocks. */
#ifndef PC_MODEL_LLAMA_FORWARD_H
#define PC_MODEL_LLAMA_FORWARD_H

#include "model/llama_block.h"

/** x (T, C) = the embeddings of token (T), each id within the vocabulary of its row's model; then every block
 * in turn. What is not loaded yet is loaded on the way: errors are those of reading, and x means nothing
 * then. */
int pc_llama_forward(const struct pc_compute *compute, struct pc_llama *model, const int32_t *token,
    const struct pc_llama_rows *rows, float *x, const struct pc_llama_activations *scratch,
    struct paco_error *err);

/** logits (T, vocab) of n_rows rows of the residual stream x (T, C), which the final norm overwrites. delta:
 * whose rows they are, or NULL; tokens a fine-tune has beyond the base's vocabulary are for
 * pc_delta_new_logits, from the same x. */
int pc_llama_logits(const struct pc_compute *compute, struct pc_llama *model,
    const struct pc_delta_rows *delta, float *x, size_t n_rows, float *logits,
    const struct pc_llama_activations *scratch, struct paco_error *err);

#endif
