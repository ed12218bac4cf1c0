// SPDX-License-Identifier: Apache-2.0
/* Products of rows with weight matrices on all threads.
 *
 * Activations come in the forms the weights are multiplied with (F32, INT8 blocks, BF16), made once per row
 * and shared by every product of the round. A round's work is cut by outputs, 16 at a time, and by rows where
 * there are more processors than outputs to share: threads split outputs, never a sum. */
#ifndef PC_MODEL_LINEAR_H
#define PC_MODEL_LINEAR_H

#include "model/weight.h"

#include <stddef.h>

/** What a forward pass runs on. Borrowed by everything it is handed to. */
struct pc_compute {
    const struct pc_kernels *kernels;
    struct pc_pool *pool;
    float *scratch; /* n_scratch floats for each worker of the pool */
    size_t n_scratch;
    float *parts; /* floats that workers share (pc_llama_attention_parts), or NULL */
};

/** How many workers a round is worth that one alone would do in ns nanoseconds. */
int pc_compute_workers(const struct pc_compute *compute, double ns);

/** Rows (T, n_in) on their way into products. */
struct pc_input {
    const float *x;       /* contiguous */
    unsigned char *forms; /* T * pc_input_form_size(..) bytes, 64-byte aligned; what prepare wrote */
    unsigned needs;       /* of pc_input_needs */
    size_t n_rows, n_in;
};

/** Which forms beside F32 a weight is multiplied with, as bits to be or-ed. Gradients of outputs take those
 * of their weight too. */
unsigned pc_input_needs(const struct pc_weight *w);
/** Bytes of the forms of a row. */
size_t pc_input_form_size(unsigned needs, size_t n_in);
/** Make the forms of rows [first, end). Thread-safe on disjoint rows. */
void pc_input_prepare(const struct pc_input *in, const struct pc_kernels *kernels, size_t first, size_t end);

/** Whether the forms have INT8 blocks (kernels/packed.h) among them. */
bool pc_input_has_int8(unsigned needs);
/** Those of rows from `row` on, pc_quant_row_size(n_in) bytes apart; NULL where they are not made. */
const void *pc_input_int8(const struct pc_input *in, size_t row);

/** One product of a round: y (T, n_out) = x (T, n_in) W^T + bias, contiguous. */
struct pc_linear {
    const struct pc_weight *weight;
    float *y;
};

/** Run n_jobs products (at most 3) of the same rows as one round of the pool. Row i of y depends on row i of
 * x alone. compute->n_scratch must be at least pc_linear_scratch for each weight. Allocates nothing. */
void pc_linear_forward(
    const struct pc_compute *compute, const struct pc_linear *jobs, int n_jobs, const struct pc_input *in);

/** The same for one product, and sum (T, n_out) += y. Class PANELS without a bias adds its pieces of 2048
 * inputs to sum as they come, and leaves y alone. */
void pc_linear_forward_add(
    const struct pc_compute *compute, const struct pc_linear *job, float *sum, const struct pc_input *in);

/** The same for the two of SwiGLU, of one shape, and act (T, n_out) = silu(gate) * up; act may be gate's y.
 */
void pc_linear_forward_gated(
    const struct pc_compute *compute, const struct pc_linear *gate_up, float *act, const struct pc_input *in);

/* ---- backward ---- */

/** dX takes part of one product: dy (T, n_out), in the forms of pc_input_needs(weight). dy->x may be NULL
 * where the weight is multiplied with another form. */
struct pc_linear_dx {
    const struct pc_weight *weight; /* of class F32, WIDENED or PANELS */
    const struct pc_input *dy;
};

/** dx (T, n_in) = or, with add, += the sum of dY W over n_jobs products (at most 6) with the same input. Each
 * sums its outputs in pieces of 1024 (class PANELS: 2048), one of gemm.h's chains each, whose totals are
 * added in their order, the jobs in theirs: the head sums over a vocabulary, where one chain would lose two
 * digits. In F32 by gemm.h's f32, whatever the type of the weights; class PANELS by its bf16. Row i of dx
 * depends on row i of the dys alone. Scratch: pc_linear_backward_scratch. Allocates nothing. */
void pc_linear_backward_input(
    const struct pc_compute *compute, const struct pc_linear_dx *jobs, int n_jobs, float *dx, bool add);

/** What one product gives its weight. */
struct pc_linear_dw {
    const struct pc_weight *weight; /* its shape and class; the values are not read */
    const struct pc_input *dy;      /* (T, n_out), in the forms of pc_input_needs(weight) */
    float *dw;                      /* (n_out, n_in) contiguous, added to; NULL: frozen */
    float *db;                      /* (n_out), added to; NULL: none, or frozen. Needs dy->x */
};

/** dw += dY^T X, rows ascending from zero, the total added once; db += the sum of dY's rows, likewise, in
 * F32. For n_jobs products (at most 3) of the same x and one class. x is (T, n_in) in the forms of
 * pc_input_needs(weight) of the weights. panels: pc_linear_panels_size bytes that the workers share, 64-byte
 * aligned. */
void pc_linear_backward_weight(const struct pc_compute *compute, const struct pc_linear_dw *jobs, int n_jobs,
    const struct pc_input *x, void *panels);

/** Bytes of panels for n_rows rows of the inputs of this weight. */
size_t pc_linear_panels_size(const struct pc_weight *weight, size_t n_rows);

/** Floats of scratch a worker needs for either. */
size_t pc_linear_backward_scratch(void);

/** Floats of scratch a worker needs for this weight. */
size_t pc_linear_scratch(const struct pc_weight *weight);

#endif
