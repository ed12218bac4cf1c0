// SPDX-License-Identifier: Apache-2.0
/* Whole examples laid one after the other, without padding: the rows of a training pass. Each is a sequence
 * of its own from position 0, and attention is block-diagonal.
 *
 *     pc_llama_batch_new(model, 512, 64, PC_F32, &batch, &err)
 *     pc_llama_batch_set(batch, lengths, n)              for each pass
 *     pc_llama_block_forward(.., pc_llama_batch_rows(batch), ..)
 *
 * Keys and values are kept for the layer at work alone (pc_llama_rows.one_layer). */
#ifndef PC_MODEL_LLAMA_BATCH_H
#define PC_MODEL_LLAMA_BATCH_H

#include "model/llama_attention.h"

struct pc_llama_batch;

/** Room for passes of at most max_rows rows in max_examples examples. model is borrowed: its configuration
 * and frequencies. kv_type is what keys and values are rounded to: PC_F32, or PC_BF16. *owned*:
 *  pc_llama_batch_free. */
int pc_llama_batch_new(const struct pc_llama *model, size_t max_rows, size_t max_examples,
    enum pc_dtype kv_type, struct pc_llama_batch **out, struct paco_error *err);
void pc_llama_batch_free(struct pc_llama_batch *batch);

/** Bytes that takes. */
uint64_t pc_llama_batch_size(
    const struct pc_config *config, size_t max_rows, size_t max_examples, enum pc_dtype kv_type);

/** Lay out n examples of these lengths (at least 1 each, together at most max_rows). Allocates nothing. */
void pc_llama_batch_set(struct pc_llama_batch *batch, const size_t *lengths, size_t n);

/** The rows of the last set. *borrowed* until the next. */
const struct pc_llama_rows *pc_llama_batch_rows(const struct pc_llama_batch *batch);

#endif
