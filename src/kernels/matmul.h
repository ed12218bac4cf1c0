// SPDX-License-Identifier: Apache-2.0
/* Products of activations and weights: Y = X W^T for row-major matrices, in one arithmetic.
 *
 * The contract (docs/design/numerics.md). Every output is one dot product of K elements, computed as
 *
 *     lane[l] = 0, then fmaf(x[k], w[k], lane[l]) for k = l, l + 16, l + 32, ... ascending     (l < 16)
 *     join    = lane[l] += lane[l + 8], then + 4, then + 2, then + 1
 *
 * with the weights widened to F32 first, which is exact. A lane a tail does not reach is not touched. So a
 * result depends on its two rows alone: not on the number of rows, the tile, the thread, nor even the
 * instruction set, since every version below does these same operations in this order. Faster versions differ
 * in how many outputs are in registers at once.
 *
 * Error: |y - exact| <= gamma_n sum |x w| with n = ceil(K / 16) + 4, gamma_n = n u / (1 - n u), u = 2^-24. */
#ifndef PC_KERNELS_MATMUL_H
#define PC_KERNELS_MATMUL_H

#include "base/dtype.h"

#include <stddef.h>

enum { PC_LANES = 16 };

/** y is (n_x, n_w) with y_stride floats between rows; x is (n_x, k) with x_stride floats; w is (n_w, k) with
 *  w_stride bytes, in the function's weight type. No alignment is needed; y overlaps neither x nor w. k may
 * be 0: every output is then 0. Thread-safe on disjoint y. */
typedef void pc_matmul_fn(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x,
    const void *w, size_t w_stride, size_t n_w, size_t k);

struct pc_matmul {
    pc_matmul_fn *f32, *f16, *bf16;
};

/** Fill table with the scalar versions, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_matmul_init(struct pc_matmul *table, unsigned cpu_flags);

/** The function for a weight type, or NULL for a type that must be converted to F32 first. */
pc_matmul_fn *pc_matmul_for(const struct pc_matmul *table, enum pc_dtype dtype);

/* Each fills what it has; see matmul.c. */
void pc_matmul_init_avx2(struct pc_matmul *table);
void pc_matmul_init_avx512(struct pc_matmul *table);
void pc_matmul_init_neon(struct pc_matmul *table);

#endif
