// SPDX-License-Identifier: Apache-2.0
/* The order of Transformers' LLaMA state dict: embedding; per layer q, k, v, o, rotary buffer, gate, down, up
 * and the two norms; last norm; head. safetensors files do not keep it, shards and listings should. */
#ifndef PC_ALGEBRA_ORDER_H
#define PC_ALGEBRA_ORDER_H

#include "format/checkpoint.h"

/** order[k] = index in ck of the tensor at place k of the state dict. Names that no LLaMA has come last, in
 * ck's own order. order has ck->n_tensors entries. PACO_EMEM only. Source: Transformers 4.28.1
 * modeling_llama.py. */
int pc_state_dict_order(const struct pc_checkpoint *ck, uint32_t *order, struct paco_error *err);

/** ck's tensors in that order, as a checkpoint. ck is *borrowed* until *out, which is *owned*, is closed. */
int pc_checkpoint_in_order(
    const struct pc_checkpoint *ck, struct pc_checkpoint **out, struct paco_error *err);

#endif
