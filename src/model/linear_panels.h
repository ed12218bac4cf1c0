// SPDX-License-Identifier: Apache-2.0
/* Products of rows with a weight matrix that is packed into panels (kernels/gemm.h) while it is multiplied.
 *
 * Weights of any type become panels of the arithmetic's type a group at a time, in a worker's scratch: a
 * group stays in the second level cache, all rows pass over it, and it is gone. Used forwards (vectors are
 * W's rows) and backwards (vectors are W's columns). */
#ifndef PC_MODEL_LINEAR_PANELS_H
#define PC_MODEL_LINEAR_PANELS_H

#include "model/linear.h"

enum {
    PC_PANELS_STEPS = 1024, /* of a panel at most: longer sums go in pieces, whose totals are added */
    PC_PANELS_GROUP_SIZE = 384 * 1024 /* bytes of panels that all rows pass over */
};

struct pc_panels_product {
    const struct pc_kernels *kernels;
    const struct pc_gemm_type *type;
    const struct pc_weight *weight;
    bool columns; /* c = a W, (n_rows, n_in), K = n_out; else c = a W^T, (n_rows, n_out), K = n_in */
    const void *a;
    size_t a_row, n_rows; /* bytes; elements are F32 or BF16 as type has them */
    float *c;             /* its first column is the matrix's */
    size_t c_stride;
    bool add;
    size_t first, n; /* columns of c to make */
};

/** The arithmetic of gemm.h that a weight's class asks for. */
const struct pc_gemm_type *pc_panels_type(const struct pc_kernels *kernels, const struct pc_weight *weight);

/** Rows of the form BF16 that in has, stride bytes apart: the next multiple of 64. */
const uint16_t *pc_input_rounded(const struct pc_input *in, size_t *stride);

/** Run one worker's product. Column j of c depends on nothing but its rows, column j and K. scratch has
 * pc_panels_scratch() floats, 64-byte aligned. */
void pc_panels_run(const struct pc_panels_product *product, float *scratch);

size_t pc_panels_scratch(void);

#endif
