// SPDX-License-Identifier: Apache-2.0
/* What fine-tunes of a model add to it, row by row: the numbers of one fine-tune beside the base's weights,
 * and their part of a block's products. For inference: several fine-tunes in one step (engine/variant.h).
 *
 * Rows of one fine-tune are consecutive: a span. The base's product of all rows comes first; then the spans
 * of a step are done together, in two rounds of the pool: the narrow side of all adapters, then everything
 * that is added to outputs. Each output gets, in this order and each added once:
 *
 *     scale B (A x)    A x by kernels/matmul.h, times scale in F32, then one chain of kernels/gemm.h's f32;
 *                      factors are widened to F32. Beside a base in INT8 both are, too: A by
 *                      kernels/packed.h's Q8_0, A x times scale in F32, quantised, B by kernels/beside.h
 *     D x              dense rows by kernels/matmul.h, activations in F32 whatever the base's products take;
 *                      rows of a block type are widened 1024 elements at a time, whose products are added
 *                      up; beside a base in INT8 by kernels/packed.h
 *     S x              sparse: products summed in double, columns ascending, then rounded
 *     signs            by kernels/signs.h; beside a base in INT8 by kernels/beside.h
 *     bias
 *
 * So what is added to a row depends on the row and its fine-tune alone. */
#ifndef PC_MODEL_LLAMA_DELTA_H
#define PC_MODEL_LLAMA_DELTA_H

#include "model/linear.h"
#include "model/llama.h"

/** Rows of a matrix (n, n_in), row-major in dtype: F32, F16, BF16, or a block type. */
struct pc_delta_dense {
    enum pc_dtype dtype;
    size_t n;                  /* 0: none */
    const uint32_t *rows;      /* (n) which they are, ascending; NULL: the first n */
    const unsigned char *data; /* in an int8 delta: tiles of kernels/packed.h */
};

/** Elements of a matrix, by rows. */
struct pc_delta_sparse {
    const uint64_t *starts;  /* (n_out + 1) a row's elements are [starts[i], starts[i + 1]); NULL: none */
    const uint32_t *columns; /* ascending in a row */
    const float *values;
};

/** A matrix of signs, each row with its scale (kernels/signs.h). */
struct pc_delta_signs {
    const unsigned char *bits; /* (n_out, n_in / 8), or in an int8 delta tiles; NULL: none */
    const float *scale;        /* (n_out) */
};

enum { PC_DELTA_MAX_NARROW = 256 };

/** Beside one product y (T, n_out) = x (T, n_in) W^T. All parts may be there; zeros: none. */
struct pc_delta {
    size_t n_out, n_in;
    bool int8;   /* multiplied with activations in INT8: factors, signs, and dense rows of PC_Q4_0 */
    size_t rank; /* 0: no factors */
    const unsigned char *a; /* (rank, n_in) row-major in a_type: F32, F16 or BF16 */
    enum pc_dtype a_type;
    const unsigned char *b; /* (n_out, rank) in panels of kernels/gemm.h's f32, in b_type: F32 or F16 */
    enum pc_dtype b_type;   /* F16: rank is at most PC_DELTA_MAX_NARROW */
    /** In an int8 delta: a is tiles of PC_Q8_0, of n_low rows: its own and those of the matrices behind it
     * that share its input, one after the other; theirs have none. b is tiles of kernels/beside.h. */
    size_t n_low;
    float scale;
    struct pc_delta_dense dense;
    struct pc_delta_sparse sparse;
    struct pc_delta_signs signs;
    const float *bias; /* (n_out), or NULL */
};

struct pc_delta_layer {
    const float *attention_norm, *mlp_norm; /* (C) in place of the base's; NULL: the base's */
    struct pc_delta matrix[PC_LLAMA_N_MATRICES];
};

/** One fine-tune. */
struct pc_llama_delta {
    struct pc_delta_layer *layers; /* (n_layers) */
    const float *final_norm;       /* (C) in place of the base's, or NULL */
    struct pc_delta embedding;     /* its dense and sparse rows are added to the base's */
    struct pc_delta head;
    struct pc_delta_dense new_embedding, new_head; /* whole rows behind the base's vocabulary */
};

/** Consecutive rows of one fine-tune, or of the base (NULL). */
struct pc_delta_span {
    size_t first, n;
    const struct pc_llama_delta *delta;
};

/** What one span adds to one matrix' outputs, and where its units of work begin in each round. */
struct pc_delta_job {
    const struct pc_delta *delta;
    const float *x; /* (n_rows, n_in) */
    const void *xq; /* the same in INT8, where there are such */
    float *y;       /* (n_rows, n_out) */
    float *low;     /* (n_rows, rank) */
    float *quant;   /* of an int8 delta: room for the same quantised */
    size_t n_rows, first_low, first_out;
};

enum { PC_DELTA_JOBS = 3 }; /* matrices of one input, at most */

/** The fine-tunes of a step's rows: spans ascend and cover all of them. */
struct pc_delta_rows {
    const struct pc_delta_span *spans;
    size_t n_spans;
    struct pc_delta_job *jobs; /* (PC_DELTA_JOBS n_spans) at work */
    float *low;                /* pc_llama_delta_low floats for each row, of the fine-tune that needs most */
};

/** Floats a row needs between the two rounds. */
size_t pc_llama_delta_low(const struct pc_llama_delta *delta, int32_t n_layers);

enum { PC_DELTA_HEAD = -1 }; /* in a layer's place: the head, which is its only matrix */

/** Whether a row has anything beside one of matrices [first, first + n) of the layer. rows may be NULL. */
bool pc_delta_is_beside(const struct pc_delta_rows *rows, int32_t i_layer, int first, int n);

/** Add to the outputs y[i] (T, n_out) of matrices [first, first + n), which share the input (T, n_in), whose
 * forms are made. rows may be NULL. Allocates nothing. */
void pc_delta_forward(const struct pc_compute *compute, const struct pc_delta_rows *rows, int32_t i_layer,
    int first, int n, const struct pc_input *in, float *const y[]);

/** out (T, out_stride), the first new_head.n of a row = the logits of tokens behind the base's vocabulary,
 * for n_rows rows x of this fine-tune. */
void pc_delta_new_logits(const struct pc_compute *compute, const struct pc_llama_delta *delta, const float *x,
    size_t width, size_t n_rows, float *out, size_t out_stride);

enum pc_delta_norm { PC_DELTA_ATTENTION_NORM, PC_DELTA_MLP_NORM, PC_DELTA_FINAL_NORM };

/** The norm of row `first`, base or its fine-tune's, and in *n, which is lowered, for how many rows from
 * there it goes. rows may be NULL. */
const float *pc_delta_norm(const struct pc_delta_rows *rows, int32_t i_layer, enum pc_delta_norm which,
    const float *base, size_t first, size_t *n);

/** x (C) += what the fine-tune adds to the embedding of a token of the base's vocabulary; or x = the
 * embedding of a token behind it. */
void pc_delta_embed(const struct pc_kernels *kernels, const struct pc_llama_delta *delta, int32_t token,
    int32_t base_vocab, float *x);

#endif
