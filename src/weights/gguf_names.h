// SPDX-License-Identifier: Apache-2.0
/* A GGUF checkpoint in Hugging Face's names, order and row layout. */
#ifndef PC_WEIGHTS_GGUF_NAMES_H
#define PC_WEIGHTS_GGUF_NAMES_H

#include "format/checkpoint.h"
#include "format/config.h"

/** Hugging Face's name of a GGUF tensor into out ("blk.3.attn_q.weight" gives
 * "model.layers.3.self_attn.q_proj.weight"): false, with out the name itself, for one that LLaMA does not
 * have. */
bool pc_gguf_hf_name(const char *gguf_name, char *out, size_t out_size);

/** GGUF's name of a Hugging Face tensor; false for one that LLaMA does not have. */
bool pc_hf_gguf_name(const char *hf_name, char *out, size_t out_size);

/** Two nodes over gguf, which is *borrowed* until both are closed, the second (*out) first: *renamed has the
 * names and the state dict's order, *out also the rows of q and k as Hugging Face has them.
 * rope_freqs.weight, which config stands for, is left out. */
int pc_gguf_as_hf(const struct pc_checkpoint *gguf, const struct pc_config *config,
    struct pc_checkpoint **renamed, struct pc_checkpoint **out, struct paco_error *err);

/** The other direction: ck under GGUF's names and with its rows of q and k, rotary buffers left out, and the
 * head too when config ties it; factors (NULL: none) is added as rope_freqs.weight. A tensor that no LLaMA
 * has is PACO_EUNSUPPORTED. Nodes as above. */
int pc_gguf_from_hf(const struct pc_checkpoint *ck, const struct pc_config *config,
    const struct pc_tensor *factors, struct pc_checkpoint **permuted, struct pc_checkpoint **out,
    struct paco_error *err);

#endif
