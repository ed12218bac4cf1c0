// SPDX-License-Identifier: Apache-2.0
/* What is trained when it is a low-rank adapter (model/llama_lora.h): its factors in a flat space, under
 * PEFT's names, and adapter_config.json. */
#ifndef PC_TRAIN_LORA_H
#define PC_TRAIN_LORA_H

#include "base/buf.h"
#include "base/json.h"
#include "train/params.h"

struct pc_lora_options {
    uint64_t rank;      /* 64 */
    double alpha;       /* 16 */
    double dropout;     /* 0.1 */
    bool scale_by_root; /* alpha / sqrt(rank) instead of alpha / rank: an adapter that begins so stays so */
    unsigned targets;   /* bit i: enum pc_llama_matrix i has factors */
};

/** PEFT's for LLaMA: q_proj and v_proj. */
#define PC_LORA_TARGETS (1u << PC_LLAMA_Q | 1u << PC_LLAMA_V)
#define PC_LORA_ALL ((1u << PC_LLAMA_N_MATRICES) - 1)

/** "q_proj,v_proj" or "all" as bits. PACO_EINVAL names what is no matrix of a layer. */
int pc_lora_targets_parse(const char *text, unsigned *out, struct paco_error *err);

float pc_lora_scale(const struct pc_lora_options *o);

/** Append the factors of every target of every layer: A (rank, n_in), B (n_out, rank). */
int pc_params_add_lora(struct pc_params *p, const struct pc_config *config,
    const struct pc_lora_options *options, struct paco_error *err);

/** A uniform in +-1 / sqrt(n_in), from the seed; B zeros: the tuned model begins as its base. */
void pc_params_init_lora(struct pc_params *p, uint64_t seed);

/** What an adapter that is opened for more training says of itself; p, the parameters made of that, can then
 * read ck (pc_params_read). PACO_EUNSUPPORTED for tensors that would not be trained: embeddings, biases,
 * ranks of their own. */
int pc_lora_options_of(const struct pc_checkpoint *ck, const json_t *config, struct pc_lora_options *out,
    struct paco_error *err);

/** Append adapter_config.json as PEFT reads it. base: what the adapter is for. */
void pc_lora_config_write(const struct pc_lora_options *options, const char *base, struct pc_buf *out);

#endif
