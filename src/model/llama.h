// SPDX-License-Identifier: Apache-2.0
/* The LLaMA family's weights: names bound to pointers once, every shape held against the configuration.
 *
 *     struct pc_llama *m;
 *     pc_llama_bind(checkpoint, config, &m, &err)     names and shapes; nothing is read yet
 *     m->weights_size                                 what loading will take: the caller may refuse
 *     pc_llama_load(m, kernels, &err)                 pointers into the mapping, or copies
 *     ...
 *     pc_llama_free(m)                                before the checkpoint is closed
 *
 * A loaded model is immutable: any number of threads may read it. Matrices keep the file's type; norms and
 * biases become F32. Stored rotary_emb.inv_freq buffers are ignored: the frequencies follow from the
 * configuration. */
#ifndef PC_MODEL_LLAMA_H
#define PC_MODEL_LLAMA_H

#include "base/error.h"
#include "base/memory.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "model/linear.h"

enum pc_llama_matrix {
    PC_LLAMA_Q,
    PC_LLAMA_K,
    PC_LLAMA_V,
    PC_LLAMA_O,
    PC_LLAMA_GATE,
    PC_LLAMA_UP,
    PC_LLAMA_DOWN,
    PC_LLAMA_N_MATRICES
};

struct pc_llama_layer {
    const float *attention_norm, *mlp_norm; /* (C) */
    struct pc_weight matrix[PC_LLAMA_N_MATRICES];
};

/** Where a block gets a layer's weights from: the pointers of a loaded model here, shards gathered on demand
 *  elsewhere. */
struct pc_llama_weights {
    const struct pc_llama_layer *(*layer)(void *ctx, int32_t i_layer);
    void *ctx;
};

struct pc_llama {
    struct pc_config config;
    struct pc_weight embedding, head; /* (vocab, C); the same matrix when tied */
    const float *final_norm;          /* (C) */
    const float *inv_freq;            /* (D/2) */
    struct pc_llama_layer *layers;
    uint64_t weights_size; /* bytes: mapped, copied and converted */
    size_t n_scratch;      /* floats a worker needs for any matrix */

    struct pc_llama_slot *slots; /* the tensors found, and where they go */
    size_t n_slots, max_slots;
    void **copies; /* tensors that could not be mapped */
    size_t n_copies;
    struct pc_arena arena; /* layers, vectors, tables */
};

/** Look up every tensor the configuration calls for. A missing one is PACO_ENOENT; a shape that is not what
 *  the configuration says PACO_EMISMATCH, naming both; an element type without arithmetic PACO_EUNSUPPORTED.
 *  weights must outlive the model. *owned*: pc_llama_free. */
int pc_llama_bind(const struct pc_checkpoint *weights, const struct pc_config *config, struct pc_llama **out,
    struct paco_error *err);

/** Get the bytes: map matrices, or read them where the checkpoint has no contiguous form. Call once. */
int pc_llama_load(struct pc_llama *model, const struct pc_kernels *kernels, struct paco_error *err);

void pc_llama_free(struct pc_llama *model);

/** The accessor for a loaded model. */
struct pc_llama_weights pc_llama_weights(struct pc_llama *model);

#endif
