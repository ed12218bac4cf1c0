// SPDX-License-Identifier: Apache-2.0
/* One transformer block of the LLaMA family, composed from the kernels once, for inference and training
 * alike.
 *
 * Letters: T rows (tokens of any sequences), C width, H heads on G key/value heads of D, I inner width. With
 * x (T, C) the residual stream:
 *
 *     x += O attention(rope(Q norm1(x)), rope(K norm1(x)), V norm1(x))
 *     x += DOWN (silu(GATE norm2(x)) * UP norm2(x))
 *
 * Keys and values of the rows go into their sequences' blocks first, and attention reads the blocks alone:
 * whether a key came with this call or an earlier one makes no difference to any bit. */
#ifndef PC_MODEL_LLAMA_BLOCK_H
#define PC_MODEL_LLAMA_BLOCK_H

#include "model/linear.h"
#include "model/llama.h"
#include "model/llama_attention.h"

/** What a block computes on the way to its output: one for all layers. */
struct pc_llama_activations {
    float *norm;            /* (T, C) */
    float *q, *mix;         /* (T, H D): rotated queries; attention's output */
    float *k, *v;           /* (T, G D): rotated keys; values */
    float *gate, *up, *act; /* (T, I); act is gate */
    float *delta;           /* (T, C) what a half adds to the stream */
    unsigned char *forms;   /* of the rows that are an input of products; one after the other */
};

/** What of it backward needs, kept for each layer: the rest it makes again in passing. With x_in alone (the
 *  others NULL) it makes everything again. */
struct pc_llama_tape {
    float *x_in, *x_mid; /* (T, C) the stream before each half */
    float *q, *k, *v;    /* as above; rounded as attention rounds them */
    float *mix;
    float *max, *inverse; /* (T, H) of a query's scores: the largest, 1 / sum of e^(score - max) */
    float *gate, *up;
};

/** Floats for n_rows rows, forms apart; pc_llama_activations_place cuts them out of memory of that many
 * floats, 64-byte aligned. forms needs n_rows times the model's form_size bytes, 64-byte aligned. */
size_t pc_llama_activations_size(const struct pc_config *config, size_t n_rows);
void pc_llama_activations_place(
    struct pc_llama_activations *a, const struct pc_config *config, size_t n_rows, float *memory);

/** The same for a tape; recompute: of x_in alone. */
size_t pc_llama_tape_size(const struct pc_config *config, size_t n_rows, bool recompute);
void pc_llama_tape_place(
    struct pc_llama_tape *tape, const struct pc_config *config, size_t n_rows, bool recompute, float *memory);

/** Run block i_layer over x (T, C) in place.
 *
 *  scratch  activations for at least rows->n rows.
 *  tape     NULL at inference, else where what backward needs stays. The numbers are the same either way.
 *
 *  Row t of the result depends on row t of x and on its sequence's keys and values up to its position: not on
 *  the other rows, nor on the number of threads. Allocates nothing, cannot fail. */
void pc_llama_block_forward(const struct pc_compute *compute, const struct pc_config *config,
    const struct pc_llama_weights *weights, int32_t i_layer, const struct pc_llama_rows *rows, float *x,
    const struct pc_llama_activations *scratch, const struct pc_llama_tape *tape);

#endif
