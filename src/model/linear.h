// SPDX-License-Identifier: Apache-2.0
/* A weight matrix where it lies, and the product of rows with it on all threads.
 *
 * F32, F16 and BF16 matrices are multiplied as they are, in the file's own pages if it is mapped. Any other
 * type is turned into F32 a tile of rows at a time, once for all rows of the call, and multiplied then: exact
 * conversions, so the arithmetic stays that of kernels/matmul.h. Threads split outputs, never a sum. */
#ifndef PC_MODEL_LINEAR_H
#define PC_MODEL_LINEAR_H

#include "base/dtype.h"
#include "base/threads.h"
#include "kernels/kernels.h"

#include <stddef.h>

struct pc_weight {
    const unsigned char *data; /* (n_out, n_in) row-major in dtype, on any address; borrowed */
    enum pc_dtype dtype;
    size_t n_out, n_in;
    size_t row_size;   /* bytes */
    const float *bias; /* (n_out), or NULL */
};

/** What a forward pass runs on. Borrowed by everything it is handed to. */
struct pc_compute {
    const struct pc_kernels *kernels;
    struct pc_pool *pool;
    float *scratch; /* n_scratch floats for each worker of the pool */
    size_t n_scratch;
};

/** One product of a round: y (n_rows, n_out) = x (n_rows, n_in) W^T + bias, all contiguous. */
struct pc_linear {
    const struct pc_weight *weight;
    const float *x;
    float *y;
};

/** Run n_jobs products of n_rows rows each as one round of the pool. Row i of y depends on row i of x alone.
 *  compute->n_scratch must be at least pc_linear_scratch for each weight. Allocates nothing. */
void pc_linear_forward(
    const struct pc_compute *compute, const struct pc_linear *jobs, int n_jobs, size_t n_rows);

/** Floats of scratch a worker needs for this weight. */
size_t pc_linear_scratch(const struct pc_weight *weight);

#endif
