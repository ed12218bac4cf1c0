// SPDX-License-Identifier: Apache-2.0
/* Backward of the LLaMA family: from the loss of a pass back to every weight. docs/math/llama_backward.md.
 *
 * A pass is a ragged batch of whole examples (model/llama_batch.h). Forward with a tape for each layer, then
 *
 *     pc_llama_embed each row of x
 *     for each layer, ascending:   pc_llama_block_forward(.., x, &s->forward, &tape[i])
 *     pc_llama_loss_backward(..)                          x becomes the gradient of the last stream
 *     for each layer, descending:  pc_llama_block_backward(.., &tape[i], x, &gradients[i], s)
 *     pc_llama_embed_backward(.., x, ..)
 *
 * All of it is F32 around the products (model/linear.h says what those are), every gradient is added to what
 * its buffer holds, and one that is NULL is frozen: its work is left out. Everything is planned beforehand;
 * nothing here allocates or fails.
 *
 * Numbers do not depend on the number of threads: an output is one chain of additions, over rows ascending
 * (examples in their order, and tokens in theirs) or over keys ascending, and threads share outputs. Products
 * with dW sum all rows of the pass from zero, and are added to the buffer once. */
#ifndef PC_MODEL_LLAMA_BACKWARD_H
#define PC_MODEL_LLAMA_BACKWARD_H

#include "model/llama_block.h"

/** Gradients of a layer's weights, each of its weight's shape; NULL: frozen. */
struct pc_llama_gradients {
    float *attention_norm, *mlp_norm;                                 /* (C) */
    float *matrix[PC_LLAMA_N_MATRICES];                               /* (n_out, n_in) */
    float *bias[PC_LLAMA_N_MATRICES];                                 /* (n_out) */
    float *lora_a[PC_LLAMA_N_MATRICES], *lora_b[PC_LLAMA_N_MATRICES]; /* of rows->lora's factors */
};

/** Gradients of what stands around the layers. */
struct pc_llama_end_gradients {
    float *embedding;  /* (vocab, C) */
    float *final_norm; /* (C) */
    float *head;       /* (vocab, C); with a tied head the same memory as embedding */
};

/** What backward computes on the way: one for all layers. */
struct pc_llama_scratch {
    struct pc_llama_activations forward; /* for pc_llama_block_forward too, with forms */
    struct pc_llama_tape spare;          /* of a layer computed again; only with recompute */
    size_t n_loss_rows;
    float *stream;                          /* (T, C); only with recompute */
    float *norm, *d_norm;                   /* (T, C) */
    float *act, *d_act;                     /* (T, I) */
    float *d_mix, *d_q;                     /* (T, H D) */
    float *d_k_heads, *d_v_heads;           /* (T, H D), of each query head */
    float *dot;                             /* (T, H) */
    float *scale;                           /* (T) of a norm */
    size_t *starts;                         /* (T + 1) of the sequences; or rows that are trained */
    float *stream_rows, *hidden, *d_hidden; /* (n_loss_rows, C) */
    float *d_logits;                        /* (n_loss_rows, vocab) */
    unsigned char *forms;                   /* of gradients, and of an input */
    unsigned char *panels;                  /* of pc_linear_backward_weight */
};

/** Bytes for a pass of at most n_rows rows, and to cut them out of that much memory, 64-byte aligned.
 *
 *  n_loss_rows  rows whose logits exist at once: (n_loss_rows, vocab) floats. pc_llama_loss_rows proposes.
 *  recompute    tapes hold x_in alone, and backward computes the rest of a layer again (the same bytes). */
size_t pc_llama_scratch_size(const struct pc_llama *model, size_t n_rows, size_t n_loss_rows, bool recompute);
void pc_llama_scratch_place(struct pc_llama_scratch *s, const struct pc_llama *model, size_t n_rows,
    size_t n_loss_rows, bool recompute, void *memory);
size_t pc_llama_loss_rows(size_t n_rows);

/** Floats of scratch each worker needs, forward and back, for a pass of at most n_rows rows:
 * pc_compute.n_scratch. A multiple of 16. */
size_t pc_llama_training_scratch(const struct pc_llama *model, size_t n_rows);

/** Back through block i_layer: dx (T, C), the gradient of the block's output, becomes that of its input.
 *
 *  rows       the rows of forward; each sequence whole, from position 0.
 *  tape       what pc_llama_block_forward left there; used up. With x_in alone it is computed again.
 *  gradients  added to. */
void pc_llama_block_backward(const struct pc_compute *compute, const struct pc_config *config,
    const struct pc_llama_weights *weights, int32_t i_layer, const struct pc_llama_rows *rows,
    const struct pc_llama_tape *tape, float *dx, const struct pc_llama_gradients *gradients,
    const struct pc_llama_scratch *s);

/** What a pass is to predict. */
struct pc_llama_targets {
    const int32_t *label; /* (T) the token to come after row t; negative: not trained */
    const float *weight;  /* (T) of the row's loss; NULL: 1 */
};

/** Final norm, head, softmax and cross entropy, forward and back, of the trained rows alone, n_loss_rows at a
 *  time in their order. The head is filled (pc_llama_fill_head).
 *
 *  x     (T, C) the stream behind the last block; becomes the gradient of sum over t of weight[t] loss[t],
 *        zero in rows that are not trained.
 *  loss  (T) in nats, unweighted; 0 where not trained, NaN where logits are not finite. */
void pc_llama_loss_backward(const struct pc_compute *compute, const struct pc_llama *model, size_t n_rows,
    float *x, const struct pc_llama_targets *targets, const struct pc_llama_end_gradients *gradients,
    double *loss, const struct pc_llama_scratch *s);

/** The same losses without gradients, for validation; x is left alone. */
void pc_llama_loss(const struct pc_compute *compute, const struct pc_llama *model, size_t n_rows,
    const float *x, const struct pc_llama_targets *targets, double *loss, const struct pc_llama_scratch *s);

/** d_embedding (vocab, C): row token[t] += dx[t], t ascending. */
void pc_llama_embed_backward(const struct pc_compute *compute, const struct pc_config *config, size_t n_rows,
    const int32_t *token, const float *dx, float *d_embedding);

#endif
