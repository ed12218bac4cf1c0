// SPDX-License-Identifier: Apache-2.0
/* NumPy's sum of a contiguous array of doubles, bit for bit: blocks of 128 by eight accumulators, halves of
 * more added to each other. Source: NumPy 1.24 to 2.4, `DOUBLE_pairwise_sum`. Thread-safe. */
#ifndef PC_BASE_NUMPY_SUM_H
#define PC_BASE_NUMPY_SUM_H

#include <stddef.h>

double pc_numpy_sum(const double *x, size_t n);

#endif
