// SPDX-License-Identifier: Apache-2.0
/* Low-rank adapters beside a block's matrices: y = W x + scale B (A dropout(x)), in both directions.
 * Source: Hu et al. 2021, "LoRA", in PEFT's form. docs/math/lora.md.
 *
 *     pc_lora_bind(ck, &config, kernels, products, 0.5f, &lora, &err)     tensors under PEFT's names
 *     struct pc_lora_span all = {0, n, lora};
 *     rows.lora = &(struct pc_lora_rows){.spans = &all, .n_spans = 1, .scratch = &scratch};
 *     pc_llama_block_forward(.., &rows, ..)
 *
 * A span of rows has one adapter, or none: rows of several answers, each with its own, go through the block
 * together, and a row's numbers do not depend on whose company it is in. Backward takes one span of all rows.
 * W x comes first, and the adapter's part is added to it once. */
#ifndef PC_MODEL_LLAMA_LORA_H
#define PC_MODEL_LLAMA_LORA_H

#include "model/linear.h"
#include "model/llama.h"

/** What is beside one matrix. The products are those of the matrix: both of one pc_products. */
struct pc_lora_pair {
    struct pc_weight a, b; /* (r, n_in), (n_out, r); a.data NULL: the matrix has no adapter */
    float scale;           /* alpha / r */
};

struct pc_lora {
    struct pc_lora_pair (*layers)[PC_LLAMA_N_MATRICES];    /* (n_layers) */
    size_t n_pairs, largest_rank, largest_in, largest_out; /* of those there are */
    struct pc_arena arena;
};

/** Look up "base_model.model.model.layers.N.MODULE.lora_A.weight" and lora_B for every matrix of config;
 * those without are left alone. ck must map its tensors, and outlive the adapter; their values are used where
 * they lie. One of a pair alone is PACO_ENOENT, a shape that does not fit PACO_EMISMATCH, a checkpoint
 * without any pair PACO_ENOENT. *owned*: pc_lora_free. */
int pc_lora_bind(const struct pc_checkpoint *ck, const struct pc_config *config,
    const struct pc_kernels *kernels, enum pc_products products, float scale, struct pc_lora **out,
    struct paco_error *err);
void pc_lora_free(struct pc_lora *lora);

/** Consecutive rows with one adapter. */
struct pc_lora_span {
    size_t first, n;
    const struct pc_lora *lora;
};

/** Memory for the rows of one span. */
struct pc_lora_scratch {
    float *x, *wide;       /* (T, largest_in), dropped; (T, largest of in and out) */
    float *low, *d_low;    /* (T, largest_rank) */
    unsigned char *forms;  /* of x, low and d_low */
    unsigned char *panels; /* of backward */
};

/** The adapters of a step's rows (pc_llama_rows.lora). */
struct pc_lora_rows {
    const struct pc_lora_span *spans; /* ascending, apart */
    size_t n_spans;
    float dropout;       /* probability, in training; 0: none */
    const uint64_t *key; /* (T) what a row's dropout follows from, with its position; NULL without dropout */
    const struct pc_lora_scratch *scratch;
};

/** Bytes for spans of at most n_rows rows of any of these adapters, and to cut them out of that much memory,
 * 64-byte aligned. */
size_t pc_lora_scratch_size(const struct pc_lora *lora, size_t n_rows);
void pc_lora_scratch_place(
    struct pc_lora_scratch *s, const struct pc_lora *lora, size_t n_rows, void *memory);

/** Whether a row of the step has an adapter beside one of matrices [first, first + n) of the layer. */
bool pc_lora_is_beside(const struct pc_lora_rows *rows, int32_t i_layer, int first, int n);

/** What each of matrices [first, first + n), of one input x (T, n_in), adds to its y (T, n_out). pos (T). */
void pc_lora_forward(const struct pc_compute *compute, const struct pc_lora_rows *rows, const int32_t *pos,
    int32_t i_layer, int first, int n, const float *x, float *const y[]);

/** Back: d_x (T, n_in) += the gradient of x, unless d_x is NULL; d_a[i], d_b[i] += those of the factors,
 * unless NULL. dy[i] is the gradient of y[i] in the forms of its matrix. */
void pc_lora_backward(const struct pc_compute *compute, const struct pc_lora_rows *rows, const int32_t *pos,
    int32_t i_layer, int first, int n, const float *x, const struct pc_input dy[], float *d_x,
    float *const d_a[], float *const d_b[]);

#endif
