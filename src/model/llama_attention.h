// SPDX-License-Identifier: Apache-2.0
/* Attention of a step's rows to their sequences' keys and values.
 *
 * Work is shared by pieces (rows of one sequence that read each tile together) and key/value heads; where
 * that is too little for all workers, as for one row of a long sequence, also by the segments of
 * kernels/attention.h, which are joined in ascending order either way: the same bits. */
#ifndef PC_MODEL_LLAMA_ATTENTION_H
#define PC_MODEL_LLAMA_ATTENTION_H

#include "model/linear.h"
#include "model/llama.h"
#include "model/llama_delta.h"
#include "model/llama_lora.h"

/** Consecutive rows of one sequence that attend together. */
struct pc_llama_piece {
    uint32_t first, n;
};

/** Rows of a step: which sequence, which position. Rows of one sequence ascend. */
struct pc_llama_rows {
    size_t n;
    void *const *seq;     /* (T) whatever kv_block knows */
    const int32_t *pos;   /* (T) absolute, in tokens */
    const float *cos_sin; /* (T, D) of pc_rope_angles */
    /** The block of seq that holds positions [32 i, 32 i + 32), laid out as pc_kv_tiles says. */
    void *(*kv_block)(void *seq, int32_t i_block);
    const struct pc_llama_piece *pieces; /* of pc_llama_cut */
    size_t n_pieces;
    enum pc_dtype kv_type;             /* of the blocks: one pc_kv_tile_size knows */
    bool one_layer;                    /* the blocks hold the layer at work alone: training */
    const struct pc_lora_rows *lora;   /* adapters beside the matrices, in training; NULL: none */
    const struct pc_delta_rows *delta; /* fine-tunes beside the model, at inference; NULL: none */
};

/** Cut rows into pieces, at most n of them, each of one sequence and of as many rows as share a tile well.
 *  Returns how many. */
size_t pc_llama_cut(const struct pc_config *config, void *const *seq, const int32_t *pos, size_t n,
    struct pc_llama_piece *pieces);

/** The key tile and the value tile of a layer and key/value head in a block. */
static inline struct pc_kv_tile pc_kv_tiles(
    const struct pc_config *c, enum pc_dtype kv_type, void *block, int32_t i_layer, int32_t i_head)
{
    size_t size = pc_kv_tile_size(kv_type, (size_t)c->head_dim);
    char *k = (char *)block + ((size_t)i_layer * (size_t)c->n_kv_heads + (size_t)i_head) * 2 * size;
    return (struct pc_kv_tile){k, k + size};
}

/** Which layer of the rows' blocks that is. */
static inline int32_t pc_kv_layer(const struct pc_llama_rows *rows, int32_t i_layer)
{
    return rows->one_layer ? 0 : i_layer;
}

/** Bytes of a block; 0 for a type that keys and values cannot have. */
uint64_t pc_kv_block_size(const struct pc_config *config, enum pc_dtype kv_type);

/** Floats of scratch a worker needs for attention, and that all of them share to work on one piece together
 *  (pc_compute.parts; without it they do not). */
size_t pc_llama_attention_scratch(const struct pc_config *config);
size_t pc_llama_attention_parts(const struct pc_config *config, int n_workers);

/** mix (T, H D) = what the queries q (T, H D) find in layer i_layer of their sequences' blocks; unless NULL,
 *  max (T, H) is the largest score of each, and inverse (T, H) 1 / the sum of their e^(score - max). */
void pc_llama_attention_forward(const struct pc_compute *compute, const struct pc_config *config,
    const struct pc_llama_rows *rows, int32_t i_layer, const float *q, float *mix, float *max,
    float *inverse);

#endif
