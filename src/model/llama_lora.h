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

enum { PC_LORA_TOGETHER = 3 }; /* matrices of one input, at most */

/** Memory for the rows of one span. */
struct pc_lora_scratch {
    float *x, *wide;       /* (T, largest_in), dropped; (T, largest of in and out) */
    float *low, *d_low;    /* (T, largest_rank) for each of PC_LORA_TOGETHER */
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

/** What each of matrices [first, first + n), of one input in (T, n_in), adds to its y (T, n_out). in has the
 * forms of the matrices. pos (T). */
void pc_lora_forward(const struct pc_compute *compute, const struct pc_lora_rows *rows, const int32_t *pos,
    int32_t i_layer, int first, int n, const struct pc_input *in, float *const y[]);

/** The pairs beside some matrices of one input, and the rows of one span: what the halves of backward share.
 * Its members are llama_lora.c's. */
struct pc_lora_group {
    const struct pc_compute *compute;
    const struct pc_lora_rows *rows;
    const int32_t *pos; /* of the span's rows, as all that follows */
    const uint64_t *key;
    const float *x;
    float *const *y, *const *d_a, *const *d_b;
    const struct pc_input *dy;
    size_t first; /* row of the step */
    int n;        /* pairs */
    bool is_prepared;
    struct pc_input in; /* x, with dropout that of one pair */
    struct pc_lora_beside {
        const struct pc_lora_pair *pair;
        int i_matrix;               /* of those asked for */
        uint64_t number;            /* of the matrix in the model */
        float *x, *d_x;             /* A of the input, scaled; and the gradient of that */
        struct pc_input low, d_low; /* the same, and their forms */
    } beside[PC_LORA_TOGETHER];
};

/** Back: d_a[i], d_b[i] += the gradients of the factors, unless NULL. dy[i] is the gradient of y[i] in the
 * forms of its matrix. What the input's gradient takes of it is in *group, valid until the scratch is used
 * again: */
void pc_lora_backward(struct pc_lora_group *group, const struct pc_compute *compute,
    const struct pc_lora_rows *rows, const int32_t *pos, int32_t i_layer, int first, int n,
    const struct pc_input *in, const struct pc_input dy[], float *const d_a[], float *const d_b[]);

/** products to be added to those of the matrices, behind them (at most PC_LORA_TOGETHER; how many is
 * returned), */
int pc_lora_backward_jobs(const struct pc_lora_group *group, struct pc_linear_dx *jobs);

/** or with dropout, when there are none, d_x (T, n_in) += it. */
void pc_lora_backward_input(const struct pc_lora_group *group, float *d_x);

#endif
