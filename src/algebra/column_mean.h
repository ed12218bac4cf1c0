// SPDX-License-Identifier: Apache-2.0
/* The mean of a matrix' rows, as PyTorch computes it: what recipes put into rows that the base lacks. */
#ifndef PC_ALGEBRA_COLUMN_MEAN_H
#define PC_ALGEBRA_COLUMN_MEAN_H

#include "format/checkpoint.h"

/** mean[c] = mean over rows [0, n_rows) of column c of t, in F32; mean has t->row_elems floats.
 *
 *  Bit-equal to `t[:n_rows].mean(dim=0)` of PyTorch on one CPU thread: per column, a cascade of four
 * accumulators. S = 2^max(4, ceil(log2 n_rows) / 4) consecutive rows are added in order to the first; it is
 * carried to the second after every S rows, that to the third after every S^2, that to the last after every
 * S^3; what is left over stays in the first; then ((a0 + a1) + a2) + a3, divided by n_rows. Columns do not
 * touch each other, so vectors across columns change nothing. n_rows == 0 gives NaN, as there.
 *
 *  Reads n_rows rows in pieces; memory for five rows and one piece. Thread-safe.
 *  Source: PyTorch aten/src/ATen/native/cpu/SumKernel.cpp, `multi_row_sum` with four levels. */
int pc_column_mean(const struct pc_tensor *t, uint64_t n_rows, float *mean, struct paco_error *err);

#endif
