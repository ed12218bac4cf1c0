// SPDX-License-Identifier: Apache-2.0
#ifndef PC_KERNELS_RMSNORM_H
#define PC_KERNELS_RMSNORM_H

#include "kernels/matmul.h"

#include <stddef.h>

/** Root mean square normalisation: out = x / sqrt(mean(x^2) + eps) * weight, row by row.
 *
 *  out, x  (T, C) float32, contiguous; out may be x.
 *  weight  (C).
 *
 *  The sum of squares follows the contract of matmul.h, the rest is one rounding per operation: the same bits
 *  at every level. The order (scale first, then weight) is the reference's. Thread-safe on disjoint out.
 *  Source: Zhang and Sennrich 2019, eq. 4; Transformers' LlamaRMSNorm. docs/math/rmsnorm.md. */
void pc_rmsnorm_forward(const struct pc_matmul *products, float *out, const float *x, const float *weight,
    size_t n_rows, size_t n, float eps);

#endif
