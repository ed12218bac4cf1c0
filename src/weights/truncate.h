// SPDX-License-Identifier: Apache-2.0
/* A matrix as the product of two thin ones: its truncated singular value decomposition.
 *
 * The range is found by multiplying with random columns and iterating twice (Halko, Martinsson and Tropp
 * 2011, algorithms 4.4 and 5.1), then what is left is small: an eigenvalue problem of rank + 8 columns,
 * solved by Jacobi's rotations in double. */
#ifndef PC_WEIGHTS_TRUNCATE_H
#define PC_WEIGHTS_TRUNCATE_H

#include "base/error.h"
#include "kernels/gemm.h"

#include <stddef.h>
#include <stdint.h>

/** Sums of squares: of the matrix, and of what the product holds of it. */
struct pc_truncated {
    double all, held;
};

/** d (n_out, n_in) is about b (n_out, rank) a (rank, n_in), all F32 row-major; each factor takes the root of
 * the singular values. rank is 1 to the smaller of n_out and n_in.
 *
 *  The same bits for the same matrix, rank and seed on any processor with the same gemm; thread-safe.
 *  Needs about (2 n_in + 2 n_out) (rank + 8) floats. PACO_EMEM; PACO_EFORMAT for elements that are not
 * finite. */
int pc_truncate(const struct pc_gemm *gemm, const float *d, size_t n_out, size_t n_in, size_t rank,
    uint64_t seed, float *a, float *b, struct pc_truncated *out, struct paco_error *err);

#endif
