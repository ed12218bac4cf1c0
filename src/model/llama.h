// SPDX-License-Identifier: Apache-2.0
/* The LLaMA family's weights: names bound to pointers once, every shape held against the configuration.
 *
 *     struct pc_llama *m;
 *     pc_llama_bind(checkpoint, config, kernels, false, &m, &err)     names and shapes; nothing is read yet
 *     m->weights_size                                 what loading will take: the caller may refuse
 *     pc_llama_load(m, &err)                          vectors, and room for the rest
 *     pc_llama_fill_layer(m, i, pool, &err)           a layer's matrices, on first use
 *     ...
 *     pc_llama_free(m)                                before the checkpoint is closed
 *
 * A model whose layers are filled is immutable: any number of threads may read it. Matrices are multiplied as
 * model/weight.h says; norms and biases become F32. Rows of the embedding are read one by one, unless they
 * are in memory anyway. Stored rotary_emb.inv_freq buffers are ignored: the frequencies follow from the
 * configuration. */
#ifndef PC_MODEL_LLAMA_H
#define PC_MODEL_LLAMA_H

#include "base/error.h"
#include "base/memory.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "model/weight.h"

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

/** A layer's matrix: what it is called within the layer ("self_attn.q_proj"; static), and its shape. */
struct pc_llama_shape {
    const char *name;
    uint64_t n_out, n_in;
};
struct pc_llama_shape pc_llama_shape_of(const struct pc_config *config, enum pc_llama_matrix matrix);

struct pc_llama_layer {
    const float *attention_norm, *mlp_norm; /* (C) */
    struct pc_weight matrix[PC_LLAMA_N_MATRICES];
    bool filled;
};

/** Where a block gets a layer's weights from: the pointers of a loaded model here, shards gathered on demand
 *  elsewhere. */
struct pc_llama_weights {
    const struct pc_llama_layer *(*layer)(void *ctx, int32_t i_layer);
    void *ctx;
};

struct pc_llama {
    struct pc_config config;
    const struct pc_kernels *kernels;
    struct pc_weight embedding; /* (vocab, C); data NULL: its rows are read one by one */
    struct pc_weight head;      /* (vocab, C); the embedding's when it is tied and not packed */
    const float *final_norm;    /* (C) */
    const float *inv_freq;      /* (D/2) */
    double first_filled;        /* pc_seconds() when the first layer's weights were there; 0 before */
    float rope_scale;           /* of cosines and sines: pc_rope_angles */
    struct pc_llama_layer *layers;
    bool embedding_filled, head_filled;
    uint64_t own_size,
        mapped_size;       /* bytes: packed, copied and converted; multiplied where they are mapped */
    uint64_t weights_size; /* both together */
    uint64_t largest_row;  /* bytes of a row that is packed */
    uint64_t n_params;     /* elements of matrices */
    int32_t n_filled;      /* of embedding, head and layers */
    size_t n_scratch;      /* floats a worker needs for any matrix */
    size_t form_size;      /* bytes of the forms of a row of activations, at most */

    struct pc_llama_slot *slots; /* the tensors found, and where they go */
    size_t n_slots, max_slots;
    unsigned char *memory, *row; /* of weights of their own; a row of the embedding */
    struct pc_arena arena;       /* layers, vectors, tables */
};

/** Look up every tensor the configuration calls for. A missing one
 * is PACO_ENOENT; a shape that is not what the configuration says PACO_EMISMATCH, naming both; an element
 * type without arithmetic PACO_EUNSUPPORTED. weights and kernels must outlive the model. *owned*:
 * pc_llama_free. */
int pc_llama_bind(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_kernels *kernels, enum pc_products products, struct pc_llama **out,
    struct paco_error *err);

/** Read the vectors, and make room for the matrices that need it. Call once. */
int pc_llama_load(struct pc_llama *model, struct paco_error *err);

/** Read and pack what of the embedding, a layer or the head is not used where it is mapped, and check what
 * is. Errors are those of reading. Does nothing the second time. */
int pc_llama_fill_embedding(struct pc_llama *model, struct pc_pool *pool, struct paco_error *err);
int pc_llama_fill_layer(
    struct pc_llama *model, int32_t i_layer, struct pc_pool *pool, struct paco_error *err);
int pc_llama_fill_head(struct pc_llama *model, struct pc_pool *pool, struct paco_error *err);

/** Whether nothing is left to be filled. */
bool pc_llama_is_filled(const struct pc_llama *model);

/** x (C) = the embedding of a token of the vocabulary; the embedding is filled. */
int pc_llama_embed(struct pc_llama *model, int32_t token, float *x, struct paco_error *err);

void pc_llama_free(struct pc_llama *model);

/** The accessor for a loaded model. */
struct pc_llama_weights pc_llama_weights(struct pc_llama *model);

#endif
